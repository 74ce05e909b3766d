"""The ledger's tables, as this version of the code knows them.

A change here needs a migration in `migrations/versions/`; a test compares the two. What is done with the tables is in
`ledger.py`.
"""

import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

METADATA = sa.MetaData()

# Tables that SQL users read have a column `change`: the number of the ledger's transaction that wrote the row last, so
# that a copy can be brought up to date by what came after it.


class TextList(TypeDecorator[list[str]]):
    """A list of texts, kept as JSON, so that every database can hold it."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: list[str] | None, dialect: sa.Dialect) -> str | None:
        """To what the database holds."""
        return None if value is None else json.dumps(value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> list[str] | None:
        """From what the database holds."""
        return None if value is None else json.loads(value)


META = sa.Table(
    "meta",
    METADATA,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
)

HANDOFF_DECISIONS = sa.Table(
    "handoff_decisions",
    METADATA,
    sa.Column("decision_id", sa.String, primary_key=True),
    sa.Column("candidate_key", sa.String, nullable=False),
    sa.Column("handoff_id", sa.String),
    sa.Column("user_id", sa.String),
    sa.Column("account_id", sa.String),
    sa.Column("triggers", TextList, nullable=False),
    sa.Column("priority", sa.String, nullable=False),
    sa.Column("decision", sa.String, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("decided_at", sa.DateTime, nullable=False),
    sa.Column("change", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("ix_handoff_decisions_change", "change"),
    sa.Index("ix_handoff_decisions_decided_at", "decided_at"),
)

HANDOFFS = sa.Table(
    "handoffs",
    METADATA,
    sa.Column("handoff_id", sa.String, primary_key=True),
    sa.Column("candidate_key", sa.String, nullable=False),
    sa.Column("user_id", sa.String),
    sa.Column("account_id", sa.String),
    sa.Column("trigger", sa.String, nullable=False),
    sa.Column("triggers", TextList, nullable=False),
    sa.Column("priority", sa.String, nullable=False),
    sa.Column("handoff_type", sa.String, nullable=False),
    sa.Column("recipient_id", sa.String, nullable=False),
    sa.Column("due_at", sa.DateTime, nullable=False),
    sa.Column("package_markdown", sa.Text, nullable=False),
    sa.Column("package_blocks", sa.Text),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("classification", sa.String),
    sa.Column("created_at", sa.DateTime, nullable=False),
    sa.Column("change", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("ix_handoffs_change", "change"),
    sa.Index("ix_handoffs_status", "status"),
    sa.Index("ix_handoffs_created_at", "created_at"),
)

HANDOFF_FIRINGS = sa.Table(
    "handoff_firings",
    METADATA,
    sa.Column("handoff_id", sa.String, primary_key=True),
    sa.Column("firings", TextList, nullable=False),
)
"""What fired for handoffs that nobody has got yet, as candidates keep it."""

RULE_DECISIONS = sa.Table(
    "rule_decisions",
    METADATA,
    sa.Column("decision_id", sa.String, primary_key=True),
    sa.Column("rule", sa.String, nullable=False),
    sa.Column("subject_type", sa.String, nullable=False),
    sa.Column("subject_id", sa.String, nullable=False),
    sa.Column("user_id", sa.String),
    sa.Column("account_id", sa.String),
    sa.Column("occurrence", sa.String, nullable=False),
    sa.Column("decision", sa.String, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("recipient_id", sa.String),
    sa.Column("decided_at", sa.DateTime, nullable=False),
    sa.Column("change", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("ix_rule_decisions_change", "change"),
    sa.Index("ix_rule_decisions_decided_at", "decided_at"),
)

NOTICES = sa.Table(
    "notices",
    METADATA,
    sa.Column("notice_id", sa.String, primary_key=True),
    sa.Column("topic", sa.String, nullable=False),
    sa.Column("recipient_id", sa.String, nullable=False),
    sa.Column("user_id", sa.String),
    sa.Column("account_id", sa.String),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("created_at", sa.DateTime, nullable=False),
    sa.Column("change", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("ix_notices_status", "status"),
)

MQL_OVERLAP = sa.Table(
    "mql_overlap",
    METADATA,
    sa.Column("handoff_id", sa.String, primary_key=True),
    sa.Column("contact_id", sa.String, nullable=False),
    sa.Column("user_id", sa.String, nullable=False),
    sa.Column("account_id", sa.String),
    sa.Column("email", sa.String),
    sa.Column("lifecycle_stage", sa.String, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("paused_at", sa.DateTime, nullable=False),
    sa.Column("recycled_at", sa.DateTime),
    sa.Column("recycled_reason", sa.Text),
    sa.Column("change", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("ix_mql_overlap_change", "change"),
    sa.Index("ix_mql_overlap_status", "status"),
)

AUDIENCE_MEMBERS = sa.Table(
    "audience_members",
    METADATA,
    sa.Column("member_id", sa.String, primary_key=True),
    sa.Column("user_id", sa.String, nullable=False),
    sa.Column("contact_id", sa.String),
    sa.Column("account_id", sa.String),
    sa.Column("playbook", sa.String, nullable=False),
    sa.Column("next_step", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("joined_at", sa.DateTime, nullable=False),
    sa.Column("left_at", sa.DateTime),
    sa.Column("change", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("ix_audience_members_change", "change"),
    sa.Index("ix_audience_members_left_at", "left_at"),
)

HANDOFF_FEEDBACK = sa.Table(
    "handoff_feedback",
    METADATA,
    sa.Column("feedback_id", sa.String, primary_key=True),
    sa.Column("handoff_id", sa.String, nullable=False),
    sa.Column("label", sa.String, nullable=False),
    sa.Column("answered_by", sa.String),
    sa.Column("answered_at", sa.DateTime, nullable=False),
    sa.Column("until", sa.DateTime),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("change", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("ix_handoff_feedback_change", "change"),
    sa.Index("ix_handoff_feedback_handoff_id", "handoff_id"),
)

TRIGGER_STATES = sa.Table(
    "trigger_states",
    METADATA,
    sa.Column("subject_type", sa.String, primary_key=True),
    sa.Column("subject_id", sa.String, primary_key=True),
    sa.Column("trigger", sa.String, primary_key=True),
    sa.Column("occurrence", sa.String),
    sa.Column("is_armed", sa.Boolean, nullable=False),
    sa.Column("changed_at", sa.DateTime, nullable=False),
)

CANDIDATES = sa.Table(
    "candidates",
    METADATA,
    sa.Column("candidate_key", sa.String, primary_key=True),
    sa.Column("subject_type", sa.String, nullable=False),
    sa.Column("subject_id", sa.String, nullable=False),
    sa.Column("user_id", sa.String),
    sa.Column("account_id", sa.String),
    sa.Column("triggers", TextList, nullable=False),
    sa.Column("priority", sa.String, nullable=False),
    sa.Column("explicit_request", sa.Boolean, nullable=False),
    sa.Column("first_seen_at", sa.DateTime, nullable=False),
    sa.Column("last_decision", sa.String, nullable=False),
)

ROUTING_TURNS = sa.Table(
    "routing_turns",
    METADATA,
    sa.Column("team", sa.String, primary_key=True),
    sa.Column("owner_id", sa.String, primary_key=True),
    sa.Column("assigned_seq", sa.BigInteger, nullable=False),
)

DELIVERIES = sa.Table(
    "deliveries",
    METADATA,
    sa.Column("delivery_id", sa.String, primary_key=True),
    sa.Column("destination", sa.String, nullable=False),
    sa.Column("object_type", sa.String, nullable=False),
    sa.Column("object_id", sa.String, nullable=False),
    sa.Column("operation", sa.String, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("payload_hash", sa.String, nullable=False),
    sa.Column("action_key", sa.String),
    sa.Column("requested_at", sa.DateTime, nullable=False),
    sa.Column("confirmed_at", sa.DateTime),
    sa.Column("change", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("ix_deliveries_change", "change"),
    sa.Index("ix_deliveries_status", "status", "destination", "object_type"),
    sa.Index("ix_deliveries_object", "destination", "object_type", "object_id"),
    sa.Index("ix_deliveries_action_key", "action_key"),
)

CONFIRMED_RECORDS = sa.Table(
    "confirmed_records",
    METADATA,
    sa.Column("destination", sa.String, primary_key=True),
    sa.Column("object_type", sa.String, primary_key=True),
    sa.Column("object_id", sa.String, primary_key=True),
    sa.Column("fields", sa.Text, nullable=False),
    sa.Column("digest", sa.BigInteger),
    sa.Column("confirmed_at", sa.DateTime, nullable=False),
    sa.Index("ix_confirmed_records_digest", "destination", "object_type", "object_id", "digest"),
)

TOOL_CALLS = sa.Table(
    "tool_calls",
    METADATA,
    sa.Column("call_id", sa.String, primary_key=True),
    sa.Column("called_at", sa.DateTime, nullable=False),
    sa.Column("asked_by", sa.String, nullable=False),
    sa.Column("tool", sa.String, nullable=False),
    sa.Column("arguments", sa.Text, nullable=False),
    sa.Column("decision", sa.String, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("result_bytes", sa.BigInteger, nullable=False),
    sa.Column("milliseconds", sa.Float, nullable=False),
    sa.Column("delivery_id", sa.String),
    sa.Column("change", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("ix_tool_calls_change", "change"),
    sa.Index("ix_tool_calls_called_at", "called_at"),
)

PLANNED_WRITES = sa.Table(
    "planned_writes",
    METADATA,
    sa.Column("token_hash", sa.String, primary_key=True),
    sa.Column("asked_by", sa.String, nullable=False),
    sa.Column("tool", sa.String, nullable=False),
    sa.Column("arguments", sa.Text, nullable=False),
    sa.Column("planned_at", sa.DateTime, nullable=False),
    sa.Column("expires_at", sa.DateTime, nullable=False),
)
"""What an assistant wants to write and has not confirmed; the token itself is nowhere but with whoever asked."""
