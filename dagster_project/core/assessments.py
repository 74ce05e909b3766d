"""The assessment of a user or an account, as section 8 shapes it: a model, its Markdown and its JSON.

Signals are told as a handoff tells them, by the same code; the package is the handoff's own. What the serving copy
knows comes in, and nothing is computed that was not published.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from dagster_project.core.decisions import CUSTOMER, SUPPRESSED_COOLDOWN
from dagster_project.core.escaping import markdown
from dagster_project.core.feedback import ENDED
from dagster_project.core.key_signals import scored_signal
from dagster_project.core.package_model import Signal
from dagster_project.core.packages import words_about
from dagster_project.core.rendering import LINE_LENGTH, signal_line
from dagster_project.core.routing import TEAM
from dagster_project.core.whys import Dossier, why_no_package, why_nobody
from dagster_project.core.wording import Row, company_name, person_name, score_text, short

if TYPE_CHECKING:
    from dagster_project.core.playbook import Playbook

_LEFT_ALONE = frozenset({CUSTOMER, SUPPRESSED_COOLDOWN})
"""Decisions after which others work on them, or nobody has to."""
_HEADING = re.compile(r"^(#{2,3}) ", re.MULTILINE)
_DEEPER = "##"
"""A package stands two levels below where it stands alone, so that the assessment's own headings stay in order."""


@dataclass(frozen=True)
class ScoreLine:
    """One row of the qualification scores."""

    type: str
    score: str
    status: str


@dataclass(frozen=True)
class Assessment:
    """Everything that section 8 asks for; all texts but the package are plain."""

    name: str
    scores: tuple[ScoreLine, ...]
    signals: Mapping[str, tuple[Signal, ...]]
    motion: str
    next_step: str
    timing: str
    package_markdown: str | None
    no_package: str | None
    segment: str
    playbook: tuple[str, ...] = field(default=())


def assess(dossier: Dossier, playbook: Playbook) -> Assessment:
    """The assessment of whoever a dossier is about.

    Args:
        dossier: What is known of them.
        playbook: The rules.
    """
    user, account = dossier.user, dossier.account
    scored = account or user
    assert scored is not None, "who is excluded has no scores to assess"
    motion = playbook.segments.motions[scored["motion"]]
    next_step, timing = _action(dossier, playbook)
    nobody = why_nobody(dossier)
    sent = None if nobody else dossier.sent()
    no_package = f"nobody may contact them: {nobody}" if nobody else why_no_package(dossier, playbook)
    return Assessment(
        name=_name(dossier),
        scores=tuple(_scores(dossier)),
        signals=_signals(user, playbook),
        motion=f"{scored['motion']}: {motion.approach}",
        next_step=next_step,
        timing=timing,
        package_markdown=sent["package_markdown"] if sent else None,
        no_package=None if sent else no_package,
        segment=scored["segment"],
        playbook=motion.playbook,
    )


def _name(dossier: Dossier) -> str:
    user, account = dossier.user, dossier.account
    if user is None or (dossier.is_account and account):
        return company_name({}, account)
    return person_name(user) + (f" ({company_name(user, account)})" if account else "")


def _scores(dossier: Dossier) -> Iterator[ScoreLine]:
    user, account = dossier.user, dossier.account
    if user:
        whose = f", {person_name(user)}" if dossier.is_account else ""
        yield ScoreLine("PQL Score", f"{score_text(user['pql_score'])}/100", f"{user['classification']}{whose}")
    if account:
        yield ScoreLine("PQA Score", f"{score_text(account['pqa_score'])}/100", account["classification"])
        yield ScoreLine("Account Fit", f"{score_text(account['fit_score'])}/100", account["segment"])
    elif user:
        yield ScoreLine("Account Fit", "0/100", f"{user['segment']}, without an account")


def _signals(user: Row | None, playbook: Playbook) -> dict[str, tuple[Signal, ...]]:
    """What was measured of each component, the intent only as far as it was seen."""
    rules = playbook.scoring.pql
    entries = {entry["signal"]: entry for entry in (user["explanation"] if user else None) or ()}
    told = {
        "Usage": [entries[name] for name in rules.usage if name in entries],
        "Engagement": [entries[name] for name in rules.engagement if name in entries],
        "Intent": [entries[name] for name in rules.intent if name in entries and entries[name]["points"]],
    }
    return {part: tuple(_signal(entry, playbook) for entry in found) for part, found in told.items()}


def _signal(entry: Row, playbook: Playbook) -> Signal:
    found = scored_signal(entry, playbook.handoffs.package)
    return found if entry["points"] else replace(found, meaning=playbook.handoffs.assessment.nothing)


def _action(dossier: Dossier, playbook: Playbook) -> tuple[str, str]:
    """Next step and timing: of the handoff while it is fresh, else what the class calls for; nothing of either where
    nobody may contact them, others work on them or self-serve keeps them.
    """
    rules = playbook.handoffs.assessment
    if reason := why_nobody(dossier):
        return rules.no_contact.format(reason=reason), rules.timing["not_ready"]
    scored = dossier.user or dossier.account
    assert scored is not None, "somebody is assessed"
    fresh = scored["as_of"] - timedelta(days=playbook.handoffs.cooldown_days)
    sent = dossier.sent()
    if sent and sent["created_at"] > fresh and sent["status"] not in ENDED:
        step = rules.handed_over.format(recipient=_recipient(sent, dossier), handoff_type=sent["handoff_type"])
        return step, rules.due.format(due=f"{sent['due_at']:%Y-%m-%d %H:%M} UTC")
    if reason := _why_left_alone(dossier, fresh):
        return rules.left_alone.format(reason=reason), rules.timing["not_ready"]
    if dossier.audiences:
        member = dossier.audiences[0]
        return f"{member['playbook']}: {member['next_step']}", rules.timing["developing"]
    classification = scored["classification"]
    action = getattr(playbook.scoring.classes, classification).action
    if dossier.user and classification in playbook.stages.pql_classes:
        words = words_about(dossier.user, dossier.account, playbook.handoffs, scored["as_of"])
        texts = playbook.handoffs.package.approach.next_step
        action = f"{action}: {texts[dossier.user['activation_stage']].format_map(words)}"
    return action, rules.timing[classification]


def _why_left_alone(dossier: Dossier, fresh: datetime) -> str | None:
    """Why nobody else has to do anything: somebody has the account, has answered, or works on a deal."""
    if (dossier.account or dossier.user or {}).get("has_open_opportunity"):
        return "an opportunity is open, and its owner works on it already"
    last = next((row for row in dossier.handoffs if row["status"] != "cancelled" and row["created_at"] > fresh), None)
    if last:
        since = f"{last['created_at']:%Y-%m-%d}"
        if last["status"] in ENDED:
            return f"handed over on {since}, and answered with {last['status']}"
        return f"with {_recipient(last, dossier)} since {since}, who was handed a colleague"
    latest = next(iter(dossier.decisions), None)
    is_left_alone = latest and latest["decision"] in _LEFT_ALONE and latest["decided_at"] > fresh
    return str(latest["reason"]) if latest and is_left_alone else None


def _recipient(handoff: Row, dossier: Dossier) -> str:
    return short(dossier.owners.get(handoff["recipient_id"]) or handoff["recipient_id"].replace(TEAM, "team "))


def assessment_markdown(assessment: Assessment) -> str:
    """Section 8's headings in their order."""
    table = [
        "| Type | Score | Status |",
        "|---|---|---|",
        *(f"| {line.type} | {line.score} | {markdown(line.status)} |" for line in assessment.scores),
    ]
    signals = [part for name, found in assessment.signals.items() for part in (f"**{name}:**\n", *_bullets(found), "")]
    action = {"Motion": assessment.motion, "Next Step": assessment.next_step, "Timing": assessment.timing}
    package = assessment.package_markdown or ""
    sections: dict[str, list[str]] = {
        "## Product-Led Sales Assessment": [],
        f"### Lead/Account: {markdown(assessment.name)}": [],
        "### Qualification Scores": table,
        "### Key Signals": signals[:-1],
        "### Recommended Action": [f"- **{name}:** {markdown(text, LINE_LENGTH)}" for name, text in action.items()],
        "### Sales Handoff Package": [
            _HEADING.sub(rf"{_DEEPER}\1 ", package).strip() or f"None: {markdown(assessment.no_package, LINE_LENGTH)}."
        ],
        f"### Segment: {markdown(assessment.segment)}": [f"**Playbook:** {'; '.join(assessment.playbook)}"],
    }
    return "\n\n".join("\n".join([heading, "", *body]).strip() for heading, body in sections.items()) + "\n"


def _bullets(signals: Iterable[Signal]) -> list[str]:
    return [signal_line(signal) for signal in signals] or ["- none seen"]


def assessment_json(assessment: Assessment) -> dict[str, Any]:
    """The same as plain data."""
    return asdict(assessment)
