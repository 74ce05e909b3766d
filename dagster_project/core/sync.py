"""Which fields of which records have to be written elsewhere: the difference between what is and what was confirmed.

Pure: frames and records in, a plan out. How it is carried out is `activation.py`'s business, how a system is spoken to
a client's, that nothing is written twice the ledger's.
"""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any, Literal

import polars as pl

Policy = Literal["always", "if_empty", "if_higher"]
"""When a field is written: where it differs; only while the other side has nothing; only if ours is higher."""
RIDERS = frozenset({"pls_scored_at"})
"""Fields that are sent along with others and are never a reason to write."""
PLAN_SCHEMA = pl.Schema(
    {
        "object_id": pl.String(),
        "operation": pl.String(),
        "fields": pl.String(),
        "before": pl.String(),
        "create_as": pl.String(),
        "fingerprint": pl.String(),
        "digest": pl.Int64(),
        "reason": pl.String(),
    }
)
"""A plan: one row per record that was looked at. `operation` is create, update, skip (`reason` says why) or none;
`fields`, `before` and `create_as` are JSON."""
REFUSED_BEFORE = "refused before, and not changed since"
"""Why a record is skipped that the other side will not take as it is."""
MADE_AS = "@made as"
"""Among what is confirmed of a contact that goes by its e-mail: the destination's own id of it."""
HELD = "a decrease is held: "
"""How the reason begins for which a record is skipped while a feed is silent."""
_NEVER_CONFIRMED = object()


@dataclass(frozen=True)
class FieldUpdate:
    """Fields of one record that have to change, under the destination's names.

    Attributes:
        object_id: The destination's id of the record.
        fields: What to write, riders included.
        fingerprint: A hash of what makes the update necessary, the same as long as that is so.
        create: None for a record that is known by its id. Otherwise `email`, and `name` and `account_id` where they are
            known: the record with this e-mail is meant, and made with these if there is none; `object_id` is our name
            for it.
        delivery_id: Of the delivery that it is; the same when it is sent again.
    """

    object_id: str
    fields: Mapping[str, Any]
    fingerprint: str
    create: Mapping[str, Any] | None = None
    delivery_id: str | None = None


@dataclass(frozen=True)
class Target:
    """How one object type is written to one destination.

    Attributes:
        names: Our field -> the destination's name; None means that the field is not written there.
        policies: By our field; absent is `always`.
        orders: By our field, its texts from the lowest to the highest.
        clears: Whether None is known to be nothing and taken over as such, and not unknown.
    """

    names: Mapping[Any, str | None]
    policies: Mapping[Any, Policy] = field(default_factory=dict)
    orders: Mapping[str, Sequence[str]] = field(default_factory=dict)
    clears: bool = False

    @cached_property
    def written(self) -> dict[str, str]:
        """Our field -> the destination's name, of those that are written."""
        return {ours: theirs for ours, theirs in self.names.items() if theirs}

    @cached_property
    def guarded(self) -> dict[str, str]:
        """The same, of those that depend on what stands there at the moment."""
        return {ours: theirs for ours, theirs in self.written.items() if self.policies.get(ours, "always") != "always"}

    @cached_property
    def mapping(self) -> str:
        """A hash of how our fields become theirs."""
        return _hash([sorted(self.written.items()), sorted(self.policies.items())])


@dataclass(frozen=True)
class Standing:
    """What is known of the destination's side, by object id.

    Attributes:
        confirmed: What it was last confirmed to hold, under its names.
        current: What it holds at the moment, of the records that `needs_reading` named.
        parked: The fingerprint of an update that was refused for good: not tried again until it changes.
        hold_decreases: Why nothing may fall, None if it may.
    """

    confirmed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    current: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    parked: Mapping[str, str] = field(default_factory=dict)
    hold_decreases: str | None = None


def with_digest(desired: pl.DataFrame, target: Target) -> pl.DataFrame:
    """The same rows with `digest`: equal whenever nothing that could be written has changed, nor how it is written.

    Args:
        desired: `object_id`, our fields, optionally `create_as`.
        target: What is written, and how.
    """
    deciding = [name for name in desired.columns if name in target.written and name not in RIDERS]
    if not deciding:
        return desired.with_columns(digest=pl.lit(0, pl.Int64))
    seed = int(target.mapping[:15], 16)
    text = pl.struct(deciding).struct.json_encode()
    return desired.with_columns(digest=text.hash(seed).reinterpret(signed=True))


def changed_records(desired: pl.DataFrame, known: pl.DataFrame) -> pl.Series:
    """The rows that have to be looked at: whose digest is another one than when nothing was left to write.

    Args:
        desired: With `digest`, see `with_digest`.
        known: `object_id` and that digest.

    Returns:
        Their places in `desired`, in the order of `object_id`: these rows may be too many for another frame of them.
    """
    told = desired.select("object_id", "digest").with_row_index("place")
    return told.join(known, on=["object_id", "digest"], how="anti").sort("object_id")["place"]


def needs_reading(rows: pl.DataFrame, confirmed: Mapping[str, Mapping[str, Any]], target: Target) -> list[str]:
    """The records of which the destination has to be asked what it holds, because a policy depends on it."""
    guarded = set(target.guarded.values())
    if not guarded:
        return []
    return [
        row["object_id"]
        for row in rows.iter_rows(named=True)
        if row.get("create_as") is None
        and guarded & _differing(row, confirmed.get(row["object_id"], {}), target).keys()
    ]


def plan_records(rows: pl.DataFrame, standing: Standing, target: Target) -> pl.DataFrame:
    """What has to be done about records.

    Args:
        rows: With `digest`; None in one of our fields is unknown and never written.
        standing: The destination's side.
        target: What is written, and how.

    Returns:
        `PLAN_SCHEMA`, a row per record, in the same order.
    """
    planned = [_planned(row, standing, target) for row in rows.iter_rows(named=True)]
    return pl.DataFrame(planned, schema=PLAN_SCHEMA, orient="row")


def without_confirmed(plan: pl.DataFrame, confirmed: Mapping[str, Mapping[str, Any]], target: Target) -> pl.DataFrame:
    """A plan without the records whose values are all confirmed by now.

    Args:
        plan: `PLAN_SCHEMA`.
        confirmed: By object id, what the destination is certain to hold under its own names.
        target: What is written, and how.
    """
    riders = {theirs for ours, theirs in target.written.items() if ours in RIDERS}
    done = [
        row["object_id"]
        for row in plan.iter_rows(named=True)
        if row["operation"] in ("create", "update")
        and (held := confirmed.get(row["object_id"])) is not None
        and all(
            name in riders or held.get(name, _NEVER_CONFIRMED) == value
            for name, value in json.loads(row["fields"]).items()
        )
    ]
    return plan.filter(~pl.col("object_id").is_in(done)) if done else plan


def differences(plan: pl.DataFrame) -> pl.DataFrame:
    """A plan as a table for people: one row per record and field, with `before` and `after` as JSON."""
    rows = [
        (row["object_id"], row["operation"], name, _text(before[name]) if name in before else None, _text(after))
        for row in plan.filter(pl.col("fields").is_not_null()).iter_rows(named=True)
        for before in [json.loads(row["before"] or "{}")]
        for name, after in json.loads(row["fields"]).items()
    ]
    columns = ("object_id", "operation", "field", "before", "after")
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")


def counts_of(plan: pl.DataFrame) -> Counter[str]:
    """How many records the plan would create and update, how many it skips and why."""
    labels = plan.filter(pl.col("operation") != "none").select(
        label=pl.when(pl.col("operation") == "skip")
        .then(pl.lit("skipped: ") + pl.col("reason"))
        .otherwise(pl.col("operation"))
    )
    return Counter(labels["label"].to_list())


def _planned(row: Mapping[str, Any], standing: Standing, target: Target) -> tuple[Any, ...]:
    """A row of `PLAN_SCHEMA`."""
    object_id = row["object_id"]
    held = standing.confirmed.get(object_id, {})
    # What was made is asked for by its e-mail, so that it can't be read by its id: it holds what we wrote.
    current = held if row.get("create_as") else standing.current.get(object_id, {})
    differs = _differing(row, held, target)
    kept = kept_by_policy(row, current, target) & differs.keys()
    before = {name: current.get(name, held.get(name)) for name in differs if name in current or name in held}
    differs = {name: value for name, value in differs.items() if name not in kept}
    policies = f"left as they are: {', '.join(sorted(kept))}" if kept else None
    if not differs:
        return object_id, "none", None, None, None, None, row["digest"], policies
    fingerprint = _hash([target.mapping, differs])[:16]
    why = _why_not(row, held, fingerprint, standing, target)
    riding = {theirs: row[ours] for ours, theirs in target.written.items() if ours in RIDERS and row.get(ours)}
    is_new = row.get("create_as") is not None and not held
    operation = "skip" if why else "create" if is_new else "update"
    return (
        object_id, operation, _text(differs | riding), _text(before), row.get("create_as"), fingerprint, row["digest"],
        why or policies,
    )  # fmt: skip


def _why_not(
    row: Mapping[str, Any], held: Mapping[str, Any], fingerprint: str, standing: Standing, target: Target
) -> str | None:
    """Why a record that differs is not written, None if it is."""
    if standing.parked.get(row["object_id"]) == fingerprint:
        return REFUSED_BEFORE
    if standing.hold_decreases is None:
        return None
    for ours, theirs in target.written.items():
        after, order = row.get(ours), target.orders.get(ours)
        if after is not None and theirs in held and _falls(held[theirs], after, order):
            return HELD + standing.hold_decreases
    return None


def _differing(row: Mapping[str, Any], held: Mapping[str, Any], target: Target) -> dict[str, Any]:
    """What is known and another value than the one confirmed, under the destination's names."""
    differing = {}
    for ours, theirs in target.written.items():
        value = row.get(ours)
        before = held.get(theirs, None if value is None else _NEVER_CONFIRMED)
        if ours not in RIDERS and before != value and (value is not None or target.clears):
            differing[theirs] = value
    return differing


def kept_by_policy(row: Mapping[str, Any], current: Mapping[str, Any], target: Target) -> set[str]:
    """The destination's names of fields that a policy keeps from being written over what stands there.

    Args:
        row: Our fields, as they would be written; fields that are not in it are left alone.
        current: What the destination holds, under its names.
        target: How it is written.
    """
    kept = set()
    for ours, theirs in target.guarded.items():
        stands, wanted = current.get(theirs), row.get(ours)
        if stands in (None, "", []) or wanted is None:
            continue
        is_higher = _rank(wanted, target.orders.get(ours)) > _rank(stands, target.orders.get(ours), unknown=1e300)
        if target.policies[ours] == "if_empty" or not is_higher:
            kept.add(theirs)
    return kept


def _falls(before: Any, after: Any, order: Sequence[str] | None) -> bool:
    """Whether a value is lower than the one before, or a list has lost something."""
    if isinstance(before, list) and isinstance(after, list):
        return bool(_texts(before) - _texts(after))
    if order is None and (isinstance(before, str) or isinstance(after, str)):
        return False
    return _rank(after, order) < _rank(before, order)


def _rank(value: Any, order: Sequence[str] | None, *, unknown: float = -1.0) -> float:
    """A number's value, a text's place in its order; `unknown` for what has neither."""
    if order is not None:
        return float(order.index(value)) if value in order else unknown
    try:
        return float(value)
    except (TypeError, ValueError):
        return unknown


def _texts(values: Collection[Any]) -> set[str]:
    return {_text(value) for value in values}


_text = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode
_ascii = json.JSONEncoder(sort_keys=True).encode


def _hash(value: Any) -> str:
    return sha256(_ascii(value).encode()).hexdigest()
