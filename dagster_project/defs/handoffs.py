"""Decisions: gather what they depend on, plan, keep the plan. What it says is sent in `delivery`."""

from datetime import datetime, time, timedelta
from functools import partial
from typing import Any

import dagster as dg
import duckdb
import polars as pl

from dagster_project.actions import action_request
from dagster_project.core.automation import RISE_SCHEMA
from dagster_project.core.concerned import (
    ACCOUNT_COLUMNS,
    DECIDED_OF_ACCOUNTS,
    DECIDED_OF_USERS,
    USER_COLUMNS,
    conditions_of_accounts,
    conditions_of_users,
)
from dagster_project.core.follow_ups import SalesAnswer
from dagster_project.core.handoff_plan import BY_PRIORITY, HandoffInputs, HandoffPlan, by_priority
from dagster_project.core.handoffs import plan_handoffs
from dagster_project.core.moments import end_of_day
from dagster_project.core.playbook import Playbook
from dagster_project.core.routing import A_DAY_ANYWHERE, open_desk
from dagster_project.core.waiting import to_decide_again
from dagster_project.defs.answers import handoff_answers
from dagster_project.defs.ingest import BASELINE_DONE
from dagster_project.defs.resources import WAREHOUSE_POOL, Workplace, begun_by
from dagster_project.defs.tables import bar_chart, markdown_table
from dagster_project.defs.transform import OWNERS
from dagster_project.landing.feeds import known_silences
from dagster_project.landing.freshness import crm_freshness
from dagster_project.ledger import CRM_HOLD, Ledger, Overtaken
from dagster_project.ledger_memory import check_memory
from dagster_project.looked_at import (
    LOOKED_AT,
    other_ids_of_touched,
    rises_of,
    select_concerned,
    select_touched,
    touched,
)
from dagster_project.past_accounts import by_accounts_in_warehouse
from dagster_project.portions import PORTION, on_its_own
from dagster_project.refresh import LIVE, Refresh, current_refresh
from dagster_project.scored_features import scored_features, those_of, whole
from dagster_project.scored_moments import score_portions

COMMON: dict[str, Any] = {"group_name": "handoffs", "owners": OWNERS, "pool": WAREHOUSE_POOL}
_SENDING = timedelta(minutes=15)
"""For how long somebody else may be sending a handoff that was asked for."""
_ATTEMPTS = 5
"""How often a run decides where others write handoffs meanwhile, before it fails."""
SHOWN = 20
"""Rows and packages that the UI shows."""


@dg.asset(
    key=["handoffs", "decisions"],
    deps=[
        *(["scores", table] for table in ("pql_scores", "pqa_scores")),
        ["features", "owners"],
        ["raw", "crm_records"],
        handoff_answers,
    ],
    kinds={"polars", "sqlite"},
    **COMMON,
)
def handoff_decisions(context: dg.AssetExecutionContext, workplace: Workplace) -> dg.MaterializeResult:
    """What is decided about everybody for whom a trigger fired. One row per candidate and decision, in the ledger."""
    playbook = workplace.playbook
    with workplace.connect(stays_open=True) as connection, workplace.ledger() as ledger:
        check_memory(ledger, connection, workplace.settings)
        refresh = current_refresh(connection, begun_by(context.run))
        as_of = refresh.until
        for attempt in range(1, _ATTEMPTS + 1):
            # An assistant hands over as well, and answers come, while this is decided.
            read_at = ledger.last_handoff_change()
            inputs, untouched = _gather(connection, ledger, playbook, refresh=refresh)
            plan = plan_handoffs(inputs, playbook)
            try:
                ledger.apply_handoff_plan(
                    plan,
                    known=inputs.states,
                    decided=inputs.open_candidates["candidate_key"].to_list(),
                    requests=[action_request(workplace.settings.crm_destination, action) for action in plan.actions],
                    now=workplace.now(),
                    read_at=read_at,
                )
                break
            except Overtaken:
                if attempt == _ATTEMPTS:
                    raise
                context.log.info("somebody else has written a handoff meanwhile: all is decided once more")
        # Who writes between two runs can't ask the CRM data again.
        ledger.set_meta(CRM_HOLD, inputs.crm_hold_reason or "")
        ledger.adopt_asked_for(workplace.now() - _SENDING)
        # An installation that has nobody yet has not had its first run: what comes later must not flood anyone.
        if inputs.baseline is not None and connection.sql("from scores.pql_scores limit 1").fetchall():
            ledger.set_meta(BASELINE_DONE, as_of.isoformat())
        # Those of the day, the most urgent first, as sellers get them; a few of many.
        today = ledger.packages_since(datetime.combine(as_of.date(), time.min), SHOWN)
    return dg.MaterializeResult(metadata=_decision_metadata(plan, today, untouched=untouched, is_full=refresh.is_full))


def _gather(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, playbook: Playbook, *, refresh: Refresh
) -> tuple[HandoffInputs, int]:
    """What the decisions of a run depend on, and how many candidates a delta leaves waiting as they are."""
    as_of = refresh.until
    since = as_of - timedelta(days=max(playbook.handoffs.cooldown_days, A_DAY_ANYWHERE))
    risen_since = end_of_day(as_of.date() - timedelta(days=playbook.automation.score_rise.days))
    owners = connection.sql(f"select * from features.owners where {LIVE}").pl()
    crm_hold_reason = crm_freshness(connection, as_of, playbook.sources).hold_reason
    thread_since = as_of - timedelta(days=playbook.delivery.slack.thread_days)
    past = by_accounts_in_warehouse(connection, ledger.past_handoffs(since, going_on_since=thread_since))
    notices, turns = ledger.given_notices(since), ledger.read_frame("routing_turns")
    members, overlaps = ledger.audience_members(), ledger.overlaps_with_sales()
    untouched = 0
    # What was held because nobody knew whom one may write to is on nobody's list but that of everybody.
    looks_at_all = refresh.is_full or (crm_hold_reason is None and bool(ledger.get_meta(CRM_HOLD)))
    if looks_at_all:
        held, states = ledger.read_frame("candidates"), ledger.trigger_states(None)
        select_concerned(
            connection, playbook, risen_since, held=held, states=states, members=members["user_id"].to_list()
        )
    else:
        waiting = ledger.waiting()
        again = to_decide_again(
            waiting,
            touched=touched(connection) | (other_ids_of_touched(connection) if waiting.height else set()),
            past=past,
            desk=open_desk(owners, (past, notices), turns, rules=playbook.routing, as_of=as_of),
            had_room=ledger.with_room(),
            crm_hold_reason=crm_hold_reason,
        )
        held, untouched = ledger.candidates(again), waiting.height - len(again)
        select_touched(connection, ledger, playbook, held=held)
    users = connection.sql(
        scored_features(connection, "user", those_of("user", LOOKED_AT["user"]), DECIDED_OF_USERS)
    ).pl()
    accounts = connection.sql(scored_features(connection, "account", LOOKED_AT["account"], DECIDED_OF_ACCOUNTS)).pl()
    if not looks_at_all:
        states = ledger.trigger_states({*users["user_id"], *accounts["account_id"]})
    inputs = HandoffInputs(
        as_of=as_of,
        users=users,
        accounts=accounts,
        baseline=_baseline(connection, playbook),
        baseline_at=_baseline_at(connection),
        owners=owners,
        crm_hold_reason=crm_hold_reason,
        states=states,
        open_candidates=held,
        past=past,
        turns=turns,
        scored_since=_scored_since(connection),
        rises=rises_of(connection, users.select("user_id"), risen_since),
        past_rules=ledger.acted_rules(since),
        held_rules=ledger.held_rules(since),
        past_notices=notices,
        members=members,
        excluded=_excluded(connection, members),
        overlaps=overlaps,
        answers=_answers(ledger, overlaps, owners, as_of),
        silences=known_silences(connection),
        read_whole=partial(whole, connection),
    )
    return inputs, untouched


def _baseline(connection: duckdb.DuckDBPyConnection, playbook: Playbook, *, rows: int = PORTION) -> pl.DataFrame | None:
    """Which conditions of triggers and rules held at the baseline moment, of whoever is looked at.

    None on every run but the first.
    """
    if _baseline_at(connection) is None:
        return None
    users = LOOKED_AT["user"]
    accounts = (
        "account_id in (select account_id from scores.looked_at_accounts union "
        f"select account_id from features.user_features where not {LIVE} and {users})"
    )
    companies: list[pl.DataFrame] = []
    held: list[pl.DataFrame] = []
    for subject, scored in score_portions(
        connection, playbook, is_live=False, model_version="", users=users, accounts=accounts, rows=rows
    ):
        if subject == "account":
            companies.append(on_its_own(scored.select(ACCOUNT_COLUMNS)))
            continue
        known, people = pl.concat(companies), scored.select(USER_COLUMNS)
        if not held:
            held.append(conditions_of_accounts(people.clear(), known, playbook).filter("holds"))
        # Of most people most conditions don't hold.
        current = conditions_of_users(people, known, RISE_SCHEMA.to_frame(), playbook)
        held.append(on_its_own(current.filter("holds")))
    return pl.concat(held)


def _baseline_at(connection: duckdb.DuckDBPyConnection) -> datetime | None:
    moments = connection.sql("select as_of from raw.moments where not is_live").fetchall()
    return moments[0][0] if moments else None


def _answers(ledger: Ledger, overlaps: pl.DataFrame, owners: pl.DataFrame, as_of: datetime) -> dict[str, SalesAnswer]:
    """What became of the handoffs to MQLs that are with sales."""
    names = {
        row[key]: row["name"]
        for key in ("slack_user_id", "owner_id", "email")
        for row in owners.select("slack_user_id", "owner_id", "email", "name").iter_rows(named=True)
        if row[key] and row["name"]
    }
    reason = "it was not sent: nobody may contact them any more"
    gone = ledger.cancelled_handoffs(overlaps["handoff_id"])
    answers = {handoff_id: SalesAnswer(handoff_id, is_rejected=False, reason=reason, at=as_of) for handoff_id in gone}
    for handoff_id, (by, at) in ledger.rejected_handoffs(overlaps["handoff_id"]).items():
        said = f"not a fit, said by {names.get(by, by)}" if by else "not a fit"
        answers[handoff_id] = SalesAnswer(handoff_id, is_rejected=True, reason=said, at=at)
    return answers


def _excluded(connection: duckdb.DuckDBPyConnection, members: pl.DataFrame) -> dict[str, str]:
    """Why members of audiences, found by DuckDB as a local variable, are not scored any more."""
    return dict(
        connection.sql(
            f"select user_id, reason from features.excluded_users where {LIVE} "
            "and user_id in (select user_id from members)"
        ).fetchall()
    )


def _scored_since(connection: duckdb.DuckDBPyConnection) -> datetime | None:
    """The first moment that this installation ever scored."""
    [(first,)] = connection.sql("select min(as_of) from scores.score_history").fetchall()
    return first


def _decision_metadata(plan: HandoffPlan, today: list[str], *, untouched: int, is_full: bool) -> dict[str, Any]:
    counts = (
        plan.decisions.sort("decision_id")
        .group_by("decision")
        .agg(candidates=pl.len(), example=pl.col("reason").first())
        .sort("candidates", "decision", descending=[True, False])
    )
    shown = ["priority", "trigger", "account_id", "user_id", "recipient_id", "due_at"]
    ruled = plan.rule_decisions.sort("rule", "decision_id").select("rule", "decision", "subject_id", "reason")
    told: dict[str, Any] = {
        "decisions": plan.decisions.height,
        "handoffs": plan.handoffs.height,
        "held": plan.candidates.height + untouched,
    }
    if is_full:
        told[BY_PRIORITY] = dg.MetadataValue.json(by_priority(plan.decisions))
    if is_full and counts.height:  # a picture takes longer to draw than the few of a delta to decide
        names, sizes = (counts[column].to_list() for column in ("decision", "candidates"))
        told["by decision"] = bar_chart(names, sizes, title="What was decided in this run")
    return told | {
        "by reason": markdown_table(counts),
        "to whom": markdown_table(plan.handoffs.sort("priority", "handoff_id").select(shown).head(SHOWN)),
        "rules": markdown_table(ruled.head(SHOWN)),
        "today's handoffs": dg.MetadataValue.md("\n---\n\n".join(today) or "None today."),
    }


@dg.asset_check(
    asset=["handoffs", "decisions"],
    name="every_sent_decision_has_its_handoff",
    description="In the ledger, a decision to send names a handoff that exists, and no handoff is without one.",
)
def every_sent_decision_has_its_handoff(workplace: Workplace) -> dg.AssetCheckResult:
    """Compare the ledger's two tables."""
    with workplace.ledger() as ledger:
        decided = ledger.read_frame("handoff_decisions").filter(pl.col("decision") == "sent")
        handoffs = ledger.handoffs()
    odd = set(decided["handoff_id"]) ^ set(handoffs["handoff_id"])
    return dg.AssetCheckResult(passed=not odd, metadata={"on one side only": sorted(odd)[:10]})


CHECKS = [every_sent_decision_has_its_handoff]
