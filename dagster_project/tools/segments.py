"""`lifecycle.get_segment`: how a user is sold to, and since when."""

from datetime import datetime

from pydantic import Field

from dagster_project.tools.desk import Desk, Name, Result, Tool, arguments
from dagster_project.tools.subjects import Kind, scored_user

NAME = "lifecycle.get_segment"


class Change(Result):
    """A segment from one moment to the next."""

    segment: str
    motion: str
    source: str
    valid_from: datetime
    valid_to: datetime | None = Field(description="null while it holds")


class AccountSegment(Result):
    """The segment of the user's account."""

    account_id: str
    name: str | None
    segment: str
    motion: str
    source: str
    quadrant: str
    history: list[Change] | None = None


class Segment(Result):
    """The segment of a user, and what follows from it."""

    user_id: str
    segment: str
    motion: str
    source: str = Field(description="computed, override (by hand, in the CRM), or unknown (smb is an assumption)")
    activation_stage: str
    approach: str
    playbook: list[str]
    as_of: datetime
    history: list[Change] | None = Field(default=None, description="Newest first, if asked for")
    account: AccountSegment | None = Field(default=None, description="If asked for and the user has one")


def get_segment_tool() -> Tool:
    """The tool."""
    return Tool(
        name=NAME,
        title="Segment and motion of a user",
        description=(
            "Which segment a user is in (enterprise, mid-market, smb), which motion follows from it (sales-led, "
            "sales-assist, self-serve) and how far along the user is. Ask before suggesting an approach: self-serve "
            "users are not to be called unless they asked for it."
        ),
        arguments=arguments(
            NAME,
            user_id=(
                Name,
                Field(description="The product's id of the user"),
            ),
            include_history=(bool, Field(default=False, description="Earlier segments too")),
            include_account=(bool, Field(default=False, description="The account's segment too")),
        ),
        result=Segment,
        run=get_segment,
    )


def get_segment(desk: Desk, *, user_id: str, include_history: bool, include_account: bool) -> Segment:
    """The segment of a user."""
    found = scored_user(desk.serving, user_id)
    motion = desk.playbook.segments.motions[found["motion"]]
    whose = None
    if include_account and found["account_id"]:
        query = "select * exclude (explanation) from marts.pqa_scores where account_id = ?"
        owning = desk.serving.row(query, [found["account_id"]])
        assert owning is not None, "every account with a user has scores"
        whose = AccountSegment(
            account_id=owning["account_id"],
            name=owning["name"],
            segment=owning["segment"],
            motion=owning["motion"],
            source=owning["segment_source"],
            quadrant=owning["quadrant"],
            history=_history(desk, "account", owning["account_id"]) if include_history else None,
        )
    return Segment(
        user_id=user_id,
        segment=found["segment"],
        motion=found["motion"],
        source=found["segment_source"],
        activation_stage=found["activation_stage"],
        approach=motion.approach,
        playbook=list(motion.playbook),
        as_of=found["as_of"],
        history=_history(desk, "user", user_id) if include_history else None,
        account=whose,
    )


def _history(desk: Desk, kind: Kind, subject_id: str) -> list[Change]:
    rows = desk.serving.rows(
        "select segment, motion, source, valid_from, valid_to from marts.segment_history "
        "where subject_type = ? and subject_id = ? order by valid_from desc limit ?",
        [kind, subject_id, desk.playbook.assistant.limits.rows],
    )
    return [Change(**row) for row in rows]
