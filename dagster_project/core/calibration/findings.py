"""Everything that calibration finds out about one model, as the frames that are published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
import polars as pl

from dagster_project.core.calibration.changes import SUGGESTIONS, frame_of, suggested_changes
from dagster_project.core.calibration.comparison import COMPARISON, compare, in_words
from dagster_project.core.calibration.coverage import COVERAGE, QUALIFIED, SEEN, UNSEEN, coverage
from dagster_project.core.calibration.curves import CURVES, curves, expected_out_of_time
from dagster_project.core.calibration.drift import DRIFT, drift
from dagster_project.core.calibration.evidence import EVIDENCE
from dagster_project.core.calibration.fitting import EXPECTED_RATES, expected_rates, is_available
from dagster_project.core.calibration.intervals import Interval, close_rate
from dagster_project.core.calibration.points import (
    MEASURES,
    points_by_signal,
    rescored,
    signals_of,
    tier_of,
    with_measures,
)
from dagster_project.core.calibration.ranking import auc_interval, brier
from dagster_project.core.calibration.rates import CALIBRATION, rates, trigger_rates, with_decile
from dagster_project.core.calibration.samples import Samples, group_codes, take_samples
from dagster_project.core.calibration.suggestions import Advice, advise, evidence_of, shortage
from dagster_project.core.calibration_rules import CalibrationRules
from dagster_project.core.models import Model

SUMMARY = pl.Schema(
    {
        **dict.fromkeys(("model_version", "subject_type", "metric"), pl.String()),
        **dict.fromkeys(("value", "low", "high"), pl.Float64()),
        "note": pl.String(),
    }
)
"""One row per model version, kind of subject and number that says how good it is; `note` says what it means."""


@dataclass(frozen=True)
class Past:
    """What calibration looks at.

    Attributes:
        scores: `DAILY_SCORES` of all models and subjects; at least the first scored day of each period.
        deal_scores: The same, without `signals`, of users of accounts that won: all scored days.
        outcomes: `OUTCOMES`.
        fired: `FIRED`.
        measures: `MEASURES`.
    """

    scores: pl.DataFrame
    deal_scores: pl.DataFrame
    outcomes: pl.DataFrame
    fired: pl.DataFrame
    measures: pl.DataFrame = field(default_factory=MEASURES.to_frame)


@dataclass(frozen=True)
class Findings:
    """Frames by the name of the published table, see each one's schema."""

    rates: pl.DataFrame
    summary: pl.DataFrame
    curves: pl.DataFrame
    signals: pl.DataFrame
    drift: pl.DataFrame
    coverage: pl.DataFrame
    suggestions: pl.DataFrame
    expected_rates: pl.DataFrame
    challengers: pl.DataFrame


SCHEMAS = {
    "rates": CALIBRATION,
    "summary": SUMMARY,
    "curves": CURVES,
    "signals": EVIDENCE,
    "drift": DRIFT,
    "coverage": COVERAGE,
    "suggestions": SUGGESTIONS,
    "expected_rates": EXPECTED_RATES,
    "challengers": COMPARISON,
}


def find(past: Past, models: Sequence[Model], *, observed_until: datetime) -> Findings:
    """Calibrate every model that past days were scored with, each on whom it is for, and compare the present ones.

    Args:
        past: Scores and deals.
        models: The champion, then its challengers. Suggestions are made for the champion alone. A version that is
            none of these was the champion once; its signals are read as the champion's.
        observed_until: Naive UTC, up to when outcomes are known.
    """
    champion, known = models[0], {model.version: model for model in models}
    rules = champion.playbook.calibration
    compared = compare(past.scores, past.outcomes, models, rules=rules, observed_until=observed_until)
    found = [{name: schema.to_frame() for name, schema in SCHEMAS.items()}, {"challengers": compared}]
    pairs = past.scores.select("model_version", "subject_type").unique().sort("model_version", "subject_type")
    for version, subject in pairs.iter_rows():
        model = known.get(version, replace(champion, version=version))
        told = {"model_version": model.version, "subject_type": subject}
        samples = take_samples(
            past.scores, past.outcomes, rules, observed_until=observed_until, judged_on=model.judged_on, of=told
        )
        if subject == "user":
            found.append(_of_users(samples, past, model, told=told, is_present=version in known))
        else:
            found.append(_of_accounts(samples, model, told))
    return Findings(**{name: pl.concat(one[name] for one in found if name in one) for name in SCHEMAS})


def _of_users(
    samples: Samples, past: Past, model: Model, *, told: Mapping[str, str], is_present: bool
) -> dict[str, pl.DataFrame]:
    rules, scoring, version = model.playbook.calibration, model.scoring, model.version
    names = signals_of(scoring.pql)
    samples = replace(samples, matured=with_measures(points_by_signal(samples.matured, names), past.measures))
    matured = samples.matured
    same_model = pl.col("model_version") == version
    by_value = [
        *_by_standing(matured, rules),
        *(rates(matured, "signal", pl.format("{}: {}", pl.lit(name), tier_of(name, scoring)), rules) for name in names),
        trigger_rates(past.fired.filter(same_model), past.outcomes, samples, rules),
    ]
    before = past.deal_scores.filter(same_model & (pl.col("subject_type") == "user"))
    ways = coverage(before, past.outcomes, model.playbook.stages.pql_classes)
    expected = expected_out_of_time(matured, rules)
    summary = [*_counts(samples, model), *_quality(matured, expected, rules), *_missed(ways)]
    found = {
        "rates": pl.concat(by_value),
        "curves": curves(matured, expected, rules),
        "drift": drift(_by_period(samples, past.scores, names), names, rules),
        "coverage": ways,
        "expected_rates": _expected_rates(samples, rules, version),
    }
    if is_present and not model.is_champion:
        found["signals"] = _with_version(evidence_of(samples, scoring, rules), version, "signals")
    elif is_present:
        advice = advise(samples, scoring, rules)
        summary += _advised(advice)
        found["signals"] = _with_version(advice.evidence, version, "signals")
        if advice.rules is not None:
            tried = matured.with_columns(tried=rescored(matured, scoring, advice.rules)["score"])
            found["suggestions"] = frame_of(suggested_changes(advice.rules, tried, model.playbook), version)
    return {**found, "summary": _summary(summary, told)}


def _by_period(samples: Samples, scores: pl.DataFrame, names: list[str]) -> Iterator[pl.DataFrame]:
    """The samples of one period after the other, the oldest first, with a column of points per signal.

    Of those that are too young to be judged points are told apart here: all at once are too many to hold.
    """
    matured, censored = samples.matured, samples.censored
    periods = sorted({*matured["period"].unique(), *censored["period"].unique()})
    if len(periods) < 2:  # one alone is compared with nothing
        return
    said = ["subject_id", "model_version", "day", "score"]
    for period in periods:
        young = scores[censored.filter(period=period)["place"]].select(*said, "signals")
        known = matured.filter(period=period).select(*said, *names)
        yield pl.concat([known, points_by_signal(young, names)]).sort("subject_id")


def _of_accounts(samples: Samples, model: Model, told: Mapping[str, str]) -> dict[str, pl.DataFrame]:
    """Accounts' scores under dimensions of their own, so that section 12's are about leads alone."""
    rules = model.playbook.calibration
    by_value = [one.with_columns(pl.format("account_{}", "dimension")) for one in _by_standing(samples.matured, rules)]
    expected = expected_out_of_time(samples.matured, rules)
    summary = [*_counts(samples, model), *_quality(samples.matured, expected, rules)]
    return {
        "rates": pl.concat(by_value).select(CALIBRATION.names()),
        "curves": curves(samples.matured, expected, rules),
        "summary": _summary(summary, told),
    }


def _by_standing(matured: pl.DataFrame, rules: CalibrationRules) -> list[pl.DataFrame]:
    return [
        rates(matured, "classification", pl.col("classification"), rules),
        rates(with_decile(matured), "decile", pl.col("decile"), rules),
        rates(matured, "segment", pl.col("segment"), rules),
    ]


def _expected_rates(samples: Samples, rules: CalibrationRules, version: str) -> pl.DataFrame:
    """The mapping from all matured samples; none while too few have won for it to mean anything."""
    if shortage(samples, rules) or not is_available():
        return EXPECTED_RATES.to_frame()
    matured = samples.matured
    won = matured["won"].cast(pl.Float64).to_numpy()
    steps = expected_rates(matured["score"].to_numpy(), won, group_codes(matured), rules.minimum.won_with_signal)
    return _with_version(steps, version, "expected_rates")


def _with_version(frame: pl.DataFrame, version: str, table: str) -> pl.DataFrame:
    marked = frame.with_columns(model_version=pl.lit(version))
    return marked.select(pl.col(name).cast(kind) for name, kind in SCHEMAS[table].items())


Metric = tuple[str, Interval | float | None, str]


def _summary(metrics: Sequence[Metric], told: Mapping[str, str]) -> pl.DataFrame:
    rows = []
    for name, value, note in metrics:
        found = value if isinstance(value, Interval) else Interval(value, None, None)  # type: ignore[arg-type]
        rows.append(
            {**told, "metric": name, "value": found.estimate, "low": found.low, "high": found.high, "note": note}
        )
    return pl.DataFrame(rows, schema=SUMMARY, orient="row").with_columns(pl.col("value", "low", "high").fill_nan(None))


_LEFT_OUT = {
    "new_business": "samples left out: their account had won a deal before",
    "expansion": "samples left out: their account had not won a deal before",
    "all": "samples left out",
}


def _counts(samples: Samples, model: Model) -> list[Metric]:
    matured, rules = samples.matured, model.playbook.calibration
    base = close_rate(matured["won"].cast(pl.Float64).to_numpy(), group_codes(matured), rules.confidence)
    until = samples.observed_until
    return [
        ("leads", matured.height, f"samples whose {rules.label_days} days are over, one per {rules.period_days} days"),
        ("won", int(matured["won"].sum()), f"of these, won a deal within {rules.label_days} days"),
        ("won_accounts", samples.won_accounts(), "accounts that they are of"),
        ("close_rate", base, "won / leads"),
        ("censored", samples.censored.height, f"samples too young to judge; outcomes are known until {until:%Y-%m-%d}"),
        ("left_out", samples.left_out, _LEFT_OUT[model.judged_on.deals]),
        ("judged_on", None, in_words(model.judged_on)),
        ("needed", None, shortage(samples, rules)),
    ]  # fmt: skip


def _quality(matured: pl.DataFrame, expected: pl.DataFrame | None, rules: CalibrationRules) -> list[Metric]:
    won = matured["won"].cast(pl.Float64).to_numpy()
    if not len(won) or won.min() == won.max():
        return []
    ranked = auc_interval(matured["score"].to_numpy(), won, group_codes(matured), rules.confidence)
    found: list[Metric] = [("auc", ranked, "chance that somebody who won had the higher score; 0.5 is a coin")]
    if expected is not None:
        late = expected["won"].cast(pl.Float64).to_numpy()
        base = np.full(len(late), won.mean())
        found += [
            (
                "brier",
                brier(expected["expected"].to_numpy(), late),
                "squared error of the expected close rate, held out",
            ),
            ("brier_of_base_rate", brier(base, late), "the same when everybody is expected to close at the base rate"),
        ]
    return found


def _missed(ways: pl.DataFrame) -> list[Metric]:
    counts = dict(ways.group_by("path").len().iter_rows())
    notes = {
        QUALIFIED: "won deals of accounts with a PQL before",
        SEEN: "won deals of accounts that had users, none of them a PQL before",
        UNSEEN: "won deals of accounts of which the product knew nobody",
    }
    return [(f"deals_{path}", counts.get(path, 0), note) for path, note in notes.items()]


def _advised(advice: Advice) -> list[Metric]:
    return [
        ("suggestion", advice.gain, advice.reason),
        ("suggestion_bounds", advice.bounds_gain, advice.bounds_reason),
        ("auc_held_out", advice.now, "of the live scores, in the later periods"),
        ("auc_held_out_suggested", advice.suggested, "by what other accounts' earlier periods suggest"),
        ("has_suggestion", float(advice.rules is not None), "1 when keys of the playbook are suggested, else 0"),
    ]  # fmt: skip
