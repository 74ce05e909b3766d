"""Were the scores right: past scores and deals in, published tables, a report and its pictures out.

Full runs alone measure it: outcomes come with CRM data, which a delta does not look at.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from dagster_project.core.calibration.feedback import feedback_against_deals
from dagster_project.core.calibration.findings import SCHEMAS, find
from dagster_project.core.calibration.published import Published, published_of
from dagster_project.core.calibration.report import report
from dagster_project.core.models import models_of
from dagster_project.core.sections import as_markdown
from dagster_project.defs.handoffs import handoff_decisions
from dagster_project.defs.resources import WAREHOUSE_POOL, Workplace
from dagster_project.defs.tables import replace_table, shown_table
from dagster_project.defs.transform import OWNERS, published_columns
from dagster_project.event_catalog import CATALOGUE
from dagster_project.past_scores import accounts_now, by_accounts_now, observed_until, read_past
from dagster_project.warehouse import memory_limited, transaction

GROUP = "calibration"
_MEMORY_LIMIT = "200MB"
"""Of DuckDB while it reads: everybody's row goes by once, into a frame, and is not worth keeping twice."""
MARTS = {
    "rates": "calibration",
    **{name: f"calibration_{name}" for name in (*SCHEMAS, "feedback") if name != "rates"},
}
"""Tables of schema `calibration` -> the published table of each."""
CALIBRATION_MARTS = tuple(MARTS.values())
_SHOWN_WITH = {
    "rates": ("classes", "deciles"),
    "curves": ("gains", "reliability", "capacity"),
    "signals": ("signals",),
    "coverage": ("coverage",),
    "challengers": ("challengers",),
}
"""Which pictures the UI shows with which table."""
_DESCRIPTIONS = {
    "rates": "Close rates by class, decile, segment, signal, trigger. One row per model version, dimension and value.",
    "summary": "How good the scores are, and the whole report. One row per model version, kind of subject and metric.",
    "curves": "Reliability, cumulative gains and what a week's work finds. One row per point.",
    "signals": "What each signal by itself says of who will buy. One row per model version and signal.",
    "drift": "Whether people are still of the kind that was judged. One row per model version, feature and period.",
    "coverage": "Won deals and whether scores saw them coming. One row per model version and deal.",
    "suggestions": "Keys of the playbook that outcomes suggest to change. One row per model version, file and key.",
    "expected_rates": "The close rate to expect of a score. One row per model version and step.",
    "challengers": "Challengers and the champion on the same people and deals. One row per challenger and metric.",
    "feedback": "What sellers said of handoffs, beside the deals. One row per label.",
}


@dg.multi_asset(
    name="calibration",
    specs=[
        dg.AssetSpec(
            ["calibration", table],
            deps=[
                *(["scores", name] for name in ("daily_scores", "score_history", "models")),
                ["intermediate", "int_won_opportunities"],
                handoff_decisions,
            ],
            group_name=GROUP,
            owners=OWNERS,
            kinds={"duckdb", "polars"},
            description=_DESCRIPTIONS[table],
        )
        for table in MARTS
    ],
    pool=WAREHOUSE_POOL,
)
def calibration(workplace: Workplace) -> Iterator[dg.MaterializeResult]:
    """Compare past scores with deals; nothing is changed by what is found."""
    from dagster_project.reports.charts import as_markdown_image, pictures  # loads matplotlib

    playbook = workplace.playbook
    models = models_of(playbook, CATALOGUE.read_text(encoding="utf-8"))
    with workplace.ledger() as ledger:
        decisions, handoffs = ledger.read_frame("handoff_decisions"), ledger.handoffs()
        feedback = ledger.read_frame("handoff_feedback")
    with workplace.connect() as connection:
        until = observed_until(connection)
        with memory_limited(connection, _MEMORY_LIMIT):
            past = read_past(connection, decisions, period_days=playbook.calibration.period_days)
        handoffs = by_accounts_now(handoffs, accounts_now(connection))
        found = find(past, models, observed_until=until)
        said = feedback_against_deals(
            feedback, handoffs, past.outcomes, rules=playbook.calibration, observed_until=until
        )
        frames = {**{name: getattr(found, name) for name in SCHEMAS}, "feedback": said}
        with transaction(connection):
            for table, frame in frames.items():
                replace_table(connection, f"calibration.{table}", frame)
        shown = {
            table: shown_table(connection, f"calibration.{table}", published_columns(mart))
            for table, mart in MARTS.items()
        }
    about = published_of(frames, models[0].version)
    drawn = pictures(about)
    for table in MARTS:
        told: dict[str, Any] = {
            name: dg.MetadataValue.md(as_markdown_image(drawn[name], name))
            for name in _SHOWN_WITH.get(table, ())
            if name in drawn
        }
        yield dg.MaterializeResult(
            ["calibration", table], metadata={**told, **_report_of(table, about), **shown[table]}
        )


def _report_of(table: str, about: Published) -> dict[str, Any]:
    if table != "summary":
        return {}
    numbers = {name: about.number(name) for name in ("leads", "won_accounts", "close_rate", "auc")}
    told = {name.replace("_", " "): value for name, value in numbers.items() if value is not None}
    return {**told, "report": dg.MetadataValue.md(as_markdown(report(about), "Were the scores right?"))}
