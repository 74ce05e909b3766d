"""Brings fields elsewhere up to date: record the intent, send, record what became of each record.

What has to be written is `field_plans.py`'s business, how a system is spoken to that of `clients/`. Between an intent
and its receipt no transaction and no lock is held.
"""

import json
from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from operator import itemgetter
from typing import Any

import polars as pl

from dagster_project.clients.crm import (
    CrmDenied,
    CrmError,
    CrmNotDone,
    CrmRefused,
    CrmUnavailable,
    CrmUnknown,
    Receipt,
)
from dagster_project.core.sync import (
    HELD,
    MADE_AS,
    FieldUpdate,
    counts_of,
)
from dagster_project.field_plans import OPERATION, Destination, read_held
from dagster_project.ledger import Ledger
from dagster_project.ledger_writing import Outcome, Request, outcome_of

UNSAID = "the answer did not say what became of this record"


@dataclass(frozen=True)
class SendRules:
    """How a plan is sent.

    Attributes:
        resends: How often a request without an answer is sent again at once.
        verify_sample: How many written records are read back.
    """

    resends: int = 2
    verify_sample: int = 0


@dataclass
class SyncResult:
    """What became of one object type.

    Attributes:
        written: Records that were taken, those that were made among them.
        created: Records that were made, or found by their e-mail for the first time.
        skipped: How many were left alone, by reason.
        refused: What was said about records that are not taken as they are, by id.
        left: Records that the next run tries again.
        held: Records of which nothing may be written while a feed is silent.
        cause: Why they failed, when the other side could not be reached or would not have us.
        requests: How often `update` was called.
        verified: Records that were read back.
        mismatched: Of those, what stands there instead of what was written, by id, after writing it once more.
    """

    written: int = 0
    created: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    refused: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    cause: str | None = None
    requests: int = 0
    verified: int = 0
    mismatched: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """How many records the next run tries again."""
        return len(self.left)


def nothing_to_tell(point: str) -> None:
    """Where the work stands is nobody's business."""


def send_plan(
    ledger: Ledger,
    to: Destination,
    object_type: str,
    plan: Iterable[pl.DataFrame],
    *,
    rules: SendRules,
    now: datetime,
    at: Callable[[str], None] = nothing_to_tell,
) -> SyncResult:
    """Carry a plan out.

    Args:
        ledger: Where intents and receipts are kept; no transaction of it is open while anything is sent.
        to: Where to.
        object_type: `contact` or `account`.
        plan: See `plan_fields`; read as it is needed.
        rules: How.
        now: Naive UTC.
        at: Told where the work stands; for tests that stop it there.
    """
    sender = _Sender(ledger, to, object_type, rules, now, at)
    waiting: dict[bool, list[_Planned]] = {True: [], False: []}  # by whether they go by an e-mail
    try:
        for part in plan:
            at("planned")
            sender.note(part)
            for row in part.iter_rows(named=True):
                if row["operation"] in ("create", "update"):
                    batch = waiting[row["create_as"] is not None]
                    batch.append(_planned(row))
                    if len(batch) == to.max_batch:
                        sender.send(batch)
                        batch.clear()
    except CrmError as error:  # planning has to read where a policy wants it
        sender.result.cause = str(error)
    for batch in waiting.values():
        if batch:
            sender.send(batch)
    sender.verify()
    return sender.result


@dataclass(frozen=True)
class _Planned:
    """An update as it was planned; `payload` is its fields as JSON, `is_new` of a record that was never written."""

    update: FieldUpdate
    payload: str
    digest: int
    is_new: bool


@dataclass
class _Sender:
    """One object type on its way."""

    ledger: Ledger
    to: Destination
    object_type: str
    rules: SendRules
    now: datetime
    at: Callable[[str], None]
    result: SyncResult = field(default_factory=SyncResult)
    sample: list[tuple[str, FieldUpdate]] = field(default_factory=list)

    def note(self, part: pl.DataFrame) -> None:
        """Remember the records in which nothing is left to write, and count those that are skipped."""
        settled = part.filter(pl.col("operation") == "none").select("object_id", "digest")
        if settled.height:
            digests = {self._key(object_id): digest for object_id, digest in settled.iter_rows()}
            self.ledger.settle([], self.now, digests=digests)
            self.at("nothing left noted")
        prefix = "skipped: "
        skips = {label.removeprefix(prefix): n for label, n in counts_of(part).items() if label.startswith(prefix)}
        self.result.skipped.update(skips)
        is_held = (pl.col("operation") == "skip") & pl.col("reason").str.starts_with(HELD)
        self.result.held += part.filter(is_held)["object_id"].to_list()

    def send(self, batch: Sequence[_Planned]) -> None:
        """Send a batch; once the other side is known not to answer, only count it."""
        if self.result.cause is not None:
            self.result.left += [planned.update.object_id for planned in batch]
            return
        ids = self.ledger.request([self._request(planned) for planned in batch], self.now)
        self.at("intended")
        updates = [replace(planned.update, delivery_id=name) for planned, name in zip(batch, ids, strict=True)]
        receipts = self._delivered(updates)
        self.at("answered")
        outcomes, confirmed, digests = [], {}, {}
        for update, planned in zip(updates, batch, strict=True):
            receipt = receipts[update.object_id]
            outcome = outcome_of(str(update.delivery_id), receipt)
            outcomes.append(outcome)
            if outcome.status == "confirmed":
                confirmed[self._key(update.object_id)] = update.fields
                if (theirs := receipt.created_id) and theirs != update.object_id:
                    confirmed[self._key(theirs)] = update.fields
                    confirmed[self._key(update.object_id)] = {**update.fields, MADE_AS: theirs}
                digests[self._key(update.object_id)] = planned.digest
            self._count(update, receipt, outcome, is_new=planned.is_new)
        self.ledger.settle(outcomes, self.now, confirmed=confirmed, digests=digests)
        self.at("settled")

    def verify(self) -> None:
        """Read a sample back; what isn't there is written once more before it is complained about."""
        if not self.sample or self.result.cause is not None:
            return
        try:
            wrong = self._wrong([update for _, update in self.sample])
            if wrong:
                self._delivered(wrong)
                self.at("written once more")
                wrong = self._wrong(wrong)
        except CrmError as error:
            self.result.cause = f"reading back: {error}"
            return
        self.result.verified = len(self.sample)
        self.result.mismatched = {update.object_id: f"does not hold {dict(update.fields)}" for update in wrong}
        self.at("verified")

    def _wrong(self, updates: Sequence[FieldUpdate]) -> list[FieldUpdate]:
        names = sorted({name for update in updates for name in update.fields})
        held = read_held(self.to, self.object_type, [update.object_id for update in updates], names)
        return [
            update
            for update in updates
            if any(held.get(update.object_id, {}).get(name) != value for name, value in update.fields.items())
        ]

    def _delivered(self, updates: Sequence[FieldUpdate]) -> dict[str, Receipt]:
        """Send updates until each has its own end; a batch that is refused as a whole is split."""
        receipts: dict[str, Receipt] = {}
        left = list(updates)
        words = UNSAID
        for _ in range(self.rules.resends + 1):
            try:
                self.at("to be sent")
                self.result.requests += 1
                answered = self.to.update(self.object_type, left)
                self.at("sent")
                receipts |= {receipt.object_id: receipt for receipt in answered}
            except CrmNotDone as error:
                return self._stopped(left, receipts, error)
            except CrmUnknown as error:  # the same again does no harm
                if error.is_silent:
                    return self._stopped(left, receipts, error)
                words = str(error)
                continue
            except (CrmUnavailable, CrmDenied) as error:
                return self._stopped(left, receipts, error)
            except CrmRefused as error:
                return receipts | self._split(left, error)
            left = [update for update in left if update.object_id not in receipts]
            if not left:
                return receipts
            words = UNSAID
        if words != UNSAID:
            return self._stopped(left, receipts, CrmUnknown(words))
        return receipts | {update.object_id: _unknown(update, UNSAID) for update in left}

    def _split(self, updates: Sequence[FieldUpdate], refusal: CrmRefused) -> dict[str, Receipt]:
        """Until the guilty record stands alone."""
        if len(updates) == 1:
            return {updates[0].object_id: Receipt(updates[0].object_id, str(refusal))}
        receipts: dict[str, Receipt] = {}
        middle = len(updates) // 2
        for half in (updates[:middle], updates[middle:]):
            if self.result.cause is None:
                receipts |= self._delivered(half)
            else:
                receipts |= {update.object_id: _later(update, self.result.cause) for update in half}
        return receipts

    def _stopped(
        self, updates: Sequence[FieldUpdate], receipts: dict[str, Receipt], error: CrmError
    ) -> dict[str, Receipt]:
        """What comes after would fail in the same way: the next run finds it still to be done."""
        self.result.cause = str(error)
        kind = _unknown if isinstance(error, CrmUnknown) else _later
        return receipts | {update.object_id: kind(update, str(error)) for update in updates}

    def _count(self, update: FieldUpdate, receipt: Receipt, outcome: Outcome, *, is_new: bool) -> None:
        if outcome.status == "confirmed":
            self.result.written += 1
            self.result.created += is_new
            self._draw(update, receipt.created_id or update.object_id)
        elif outcome.status == "parked":
            self.result.refused[update.object_id] = str(outcome.error)
        else:
            self.result.left.append(update.object_id)

    def _draw(self, update: FieldUpdate, object_id: str) -> None:
        """Take a written record into the sample that is read back, if its lot is among the smallest."""
        lot = sha256(f"{self.now} {update.object_id}".encode()).hexdigest()
        if len(self.sample) == self.rules.verify_sample and (not self.sample or lot > self.sample[-1][0]):
            return
        insort(self.sample, (lot, replace(update, object_id=object_id, create=None)), key=itemgetter(0))
        del self.sample[self.rules.verify_sample :]

    def _key(self, object_id: str) -> tuple[str, str, str]:
        return self.to.name, self.object_type, object_id

    def _request(self, planned: _Planned) -> Request:
        return Request(
            destination=self.to.name,
            object_type=self.object_type,
            object_id=planned.update.object_id,
            operation=OPERATION,
            payload=planned.payload,
            payload_hash=planned.update.fingerprint,
        )


def _planned(row: Mapping[str, Any]) -> _Planned:
    create = json.loads(row["create_as"]) if row["create_as"] is not None else None
    update = FieldUpdate(row["object_id"], json.loads(row["fields"]), row["fingerprint"], create)
    return _Planned(update, row["fields"], row["digest"], row["operation"] == "create")


def _unknown(update: FieldUpdate, words: str) -> Receipt:
    return Receipt(update.object_id, words, is_unknown=True)


def _later(update: FieldUpdate, words: str) -> Receipt:
    return Receipt(update.object_id, words, is_retryable=True)
