"""The embedded CRM: its own fields follow the extracts, ours stay as we wrote them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dagster_project.clients.crm import CrmUnavailable, Receipt
from dagster_project.clients.local_crm import LocalCrm
from dagster_project.core.sync import FieldUpdate

ANN = {"email": "ann@acme.com", "title": "Head of Operations"}


@pytest.fixture
def crm(tmp_path: Path) -> LocalCrm:
    return LocalCrm(tmp_path / "data" / "crm.sqlite")


def write(crm: LocalCrm, object_id: str = "c_1", **fields: Any) -> Receipt:
    [receipt] = crm.update("contact", [FieldUpdate(object_id, fields, "fingerprint")])
    return receipt


def test_a_new_crm_knows_nobody(crm: LocalCrm) -> None:
    assert crm.records("contact") == {}
    assert crm.take_over("contact", {}) == 0


def test_the_crms_own_fields_follow_the_extracts(crm: LocalCrm) -> None:
    assert crm.take_over("contact", {"c_1": ANN}) == 1
    assert crm.take_over("contact", {"c_1": ANN | {"title": "COO"}, "c_2": {}}) == 2
    assert crm.records("contact") == {"c_1": ANN | {"title": "COO"}, "c_2": {}}


def test_an_extract_that_says_the_same_changes_nothing(crm: LocalCrm) -> None:
    crm.take_over("contact", {"c_1": ANN})
    assert crm.take_over("contact", {"c_1": dict(reversed(ANN.items()))}) == 0


def test_records_that_nobody_asked_the_extract_for_stay_as_they_are(crm: LocalCrm) -> None:
    crm.take_over("contact", {"c_1": ANN, "c_2": {}, "c_3": {}})
    assert crm.take_over("contact", {"c_1": ANN | {"title": "COO"}}, of=["c_1", "c_2", "c_9"]) == 2
    assert crm.records("contact") == {"c_1": ANN | {"title": "COO"}, "c_3": {}}


def test_what_we_wrote_stays_when_the_extracts_change(crm: LocalCrm) -> None:
    crm.take_over("contact", {"c_1": ANN})
    assert write(crm, pql_score=81.0, features_used=["alerts"]) == Receipt("c_1")
    crm.take_over("contact", {"c_1": ANN | {"title": None}})
    assert crm.records("contact")["c_1"] == ANN | {"title": None, "pql_score": 81.0, "features_used": ["alerts"]}


def test_a_field_written_here_gives_way_only_when_the_extracts_say_something_new(crm: LocalCrm) -> None:
    crm.take_over("contact", {"c_1": ANN | {"owner_id": "o_1"}})
    write(crm, owner_id="o_2")
    crm.take_over("contact", {"c_1": {"title": "COO", "owner_id": "o_1"}})
    assert crm.records("contact")["c_1"] == {"email": None, "title": "COO", "owner_id": "o_2"}
    crm.take_over("contact", {"c_1": {"title": "COO", "owner_id": "o_3"}})
    assert crm.records("contact")["c_1"]["owner_id"] == "o_3"


def test_a_record_that_left_the_extracts_is_gone_and_comes_back_with_our_fields(crm: LocalCrm) -> None:
    crm.take_over("contact", {"c_1": ANN, "c_2": {}})
    write(crm, pql_score=81.0)
    assert crm.take_over("contact", {"c_2": {}}) == 1
    assert crm.records("contact") == {"c_2": {}}
    assert write(crm, pql_score=82.0) == Receipt("c_1", "the contact c_1 is deleted in the CRM")
    assert crm.take_over("contact", {"c_2": {}}) == 0
    assert crm.take_over("contact", {"c_1": ANN, "c_2": {}}) == 1
    assert crm.records("contact")["c_1"] == ANN | {"pql_score": 81.0}


def test_a_record_that_is_not_there_is_refused_for_good_and_not_created(crm: LocalCrm) -> None:
    crm.take_over("contact", {"c_1": ANN})
    receipts = crm.update("contact", [FieldUpdate(name, {"pql_score": 1.0}, "f") for name in ("c_0", "c_1")])
    assert receipts == [Receipt("c_0", "the contact c_0 is not known in the CRM"), Receipt("c_1")]
    assert not receipts[0].is_retryable
    assert crm.records("contact") == {"c_1": ANN | {"pql_score": 1.0}}


def new(email: str, **fields: Any) -> FieldUpdate:
    return FieldUpdate(f"email:{email}", fields, "f", create={"email": email, "name": "Bo"})


def test_a_record_is_made_where_the_update_says_so_and_once(crm: LocalCrm) -> None:
    [first], [again] = (crm.update("contact", [new(email, pql_score=1.0)]) for email in ("bo@acme.com", "Bo@Acme.com"))
    assert first.created_id == again.created_id
    assert crm.records("contact") == {first.created_id: {"email": "bo@acme.com", "name": "Bo", "pql_score": 1.0}}


def test_who_is_there_by_e_mail_is_not_made_again(crm: LocalCrm) -> None:
    crm.take_over("contact", {"c_1": ANN})
    assert crm.update("contact", [new("ann@acme.com", pql_score=1.0)])[0].created_id == "c_1"
    assert crm.records("contact") == {"c_1": ANN | {"pql_score": 1.0}}


def test_whom_we_made_stays_until_the_extracts_know_the_person_and_is_then_one_record(crm: LocalCrm) -> None:
    crm.update("contact", [new("bo@acme.com", pql_score=1.0)])
    crm.take_over("contact", {"c_1": ANN})
    assert len(crm.records("contact")) == 2
    crm.take_over("contact", {"c_1": ANN, "c_2": {"email": "BO@acme.com"}})
    assert crm.records("contact") == {"c_1": ANN, "c_2": {"email": "BO@acme.com", "name": "Bo", "pql_score": 1.0}}


@pytest.mark.parametrize("theirs", ["ÄNN@acme.com", "\tänn@acme.com\n"])
def test_who_is_made_is_the_person_whose_address_is_written_otherwise(crm: LocalCrm, theirs: str) -> None:
    crm.take_over("contact", {"c_1": {"email": theirs}})
    assert crm.update("contact", [new("änn@acme.com", pql_score=1.0)])[0].created_id == "c_1"


def test_whom_we_made_keeps_our_fields_where_the_extract_that_knows_them_has_not_changed(crm: LocalCrm) -> None:
    crm.take_over("contact", {"c_1": {"email": "bo@acme.com"}})
    crm.take_over("contact", {})
    [made] = crm.update("contact", [new("bo@acme.com", pql_score=1.0)])
    assert made.created_id != "c_1", "that one is deleted"
    crm.take_over("contact", {"c_1": {"email": "bo@acme.com"}})
    assert crm.read("contact", ["c_1"], ["pql_score"]) == {"c_1": {"pql_score": 1.0}}


def test_reading_gives_the_named_fields_of_records_that_are_there(crm: LocalCrm) -> None:
    crm.take_over("contact", {"c_1": ANN, "c_2": {}})
    crm.take_over("contact", {"c_1": ANN})
    assert crm.read("contact", ["c_1", "c_2", "c_3"], ["title", "x"]) == {"c_1": {"title": ANN["title"], "x": None}}


def test_an_extract_goes_on_after_the_last_and_tells_of_deletions(crm: LocalCrm) -> None:
    crm.take_over("contact", {"c_1": ANN, "c_2": {}})
    [page] = crm.extract("contacts", None)
    assert (page.rows, page.is_last) == ([ANN | {"contact_id": "c_1"}, {"contact_id": "c_2"}], True)
    write(crm, "c_2", pql_score=1.0)
    crm.take_over("contact", {"c_2": {}})
    [later] = crm.extract("contacts", page.cursor)
    assert later.rows == [{"contact_id": "c_2", "pql_score": 1.0}, {"contact_id": "c_1", "is_deleted": True}]
    assert [page.rows for page in crm.extract("contacts", later.cursor)] == [[]]
    assert [page.rows for page in crm.extract("tickets", None)] == [[]]


def test_contacts_and_accounts_of_one_id_are_two_records(crm: LocalCrm) -> None:
    crm.take_over("contact", {"1": {"name": "Ann"}})
    crm.take_over("account", {"1": {"name": "Acme"}})
    write(crm, "1", pql_score=5.0)
    assert crm.take_over("contact", {}) == 1
    assert crm.records("account") == {"1": {"name": "Acme"}}


def test_an_update_that_breaks_off_writes_nothing(crm: LocalCrm) -> None:
    crm.take_over("contact", {"c_1": ANN, "c_2": {}})
    updates = [FieldUpdate("c_1", {"pql_score": 1.0}, "f"), FieldUpdate("c_2", {"pql_score": object()}, "f")]
    with pytest.raises(TypeError):
        crm.update("contact", updates)
    assert crm.records("contact") == {"c_1": ANN, "c_2": {}}


def test_a_crm_that_cannot_be_opened_is_unavailable_and_named(tmp_path: Path) -> None:
    (tmp_path / "crm.sqlite").mkdir()
    with pytest.raises(CrmUnavailable, match=r"crm\.sqlite"):
        LocalCrm(tmp_path / "crm.sqlite").records("contact")


def test_a_fresh_crm_can_be_opened_by_several_at_once(crm: LocalCrm) -> None:
    together = threading.Barrier(6)

    def take_over(number: int) -> int:
        together.wait(10)
        return crm.take_over(f"kind {number}", {"1": {}})

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(take_over, range(6))) == [1] * 6
