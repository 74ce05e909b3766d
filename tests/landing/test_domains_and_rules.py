"""Registrable domains, and the playbook's identity rules as tables."""

from pathlib import Path

import pytest
import yaml
from landing_folder import Landing, event
from publicsuffixlist import PublicSuffixList
from pydantic import ValidationError

import dagster_project
from dagster_project.core.identity_rules import ExcludedPattern, IdentityRules
from dagster_project.core.source_rules import EventMapping, SourceRules
from dagster_project.landing.domains import registrable_domain, update_email_domains
from dagster_project.landing.rules import write_rules

PLAYBOOK = Path(dagster_project.__file__).parent / "playbook"


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("acme.com", "acme.com"),
        ("mail.eu.acme.co.uk", "acme.co.uk"),
        ("acme.example", "acme.example"),
        ("münchen.de", "xn--mnchen-3ya.de"),
        ("xn--mnchen-3ya.de", "xn--mnchen-3ya.de"),
        ("ACME.com.", "acme.com"),
        ("co.uk", None),
        ("localhost", None),
        ("192.168.0.1", None),
        ("[::1]", None),
        ("..", None),
        ("a b.com", None),
        ("x" * 300 + ".com", None),
        ("\ud800.com", None),
        ("ｅ" * 70 + ".com", None),
    ],
)
def test_hosts_have_the_domain_that_somebody_registered(host: str, domain: str | None) -> None:
    assert registrable_domain(host, PublicSuffixList()) == domain


def test_domains_come_from_identifies_contacts_and_accounts_once(landing: Landing) -> None:
    landing.events("a.ndjson", event("m1", type="identify", traits={"email": " Jo@Mail.Acme.com "}),
                   event("m2", type="identify", traits={"email": "nonsense"}))  # fmt: skip
    landing.put("crm/contacts.csv", "contact_id,email\nC1,x@beta.co.uk\nC2,\nC3,x@@\n")
    landing.put("crm/accounts.csv", "account_id,domain\nA1,https://WWW.Gamma.com:443/about?x#y\nA2,delta.com\n")
    landing.load()
    landing.load_crm()
    assert update_email_domains(landing.connection) == 4
    assert landing.rows("from raw.email_domains order by domain") == [
        ("beta.co.uk", "beta.co.uk"), ("delta.com", "delta.com"), ("mail.acme.com", "acme.com"),
        ("www.gamma.com", "gamma.com"),
    ]  # fmt: skip
    assert update_email_domains(landing.connection) == 0
    landing.events("b.ndjson", event("m3", type="identify", traits={"email": "li@epsilon.org"}),
                   event("m4", type="identify", traits={"email": "al@mail.acme.com"}))  # fmt: skip
    landing.put("crm/contacts.csv", "contact_id,email\nC1,x@zeta.net\n")
    landing.load()
    landing.load_crm()
    assert update_email_domains(landing.connection) == 2


def test_suppressed_domains_are_hosts_too(landing: Landing) -> None:
    landing.put("suppression.csv", "domain\nhttps://www.bücher.de/shop\n@*.acme.com\n")
    landing.load_crm()
    assert update_email_domains(landing.connection) == 2
    assert landing.rows("from raw.email_domains order by domain") == [
        ("acme.com", "acme.com"), ("www.bücher.de", "xn--bcher-kva.de"),
    ]  # fmt: skip
    assert update_email_domains(landing.connection) == 0


def test_the_packaged_playbook_is_valid_and_becomes_tables(landing: Landing) -> None:
    identity = IdentityRules(**yaml.safe_load((PLAYBOOK / "identity.yml").read_text()))
    for _ in range(2):
        write_rules(landing.connection, identity, {"window_days": "30"})
    counts = dict(landing.rows("select kind, count(*) from raw.rule_domains group by kind"))
    assert counts["free_mail"] >= 60
    assert counts["disposable"] >= 40
    assert ("rivalapp.example", "excluded", "competitor") in landing.rows("from raw.rule_domains")
    assert ("user_id_pattern", "bot-*", "bot") in landing.rows("from raw.rule_exclusions")
    assert ("trait", "is_test=true", "test account") in landing.rows("from raw.rule_exclusions")
    assert landing.rows("from raw.settings") == [("window_days", "30")]


def test_the_packaged_sources_are_valid() -> None:
    sources = SourceRules(**yaml.safe_load((PLAYBOOK / "sources.yml").read_text()))
    assert (sources.settle_seconds, sources.crm_staleness_hours.files, sources.shrink_limit) == (2, 192, 0.2)
    assert sources.mapping_for("any.csv") is None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"columns": {"when": "ts"}}, "expected some of message_id"),
        ({"timestamp_format": "epoch"}, "expected a strptime format"),
        ({"timestamp_format": "%Y-%Q"}, "'%Q' stands for nothing that can be read"),
        ({"timestamp_format": "%d.%m.%Y %"}, "stands for nothing that can be read"),
        ({"columns": {"type": "t"}, "constants": {"type": "track"}}, "both a column and a constant"),
        ({"types": {"view": "pages"}}, "unknown types pages: expected some of track"),
        ({"constants": {"type": "event"}}, "unknown types event: expected some of track"),
        ({"types": {"view": "page"}, "constants": {"type": "track"}}, "nothing to translate"),
        ({"properties": "plan"}, "expected a list of their columns"),
        ({"constants": {"timestamp": "yesterday"}}, "timestamp is 'yesterday', expected a moment in ISO 8601"),
        ({"constants": {"timestamp": " "}}, "timestamp is ' ', expected a moment"),
        ({"constants": {"received_at": "2026-02-30"}}, "received_at is '2026-02-30', expected a moment"),
        ({"constants": {"properties": '{"a'}}, "properties is '{\"a', expected the text of a JSON object"),
        ({"constants": {"traits": "[1]"}}, "traits is '\\[1\\]', expected the text of a JSON object"),
        ({"constants": {"context": '{"a": NaN}'}}, "context is .*, expected the text of a JSON object"),
        ({"columns": {"user_id": ""}}, "'user_id': '' has an empty name"),
        ({"properties": ["plan", " "]}, "' ': ' ' has an empty name"),
        ({"traits": {"email": ""}}, "'email': '' has an empty name"),
        ({"time_zone": "Europe"}, "found 'Europe', expected a time zone such as Europe/Berlin"),
        ({"time_zone": "localtime"}, "found 'localtime', expected a time zone such as Europe/Berlin"),
        ({"time_zone": "Berlin"}, "found 'Berlin', expected a time zone such as Europe/Berlin"),
        ({"time_zone": "Europe/Berlin", "timestamp_format": "epoch_ms"}, "says nothing of epoch_ms, which is UTC"),
        ({"types": {"": "page"}}, "found an empty word"),
        ({"types": {"View": "page", "view ": "track"}}, "'view ' stands twice"),
    ],
)
def test_a_wrong_mapping_says_what_was_expected(wrong: dict, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        EventMapping(files="*", **wrong)


def test_a_constant_moment_is_one_that_rows_may_have(landing: Landing) -> None:
    days = ("2026-01-01", "2026-02-30", "0000-01-01", "2026-1-1", "2024-02-29")
    clocks = (
        "",
        "T10:00",
        "t10:00:00",
        " 10:00:00.123",
        "T10:00:00,1234567",
        "T25:00",
        "T23:59:60",
        "T10",
        "T10:00:00.",
    )
    offsets = ("", "Z", "z", " UTC", "+01", "+0130", " -01:30", "+19:59", "+23:00", "+00:60", " CET")
    texts = [day + clock + offset for day in days for clock in clocks for offset in offsets]
    texts += [f"20260101T100000{rest}" for rest in ("", "Z", ".5Z", "+0200", " UTC")]
    texts += ["yesterday", "infinity", "epoch", "1780300800", "2026-W01-1"]

    def may_be_constant(text: str) -> bool:
        try:
            return bool(EventMapping(files="*", constants={"timestamp": text}))
        except ValidationError:
            return False

    landing.events("a.ndjson", *(event(text, timestamp=text, received_at=None) for text in texts))
    landing.load()
    assert set(landing.values("select message_id from raw.events")) == {*filter(may_be_constant, texts)}


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("*.csv", "a.csv", True),
        ("*.csv", "deep/a.csv", False),
        ("**/*.csv", "deep/er/a.csv", True),
        ("**/*.csv", "a.csv", True),
        ("billing/**", "billing/x/y.ndjson", True),
        ("a?.csv", "ab.csv", True),
        ("a?.csv", "a/.csv", False),
    ],
)
def test_mapping_globs_match_paths(glob: str, path: str, matches: bool) -> None:
    assert EventMapping(files=glob).matches(path) is matches


def test_a_pattern_that_excludes_everybody_is_refused() -> None:
    with pytest.raises(ValidationError, match="exclude everybody"):
        ExcludedPattern(pattern="*", reason="x")


def test_an_address_is_no_domain() -> None:
    with pytest.raises(ValidationError, match="is no domain"):
        IdentityRules(free_mail=("@gmail.com",), disposable=(), excluded={})  # type: ignore[arg-type]
