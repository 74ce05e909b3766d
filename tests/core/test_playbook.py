"""The playbook: what is wrong with it is named with file, key and what was expected; its version changes with it."""

from pathlib import Path

import pytest
from scoring_frames import PLAYBOOK

from dagster_project.core.handoff_rules import WorkingHours
from dagster_project.core.playbook import FILES, PlaybookError, load_playbook
from dagster_project.playbook_files import PACKAGED, read_playbook

TEXTS = {name: (PACKAGED / name).read_text(encoding="utf-8") for name in FILES}


def changed(file: str, old: str, new: str) -> dict[str, str]:
    assert old in TEXTS[file], f"{old!r} is not in {file}"
    return TEXTS | {file: TEXTS[file].replace(old, new, 1)}


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (
            "automation.yml",
            "name: self-serve checkout",
            "name: none",
            ["automation.yml: self_serve: a playbook is called none, which pls_playbook says of whoever has left"],
        ),
        (
            "delivery.yml",
            'default_channel: "#sales-alerts"',
            "default_channel: Sales Alerts",
            ["delivery.yml: slack.default_channel: found 'Sales Alerts', expected a channel's name in small letters"],
        ),
        (
            "delivery.yml",
            "thread_days: 30",
            "thread_days: 1000000",
            ["delivery.yml: slack.thread_days: ", "less than or equal to 3650, found 1000000"],
        ),
        (
            "crm_fields.yml",
            "hubspot: 5000,",
            "hubsport: 5000,",
            ["crm_fields.yml: max_changed_records.hubsport: found 'hubsport', expected 'local', 'hubspot',"],
        ),
        (
            "delivery.yml",
            "snooze_days: [1, 7, 30]",
            "snooze_days: [1, 7, 7]",
            ["delivery.yml: snooze_days: found 1, 7, 7, expected each number of days once"],
        ),
        (
            "delivery.yml",
            "{P0: 1, P1: 8, P2: 24}",
            "{P0: 1, P2: 24}",
            ["delivery.yml: reminders.escalate_after_hours: expected hours for each of P0, P1, P2; missing: P1"],
        ),
        (
            "scoring.yml",
            "window_days: 30",
            "windows_days: 30",
            ["scoring.yml: measurement.windows_days: unknown key, expected one of window_days, min_weeks_days"],
        ),
        (
            "scoring.yml",
            "window_days: 30",
            "windows_days: 30",
            ["scoring.yml: measurement.window_days: missing"],
        ),
        (
            "scoring.yml",
            "{usage: 0.40,",
            "{usage: 0.45,",
            ["scoring.yml: pql.weights:", "usage 0.45", "sum to 1.05", "expected 1"],
        ),
        (
            "scoring.yml",
            "sessions_per_week: {low: 1, medium: 3, high: 6}",
            "sessions_per_week: {low: 1, medium: 7, high: 6}",
            ["scoring.yml: pql.usage.sessions_per_week:", "overlap", "expected low < medium < high"],
        ),
        (
            "scoring.yml",
            "upgrade_click: 5",
            "upgrade_clicks: 5",
            ["scoring.yml: pql.intent.upgrade_clicks: found 'upgrade_clicks', expected 'pricing_page_view',"],
        ),
        (
            "scoring.yml",
            "    actions: {low",
            "    clicks: {low",
            ["scoring.yml: pql.usage.clicks: found 'clicks', expected 'sessions_per_week',"],
        ),
        (
            "scoring.yml",
            "actions: {low: 1, medium: 6, high: 15}",
            "actions: {low: 1, medium: six, high: 15}",
            ["scoring.yml: pql.usage.actions.medium: ", "found 'six'"],
        ),
        (
            "scoring.yml",
            "{none: low, some: medium, full: high}",
            "{none: low, full: high}",
            ["scoring.yml: pql.engagement: data_imported: expected a tier for each of none, some, full"],
        ),
        (
            "scoring.yml",
            "{none: low, some: medium, full: high}",
            "{none: low, some: middle, full: high}",
            ["scoring.yml: pql.engagement.data_imported.some: found 'middle', expected 'low', 'medium' or 'high'"],
        ),
        (
            "scoring.yml",
            "warm: {from: 60,",
            "warm: {from: 85,",
            ["scoring.yml: classes:", "hot starts at 80 and warm at 85", "overlap"],
        ),
        (
            "scoring.yml",
            "warm: {from: 60,",
            "warm: {start: 60,",
            ["scoring.yml: classes.warm.start: unknown key, expected one of from, action"],
        ),
        (
            "segments.yml",
            "mid-market: {motion: sales-assist, employees_above: 50,",
            "mid-market: {motion: sales-assist, employees_above: 1000,",
            ["segments.yml:", "employees_above is 1000 for enterprise and 1000 for mid-market"],
        ),
        (
            "segments.yml",
            "enterprise: {motion: sales-led, employees_above: 1000, acv_above: 50000}",
            "enterprise: {motion: sales-led, team_above: 10}",
            ["segments.yml:", "team_above is 10 for enterprise and 10 for mid-market"],
        ),
        (
            "segments.yml",
            "enterprise: {motion: sales-led, employees_above: 1000, acv_above: 50000}",
            "enterprise: {motion: sales-led}",
            ["segments.yml:", "expected limits for enterprise and mid-market, and none for smb"],
        ),
        (
            "segments.yml",
            "smb: {motion: self-serve}",
            "smb: {motion: self-serve, team_above: 1}",
            ["segments.yml:", "expected limits for enterprise and mid-market, and none for smb"],
        ),
        (
            "segments.yml",
            "smb: {motion: self-serve}",
            "",
            ["segments.yml:", "expected enterprise, mid-market, smb; missing: smb"],
        ),
        (
            "segments.yml",
            TEXTS["segments.yml"][TEXTS["segments.yml"].index("  sales-led:") :],
            "",
            ["segments.yml: motions:", "missing: sales-led"],
        ),
        (
            "stages.yml",
            "activated_setup_share: 0.5",
            "activated_setup_share: 50",
            ["activated_setup_share:", "found 50"],
        ),
        ("stages.yml", "[hot, warm]", "[]", ["stages.yml: pql_classes:"]),
        (
            "segments.yml",
            "motion: sales-led",
            "motion: sales led",
            ["segments.yml: segments.enterprise.motion: found 'sales led', expected 'self-serve', 'sales-assist' or"],
        ),
        (
            "handoffs.yml",
            "cooldown_days: 14",
            "cooldown_days: fortnight",
            ["handoffs.yml: cooldown_days:", "found 'fortnight'"],
        ),
        ("stages.yml", "[hot, warm]", "[hot, lukewarm]", ["stages.yml: pql_classes", "'lukewarm'", "'hot', 'warm'"]),
        ("routing.yml", "daily_capacity: 20", "daily_capacity: 0", ["routing.yml: daily_capacity:", "found 0"]),
        (
            "stages.yml",
            "activated_setup_share: 0.5",
            "activated_setup_share: 0.5\nactivated_setup_share: 0.7",
            ["stages.yml: this is no YAML:", "the key 'activated_setup_share' stands twice"],
        ),
        ("stages.yml", "pql_classes: [", "pql_classes: [[", ["stages.yml: this is no YAML:", "line"]),
        (
            "routing.yml",
            "  default: null",
            "  default: {time_zone: Europe/Berlin, start: 8, end: 24:00}",
            [
                "routing.yml: working_hours.default.start: found 8, expected hours and minutes from 00:00 to 23:59",
                "routing.yml: working_hours.default.end: found '24:00', expected hours and minutes",
            ],
        ),
        (
            "routing.yml",
            "  teams: {}",
            '  teams: {ae: {time_zone: Europe/Berlin, start: "09:00+02:00", end: 17.30}}',
            [
                "routing.yml: working_hours.teams.ae.start: found '09:00+02:00', expected hours and minutes",
                "routing.yml: working_hours.teams.ae.end: found 17.3, expected hours and minutes",
            ],
        ),
        (
            "routing.yml",
            "holidays: []",
            "holidays: [86400, 25.12.2026, 2026-12-25 10:00:00]",
            [
                "routing.yml: working_hours.holidays[0]: found 86400, expected a day such as 2026-12-25",
                "routing.yml: working_hours.holidays[1]: found '25.12.2026', expected a day",
                "routing.yml: working_hours.holidays[2]: found datetime.datetime(2026, 12, 25, 10, 0), expected a day",
            ],
        ),
        (
            "routing.yml",
            "holidays: []",
            "holidays: [2026-12-25, 2026-02-30]",
            ["routing.yml: this is no YAML: '2026-02-30' can't be read as timestamp: day is out of range", "line 27"],
        ),
        (
            "stages.yml",
            "activated_setup_share: 0.5",
            "activated_setup_share: !!float half",
            ["stages.yml: this is no YAML: 'half' can't be read as float", "line "],
        ),
        (
            "stages.yml",
            "pql_classes: [",
            "pql_classes: [!!bool x, ",
            ["stages.yml: this is no YAML: 'x' can't be read"],
        ),
        ("handoffs.yml", "{P0: 1,", "{P0: 1:30,", ["handoffs.yml: due_hours.P0:", "found '1:30'"]),
        (
            "scoring.yml",
            "upgrade_click: 5",
            "upgrade_click: yes",
            ["scoring.yml: pql.intent: found true, which is also how YAML reads yes, no, on and off: expected a"],
        ),
        ("sources.yml", "shrink_limit: 0.2", "shrink_limit: off", ["sources.yml: shrink_limit: found false"]),
        (
            "scoring.yml",
            "setup_share: {low: 0, medium: 0.5, high: 1}",
            "setup_share: {low: no, medium: 0.5, high: 1}",
            ["setup_share.low: found false"],
        ),
        (
            "scoring.yml",
            "setup_share: {low: 0, medium: 0.5, high: 1}",
            "setup_share: {low: 0, medium: 50, high: 100}",
            ["setup_share: high starts at 100, expected a share of at most 1"],
        ),
        (
            "crm_fields.yml",
            "  pql_score: pql_score",
            "  pql_score: hs_email_optout",
            [
                "crm_fields.yml: contact.pql_score: hs_email_optout (email_opt_out, says crm_sources.yml) can't be "
                "written: a person changes it, in the CRM; expected another field"
            ],
        ),
        (
            "crm_fields.yml",
            "  pql_score: pql_score",
            "  pql_score: email",
            ["contact.pql_score: email can't be written"],
        ),
        ("crm_fields.yml", "account_tiers: [C, B, A]", "account_tiers: [C, B, B]", ["expected each tier once"]),
        (
            "delivery.yml",
            "channels: {}",
            'channels: {aes: "#sales-ae"}',
            ["delivery.yml: slack.channels.aes: found 'aes', expected a team: ae, sdr"],
        ),
        (
            "delivery.yml",
            "not_a_fit: [not a fit,",
            "not_a_fit: [Claimed, not a fit,",
            ["task_outcomes: found claimed as claimed and as not_a_fit, expected each outcome once"],
        ),
        (
            "routing.yml",
            "  teams: {}",
            "  teams: {saels: {time_zone: Europe/Berlin}}",
            ["routing.yml: working_hours.teams.saels: found 'saels', expected a team"],
        ),
        (
            "handoffs.yml",
            "    upgrade_click: {label: Clicked upgrade",
            "    upgrade_clik: {label: Clicked upgrade",
            ["handoffs.yml: package.signals.upgrade_clik: found 'upgrade_clik', expected a signal: sessions_per_week"],
        ),
        (
            "sources.yml",
            "event_files: []",
            "event_files: [{files: landing/events/billing/*.csv}]",
            ["event_files[0].files: 'landing/events/billing/*.csv': expected a path below landing/events"],
        ),
        (
            "sources.yml",
            "event_files: []",
            "event_files: [{files: a.csv}, {files: a.csv}]",
            ["event_files: found 'a.csv' twice"],
        ),
    ],
)
def test_what_is_wrong_is_named(file: str, old: str, new: str, said: list[str]) -> None:
    with pytest.raises(PlaybookError) as caught:
        load_playbook(changed(file, old, new))
    for words in said:
        assert words in str(caught.value)


def test_all_problems_are_named_at_once() -> None:
    texts = changed("routing.yml", "daily_capacity: 20", "daily_capacity: none")
    texts["stages.yml"] = ""
    with pytest.raises(PlaybookError) as caught:
        load_playbook(texts)
    assert "routing.yml: daily_capacity" in str(caught.value)
    assert "stages.yml: pql_classes: missing" in str(caught.value)


def test_the_version_changes_with_what_changes_a_score_and_with_nothing_else() -> None:
    catalogue = "event_name,match\nA,track\n"
    version = PLAYBOOK.model_version(catalogue)
    assert load_playbook(TEXTS).model_version(catalogue.replace("\n", "\r\n")) == version
    for file, old, new in [
        ("handoffs.yml", "cooldown_days: 14", "cooldown_days: 15"),
        ("segments.yml", "approach: light touch", "approach: a light touch"),
        ("scoring.yml", "# What usage is worth.", "# What usage is worth to us."),
    ]:
        assert load_playbook(changed(file, old, new)).model_version(catalogue) == version, file
    for file, old, new in [
        ("scoring.yml", "upgrade_click: 5", "upgrade_click: 6"),
        ("scoring.yml", "session_gap_minutes: 30", "session_gap_minutes: 20"),
        ("segments.yml", "employees_above: 1000", "employees_above: 900"),
    ]:
        assert load_playbook(changed(file, old, new)).model_version(catalogue) != version, file
    assert PLAYBOOK.model_version(catalogue + "B,track\n") != version


HOURS = [
    (
        "  default: null",
        '  default: {time_zone: Europe/Berlin, days: [mon, tue, wed, thu, fri], start: "09:00", end: "17:00"}',
    ),
    (
        "  default: null",
        '  default: {time_zone: Europe/Berlin, days: [mon, tue, wed, thu, fri], start: "09:00", end: "17:30"}',
    ),
    ("  teams: {}", "  teams: {ae: {time_zone: America/New_York}}"),
    ("  owners: {}", '  owners: {nadia@us.example: {time_zone: Europe/London, start: "08:00", end: "16:30"}}'),
    ("holidays: []", "holidays: [2026-12-25]"),
    ("holidays: []", "holidays: [2026-12-25, 2026-12-26]"),
]


def test_working_hours_and_holidays_are_rules_like_others() -> None:
    found = {load_playbook(changed("routing.yml", old, new)).fingerprint() for old, new in HOURS}
    assert len(found | {PLAYBOOK.fingerprint()}) == len(HOURS) + 1
    later = load_playbook(changed("routing.yml", "holidays: []", "holidays: [2026-12-26, 2026-12-25]"))
    assert later.fingerprint() in found, "their order says nothing"


@pytest.mark.parametrize("hours", ['start: "10:00", end: "18:30"', "start: 10:00, end: 18:30"])
def test_hours_mean_the_same_without_quotes(hours: str) -> None:
    rules = load_playbook(changed("routing.yml", "  default: null", f"  default: {{time_zone: UTC, {hours}}}"))
    assert rules.routing.working_hours.default == WorkingHours(time_zone="UTC", start="10:00", end="18:30")
    early = load_playbook(changed("routing.yml", "  default: null", "  default: {time_zone: UTC, start: 7:05}"))
    assert early.routing.working_hours.default == WorkingHours(time_zone="UTC", start="07:05")


def test_a_number_may_begin_with_a_zero() -> None:
    assert (
        load_playbook(changed("handoffs.yml", "cooldown_days: 14", "cooldown_days: 014")).handoffs.cooldown_days == 14
    )


def test_a_folder_may_hold_only_what_differs(tmp_path: Path) -> None:
    (tmp_path / "routing.yml").write_text(TEXTS["routing.yml"].replace("daily_capacity: 20", "daily_capacity: 3"))
    mixed = read_playbook(tmp_path)
    assert mixed.routing.daily_capacity == 3
    assert mixed.scoring == PLAYBOOK.scoring


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("score.yml", b"", "holds score.yml, which no part of the pipeline reads: expected some of scoring.yml"),
        ("scoring.yaml", b"", "holds scoring.yaml"),
        ("scoring.yml", b"\xff\xfe", "scoring.yml: this is no UTF-8 text"),
        ("scoring.YML", b"", "holds scoring.YML, which no part of the pipeline reads"),
        ("scoring.yml.txt", b"", "holds scoring.yml.txt"),
        ("playbook/scoring.yml", b"", "holds playbook, which no part of the pipeline reads"),
        ("challengers/teams.YML", b"", "holds challengers, which"),
        ("scoring.yml/notes.txt", b"", "scoring.yml: .* can't be read: Is a directory"),
        ("notes.txt", b"", "holds no file of a playbook: expected some of scoring.yml"),
    ],
)
def test_a_folder_with_a_wrong_file(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PlaybookError, match=said):
        read_playbook(tmp_path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PlaybookError, match="which is no folder"):
        read_playbook(tmp_path / "nowhere")
