"""What the user may set, and what is said about a value that can't be used."""

from datetime import datetime
from pathlib import Path

import pytest

from dagster_project.ledger import Ledger
from dagster_project.ledger_engine import shown_url
from dagster_project.settings import PROJECT_ROOT, SettingsError, settings_from


def test_nothing_has_to_be_set() -> None:
    settings = settings_from({})
    assert settings.data_dir == PROJECT_ROOT / "data"
    assert settings.ledger_url == f"sqlite:///{PROJECT_ROOT / 'data' / 'ledger.sqlite'}"
    assert (settings.playbook_dir, settings.as_of, settings.crm, settings.automate) == (None, None, "local", False)


def test_an_empty_value_counts_as_unset() -> None:
    names = (
        "DATA_DIR",
        "PLAYBOOK_DIR",
        "AS_OF",
        "LEDGER_URL",
        "CRM",
        "AUTOMATE",
        "KEEP_RUNS_DAYS",
        "KEEP_UPDATES_DAYS",
    )
    assert settings_from({f"PLS_{name}": " " for name in names}) == settings_from({})


def test_everything_but_a_shared_ledger_lives_in_the_data_folder(tmp_path: Path) -> None:
    settings = settings_from({"PLS_DATA_DIR": str(tmp_path)})
    stores = (settings.landing, settings.warehouse, settings.serving, settings.local_crm, settings.outbox)
    assert {path.parent for path in stores} == {tmp_path}
    assert settings.ledger_url == f"sqlite:///{tmp_path / 'ledger.sqlite'}"


@pytest.mark.parametrize("name", ["My%20Data", "a+b", "50% off", "Wärme %1"])
def test_the_ledger_is_in_the_data_folder_whatever_its_name(tmp_path: Path, name: str) -> None:
    settings = settings_from({"PLS_DATA_DIR": str(tmp_path / name)})
    with Ledger(settings.ledger_url):
        assert [path.name for path in (tmp_path / name).glob("*.sqlite")] == ["ledger.sqlite"]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-06-30", datetime(2026, 6, 30)),
        ("2026-06-30T12:00:00", datetime(2026, 6, 30, 12)),
        ("2026-06-30T12:00:00Z", datetime(2026, 6, 30, 12)),
        ("2026-06-30T12:00:00+02:00", datetime(2026, 6, 30, 10)),
    ],
)
def test_a_moment_is_utc_unless_it_says_otherwise(text: str, moment: datetime) -> None:
    assert settings_from({"PLS_AS_OF": text}).as_of == moment


@pytest.mark.parametrize(("text", "automate"), [("1", True), ("Yes", True), ("on", True), ("0", False), ("OFF", False)])
def test_automation_is_a_switch(text: str, automate: bool) -> None:
    assert settings_from({"PLS_AUTOMATE": text}).automate is automate


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("PLS_AS_OF", "yesterday", "PLS_AS_OF is 'yesterday'; expected ISO 8601 in UTC such as"),
        ("PLS_AS_OF", "0001-01-01", "PLS_AS_OF is '0001-01-01'; expected a moment of the years 1900 to 2999"),
        ("PLS_AS_OF", "9999-12-31T23:00:00-05:00", "PLS_AS_OF is '9999-12-31T23:00:00-05:00'; expected a moment of"),
        ("PLS_DATA_DIR", "/srv/why?/pls", "PLS_DATA_DIR is '/srv/why?/pls'; expected a folder without ?"),
        ("PLS_DATA_DIR", "/srv/c#/pls", "PLS_DATA_DIR is '/srv/c#/pls'; expected a folder without #"),
        ("PLS_DATA_DIR", "/srv/a\\b", "PLS_DATA_DIR is '/srv/a\\b'; expected a folder without \\"),
        ("PLS_DATA_DIR", __file__, f"PLS_DATA_DIR is '{__file__}', which is a file; expected a folder"),
        ("PLS_CRM", "acme", "PLS_CRM is 'acme'; this version knows local, hubspot, salesforce"),
        ("PLS_AUTOMATE", "maybe", "PLS_AUTOMATE is 'maybe'; expected 1 or 0"),
        ("PLS_KEEP_RUNS_DAYS", "a week", "PLS_KEEP_RUNS_DAYS is 'a week'; expected a number of days, 0 for ever"),
        ("PLS_KEEP_RUNS_DAYS", "-1", "PLS_KEEP_RUNS_DAYS is '-1'; expected a number of days"),
        ("PLS_KEEP_RUNS_DAYS", "nan", "PLS_KEEP_RUNS_DAYS is 'nan'; expected a number of days"),
        ("PLS_SLACK_BASE_URL", "http://slack.com/api", "PLS_SLACK_BASE_URL can't be used; expected https://"),
        ("PLS_SLACK_WEBHOOK_URL", "hooks.slack.com/services/T0", "PLS_SLACK_WEBHOOK_URL can't be used; expected"),
        ("PLS_PRODUCT_URL", "https://user:secret@host.example", "PLS_PRODUCT_URL can't be used; expected https://"),
        ("PLS_SLACK_BOT_TOKEN", "xoxb-a\nb", "PLS_SLACK_BOT_TOKEN can't be used; expected printable ASCII without"),
        ("PLS_HUBSPOT_TOKEN", "pat-é", "PLS_HUBSPOT_TOKEN can't be used; expected printable ASCII without"),
        ("PLS_LEDGER_URL", "ledger.sqlite", "PLS_LEDGER_URL is no URL; expected one such as sqlite:////"),
        (
            "PLS_LEDGER_URL",
            "postgresql+psycopg://u:s@h:port/db",
            "PLS_LEDGER_URL is no URL; expected one such as sqlite:",
        ),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_what_was_expected(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings_from({name: value})
    assert str(refused.value).startswith(message)


def test_a_refused_ledger_address_is_not_repeated_because_it_may_hold_a_password() -> None:
    with pytest.raises(SettingsError) as refused:
        settings_from({"PLS_LEDGER_URL": "pls:secret@db.internal"})
    assert "secret" not in str(refused.value)


def test_what_is_not_ours_may_be_anything() -> None:
    key = "-----BEGIN KEY-----\nabc def\n-----END KEY-----"
    others = {"DEPLOY_KEY": key, "GITHUB_TOKEN": "é"}
    settings = settings_from({**others, "PLS_CRM": "salesforce", "PLS_SALESFORCE_PRIVATE_KEY": key})
    assert settings.crm_access == {"PLS_SALESFORCE_PRIVATE_KEY": key}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://u:s3cret@db/pls", "postgresql+psycopg://db/pls"),
        ("postgresql+psycopg://u@db:5433/pls?password=s3cret", "postgresql+psycopg://db:5433/pls"),
        ("postgresql+psycopg://u:x@s3cret@db/pls", "postgresql+psycopg://db/pls"),
        ("sqlite:////srv/pls/ledger.sqlite", "sqlite:////srv/pls/ledger.sqlite"),
    ],
)
def test_a_ledgers_address_is_shown_without_what_may_be_a_password(url: str, shown: str) -> None:
    assert shown_url(url) == shown
    assert "s3cret" not in repr(settings_from({"PLS_LEDGER_URL": url}))


def test_the_connected_crms_variables_are_kept_and_not_shown() -> None:
    settings = settings_from({"PLS_CRM": "hubspot", "PLS_HUBSPOT_TOKEN": "secret", "PLS_SALESFORCE_X": "other"})
    assert settings.crm_access == {"PLS_HUBSPOT_TOKEN": "secret"}
    assert "secret" not in repr(settings)


def test_secrets_are_not_part_of_what_is_printed() -> None:
    names = ("BOT_TOKEN", "SIGNING_SECRET")
    settings = settings_from(
        {f"PLS_SLACK_{name}": "s3cret" for name in names} | {"PLS_SLACK_WEBHOOK_URL": "https://hooks.slack.com/s3cret"}
    )
    assert settings.slack.bot_token == settings.slack.signing_secret == "s3cret"
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9000/api", "http://localhost:9000/api/", "https://slack.example/api"]
)
def test_a_secret_is_sent_encrypted_or_not_off_this_machine(url: str) -> None:
    assert settings_from({"PLS_SLACK_BASE_URL": url}).slack.base_url == url.rstrip("/") + "/"
