"""The consequences of a changed playbook in one place: what is shown of them, and which limits they pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dagster_project.core.calibration.intervals import Interval
from dagster_project.core.calibration_rules import Limits
from dagster_project.core.planning.alerts import Alerts
from dagster_project.core.planning.moves import Moves
from dagster_project.core.playbook import Playbook
from dagster_project.core.sections import Row, Section


@dataclass(frozen=True)
class BackTest:
    """Live and proposed scores of past days against what became of them.

    Attributes:
        now: The live scores' AUC.
        proposed: The proposed ones'.
        gain: The difference.
        leads: How many matured samples it stands on.
        won_accounts: Accounts that won among them.
    """

    now: Interval
    proposed: Interval
    gain: Interval
    leads: int
    won_accounts: int


@dataclass(frozen=True)
class Plan:
    """Everything that a changed playbook would do.

    Attributes:
        users: Whose class changes.
        accounts: The same of accounts.
        first_day: Alerts at once, live and proposed.
        week: Alerts in a week like the last, live and proposed.
        back_test: None when it can't be told, for the reason in `untold`.
        untold: What this plan can't show, a sentence each.
        names: Recipients by id.
    """

    users: Moves
    accounts: Moves
    first_day: tuple[Alerts, Alerts]
    week: tuple[Alerts, Alerts]
    back_test: BackTest | None
    untold: Sequence[str]
    names: Mapping[str, str]


_SHOWN_NOWHERE = {
    "stages": "who is in which activation stage, and who counts as a lead,",
    "identity": "who is scored and what is read of them",
    "sources": "who is scored and what is read of them",
    "crm_sources": "who is scored and what is read of them",
    "crm_fields": "what is written to the CRM (`pls sync --dry-run` shows that)",
    "delivery": "where alerts go and who is reminded",
    "models": "which days are published",
    "calibration": "what counts as won, and what is suggested,",
    "assistant": "what an assistant may see and do",
}
"""Files without an effect on classes and decisions, and what they do instead."""


def not_shown(live: Playbook, proposed: Playbook) -> list[str]:
    """Changes whose effect nothing here shows, a sentence each: what SQL measures is measured by a run."""
    found = []
    if live.scoring.measurement != proposed.scoring.measurement:
        found.append(
            "scoring.yml: measurement has changed, which only a run measures: what is shown stands on the features as "
            "they are. Run the proposal on a copy of the data folder to see it."
        )
    if live.automation != proposed.automation:
        found.append(
            "automation.yml has changed: what its rules do beside handoffs (tasks, notices, owners, tiers, notes, "
            "audiences) is not counted here, neither at once nor in a week."
        )
    for name, what in _SHOWN_NOWHERE.items():
        if getattr(live, name) != getattr(proposed, name):
            found.append(f"{name}.yml has changed: {what} is not shown here.")
    return found


def passed_limits(plan: Plan, limits: Limits) -> list[str]:
    """The limits that the proposal passes, a sentence each; empty when it keeps within all of them."""
    week, found = plan.week[1], []
    if limits.alerts_per_recipient_per_week is not None:
        for recipient, count in week.by_recipient.items():
            if count > limits.alerts_per_recipient_per_week:
                who, most = plan.names.get(recipient, recipient), limits.alerts_per_recipient_per_week
                found.append(f"alerts_per_recipient_per_week: {who} gets {count} a week, at most {most:g}")
    if limits.capacity_breaches is not None and week.without_room > limits.capacity_breaches:
        found.append(
            f"capacity_breaches: nobody has room for {week.without_room} of a week's handoffs, at most "
            f"{limits.capacity_breaches}"
        )
    share = plan.users.moved / plan.users.subjects if plan.users.subjects else 0.0
    if limits.share_of_users_moved is not None and share > limits.share_of_users_moved:
        found.append(
            f"share_of_users_moved: {share:.1%} of users change their class, at most {limits.share_of_users_moved:.1%}"
        )
    if limits.backtest_loss is not None and plan.back_test and -plan.back_test.gain.estimate > limits.backtest_loss:
        found.append(
            f"backtest_loss: the AUC falls by {-plan.back_test.gain.estimate:.3f}, at most {limits.backtest_loss:g}"
        )
    return found


# --- what is shown ---------------------------------------------------------------------------------


def sections(plan: Plan, limits: Limits) -> list[Section]:
    """The plan as sections, the verdict first."""
    return [
        _limits(plan, limits),
        _classes("Users", plan.users),
        *_movers("Users who move", plan.users, "User"),
        _classes("Accounts", plan.accounts),
        *_movers("Accounts that move", plan.accounts, "Account"),
        _alerts(plan),
        _decisions(plan),
        _back_test(plan),
        *([Section("Not shown", "\n\n".join(plan.untold))] if plan.untold else []),
    ]


def _limits(plan: Plan, limits: Limits) -> Section:
    passed = passed_limits(plan, limits)
    if not passed:
        return Section("Limits", "The proposal keeps within the limits of `calibration.yml`.")
    text = f"**{len(passed)} of the limits in `calibration.yml` passed:**"
    return Section(
        "Limits", text, [{"Limit": one.partition(": ")[0], "Passed": one.partition(": ")[2]} for one in passed]
    )


def _classes(title: str, moves: Moves) -> Section:
    rows = [
        {
            "Class": name,
            "Now": f"{before:,}",
            "Proposed": f"{after:,}",
            "Enter": f"{enter:,}" if enter else "",
            "Leave": f"{leave:,}" if leave else "",
        }
        for name, before, after, enter, leave in moves.classes
    ]
    text = f"{moves.moved:,} of {moves.subjects:,} change their class."
    if moves.segments:
        text += " Segments: " + ", ".join(f"{count:,} from {was} to {now}" for was, now, count in moves.segments) + "."
    return Section(title, text, rows)


def _movers(title: str, moves: Moves, label: str) -> list[Section]:
    rows: list[Row] = [
        {
            label: mover.name,
            "Score": f"{mover.before:.1f} -> {mover.after:.1f}",
            "Class": f"{mover.was} -> {mover.becomes}",
            "What changes it": mover.reason,
        }
        for mover in moves.top
    ]
    more = moves.moved - len(rows)
    text = f"Those of the best classes whose scores change most{f'; {more:,} more move' if more > 0 else ''}."
    return [Section(title, text, rows)] if rows else []


def _alerts(plan: Plan) -> Section:
    (now, proposed), (_, first) = plan.week, plan.first_day
    recipients = sorted(
        {*now.by_recipient, *proposed.by_recipient, *first.by_recipient},
        key=lambda who: (-proposed.by_recipient.get(who, 0), plan.names.get(who, who)),
    )
    rows = [
        {
            "Recipient": plan.names.get(who, who),
            "A week now": str(now.by_recipient.get(who, 0)),
            "A week proposed": str(proposed.by_recipient.get(who, 0)),
            "On the first day": str(first.by_recipient.get(who, 0)),
        }
        for who in recipients
    ]
    text = (
        f"A week like the last: {now.sent:,} alerts now, {proposed.sent:,} proposed; nobody has room for "
        f"{now.without_room:,} now, {proposed.without_room:,} proposed. On the day that it goes live: {first.sent:,} "
        f"at once, no room for {first.without_room:,}."
    )
    return Section("Alerts", text, rows)


def _decisions(plan: Plan) -> Section:
    now, proposed = plan.week
    names = sorted({*now.by_decision, *proposed.by_decision})
    rows = [
        {
            "Decision": name,
            "A week now": f"{now.by_decision.get(name, 0):,}",
            "A week proposed": f"{proposed.by_decision.get(name, 0):,}",
        }
        for name in names
    ]
    return Section("Decisions", "What is decided about a week's candidates: sent, or suppressed and why.", rows)


def _back_test(plan: Plan) -> Section:
    test = plan.back_test
    if test is None:
        return Section("Back-test", "Not told: see below.")
    change = f"{test.gain.estimate:+.3f} ({test.gain.low:+.3f} to {test.gain.high:+.3f})"
    says = "better" if test.gain.low > 0 else "worse" if test.gain.high < 0 else "no telling whether better or worse"
    text = (
        f"On {test.leads:,} matured scores of past days, {test.won_accounts:,} accounts of which won: AUC "
        f"{test.now.estimate:.3f} now, {test.proposed.estimate:.3f} proposed, {change}: {says}."
    )
    return Section("Back-test", text)
