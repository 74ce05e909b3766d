"""Handoffs in the outbox: each once, whole, and only to whom it may still go."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from ledger_files import empty_ledger
from ledger_rows import LATER, NOW, handoff, plan
from letter_rows import Clock, letter

from dagster_project.clients.outbox import Outbox
from dagster_project.core.letters import line
from dagster_project.delivery import DeliveryReport, deliver
from dagster_project.ledger import Ledger
from dagster_project.ledger_writing import Outcome


class PowerCut(BaseException):
    """The process ends here."""


class LedgerThatDies(Ledger):
    """A ledger whose process ends before anything can be settled."""

    def settle(self, outcomes: Sequence[Outcome], now: datetime, **also: Any) -> None:
        raise PowerCut


@pytest.fixture
def url(tmp_path: Path) -> str:
    return empty_ledger(tmp_path / "ledger.sqlite")


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with Ledger(url) as opened:
        yield opened


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    return tmp_path / "data" / "outbox"


def deliver_handoffs(ledger: Ledger, outbox: Path, blocked: dict[str, str], *, now: datetime) -> DeliveryReport:
    letters = [letter(row) for row in ledger.pending_handoffs()]
    return deliver(ledger, Outbox(outbox), letters, blocked=blocked, pace=Clock(now).pace)


def files(outbox: Path) -> dict[str, str]:
    found = (path for path in outbox.rglob("*") if path.is_file())
    return {path.relative_to(outbox).as_posix(): path.read_text(encoding="utf-8") for path in found}


def deliveries(ledger: Ledger) -> list[tuple[str, str, int]]:
    rows = ledger.read_frame("deliveries").sort("object_id")
    return list(rows.select("object_id", "status", "attempts").iter_rows())


def test_each_handoff_is_delivered_once(ledger: Ledger, outbox: Path) -> None:
    ledger.apply_handoff_plan(plan(handoff(), handoff(handoff_id="ho_2", package_markdown="two")))
    assert deliver_handoffs(ledger, outbox, {}, now=NOW) == DeliveryReport(
        delivered=2, cancelled=0, failed={}, parked={}
    )
    assert files(outbox) == {"2026-05-02/ho_1.md": "## 🔥 Hot PQL Alert: Acme\n", "2026-05-02/ho_2.md": "two"}
    assert deliveries(ledger) == [("ho_1", "confirmed", 1), ("ho_2", "confirmed", 1)]
    assert ledger.read_frame("handoffs")["status"].to_list() == ["delivered", "delivered"]
    (outbox / "2026-05-02" / "ho_1.md").unlink()
    assert deliver_handoffs(ledger, outbox, {}, now=LATER) == DeliveryReport(0, 0, {}, {})
    assert list(files(outbox)) == ["2026-05-02/ho_2.md"]


def test_a_crash_between_the_file_and_its_receipt_makes_no_second_file(ledger: Ledger, outbox: Path, url: str) -> None:
    ledger.apply_handoff_plan(plan(handoff()))
    with pytest.raises(PowerCut), LedgerThatDies(url) as dying:
        deliver_handoffs(dying, outbox, {}, now=NOW)
    assert deliveries(ledger) == [("ho_1", "pending", 1)]
    before = files(outbox)
    next_day = datetime(2026, 5, 3, 10, 0)
    assert deliver_handoffs(ledger, outbox, {}, now=next_day).delivered == 1
    assert files(outbox) == before == {"2026-05-02/ho_1.md": "## 🔥 Hot PQL Alert: Acme\n"}
    assert deliveries(ledger) == [("ho_1", "confirmed", 1)]


def test_what_a_crash_left_half_written_is_overwritten(ledger: Ledger, outbox: Path) -> None:
    ledger.apply_handoff_plan(plan(handoff(package_markdown="whole")))
    (outbox / "2026-05-02").mkdir(parents=True)
    (outbox / "2026-05-02" / ".ho_1.md.unfinished").write_text("half of it, and longer")
    deliver_handoffs(ledger, outbox, {}, now=NOW)
    assert files(outbox) == {"2026-05-02/ho_1.md": "whole"}


def test_who_may_not_be_contacted_any_more_is_cancelled_and_never_written(ledger: Ledger, outbox: Path) -> None:
    ledger.apply_handoff_plan(plan(handoff(), handoff(handoff_id="ho_2", user_id="u_2")))
    report = deliver_handoffs(ledger, outbox, {"u_1": "opted out in the CRM"}, now=LATER)
    assert report == DeliveryReport(delivered=1, cancelled=1, failed={}, parked={})
    assert list(files(outbox)) == ["2026-05-02/ho_2.md"]
    assert deliveries(ledger) == [("ho_1", "cancelled", 1), ("ho_2", "confirmed", 1)]
    [decision] = ledger.read_frame("handoff_decisions").filter(decision="suppressed_no_contact").to_dicts()
    assert (decision["user_id"], decision["decided_at"]) == ("u_1", LATER)
    assert decision["reason"] == "at the moment of sending: opted out in the CRM"
    assert deliver_handoffs(ledger, outbox, {}, now=LATER) == DeliveryReport(0, 0, {}, {})


def test_a_block_without_a_reason_is_a_block(ledger: Ledger, outbox: Path) -> None:
    ledger.apply_handoff_plan(plan(handoff()))
    assert deliver_handoffs(ledger, outbox, {"u_1": ""}, now=NOW).cancelled == 1
    assert files(outbox) == {}


def test_a_file_that_cannot_be_written_keeps_no_other_back_and_is_tried_again(ledger: Ledger, outbox: Path) -> None:
    ledger.apply_handoff_plan(plan(handoff(), handoff(handoff_id="ho_2")))
    in_the_way = outbox / "2026-05-02" / "ho_1.md"
    in_the_way.mkdir(parents=True)
    report = deliver_handoffs(ledger, outbox, {}, now=NOW)
    assert (report.delivered, list(report.failed)) == (1, ["handoff/ho_1/alert"])
    assert "ho_1.md" in report.failed["handoff/ho_1/alert"]
    assert deliveries(ledger) == [("ho_1", "failed", 1), ("ho_2", "confirmed", 1)]
    in_the_way.rmdir()
    assert deliver_handoffs(ledger, outbox, {}, now=LATER) == DeliveryReport(1, 0, {}, {})
    assert deliveries(ledger) == [("ho_1", "confirmed", 2), ("ho_2", "confirmed", 1)]
    assert sorted(files(outbox)) == ["2026-05-02/ho_1.md", "2026-05-02/ho_2.md"]


HOSTILE = ["../../escaped", "/etc/passwd", "..", ".", "", "a/b", "a\\b", ".hidden", "nul\0", "line\n", "x" * 300, "ü🔥"]


def test_a_name_in_a_line_is_no_markup_in_its_file(outbox: Path) -> None:
    told = line(
        "<https://x.example> *b* [x](y) went up", key=("notice", "no_1", "tell"), day=NOW.date(), channel="marketing"
    )
    [place] = Outbox(outbox).places(told)
    Outbox(outbox).post(told, place)
    written = (outbox / place.channel).read_text()
    assert written == "\\<https\\://x.example\\> \\*b\\* \\[x\\](y) went up\n"
    assert told.title == "<https://x.example> *b* [x](y) went up", "what is not Markdown needs no escapes"


def test_a_hostile_id_makes_a_file_of_its_own_inside_the_day(ledger: Ledger, outbox: Path, tmp_path: Path) -> None:
    ledger.apply_handoff_plan(plan(*(handoff(handoff_id=hostile, package_markdown=hostile) for hostile in HOSTILE)))
    outside = {path for path in tmp_path.rglob("*") if outbox not in path.parents}
    report = deliver_handoffs(ledger, outbox, {}, now=NOW)
    assert report == DeliveryReport(len(HOSTILE), 0, {}, {})
    written = [path for path in (outbox / "2026-05-02").iterdir() if path.suffix == ".md" and path.name[0] != "."]
    assert sorted(path.read_bytes().decode() for path in written) == sorted(HOSTILE)
    assert {path for path in tmp_path.rglob("*") if outbox not in path.parents} - outside <= {outbox, outbox.parent}
    assert len(files(outbox)) == len(HOSTILE)
