"""`score_new_events`: what new events and records of the CRM change, all of it in one step.

Telling of a step of its own takes Dagster longer than most of what an asset has to do for a small batch. So the
functions of the assets run one after the other in one, and the run tells of the assets that they made: asset pages,
freshness and checks are as after a run of everything. Decision 0025.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from inspect import signature, unwrap
from typing import Any

import dagster as dg

from dagster_project.defs.actions import crm_actions
from dagster_project.defs.activation import crm_fields, crm_plan, the_crm_took_what_was_sent
from dagster_project.defs.delivery import delivered_handoffs
from dagster_project.defs.handoffs import handoff_decisions
from dagster_project.defs.ingest import crm_records, email_domains, moments, playbook_rules, product_events
from dagster_project.defs.product import product_traits_sent
from dagster_project.defs.resources import WAREHOUSE_POOL, Workplace
from dagster_project.defs.scoring import scores
from dagster_project.defs.serving import ledger_copy, publish_scores, serving_database
from dagster_project.defs.transform import feature_models, touched_features

SCORE_NEW_EVENTS = "score_new_events"
BESIDE_NICENESS = 10
"""Of the thread that publishes scores: somebody waits for the alert that is decided meanwhile."""
Made = dg.MaterializeResult | dg.AssetCheckResult
Told = dg.AssetMaterialization | dg.AssetCheckEvaluation


@dataclass(frozen=True)
class Stage:
    """What is done for some assets, or for the check of one.

    Attributes:
        name: What a failure is told by.
        make: The function; it takes what it names of `context` and `workplace`.
        keys: The assets that stand on it.
        upstream: The assets that it stands on.
        checks: The checks that it tells of.
    """

    name: str
    make: Callable[..., Any]
    keys: frozenset[dg.AssetKey]
    upstream: frozenset[dg.AssetKey]
    checks: frozenset[dg.AssetCheckKey]

    def results(self, context: dg.OpExecutionContext, workplace: Workplace) -> Iterator[Made]:
        """Do it, and tell of each asset and check when it is made."""
        given = {"context": context, "workplace": workplace}
        made = self.make(**{name: given[name] for name in signature(self.make).parameters})
        for result in [made] if isinstance(made, dg.MaterializeResult) else made:
            yield result
            if isinstance(result, dg.MaterializeResult):
                yield from result.check_results or ()


def _stage(assets: dg.AssetsDefinition, make: Callable[..., Any] | None = None) -> Stage:
    checked = {check.asset_key for check in assets.check_keys}
    upstream = checked.union(*assets.asset_deps.values()) - assets.keys
    function = assets.op
    return Stage(
        function.name,
        make or unwrap(function),
        keys=frozenset(assets.keys),
        upstream=frozenset(upstream),
        checks=frozenset(assets.check_keys),
    )


_SCORES, _LEDGER_COPY = _stage(scores), _stage(ledger_copy)
STAGES = (
    _stage(crm_records),
    _stage(moments),
    _stage(playbook_rules),
    _stage(product_events),
    _stage(email_domains),
    _stage(feature_models, touched_features),
    _SCORES,
    _stage(handoff_decisions),
    _stage(delivered_handoffs),
    _stage(crm_plan),
    _stage(crm_fields),
    _stage(the_crm_took_what_was_sent),
    _stage(crm_actions),
    _LEDGER_COPY,
    _stage(serving_database),
    _stage(product_traits_sent),
)
"""In the order in which they are done: who is waiting for news comes first."""


@dg.op(out={}, pool=WAREHOUSE_POOL)
def new_events(context: dg.OpExecutionContext, workplace: Workplace) -> Iterator[Told]:
    """Load, score, decide, write back and publish; what doesn't stand on something that failed is done all the same.

    What was made is told at the end: to record it takes Dagster a quarter of a second, and somebody waits for the news.
    Many scores are published beside what follows them; whoever reads them need not wait for what is decided.
    """
    told: list[Told] = []
    failed: dict[str, Exception] = {}
    missing: set[dg.AssetKey] = set()
    with ThreadPoolExecutor(1, initializer=_step_aside) as beside:
        publication: Future[None] | None = None
        for stage in STAGES:
            if stage is _LEDGER_COPY and publication is not None and (cause := publication.exception()):
                context.log.warning("Scores could not be published before the rest", exc_info=cause)
            if stage.upstream & missing:
                missing |= stage.keys
                continue
            began = time.perf_counter()
            try:
                for result in stage.results(context, workplace):
                    told.append(_told(stage, result, seconds=time.perf_counter() - began))
            except Exception as error:
                context.log.error(f"{stage.name} failed", exc_info=True)
                failed[stage.name] = error
                missing |= stage.keys
            if stage is _SCORES and stage.name not in failed:
                try:
                    publication = beside.submit(publish_scores, context.run, workplace)
                except RuntimeError:
                    context.log.warning("No thread can be had: scores are published with the rest", exc_info=True)
    yield from told
    if failed:
        causes: dict[str, list[str]] = {}
        for name, why in failed.items():
            causes.setdefault(_words(why), []).append(name)
        raise dg.Failure("\n".join(f"{', '.join(names)}: {cause}" for cause, names in causes.items()))


def _step_aside() -> None:
    """This thread, and those that it starts, leave the cores to whoever wants them, where threads have priorities."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BESIDE_NICENESS)


@dg.job(
    name=SCORE_NEW_EVENTS,
    description="Load new events and records of the CRM, score whom they touch, decide, write back and publish; "
    "without the checks that read whole tables.",
)
def score_new_events() -> None:
    """One step."""
    new_events()


def _told(stage: Stage, result: Made, *, seconds: float) -> Told:
    if isinstance(result, dg.MaterializeResult):
        [key] = [result.asset_key] if result.asset_key else stage.keys
        spent: dict[str, Any] = {"part": stage.name, "seconds": round(seconds, 3)}
        return dg.AssetMaterialization(key, metadata={**spent, **(result.metadata or {})})
    [asset] = {check.asset_key for check in stage.checks}
    [name] = [result.check_name] if result.check_name else [check.name for check in stage.checks]
    return dg.AssetCheckEvaluation(
        asset, name, result.passed, result.metadata, severity=result.severity, description=result.description
    )


def _words(error: Exception) -> str:
    if isinstance(error, dg.Failure):
        return error.description or "failed"
    own = type(error).__module__.startswith("dagster_project.")
    return str(error) if own else f"{type(error).__name__}: {error}"
