"""What the models measure of a user's events, as stories: each puts in a few events, reads its feature row.

All stories share one warehouse and one build, so every story has users of its own. Contacts, accounts and
exclusions are in `test_dbt_crm.py`, how the rollup grows in `test_dbt_increments.py`.
"""

import pytest
from dbt_fixtures import Shop
from dbt_fixtures_stories import BASELINE, LIVE, Stories, is_absent, user

STORIES = Stories()
track, page, identify, group = STORIES.track, STORIES.page, STORIES.identify, STORIES.group


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Shop:
    """Everything told in this module, built once together with the project's own unit tests."""
    shop = Shop(tmp_path_factory.mktemp("stories")).create()
    shop.moments(LIVE, BASELINE)
    shop.load(STORIES.events)
    shop.build()
    shop.run_unit_tests()
    return shop


# Sessions

track("gap", "x", "06-10 10:00:00")
track("gap", "x", "06-10 10:30:00")
track("gap", "x", "06-10 11:00:00.000001")


def test_a_gap_of_exactly_thirty_minutes_stays_in_the_session(shop):
    assert user(shop, "gap", "sessions", "minutes") == (2, 31.0)


MANY_TIES = 300
for number in range(MANY_TIES):
    for moment in ("08:00:00", "18:00:00", "18:00:00", "18:05:00"):
        track(f"tie_{number:03}", "x", f"06-10 {moment}")


def test_events_of_one_moment_are_in_one_session(shop):
    """In many days alike: which of two such events comes first may be another one in every window of a query."""
    found = shop.rows(
        "select sessions, session_microseconds, count(*) from intermediate.int_user_days "
        "where starts_with(user_id, 'tie_') group by all"
    )
    assert found == [(2, 6 * 60 * 1_000_000, MANY_TIES)]


track("midnight", "x", "06-10 23:55:00", session_id="s")
track("midnight", "x", "06-11 00:05:00", session_id="s")


def test_no_session_crosses_midnight(shop):
    assert user(shop, "midnight", "sessions", "minutes") == (2, 2.0)


track("mixed", "x", "06-10 10:00:00", session_id="s")
track("mixed", "x", "06-10 10:20:00", session_id="s")
track("mixed", "Invite Sent", "06-10 15:00:00")
page("mixed", "Pricing", "06-10 16:00:00")
track("mixed", "x", "06-11 16:00:00")


def test_beside_session_ids_an_event_without_one_opens_no_session_but_counts(shop):
    assert user(shop, "mixed", "sessions", "minutes") == (2, 21.0)
    assert user(shop, "mixed", "team_invites", "pricing_page_view", "pricing_visits") == (1, 1, 0)


# The window and the moment

track("edge", "Invite Sent", "05-31 23:59:59")
track("edge", "Invite Sent", "06-01 00:00:00")
track("edge", "Invite Sent", "06-30 18:00:00")
track("edge", "Invite Sent", "06-30 18:00:00.000001")
track("edge", "Invite Sent", "07-01 10:00:00")


def test_the_window_is_thirty_days_and_ends_at_the_moment(shop):
    assert user(shop, "edge", "team_invites", "days_observed") == (2, 30)
    assert str(user(shop, "edge", "first_invite_at")) == "2026-05-31 23:59:59"
    assert str(user(shop, "edge", "last_active_at")) == "2026-06-30 18:00:00"
    assert user(shop, "edge", "team_invites", as_of=BASELINE) == 2


track("young", "x", "06-28 10:00:00")
track("future", "x", "07-02 10:00:00")


def test_a_young_user_counts_as_known_for_a_week(shop):
    assert user(shop, "young", "days_observed", "sessions_per_week") == (7, 1.0)
    assert is_absent(shop, "user_features", "user_id", "young", as_of=BASELINE)
    assert is_absent(shop, "user_features", "user_id", "future")


track("back", "x", "04-01 10:00:00")
track("back", "x", "05-01 10:00:00")
track("away", "x", "04-01 10:00:00")
track("away", "x", "04-30 10:00:00")


def test_who_was_away_for_thirty_days_is_back(shop):
    found = user(shop, "back", "reactivated_at::varchar", "previous_active_day::varchar")
    assert found == ("2026-05-01 10:00:00", "2026-04-01")
    assert user(shop, "away", "reactivated_at") is None


# The catalogue

page("pages", "  PRICING ", "06-10 10:00:00", path="/pricing")
page("pages", "Docs", "06-10 11:00:00", path="/Pricing/a/b")
page("pages", None, "06-10 12:00:00", path="/blog/pricing")
page("pages", "Upgrade", "06-10 13:00:00", type="screen")
track("pages", "Pricing", "06-10 14:00:00")


def test_names_and_globs_match_pages_whatever_their_case(shop):
    assert user(shop, "pages", "pricing_page_view", "upgrade_page_view", "pricing_visits") == (2, 1, 2)
    assert user(shop, "pages", "actions") == 1, "a track event called Pricing is an action, no page view"


track("doer", "something unknown", "06-10 10:00:00")
track("doer", "REPORT EXPORTED", "06-10 10:00:01")
track("doer", "Dashboard Created", "06-10 10:00:02", feature="boards")
track("doer", "Upgrade Clicked", "06-10 10:00:03")
track("doer", "Signed In", "06-10 10:00:04")
page("doer", "Report Exported", "06-10 10:00:05", feature="docs")
identify("doer", "06-10 10:00:06", firstName="Dora", lastName="Doer")


def test_actions_and_features(shop):
    assert user(shop, "doer", "actions", "features_used") == (3, ["boards", "docs", "reports"])
    assert user(shop, "doer", "upgrade_click") == 1
    assert str(user(shop, "doer", "last_upgrade_click_at")) == "2026-06-10 10:00:03"
    assert user(shop, "doer", "user_name") == "Dora Doer"


MANY_FEATURES = [f"part {number:03}" for number in range(130)]
for used in MANY_FEATURES:
    track("collector", "x", "06-10 10:00:00", feature=used)
track("first_part", "x", "06-10 10:00:00", session_id="s", feature=MANY_FEATURES[0])
track("last_part", "x", "06-10 10:00:00", session_id="s", feature=MANY_FEATURES[-1])


def test_features_may_be_many(shop):
    """More than a whole number has bits, which is how a day's features are kept while they are gathered."""
    assert user(shop, "collector", "features_used") == MANY_FEATURES
    assert user(shop, "first_part", "features_used") == MANY_FEATURES[:1]
    assert user(shop, "last_part", "features_used") == MANY_FEATURES[-1:]


# Engagement

track("linker", "Integration Connected", "01-10 10:00:00", integration="slack")
track("linker", "Integration Connected", "01-10 10:00:00", integration="hubspot")
track("linker", "Integration Disconnected", "01-10 11:00:00", integration="hubspot")
track("linker", "Integration Connected", "01-11 10:00:00")
track("linker", "Integration Connected", "01-12 10:00:00")
track("linker", "Integration Disconnected", "06-25 10:00:00", integration="slack")


def test_an_integration_holds_until_its_latest_event_disconnects_it(shop):
    assert user(shop, "linker", "integrations_connected", as_of=BASELINE) == ["slack", "unnamed"]
    assert user(shop, "linker", "integrations", "integrations_connected") == (1, ["unnamed"])
    assert str(user(shop, "linker", "first_integration_at")) == "2026-01-10 10:00:00"


track("failer", "Data Imported", "06-10 10:00:00", status="Failed")
track("partial", "Data Imported", "01-10 10:00:00", status="partial")
track("partial", "Data Imported", "01-11 10:00:00", status="failed")
track("full", "Data Imported", "01-10 10:00:00")
track("full", "Data Imported", "01-11 10:00:00", status="COMPLETE")


def test_a_failed_import_is_none_but_used_the_feature(shop):
    assert user(shop, "failer", "data_imported", "imports_failed", "first_import_at") == ("none", 1, None)
    assert user(shop, "failer", "features_used") == ["data import"]


def test_an_import_is_full_when_one_completed(shop):
    assert user(shop, "partial", "data_imported") == "some"
    assert user(shop, "full", "data_imported", "imports_partial") == ("full", 1)
    assert str(user(shop, "full", "first_import_at")) == "2026-01-10 10:00:00"


track("builder", "workspace created", "01-10 10:00:00")
track("builder", "Workspace Created", "01-12 10:00:00")
track("builder", "Profile Completed", "01-11 10:00:00")


def test_setup_steps_are_distinct_and_dated(shop):
    assert user(shop, "builder", "setup_share", "setup_steps_total") == (0.5, 4)
    steps = [(s["step"], str(s["reached_at"])[:10]) for s in user(shop, "builder", "setup_steps")]
    assert steps == [("Workspace Created", "2026-01-10"), ("Profile Completed", "2026-01-11")]


track("optout", "Unsubscribed", "06-10 10:00:00")
track("optin", "Unsubscribed", "06-10 10:00:00")
track("optin", "Resubscribed", "06-11 10:00:00")


def test_the_later_of_unsubscribe_and_resubscribe_holds(shop):
    assert user(shop, "optout", "is_unsubscribed")
    assert not user(shop, "optin", "is_unsubscribed")


for name, word in (("quits", "Unsubscribed"), ("returns", "Unsubscribed"), ("returned", "Resubscribed")):
    track(name, word, "06-12 10:00:00" if word == "Resubscribed" else "06-10 10:00:00")
for name, email in (
    ("quits", "Quits@firm.com"), ("other_of_quits", " quits@firm.com"), ("quits_too", "quits@firm.com+"),
    ("returns", "returns@firm.com"), ("returned", "returns@firm.com"), ("was_quits", "quits@firm.com"),
):  # fmt: skip
    identify(name, "06-01 10:00:00", email=email)
identify("was_quits", "06-02 10:00:00", email="somebody@firm.com")


def test_who_unsubscribed_is_unsubscribed_under_every_user_id_with_the_address(shop):
    assert user(shop, "quits", "is_unsubscribed") and user(shop, "other_of_quits", "is_unsubscribed")
    assert not user(shop, "quits_too", "is_unsubscribed") and not user(shop, "was_quits", "is_unsubscribed")
    assert not user(shop, "returns", "is_unsubscribed"), "came back under another user id"


# Whose event it is

page(None, "Pricing", "06-01 10:00:00", anonymous_id="anon1")
identify("late", "06-20 10:00:00", anonymous_id="anon1")
identify("later", "06-21 10:00:00", anonymous_id="anon1")
page("third", "Home", "06-22 10:00:00", anonymous_id="anon1")
page(None, "Pricing", "06-23 10:00:00", anonymous_id="unknown")
group(None, "g_nobody", "06-01 10:00:00", name="Nobody Inc")


def test_an_anonymous_id_belongs_to_whom_it_was_first_identified_with(shop):
    assert user(shop, "late", "pricing_page_view") == 1
    assert user(shop, "later", "pricing_page_view") == 0
    assert str(user(shop, "late", "first_event_at")) == "2026-06-01 10:00:00"
    assert str(user(shop, "third", "first_event_at")) == "2026-06-22 10:00:00"
    assert not shop.rows("from intermediate.int_user_days where user_id is null")
    assert is_absent(shop, "account_features", "account_id", "g_nobody")
