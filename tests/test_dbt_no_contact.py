"""Who may be contacted and who speaks for whom, where the CRM and the lists say several things."""

import pytest
from dbt_fixtures import Shop
from dbt_fixtures_stories import LIVE, Stories, account, user

STORIES = Stories()
track, identify, group = STORIES.track, STORIES.identify, STORIES.group
GONE_LATER = {"contact_id": "c_goes", "email": "p@goes.com", "account_id": "A_goes", "updated_at": "2026-01-01"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Shop:
    shop = Shop(tmp_path_factory.mktemp("no-contact")).create()
    shop.moments(LIVE)
    for name in ("newlist", "oldlist", "twins", "orphaned", "tie", "moved", "goes", "said", "sub", "one", "two"):
        identify(name, "06-01 10:00:00", email=f"p@{name}.com")
    identify("thrown", "06-01 10:00:00", email="p@throwaway.com")
    identify("subfree", "06-01 10:00:00", email="p@mail.gmail.com")
    identify("one", "06-02 10:00:00", email="a@team.com", subscription_status="trial")
    identify("two", "06-10 10:00:00", email="b@team.com", subscription_status="paying")
    track("tie", "Resubscribed", "06-10 10:00:00")
    track("tie", "Unsubscribed", "06-10 10:00:00")
    shop.load(STORIES.events)
    accounts = [
        {"account_id": "A_orphaned", "domain": "elsewhere.com", "updated_at": "2026-01-01"},
        {"account_id": "A_goes", "domain": "goes.com", "updated_at": "2026-01-01"},
        {"account_id": "A_said", "domain": "said.com", "updated_at": "2026-01-01"},
        {"account_id": "A_sub", "domain": "mail.sub.com", "updated_at": "2026-01-01"},
    ]
    shop.extract("accounts", "2026-06-01", accounts)
    shop.extract("accounts", "2026-06-28", accounts[1:])
    said = accounts[2] | {"do_not_contact": "yes", "updated_at": "2026-07-04"}
    shop.extract("accounts", "2026-07-05", [said, accounts[3]])
    contacts = [
        {"contact_id": "c_twin_gone", "email": "p@twins.com", "updated_at": "2026-03-01"},
        {"contact_id": "c_twin", "email": "p@twins.com", "updated_at": "2026-01-01"},
        {"contact_id": "c_orphaned", "email": "p@orphaned.com", "account_id": "A_orphaned", "updated_at": "2026-01-01"},
        {"contact_id": "c_moved", "email": "p@moved.com", "updated_at": "2026-01-01"},
        GONE_LATER,
    ]
    shop.extract("contacts", "2026-06-01", contacts)
    shop.extract("contacts", "2026-06-28", contacts[1:])
    moved = contacts[3] | {"email": "new@elsewhere.net", "email_opt_out": "yes", "updated_at": "2026-07-04"}
    shop.extract("contacts", "2026-07-05", [*contacts[1:3], moved])
    deals = [
        {"opportunity_id": "o_old", "account_id": "A_said", "created_at": "2026-05-01"},
        {"opportunity_id": "o_new", "account_id": "A_said", "created_at": "2026-06-01"},
    ]
    shop.extract("opportunities", "2026-06-20", deals)
    ticket = {"ticket_id": "t_1", "email": "p@said.com", "category": "limits", "created_at": "2026-06-12"}
    kept = ticket | {"ticket_id": "t_2"}
    shop.extract("tickets", "2026-06-20", [ticket, kept])
    shop.extract("tickets", "2026-06-21", [kept])
    shop.extract("suppression", "2026-06-01", [{"key": "domain:oldlist.com", "reason": "old"}])
    new = [{"key": "email:p@newlist.com", "reason": "new"}, {"key": "domain:sub.com", "reason": "new"}]
    shop.extract("suppression", "2026-06-02", new)
    shop.execute(
        "insert into raw.rule_domains values ('gmail.com', 'free_mail', ''), ('throwaway.com', 'disposable', '')"
    )
    shop.build()
    return shop


def test_the_newest_list_counts_and_an_address_on_it(shop):
    assert user(shop, "newlist", "suppression_reason") == "new"
    assert user(shop, "oldlist", "suppression_reason") is None
    assert account(shop, "A_sub", "suppression_reason") == "new"


def test_of_two_contacts_of_an_address_the_one_that_is_still_there_counts(shop):
    assert user(shop, "twins", "contact_id", "contact_deleted") == ("c_twin", False)


def test_who_is_in_a_deleted_account_by_their_contact_is_not_contacted(shop):
    assert user(shop, "orphaned", "account_deleted")


def test_a_throw_away_address_and_a_subdomain_of_free_mail_make_no_account(shop):
    assert [user(shop, name, "account_id") for name in ("thrown", "subfree")] == [None, None]


def test_who_unsubscribed_at_the_very_moment_of_a_resubscription_is_unsubscribed(shop):
    assert user(shop, "tie", "is_unsubscribed")


def test_what_the_crm_says_after_the_moment_counts_for_who_may_be_contacted(shop):
    assert user(shop, "said", "account_do_not_contact") and account(shop, "A_said", "do_not_contact")
    assert user(shop, "goes", "contact_deleted", "account_deleted") == (True, True)
    assert account(shop, "A_goes", "is_deleted")
    assert user(shop, "moved", "email_opt_out"), "whatever their address is by now"


def test_the_member_who_said_it_last_speaks_for_the_account(shop):
    assert account(shop, "domain:team.com", "subscription_status") == "paying"


def test_the_newest_open_opportunity_is_the_one_that_is_named(shop):
    assert account(shop, "A_said", "open_opportunity_id") == "o_new"


def test_a_ticket_that_was_deleted_counts_no_more(shop):
    assert user(shop, "said", "limit_support_contact") == 1
