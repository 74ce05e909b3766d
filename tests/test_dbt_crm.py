"""Who a user is to the CRM, what was known of it when, and what adds up per account, told as stories.

All stories share one warehouse and one build of features and published tables. The measures of a user's own
events are in `test_dbt_models.py`.
"""

import pytest
from dbt_fixtures import Shop
from dbt_fixtures_stories import BASELINE, LIVE, Stories, account, is_absent, tell_what_was_ever_known, user

from dagster_project.defs.serving import PUBLISHED

STORIES = Stories()
track, identify, group = STORIES.track, STORIES.identify, STORIES.group

OWNERS = [{"owner_id": "o1", "team": " AE "}, {"owner_id": "o3", "team": "Account Executive"}]


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Shop:
    """Everything told in this module, built once; of accounts and contacts there are several extracts."""
    shop = Shop(tmp_path_factory.mktemp("crm")).create()
    shop.moments(LIVE, BASELINE)
    shop.load(STORIES.events)
    shop.extract("accounts", "2026-06-01", STORIES.accounts)
    shop.extract("accounts", "2026-06-28", [a | a.get("later", {}) for a in STORIES.accounts if a["name"] != "Gone"])
    shop.extract("accounts", "2026-06-29", [{"account_id": "A_kept_out", "do_not_contact": True}], complete=False)
    shop.extract("contacts", "2026-06-01", STORIES.contacts)
    shop.extract("contacts", "2026-06-28", [c for c in STORIES.contacts if c["contact_id"] != "c_left"])
    c_later = {"contact_id": "c_later", "email": "later@later.com", "email_opt_out": "yes", "do_not_contact": "yes"}
    shop.extract("contacts", "2026-07-05", [*(c | c.get("much_later", {}) for c in STORIES.contacts), c_later])
    c_kept_out = {"contact_id": "c_kept_out", "email": "kept@written.com", "email_opt_out": "yes"}
    shop.extract("contacts", "2026-07-06", [c_kept_out], complete=False)
    shop.extract("contacts", "2026-06-15", [{"contact_id": "c_back", "email_opt_out": "yes"}], complete=False)
    shop.extract("opportunities", "2026-06-29", STORIES.opportunities)
    lasting = [deal | deal.get("later", {}) for deal in STORIES.opportunities if deal.get("stage") != "deleted later"]
    shop.extract("opportunities", "2026-06-30", lasting)
    shop.extract("tickets", "2026-06-29", STORIES.tickets)
    shop.extract("owners", "2026-06-01", [*OWNERS, {"owner_id": "o2", "is_active": "no"}])
    stored = [key.replace("copied", "copied\u200b") for key in SUPPRESSED]  # as earlier versions did
    shop.extract("suppression", "2026-06-01", [{"key": key, "reason": "asked"} for key in stored])
    shop.extract("suppression", "2026-06-02", [{"key": "domain:keptout.com", "reason": "asked later"}], complete=False)
    shop.execute(
        "insert into raw.email_domains values ('www.sites.com', 'sites.com'), ('bücher.com', 'xn--bcher-kva.com'),"
        " ('www.garbled.com', 'garbled.com');"
        "insert into raw.rule_domains values ('gmail.com', 'free_mail', ''),"
        " ('rival.com', 'excluded', 'competitor');"
        "insert into raw.rule_exclusions values ('email_pattern', '*+test@*', 'test account'),"
        " ('user_id_pattern', 'bot_*', 'bot'), ('trait', 'is_staff=true', 'own staff')"
    )
    shop.unreadable("contacts", "2026-07-06", ',Garbled <garbled@written.com>,"Doe, Jr.",true,true,see second.org')
    shop.unreadable("accounts", "2026-06-28", ",Garbled,https://www.garbled.com/x,true")
    shop.unreadable("contacts", "2026-07-04", ",Read <since@written.com>,true,true")
    outcomes = shop.build() + shop.build("tag:marts")
    shop.warnings = {o.unique_id.split(".")[2]: o.failures for o in outcomes if o.status == "warn"}
    return shop


# user -> contact

identify("mail", "06-01 10:00:00", email=" Old@Firm.com ")
identify("mail", "06-25 10:00:00", email="new@firm.com")
identify("mail", "06-26 10:00:00", email="no address")
identify("leaver", "06-01 10:00:00", email="left@firm.com")
STORIES.contacts += [
    {"contact_id": "c_old", "email": "OLD@firm.com", "updated_at": "2026-01-01"},
    {"contact_id": "c_new_2", "email": "new@firm.com", "updated_at": "2026-01-02"},
    {"contact_id": "c_new_1", "email": "new@firm.com", "updated_at": "2026-01-02"},
    {"contact_id": "c_new_0", "email": "new@firm.com"},
    {"contact_id": "c_left", "email": "left@firm.com", "updated_at": "2026-01-01"},
]


def test_the_latest_email_finds_the_contact_updated_last(shop):
    assert user(shop, "mail", "email", "contact_id") == ("new@firm.com", "c_new_1")
    assert user(shop, "mail", "contact_id", as_of=BASELINE) == "c_old"


def test_a_contact_that_a_later_extract_lacks_is_deleted(shop):
    assert user(shop, "leaver", "contact_id", "contact_deleted") == (None, True)
    assert user(shop, "leaver", "contact_id", as_of=BASELINE) == "c_left"


identify("limited", "06-01 10:00:00", email="Limited@Tickets.com")
track("limited", "Limit Support Requested", "06-10 10:00:00")
STORIES.contacts.append({"contact_id": "c_limited", "email": "limited@tickets.com"})
IN_TIME = {"email": "LIMITED@tickets.com", "category": "limits", "created_at": "2026-06-12"}
STORIES.tickets += [
    {
        "ticket_id": "by contact",
        "contact_id": "c_limited",
        "category": "Limits",
        "created_at": "2026-06-11T10:00:00+02:00",
    },
    {"ticket_id": "by both", "contact_id": "c_limited", **IN_TIME},
    # Spellings of ISO 8601 in which landing reads moments as well.
    {"ticket_id": "basic", **IN_TIME, "created_at": "20260613T020000+0530"},
    {"ticket_id": "comma", **IN_TIME, "created_at": "2026-06-12t12:00:00,5z"},
    {"ticket_id": "too early", **IN_TIME, "created_at": "2026-05-31T23:00:00Z"},
    {"ticket_id": "too late", **IN_TIME, "created_at": "2026-06-30T18:00:01Z"},
    {"ticket_id": "something else", **IN_TIME, "category": "billing"},
    {"ticket_id": "no time", **IN_TIME, "created_at": "yesterday"},
]


def test_limit_tickets_count_once_each_in_the_window(shop):
    assert user(shop, "limited", "limit_support_contact") == 5
    assert str(user(shop, "limited", "last_limit_contact_at")) == "2026-06-12 20:30:00"


# user -> account

STORIES.accounts += [
    {"account_id": "A1", "name": "One", "domain": "one.com", "employee_count": "about 1,200"},
    {"account_id": "A2", "name": "Two", "domain": "two.com", "employee_count": "51.0",
     "is_target_account": "Yes", "tech_stack": "dbt; Snowflake;;dbt", "updated_at": "2026-01-01",
     "later": {"employee_count": "1001", "subscription_status": "Paying", "updated_at": "2026-06-27"}},
    {"account_id": "A3", "name": "Three", "domain": "shared.com", "updated_at": "2026-01-01"},
    {"account_id": "A4", "name": "Four", "domain": "https://www.shared.com/", "updated_at": "2026-01-01"},
    {"account_id": "A5", "name": "Gone", "domain": "gone.com", "employee_count": "5000"},
    {
        "account_id": "A6", "name": "Young", "domain": "young.com", "created_at": "2026-06-25",
        "updated_at": "2026-06-25",
    },
    {
        "account_id": "A11", "name": "Edited", "domain": "edited.com", "employee_count": "5000",
        "subscription_status": "paying", "updated_at": "2026-06-26",
    },
    {"account_id": "A7", "name": "Undated", "domain": "undated.com", "employee_count": "5000",
     "updated_at": "2026-06-01", "later": {"employee_count": "20", "updated_at": None}},
    {"account_id": "A8", "name": "Older", "domain": "older.com", "employee_count": "5000", "updated_at": "2026-06-01",
     "later": {"employee_count": "20", "updated_at": "2026-05-01"}},
]  # fmt: skip
STORIES.contacts += [
    {"contact_id": "c_two", "email": "p@two.com", "account_id": "A2", "do_not_contact": "1",
     "much_later": {"do_not_sell": "yes", "updated_at": "2026-07-04"}},
    {"contact_id": "c_shared", "email": "x@elsewhere.com", "account_id": "A4"},
    {"contact_id": "c_orphan", "email": "p@one.com", "account_id": "A404",
     "much_later": {"email_opt_out": "t", "updated_at": "2026-07-04"}},
    {"contact_id": "c_undated", "email": "p@undated.com", "email_opt_out": "no", "updated_at": "2026-06-01",
     "much_later": {"email_opt_out": "yes", "updated_at": None}},
    {"contact_id": "c_older", "email": "q@undated.com", "email_opt_out": "no", "updated_at": "2026-06-01",
     "much_later": {"email_opt_out": "yes", "updated_at": "2026-05-01"}},
    {"contact_id": "c_withdrawn", "email": "r@undated.com", "email_opt_out": "yes", "updated_at": "2026-06-01",
     "much_later": {"email_opt_out": "no", "updated_at": "2026-05-01"}},
    {"contact_id": "c_ticked", "email": "t@undated.com", "email_opt_out": "X", "do_not_contact": "on"},
    {"contact_id": "c_unticked", "email": "u@undated.com", "email_opt_out": "OFF", "do_not_contact": " ",
     "do_not_sell": "0"},
    {"contact_id": "c_unread", "email": "v@undated.com", "email_opt_out": " siehe Notiz", "do_not_contact": "no",
     "do_not_sell": "?"},
    {"contact_id": "c_back", "email": "s@undated.com", "email_opt_out": "yes", "updated_at": "2026-06-01",
     "much_later": {"email_opt_out": "no", "updated_at": "2026-07-04"}},
]  # fmt: skip
track("by_group", "x", "06-01 10:00:00", group_id="A1")
group("by_group", "not in the crm", "06-02 10:00:00", name="Someone")
identify("by_group", "06-01 10:00:00", email="p@two.com")
identify("by_contact", "06-01 10:00:00", email="p@two.com")
group("by_contact", "not in the crm", "06-01 10:00:00")
identify("by_domain", "06-01 10:00:00", email="p@mail.shared.com")
identify("by_orphan", "06-01 10:00:00", email="p@one.com")
identify("own_domain", "06-01 10:00:00", email="p@startup.com")
identify("own_group", "06-01 10:00:00", email="p@startup.com")
group("own_group", "g_own", "06-01 10:00:00", name="Own Group", subscriptionStatus="Trial")
group("own_group", "g_older", "05-01 10:00:00")
identify("consumer", "06-01 10:00:00", email="p@gmail.com")
track("silent", "x", "06-01 10:00:00")
identify("of_gone", "06-01 10:00:00", email="p@gone.com")
track("of_gone", "x", "06-02 10:00:00", group_id="A5")
identify("by_gone_domain", "06-01 10:00:00", email="q@gone.com")
identify("by_gone_domain_elsewhere", "06-01 10:00:00", email="r@gone.com")
group("by_gone_domain_elsewhere", "A2", "06-02 10:00:00")


@pytest.mark.parametrize(
    ("user_id", "account_id", "source"),
    [
        ("by_group", "A1", "crm_group"),
        ("by_contact", "A2", "contact"),
        ("by_domain", "A4", "crm_domain"),
        ("by_orphan", "A1", "crm_domain"),
        ("own_group", "g_own", "group"),
        ("own_domain", "domain:startup.com", "domain"),
        ("of_gone", "A5", "group"),
        ("consumer", None, "none"),
        ("silent", None, "none"),
    ],
)
def test_the_first_rule_that_applies_finds_the_account(shop, user_id, account_id, source):
    assert user(shop, user_id, "account_id", "account_source") == (account_id, source)


def test_a_deleted_account_is_the_products_own_while_it_has_users(shop):
    assert user(shop, "of_gone", "account_deleted")
    columns = ("in_crm", "is_deleted", "employee_count", "name")
    assert account(shop, "A5", *columns) == (False, True, None, "Gone")
    assert account(shop, "A5", *columns, as_of=BASELINE) == (True, True, 5000, "Gone")


def test_a_deleted_account_is_deleted_for_who_was_in_it_by_their_domain(shop):
    assert user(shop, "by_gone_domain", "account_id", as_of=BASELINE) == "A5"
    assert user(shop, "by_gone_domain", "account_id", "account_deleted") == ("domain:gone.com", True)
    assert account(shop, "domain:gone.com", "in_crm", "is_deleted") == (False, True)
    assert user(shop, "by_gone_domain_elsewhere", "account_id", "account_deleted") == ("A2", False)


STORIES.accounts += [
    {"account_id": "A_survivor", "name": "Survivor", "domain": "survivor.com"},
    {"account_id": "A_said_no", "name": "Gone", "domain": "said-no.com", "do_not_contact": "yes"},
]
STORIES.contacts += [
    {"contact_id": "c_merged", "email": "a@merged.com", "account_id": "A_survivor"},
    {"contact_id": "c_said_no", "email": "d@merged.com", "account_id": "A_survivor"},
]
identify("merged_after_a_no", "06-01 10:00:00", email="d@merged.com")
group("merged_after_a_no", "A_said_no", "06-02 10:00:00")
identify("merged_with_contact", "06-01 10:00:00", email="a@merged.com")
identify("merged_by_domain", "06-01 10:00:00", email="b@survivor.com")
identify("merged_into_nothing", "06-01 10:00:00", email="c@merged.com")
for merged in ("merged_with_contact", "merged_by_domain", "merged_into_nothing"):
    group(merged, "A5", "06-02 10:00:00")


def test_who_was_in_an_account_that_was_merged_into_another_may_be_contacted_there(shop):
    columns = ("account_id", "account_source", "account_deleted")
    assert user(shop, "merged_with_contact", *columns) == ("A_survivor", "contact", False)
    assert user(shop, "merged_by_domain", *columns) == ("A_survivor", "crm_domain", False)
    assert user(shop, "merged_into_nothing", *columns) == ("A5", "group", True)
    assert user(shop, "merged_after_a_no", *columns) == ("A_survivor", "contact", True), "do not contact, it said"


# What was known when


def test_accounts_are_as_known_at_the_moment(shop):
    columns = ("employee_count", "subscription_status", "subscription_status_since::varchar")
    assert account(shop, "A2", *columns) == (1001, "paying", "2026-06-28 00:00:00")
    assert account(shop, "A2", *columns, as_of=BASELINE) == (51, None, None)
    assert account(shop, "A6", "users") == 0
    assert account(shop, "A8", "employee_count") == 5000, "a later extract with an older version"
    assert is_absent(shop, "account_features", "account_id", "A6", as_of=BASELINE)


def test_that_a_record_was_changed_lately_is_no_news_to_a_new_installation(shop):
    columns = ("employee_count", "subscription_status", "subscription_status_since::varchar")
    as_known = (5000, "paying", "2026-06-26 00:00:00")
    assert [account(shop, "A11", *columns, as_of=as_of) for as_of in (LIVE, BASELINE)] == [as_known, as_known]


def test_a_version_without_a_date_is_as_new_as_its_extract(shop):
    assert account(shop, "A7", "employee_count", as_of=BASELINE) == 5000
    assert account(shop, "A7", "employee_count") == 20


STORIES.opportunities += [
    {"opportunity_id": "op1", "account_id": "A1", "created_at": "2026-05-01", "closed_at": "2026-06-25",
     "is_closed": "true", "is_won": "true"},
    {"opportunity_id": "op2", "account_id": "A2", "created_at": "2026-06-28"},
    {"opportunity_id": "op3", "account_id": "A404", "created_at": "2026-06-28"},
    {"opportunity_id": "op_overdue", "account_id": "A_overdue", "created_at": "2026-06-01", "closed_at": "2026-06-15",
     "is_closed": "false", "is_won": "false"},
]  # fmt: skip


STORIES.accounts.append({"account_id": "A_overdue", "name": "Overdue", "domain": "overdue.com"})


def test_an_opportunity_that_is_said_to_be_open_is_open_after_the_day_it_was_expected_to_close(shop):
    assert account(shop, "A_overdue", "has_open_opportunity", "has_won_opportunity") == (True, False)


def test_an_opportunity_is_open_until_it_closed(shop):
    columns = ("has_open_opportunity", "open_opportunity_id", "has_won_opportunity")
    assert account(shop, "A1", *columns, as_of=BASELINE) == (True, "op1", False)
    assert account(shop, "A1", *columns) == (False, None, True)
    assert account(shop, "A2", *columns) == (True, "op2", False)
    assert account(shop, "A2", *columns, as_of=BASELINE) == (False, None, False)
    assert user(shop, "by_group", "has_won_opportunity")


# What was ever known

tell_what_was_ever_known(STORIES)


def test_who_ever_paid_has_paid_whatever_is_said_since(shop):
    assert account(shop, "A20", "subscription_status", "was_paying") == ("churned", True)
    assert account(shop, "domain:paying.com", "subscription_status", "was_paying") == ("churned", True)
    assert account(shop, "A22", "subscription_status", "was_paying") == ("free", True), "the CRM said nothing then"
    assert account(shop, "A21", "subscription_status", "was_paying") == ("free", False), "the CRM said free already"
    assert account(shop, "A23", "was_paying") is False


def test_who_ever_had_an_opportunity_had_it_though_it_is_lost_or_deleted(shop):
    columns = ("has_open_opportunity", "has_won_opportunity", "had_opportunity", "had_won_opportunity")
    assert user(shop, "of_lost", *columns) == (False, False, True, False)
    assert user(shop, "of_withdrawn", *columns) == (False, False, True, True)
    assert user(shop, "of_lost", *columns, as_of=BASELINE) == (False, False, False, False), "none was there yet"
    assert user(shop, "of_withdrawn", *columns, as_of=BASELINE) == (True, False, True, False), "open until it closed"
    assert user(shop, "of_ahead-of-time", *columns) == (False, False, False, False), "there will be one"


def test_what_cannot_be_read_is_unknown_and_told(shop):
    assert account(shop, "A1", "employee_count", "tech_stack") == (None, None)
    assert account(shop, "A2", "tech_stack", "is_target_account") == (["Snowflake", "dbt"], True)
    assert shop.warnings["crm_values_are_readable"] == 7, "two kinds of numbers, of times, and three flags"


def test_orphans_warn(shop):
    assert shop.warnings["opportunities_have_accounts"] == 1, "known since June 28"
    assert shop.warnings["contacts_have_accounts"] == 1, "at the moment that is scored"


_DATES = {
    "2026-06-03": "2026-06-03 00:00:00",
    "2026/6/3 9:05": "2026-06-03 09:05:00",
    "2026-06-03T09:05:07.25Z": "2026-06-03 09:05:07.25",
    "20260603T090507Z": "2026-06-03 09:05:07",
    "2026-06-03 09:05 UTC": "2026-06-03 09:05:00",
    "2026-06-03T09:05:07 +02:00": "2026-06-03 07:05:07",
    "6/3/26": None,
    "03-06-26": None,
    "2026-06-03 09:05 PM": None,
    "2026-06-03 09:05 Europe/Berlin": None,
    "0001-01-01T00:00:00": None,
    "infinity": None,
}
STORIES.accounts.append({"account_id": "A_dated", "name": "Dated", "domain": "dated.com"})
STORIES.opportunities += [
    {"opportunity_id": f"op_dated_{number}", "account_id": "A_dated", "closed_at": said}
    for number, said in enumerate(_DATES)
]


def test_dates_are_read_in_the_spellings_that_leave_no_doubt(shop):
    found = shop.rows("select opportunity_id, closed_at::varchar from staging.stg_crm__opportunities")
    assert [dict(found)[f"op_dated_{number}"] for number in range(len(_DATES))] == list(_DATES.values())


SUPPRESSED = ["domain:stop.com", "domain:https://www.sites.com/team", "domain:bücher.com", "email:copied@hosts.com"]
identify("stopped", "06-01 10:00:00", email="p@mail.stop.com")


identify("twice", "06-01 10:00:00", email="twice@twice.com")
STORIES.contacts += [
    {"contact_id": "c_twice_old", "email": "Twice@twice.com", "email_opt_out": "yes", "updated_at": "2026-01-01"},
    {"contact_id": "c_twice_new", "email": "twice@twice.com", "email_opt_out": "no", "updated_at": "2026-02-01"},
    {"contact_id": "c_twice_more", "email": "twice@twice.com", "do_not_contact": "yes", "updated_at": "2026-01-15"},
]


def test_who_must_not_be_contacted(shop):
    columns = ("contact_do_not_contact", "account_do_not_contact", "email_opt_out")
    assert user(shop, "by_contact", *columns) == (True, False, False)
    assert user(shop, "stopped", "suppression_reason") == "asked"
    assert user(shop, "twice", "contact_id", *columns) == ("c_twice_new", True, False, True)
    assert user(shop, "by_orphan", "email_opt_out"), "an objection counts though it came after the moment"


def test_a_no_counts_whether_the_newest_extract_says_it_or_the_version_updated_last(shop):
    told = shop.rows(
        "select key, email_opt_out from intermediate.int_crm_no_contact "
        "where key in ('c_undated', 'c_older', 'c_withdrawn', 'c_back') order by key"
    )
    assert told == [("c_back", False), ("c_older", True), ("c_undated", True), ("c_withdrawn", True)]


def test_a_no_in_an_extract_that_was_kept_out_since_counts(shop):
    assert shop.rows(
        "select key from intermediate.int_crm_no_contact "
        "where (email_opt_out or do_not_contact) and key like '%kept_out' order by key"
    ) == [("A_kept_out",), ("c_kept_out",)]
    assert shop.rows("select suppression_key from intermediate.int_suppressions order by 1") == [
        (key,) for key in sorted({*SUPPRESSED, "domain:keptout.com", "domain:sites.com", "domain:xn--bcher-kva.com"})
    ]


WRITTEN = {
    "named": "Named Person <Named@written.com>",
    "mailed": "mailto:mailed@written.com",
    "spaced": "\u00a0spaced@written.com\t",
    "unseen": "unseen\u200b@written.com",
    "quoted": "'quoted@written.com'",
    "ended": "ended@written.com.",
    "josé": "SMTP:jose\u0301@written.com",
}
for person in WRITTEN:
    identify(person, "06-01 10:00:00", email=f"\u200e{person}@written.com\u00a0")
STORIES.contacts += [
    {"contact_id": f"c_{person}", "email": email, "email_opt_out": "yes", "updated_at": "2026-01-01"}
    for person, email in WRITTEN.items()
]


def test_a_no_is_found_however_the_address_is_written(shop):
    for person in WRITTEN:
        found = user(shop, person, "email", "contact_id", "email_opt_out")
        assert found == (f"{person}@written.com", f"c_{person}", True)


SEVERAL = {
    "first": "first@written.com; private@elsewhere.com",
    "last": "private@elsewhere.com / last@written.com",
    "noted": "noted@written.com (old)",
    "wide": "wide\uff20written.com",
}
for person in (*SEVERAL, "kept", "garbled", "since"):
    identify(person, "06-01 10:00:00", email=f"{person}@written.com")
STORIES.contacts += [
    {"contact_id": f"c_{person}", "email": email, "do_not_contact": "yes", "updated_at": "2026-01-01"}
    for person, email in SEVERAL.items()
]
identify("of_second", "06-01 10:00:00", email="of_second@second.com")
identify("of_text", "06-01 10:00:00", email="of_text@second.org")
identify("in_group", "06-01 10:00:00", email="in_group@second.com")
group("in_group", "ws_of_nobody", "06-01 10:00:00")
STORIES.accounts.append(
    {"account_id": "A_two", "name": "Two", "domain": "one.com, second.com", "do_not_contact": "yes"}
)


def test_a_no_is_said_of_every_address_and_domain_in_its_field(shop):
    for person in SEVERAL:
        assert user(shop, person, "contact_do_not_contact") is True, person
    assert user(shop, "of_second", "account_do_not_contact") is True
    assert user(shop, "in_group", "account_id", "account_do_not_contact") == ("ws_of_nobody", True)


def test_a_no_of_whom_only_a_kept_out_extract_knows_counts(shop):
    assert user(shop, "kept", "contact_id", "email_opt_out") == (None, True)


def test_whom_a_row_names_that_nobody_can_read_may_have_said_no(shop):
    assert user(shop, "garbled", "contact_do_not_contact") is True
    assert user(shop, "of_garbled", "account_do_not_contact") is True
    assert user(shop, "of_text", "account_do_not_contact") is False, "a contact's row says nothing of companies"
    assert user(shop, "since", "contact_do_not_contact") is False, "an extract that is complete has come since"


identify("of_garbled", "06-01 10:00:00", email="of_garbled@garbled.com")


identify("listed", "06-01 10:00:00", email='["listed@written.com"]')


def test_the_text_of_a_list_is_no_address(shop):
    assert user(shop, "listed", "email") is None


identify("later", "06-01 10:00:00", email="Later@later.com")
identify("ahead", "06-01 10:00:00", email="p@ahead.com")
STORIES.accounts.append(
    {
        "account_id": "A10",
        "name": "Ahead",
        "domain": "ahead.com",
        "do_not_contact": True,
        "created_at": "2026-06-27",
        "updated_at": "2026-06-27",
    }  # fmt: skip
)


def test_a_no_counts_where_the_contact_or_the_account_is_known_only_later(shop):
    assert user(shop, "later", "contact_id", "email_opt_out", "contact_do_not_contact") == (None, True, True)
    assert user(shop, "ahead", "account_id", "account_do_not_contact", as_of=BASELINE) == ("domain:ahead.com", True)
    told = "select do_not_contact from features.account_features where account_id = 'domain:ahead.com'"
    assert shop.rows(told) == [(True,)]


identify("unread", "06-01 10:00:00", email="v@undated.com")
STORIES.accounts.append({"account_id": "A9", "name": "Unread", "do_not_contact": "2026-05-01"})


def test_a_flag_that_nobody_can_read_is_set_and_told(shop):
    columns = ("email_opt_out", "contact_do_not_contact")
    assert user(shop, "unread", *columns) == user(shop, "unread", *columns, as_of=BASELINE) == (True, False)
    assert account(shop, "A9", "do_not_contact")
    told = shop.rows(
        "select key, email_opt_out, do_not_contact, do_not_sell, unread_objections "
        "from intermediate.int_crm_no_contact where key in ('c_ticked', 'c_unticked', 'c_unread', 'A9') order by key"
    )
    assert told == [
        ("A9", False, True, False, "do_not_contact: 2026-05-01"),
        ("c_ticked", True, True, False, None),
        ("c_unread", True, False, True, "email_opt_out: siehe Notiz; do_not_sell: ?"),
        ("c_unticked", False, False, False, None),
    ]


STORIES.accounts += [
    {"account_id": f"A_number_{number}", "name": "Numbers", "employee_count": said, "contract_value": said}
    for number, said in enumerate(["5,200", "EUR 60,000.50", "$1,200", "12 GBP", "5.200", "1,2", "about 50"])
]


def test_numbers_are_read_as_sheets_show_them_and_nothing_is_guessed(shop):
    found = shop.rows(
        "select employee_count, contract_value from staging.stg_crm__accounts where account_id like 'A_number_%' "
        "order by version_id, account_id"
    )
    assert found[:7] == [
        (5200, 5200.0), (60000, 60000.5), (1200, 1200.0), (12, 12.0), (5, 5.2), (None, None), (None, None),
    ]  # fmt: skip


def test_who_must_not_be_sold_is_asked_of_the_newest_extract(shop):
    told = "select key, do_not_sell from intermediate.int_crm_no_contact where entity = 'contacts' and do_not_sell"
    assert shop.rows(told + " and unread_objections is null") == [("c_two", True)]


# Accounts in numbers

for member, department in (("m1", "Sales"), ("m2", "sales "), ("m3", "IT"), ("m4", "Legal")):
    STORIES.contacts.append({"contact_id": f"c_{member}", "email": f"{member}@team.com", "department": department})
for member, at in (("m1", "06-05"), ("m2", "06-05"), ("m3", "06-05"), ("m4", "05-10"), ("m5+test", "06-05")):
    identify(member, f"{at} 10:00:00", email=f"{member}@team.com")
track("m1", "Task Completed", "06-05 10:10:00")
track("m2", "Limit Reached", "06-06 10:00:00", feature="of their own")
track("m3", "Seat Added", "05-31 10:00:00")


def test_account_measures(shop):
    team = "domain:team.com"
    assert account(shop, team, "users", "active_users_30d", "active_users_before", "departments") == (
        4,
        3,
        2,
        2,
    )
    assert account(shop, team, "features_used") == ["of their own", "tasks"]
    assert account(shop, team, "catalogue_features_used", "catalogue_features") == (1, 12)
    assert account(shop, team, "expansion_signals", "limit_hits", "seats_added") == (1, 1, 0)
    each = [user(shop, member, "sessions_per_week") for member in ("m1", "m2", "m3")]
    assert account(shop, team, "mean_sessions_per_week") == pytest.approx(sum(each) / 3, abs=1e-9)


def test_accounts_of_the_product_have_names(shop):
    assert account(shop, "g_own", "name", "domain", "subscription_status") == ("Own Group", None, "trial")
    columns = ("name", "domain", "in_crm")
    assert account(shop, "domain:startup.com", *columns) == ("startup.com", "startup.com", False)


identify("payer", "06-01 10:00:00", subscription_status="paying", email="p@paying.com")
identify("payer", "06-10 10:00:00", subscription_status="Paying")
identify("payer", "06-29 10:00:00", subscription_status="churned")


def test_a_status_stands_since_it_was_first_said(shop):
    columns = ("subscription_status", "subscription_status_since::varchar")
    assert user(shop, "payer", *columns, as_of=BASELINE) == ("paying", "2026-06-01 10:00:00")
    assert account(shop, "domain:paying.com", *columns) == ("churned", "2026-06-29 10:00:00")


def test_owners_are_active_unless_said_otherwise(shop):
    owners = shop.rows("select distinct owner_id, team, is_active from features.owners order by 1")
    assert owners == [("o1", "ae", True), ("o2", None, False), ("o3", "account executive", True)]
    assert shop.warnings["accepted_words_owners_team__ae__sdr__enterprise_sdr__csm__sales"] == 2, "at both moments"


# Published

identify("spy", "06-01 10:00:00", email="p@sub.rival.com")
identify("staff", "06-01 10:00:00", is_staff=False)
identify("staff", "06-02 10:00:00", is_staff=True)
identify("spelled_staff", "06-02 10:00:00", is_staff="Yes")
identify("no_staff", "06-02 10:00:00", is_staff="0")
identify("was_staff", "06-01 10:00:00", is_staff=True)
identify("was_staff", "06-02 10:00:00", is_staff=False)
track("bot_7", "x", "06-01 10:00:00")


def test_the_excluded_are_listed_with_the_reason_and_nowhere_else(shop):
    listed = dict(shop.rows("select user_id, reason from marts.exclusions"))
    own = dict.fromkeys(("staff", "spelled_staff"), "own staff")
    assert listed == own | {"spy": "competitor", "bot_7": "bot", "m5+test": "test account"}
    assert not shop.rows(f"from features.user_features where user_id in {tuple(listed)}")
    assert user(shop, "was_staff", "account_source") == "none"


def test_published_tables_are_there_before_anything_was_scored(shop):
    assert shop.rows("select stage, motion, users, share_of_signups from marts.funnel order by position") == [
        ("signed_up", "self-serve", 0, None),
        ("activated", "self-serve", 0, None),
        ("pql", "sales-assist", 0, None),
        ("closed", "sales-led", 0, None),
    ]
    shop.execute(
        "insert into scores.pql_scores (user_id, funnel_stage) values "
        "('a', 'closed'), ('b', 'pql'), ('c', 'pql'), ('d', 'signed_up')"
    )
    assert shop.rows("select stage, users from marts.funnel order by position") == [
        ("signed_up", 4), ("activated", 3), ("pql", 3), ("closed", 1),
    ]  # fmt: skip
    shop.execute("delete from scores.pql_scores")
    tables = shop.rows("select table_name from information_schema.tables where table_schema = 'marts' order by 1")
    assert [name for (name,) in tables] == sorted(PUBLISHED)
