"""Stories of companies, told as event and CRM files and lived through the whole pipeline: who is called, and who isn't.

All stories share four runs: the first of an installation, one two days later, one on the day after, and one when the
CRM's data has become too old. Each has a company of its own, and says what is decided about it in which run.
"""

import json
import re
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import duckdb
import pytest
from installation import Installation
from story_world import FIRST, RUNS, SECOND, STALE, THIRD, World, midnight_after

from dagster_project.core.follow_ups import task_key

Tell = Callable[[World, str], None]
ONE, TWO, THREE, FOUR = RUNS


@dataclass(frozen=True)
class Story:
    """What happens at a company, and what is decided: by run, the decisions with the triggers that they are about."""

    title: str
    tell: Tell
    decided: Mapping[datetime, list[tuple[str, ...]]]

    @property
    def slug(self) -> str:
        return f"s{STORIES.index(self)}"


@dataclass(frozen=True)
class Lived:
    """What the runs left behind: rows of the published tables, records of the CRM, its tasks as they were asked for and
    their subjects by now, and the outbox."""

    tables: Mapping[str, list[dict[str, Any]]]
    contacts: Mapping[str, Mapping[str, Any]]
    accounts: Mapping[str, Mapping[str, Any]]
    tasks: Mapping[str, Mapping[str, Any]]
    subjects: Mapping[str, str]
    outbox: Mapping[str, str]

    def of(self, table: str, story: Story) -> list[dict[str, Any]]:
        """The rows about a story's company and people."""
        return [
            row
            for row in self.tables[table]
            if row["account_id"] == f"A-{story.slug}" or str(row["user_id"]).startswith(f"{story.slug}-")
        ]

    def handoff(self, story: Story) -> dict[str, Any]:
        [found] = self.of("handoffs", story)
        return found

    def rules(self, story: Story, rule: str) -> list[str]:
        return [row["decision"] for row in self.of("rule_decisions", story) if row["rule"] == rule]


# --- the tellers ----------------------------------------------------------------------------------


def hot(world: World, slug: str, *, contact: Mapping[str, Any] | None = None, **account: Any) -> None:
    world.company(slug, **account)
    world.gets_hot(world.person(slug, **(contact or {})), 21)


def was_hot(world: World, slug: str) -> None:
    """Before the baseline already, and still on the day of the first run."""
    world.company(slug)
    world.gets_hot(world.person(slug, since=11), 11, days=3)


def clicks(world: World, slug: str, *, heavy: bool = True, opportunity: bool = False, **account: Any) -> None:
    world.company(slug, **account)
    who = world.person(slug)
    if heavy:
        world.works(who, 21)
    world.does(who, "Upgrade Clicked", 22)
    if opportunity:
        world.opportunity(slug)


def team(world: World, slug: str, *, people: int, **account: Any) -> None:
    world.company(slug, **account)
    for number in range(people):
        world.visits(world.person(slug, f"p{number}", since=21), 21)


def becomes_an_account(world: World, slug: str) -> None:
    """Eleven colleagues at a company that the CRM does not know; after the handoff somebody makes an account of it."""
    world.company(slug, is_known_later=True)
    for number in range(11):
        world.visits(world.person(slug, f"p{number}", since=21, known_to_crm=False), 21)


def signs_up(world: World, slug: str, **account: Any) -> None:
    world.company(slug, **account)
    world.visits(world.person(slug, since=21, known_to_crm=False), 21, 10)


def signs_up_and_asks(world: World, slug: str, **account: Any) -> None:
    signs_up(world, slug, **account)
    world.does(f"{slug}-ann", "Contact Sales Clicked", 23)


def asks(world: World, slug: str, *, event: str, on: tuple[int, ...] = (21,), **account: Any) -> None:
    world.company(slug, **account)
    who = world.person(slug)
    for number in on:
        world.does(who, event, number)


def tickets(world: World, slug: str, *, status: str, customer: bool = False) -> None:
    world.company(slug, **({"subscription_status": "paying"} if customer else {}))
    who = world.person(slug)
    world.visits(who, 19)
    world.ticket(who, 19, status)


def prices(world: World, slug: str, *, times: int, owner: str | None = None, **account: Any) -> None:
    world.company(slug, owner_id=owner, **account)
    who = world.person(slug)
    for number in range(times):
        world.looks_at_pricing(who, 21, 8 + number)


def shops_alone(world: World, slug: str, **account: Any) -> None:
    """A small company's user above the hot line: usage, engagement and half of the intent."""
    world.company(slug, **{"employee_count": 20, **account})
    who = world.person(slug)
    world.gets_hot(who, 21)
    world.looks_at_pricing(who, 21)
    for event in ("Upgrade Clicked", "API Key Generated"):
        world.does(who, event, 22)


def asks_alone(world: World, slug: str) -> None:
    world.company(slug, employee_count=20)
    world.does(world.person(slug), "Contact Sales Clicked", 21)


def unsubscribes(world: World, slug: str) -> None:
    hot(world, slug)
    world.does(f"{slug}-ann", "Unsubscribed", 21)


def unsubscribes_afterwards(world: World, slug: str) -> None:
    hot(world, slug)
    world.does(f"{slug}-ann", "Unsubscribed", 23)


def is_suppressed(world: World, slug: str) -> None:
    hot(world, slug)
    world.suppressed.append({"domain": f"{slug}.com", "reason": "asked by letter"})


def has_won(world: World, slug: str, *, expands: bool) -> None:
    world.company(slug)
    who = world.person(slug)
    world.works(who, 21)
    world.does(who, "Contact Sales Clicked", 21)
    world.opportunity(slug, is_closed=True, is_won=True, closed_at="2026-05-20")
    if expands:
        world.does(who, "Seat Added", 21)


def colleagues(world: World, slug: str) -> None:
    """One has opted out, the other is free to talk."""
    world.company(slug)
    world.gets_hot(world.person(slug, "bo", email_opt_out=True), 21)
    world.does(world.person(slug, "cy"), "Contact Sales Clicked", 21)


def everything_at_once(world: World, slug: str) -> None:
    team(world, slug, people=5)
    world.gets_hot(f"{slug}-p1", 21)
    for hour in (8, 11, 14):
        world.looks_at_pricing(f"{slug}-p2", 21, hour)


def came_back(world: World, slug: str) -> None:
    world.company(slug)
    who = world.person(slug, since=-30)
    world.visits(who, 21)


def rises(world: World, slug: str, **account: Any) -> None:
    world.company(slug, **account)
    who = world.person(slug, since=12)
    world.works(who, 21)


def consumer(world: World, slug: str) -> None:
    who = f"{slug}-zoe"
    world._say(who, datetime(2026, 6, 21, 8), type="identify", traits={"email": f"zoe.{slug}@gmail.com"})
    world.does(who, "Demo Requested", 21)


def is_excluded(world: World, slug: str) -> None:
    world._say(f"{slug}-x", datetime(2026, 6, 21, 8), type="identify", traits={"email": f"{slug}@rivalapp.example"})
    world.does(f"{slug}-x", "Demo Requested", 21)


def busy(world: World, slug: str) -> None:
    """More than the owner takes in a day: twenty-one look at pricing, one more is about to buy."""
    for number in range(21):
        world.company(f"{slug}x{number}", owner_id="o_busy", employee_count=240)
        who = world.person(f"{slug}x{number}")
        for hour in (8, 11, 14):
            world.looks_at_pricing(who, 21, hour)
    world.company(slug, owner_id="o_busy")
    world.does(world.person(slug), "Contact Sales Clicked", 21)


HOT = ("sent", "hot_pql")
BIG = {"employee_count": 5000}
STORIES = [
    Story("a mid-market user gets hot", hot, {TWO: [HOT]}),
    Story("a hot user whose account has an owner", partial(hot, owner_id="o_mine"), {TWO: [HOT]}),
    Story("a hot user whose account's owner has left", partial(hot, owner_id="o_gone"), {TWO: [HOT]}),
    Story("a heavy user clicks upgrade", clicks, {TWO: [("sent", "upgrade_intent")]}),
    Story("a visitor clicks upgrade", partial(clicks, heavy=False), {}),
    Story(
        "an enterprise user clicks upgrade while an opportunity is open",
        partial(clicks, opportunity=True, owner_id="o_mine", **BIG),
        {
            ONE: [("suppressed_open_opportunity", "enterprise_signup")],  # signed up some days before
            TWO: [("suppressed_open_opportunity", "upgrade_intent")],
        },
    ),
    Story("a fifth colleague arrives", partial(team, people=5), {TWO: [("sent", "team_growth")]}),
    Story("four colleagues", partial(team, people=4), {}),
    Story("somebody signs up from an enterprise", partial(signs_up, **BIG), {TWO: [("sent", "enterprise_signup")]}),
    Story(
        "somebody signs up from an enterprise and asks for sales two days later",
        partial(signs_up_and_asks, **BIG),
        {TWO: [("sent", "enterprise_signup")], THREE: [("sent", "hand_raise")]},
    ),
    Story(
        "somebody signs up from a target account that has an active owner",
        partial(signs_up, is_target_account=True, owner_id="o_mine"),
        {TWO: [("sent", "enterprise_signup")]},
    ),
    Story(
        "somebody asks support about limits in the product",
        partial(asks, event="Limit Support Requested"),
        {TWO: [("sent", "limit_ticket")]},
    ),
    Story("a prospect's ticket about limits", partial(tickets, status="open"), {ONE: [("sent", "limit_ticket")]}),
    Story(
        "a customer's ticket about limits, solved by now",
        partial(tickets, status="solved", customer=True),
        {ONE: [("sent", "limit_ticket")]},
    ),
    Story("somebody looks at pricing three times", partial(prices, times=3), {TWO: [("sent", "pricing_visits")]}),
    Story("somebody looks at pricing twice", partial(prices, times=2), {}),
    Story("somebody asks for sales", partial(asks, event="Contact Sales Clicked"), {TWO: [("sent", "hand_raise")]}),
    Story(
        "a small company's user gets hot", shops_alone, {TWO: [("suppressed_self_serve", "hot_pql", "upgrade_intent")]}
    ),
    Story("a small company's user asks for sales", asks_alone, {TWO: [("sent", "hand_raise")]}),
    Story(
        "RevOps has said so, and somebody looks at pricing three times",
        partial(prices, times=3, segment_override="smb"),
        {TWO: [("suppressed_self_serve", "pricing_visits")]},
    ),
    Story(
        "nobody knows how large the company is",
        partial(prices, times=3, employee_count=None),
        {TWO: [("sent", "pricing_visits")]},
    ),
    Story(
        "a hot user who opted out of e-mail",
        partial(hot, contact={"email_opt_out": True}),
        {TWO: [("suppressed_no_contact", "hot_pql")]},
    ),
    Story(
        "a hot user of an account that is do-not-contact",
        partial(hot, do_not_contact=True),
        {TWO: [("suppressed_no_contact", "hot_pql")]},
    ),
    Story("a hot user who unsubscribed", unsubscribes, {TWO: [("suppressed_no_contact", "hot_pql")]}),
    Story("a hot user who unsubscribes after they were handed over", unsubscribes_afterwards, {TWO: [HOT]}),
    Story("a hot user on the suppression list", is_suppressed, {TWO: [("suppressed_no_contact", "hot_pql")]}),
    Story(
        "a customer without expansion asks",
        partial(has_won, expands=False),
        {TWO: [("suppressed_customer", "hand_raise")]},
    ),
    Story("a customer who adds seats asks", partial(has_won, expands=True), {TWO: [("sent", "hand_raise")]}),
    Story("somebody was hot long before the installation", was_hot, {ONE: [("suppressed_baseline", "hot_pql")]}),
    Story(
        "somebody asks for sales twice within two weeks",
        partial(asks, event="Contact Sales Clicked", on=(19, 21)),
        {ONE: [("sent", "hand_raise")], TWO: [("suppressed_cooldown", "hand_raise")]},
    ),
    Story(
        "one colleague has opted out, another asks for sales",
        colleagues,
        {TWO: [("sent", "hand_raise"), ("suppressed_no_contact", "hot_pql")]},
    ),
    Story(
        "a team grows, one gets hot, another compares prices",
        everything_at_once,
        {TWO: [("sent", "hot_pql", "team_growth", "pricing_visits")]},
    ),
    Story("a user who was gone for weeks is back", came_back, {}),
    Story("a score rises by more than 20 points", rises, {}),
    Story("a score rises while an opportunity is open", rises, {}),
    Story(
        "a company is handed over by its domain and becomes an account of the CRM",
        becomes_an_account,
        {TWO: [("sent", "team_growth")], THREE: [("suppressed_cooldown", "team_growth")]},
    ),
    Story("ten colleagues", partial(team, people=10), {TWO: [("sent", "team_growth")]}),
    Story("a consumer asks for a demo", consumer, {TWO: [("sent", "hand_raise")]}),
    Story("a competitor asks for a demo", is_excluded, {}),
    Story(
        "marketing holds the contact",
        partial(hot, contact={"lifecycle_stage": "MQL"}),
        {TWO: [HOT]},
    ),
    Story("an owner is full, and another account of theirs asks for sales", busy, {TWO: [("sent", "hand_raise")]}),
    Story(
        "somebody asks for sales when the CRM's data is too old",
        partial(asks, event="Contact Sales Clicked", on=(29,)),
        {FOUR: [("held_stale_crm", "hand_raise")]},
    ),
]
BY_TITLE = {story.title: story for story in STORIES}


def told(title: str) -> Story:
    return BY_TITLE[title]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    from dagster_project.core.feedback import Answer
    from dagster_project.ledger import Ledger

    world = World()
    for story in STORIES:
        story.tell(world, story.slug)
    world.opportunity(told("a score rises while an opportunity is open").slug)
    installation = Installation(tmp_path_factory.mktemp("stories"))
    world.deliver(installation.landing)
    installation.run(as_of=FIRST, now=midnight_after(FIRST))
    for run, before in ((SECOND, FIRST), (THIRD, SECOND), (STALE, THIRD)):
        world.deliver_events(installation.landing, run, since=before.replace(hour=23, minute=59))
        if run == THIRD:
            world.deliver_later(installation.landing)
        installation.run(as_of=run, now=midnight_after(run))
        if run == SECOND:  # sales looks at the MQL and says no
            with Ledger(f"sqlite:///{installation.data_dir / 'ledger.sqlite'}") as ledger:
                slug = told("marketing holds the contact").slug
                rows = ledger.read_frame("handoffs").filter(account_id=f"A-{slug}")
                said_at = SECOND.replace(hour=20)
                answer = Answer(rows["handoff_id"][0], "not_a_fit", "o_ae", said_at, "slack")
                ledger.keep_answer(answer, chat="outbox")
    return _lived(installation)


def _lived(installation: Installation) -> Lived:
    from dagster_project.clients.local_crm import LocalCrm

    names = ("handoff_decisions", "handoffs", "rule_decisions", "audiences", "mql_overlap", "product_traits")
    with duckdb.connect(str(installation.serving), read_only=True) as copy:
        tables = {name: copy.sql(f"select * from marts.{name}").pl().to_dicts() for name in names}
    with_ledger = f"sqlite:///{installation.data_dir / 'ledger.sqlite'}"
    from dagster_project.ledger import Ledger

    with Ledger(with_ledger) as ledger:
        tables["notices"] = ledger.read_frame("notices").to_dicts()
        deliveries = ledger.read_frame("deliveries").to_dicts()
    crm = LocalCrm(installation.data_dir / "crm.sqlite")
    with sqlite3.connect(installation.data_dir / "crm.sqlite") as file:
        subjects = {key: json.loads(task)["subject"] for key, task in file.execute("select key, task from tasks")}
    outbox = installation.data_dir / "outbox"
    return Lived(
        tables=tables,
        contacts=crm.records("contact"),
        accounts=crm.records("account"),
        tasks={
            row["object_id"]: json.loads(row["payload"])
            for row in deliveries
            if row["destination"] == "crm:local" and row["operation"] == "create" and row["status"] == "confirmed"
        },
        subjects=subjects,
        outbox={path.name: path.read_text(encoding="utf-8") for path in outbox.rglob("*.md")},
    )


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.title)
def test_what_is_decided(story: Story, lived: Lived) -> None:
    found: dict[datetime, list[tuple[str, ...]]] = {}
    for row in lived.of("handoff_decisions", story):
        run = next(run for run in RUNS if run.date() == row["decided_at"].date())
        found.setdefault(run, []).append((row["decision"], *row["triggers"]))
    assert {run: sorted(decisions) for run, decisions in found.items()} == {
        run: sorted(decisions) for run, decisions in story.decided.items()
    }


def test_the_stories_cover_every_decision_and_trigger(lived: Lived) -> None:
    from dagster_project.core import decisions as table
    from dagster_project.playbook_files import read_playbook

    rows = lived.tables["handoff_decisions"]
    assert {row["decision"] for row in rows} == {
        *table.ROWS, table.SUPPRESSED_COOLDOWN, table.HELD_CAPACITY, table.SENT,
    }  # fmt: skip
    triggers = read_playbook(None).handoffs.triggers.by_key()
    assert {trigger for row in rows if row["decision"] == "sent" for trigger in row["triggers"]} == set(triggers)
    acted = {row["rule"] for row in lived.tables["rule_decisions"] if row["decision"] == "acted"}
    assert acted == {"task", "enterprise_owner", "score_rise", "tier_raise", "reactivation"}


@pytest.mark.parametrize(
    ("title", "recipient", "handoff_type", "priority"),
    [
        ("a mid-market user gets hot", "o_ae", "immediate outreach", "P0"),
        ("a hot user whose account has an owner", "o_mine", "immediate outreach", "P0"),
        ("a hot user whose account's owner has left", "o_ae", "immediate outreach", "P0"),
        ("a heavy user clicks upgrade", "o_ae", "sales call", "P0"),
        ("a fifth colleague arrives", "o_ae", "account executive", "P1"),
        ("somebody signs up from an enterprise", "o_esdr", "SDR research", "P1"),
        ("somebody signs up from a target account that has an active owner", "o_mine", "SDR research", "P1"),
        ("a prospect's ticket about limits", "o_sales", "CSM or sales", "P2"),
        ("a consumer asks for a demo", "o_ae", "sales call", "P0"),
        ("an owner is full, and another account of theirs asks for sales", "o_busy", "sales call", "P0"),
    ],
)
def test_who_receives_it(title: str, recipient: str, handoff_type: str, priority: str, lived: Lived) -> None:
    handoff = lived.handoff(told(title))
    assert (handoff["recipient_id"], handoff["handoff_type"], handoff["priority"]) == (
        recipient,
        handoff_type,
        priority,
    )


def test_an_owner_whom_a_rule_has_set_is_the_accounts_owner_from_then_on(lived: Lived) -> None:
    story = told("somebody signs up from an enterprise and asks for sales two days later")
    given = {row["trigger"]: row["recipient_id"] for row in lived.of("handoffs", story)}
    assert given == {"enterprise_signup": "o_esdr", "hand_raise": "o_esdr"}, "nobody of the AEs in turn"
    assert lived.rules(story, "enterprise_owner") == ["acted"]
    [traits] = [row for row in lived.tables["product_traits"] if row["subject_id"] == f"A-{story.slug}"]
    assert traits["owner"] == "o_esdr"


def test_whoever_has_somebody_hears_once_that_they_have_said_no(lived: Lived) -> None:
    handoff = lived.handoff(told("a hot user who unsubscribes after they were handed over"))
    stops = {name: text for name, text in lived.outbox.items() if "🛑" in text}
    assert list(stops) == [f"{handoff['handoff_id']}-stop.md"]
    [heading, _, who_has] = next(iter(stops.values())).replace("\\", "").splitlines()
    assert heading == "## 🛑 Do not contact Ann any more: the user unsubscribed in the product."
    assert who_has == f"For {handoff['recipient_id']}, who has: 🔥 Hot PQL Alert: {handoff['account_id'][2:].title()}"
    assert handoff["status"] == "delivered"
    changed = {key for key, subject in lived.subjects.items() if subject.startswith("Do not contact: ")}
    assert changed == {task_key(handoff["handoff_id"])} < lived.subjects.keys()
    assert max(subject.count("Do not contact") for subject in lived.subjects.values()) == 1


def test_every_handoff_is_in_the_outbox_with_its_package(lived: Lived) -> None:
    for handoff in lived.tables["handoffs"]:
        assert lived.outbox[f"{handoff['handoff_id']}.md"] == handoff["package_markdown"]


def test_a_customer_is_spoken_to_as_one_and_a_solved_ticket_is_solved(lived: Lived) -> None:
    story = told("a customer's ticket about limits, solved by now")
    handoff = lived.handoff(story)
    assert handoff["recipient_id"] in ("o_csm", "o_mine")
    assert "Support has solved the ticket" in handoff["package_markdown"]
    assert "As their account team" in handoff["package_markdown"]


def test_an_unknown_size_is_researched_first(lived: Lived) -> None:
    handoff = lived.handoff(told("nobody knows how large the company is"))
    assert handoff["handoff_type"] == "SDR research"
    assert "**Research first**" in handoff["package_markdown"]


def test_several_triggers_are_one_handoff_that_names_the_hottest(lived: Lived) -> None:
    story = told("a team grows, one gets hot, another compares prices")
    handoff = lived.handoff(story)
    assert handoff["user_id"] == f"{story.slug}-p1"
    day = r"2026-\d\d-\d\d"
    also = rf"\*\*Also\*\*: Team Growth \({day}\); P2, p2@{story.slug}\.com: Pricing Interest \({day}\)"
    assert re.search(also, handoff["package_markdown"])


def test_a_full_owner_gets_the_rest_on_the_next_day(lived: Lived) -> None:
    slug = told("an owner is full, and another account of theirs asks for sales").slug
    rows = [row for row in lived.tables["handoff_decisions"] if str(row["account_id"]).startswith(f"A-{slug}x")]
    held = [row for row in rows if row["decision"] == "held_capacity"]
    given = [row for row in lived.tables["handoffs"] if row["recipient_id"] == "o_busy"]
    assert len([row for row in given if row["created_at"].date() == SECOND.date()]) == 20
    assert held
    later = {row["candidate_key"]: row["decided_at"].date() for row in rows if row["decision"] == "sent"}
    assert {later[row["candidate_key"]] for row in held} == {THIRD.date()}


def test_the_task_is_in_the_crm_with_the_package(lived: Lived) -> None:
    story = told("a mid-market user gets hot")
    assert lived.rules(story, "task") == ["acted"]
    [task] = [t for t in lived.tasks.values() if t["kind"] == "task" and t["object_id"] == f"C-{story.slug}-ann"]
    assert task["payload"]["owner_id"] == "o_ae"
    assert "Key Signals" in task["payload"]["body"]


def test_the_owner_of_an_open_opportunity_gets_a_note_and_no_alert(lived: Lived) -> None:
    story = told("an enterprise user clicks upgrade while an opportunity is open")
    assert lived.of("handoffs", story) == []
    notes = [t for t in lived.tasks.values() if t["kind"] == "note" and t["object_id"] == f"C-{story.slug}-ann"]
    assert {note["payload"]["owner_id"] for note in notes} == {"o_mine"}
    told_of = [
        title for title in ("Enterprise Sign-up", "Upgrade Intent") for n in notes if title in n["payload"]["body"]
    ]
    assert told_of == ["Enterprise Sign-up", "Upgrade Intent"]


def test_an_enterprise_account_gets_an_owner_only_if_it_has_none(lived: Lived) -> None:
    unowned = told("somebody signs up from an enterprise")
    owned = told("somebody signs up from a target account that has an active owner")
    assert lived.rules(unowned, "enterprise_owner") == ["acted"]
    assert lived.rules(owned, "enterprise_owner") == ["skipped"]
    assert lived.accounts[f"A-{unowned.slug}"]["owner_id"] == "o_esdr"
    assert lived.accounts[f"A-{owned.slug}"]["owner_id"] == "o_mine"


def test_ten_active_users_raise_the_tier(lived: Lived) -> None:
    ten, five = told("ten colleagues"), told("a fifth colleague arrives")
    assert [lived.accounts[f"A-{story.slug}"]["account_tier"] for story in (ten, five)] == ["B", "C"]


def test_the_csm_hears_of_who_is_back_and_sales_of_who_rises(lived: Lived) -> None:
    back, up = told("a user who was gone for weeks is back"), told("a score rises by more than 20 points")
    [returned] = [row for row in lived.of("notices", back) if row["topic"] == "reactivation"]
    assert returned["recipient_id"] in ("o_csm", "o_mine")
    [risen] = [row for row in lived.of("notices", up) if row["topic"] == "score_rise"]
    assert risen["recipient_id"] == "o_ae"
    assert {returned["status"], risen["status"]} == {"delivered"}
    assert lived.outbox[f"notice-{risen['notice_id']}-tell.md"] == f"For o_ae: {risen['text']}\n"
    held_back = told("a score rises while an opportunity is open")
    assert lived.rules(held_back, "score_rise") == ["suppressed_open_opportunity"]


def test_self_serve_takes_over_whom_sales_does_not_get(lived: Lived) -> None:
    story = told("a small company's user gets hot")
    [member] = lived.of("audiences", story)
    assert member["playbook"] == "self-serve checkout"
    fields = lived.contacts[member["contact_id"]]
    assert (fields["pls_playbook"], fields["pls_next_step"]) == (member["playbook"], member["next_step"])
    asked = told("a small company's user asks for sales")
    assert lived.of("audiences", asked) == []
    opted_out = told("a hot user who opted out of e-mail")
    assert lived.of("audiences", opted_out) == []


def test_marketing_lets_go_of_an_mql_and_gets_it_back_when_sales_says_no(lived: Lived) -> None:
    story = told("marketing holds the contact")
    [overlap] = lived.of("mql_overlap", story)
    assert (overlap["status"], overlap["recycled_reason"]) == ("recycled", "not a fit, said by o_ae")
    assert overlap["recycled_at"] == SECOND.replace(hour=20)
    assert lived.contacts[overlap["contact_id"]]["pause_nurture"] is False
    texts = [row["text"] for row in lived.of("notices", story) if row["topic"] == "marketing"]
    assert [text.split(" ")[1] for text in sorted(texts)] == ["gave", "has"]
    assert [row["recipient_id"] for row in lived.of("notices", story) if row["topic"] == "marketing"] == [
        "marketing"
    ] * 2
