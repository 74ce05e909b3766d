"""Challengers: how they are declared, whom they are judged on, and what is told of them beside the champion."""

from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl
import pytest
from calibration_frames import DRIVERS, OBSERVED, RULES, scored_company
from scoring_frames import PLAYBOOK

from dagster_project.core.calibration.comparison import BETTER, COMPARISON, UNTOLD, WORSE, compare
from dagster_project.core.calibration.findings import Past, find
from dagster_project.core.calibration.published import published_of
from dagster_project.core.calibration.rates import FIRED
from dagster_project.core.calibration.report import report
from dagster_project.core.calibration.samples import OUTCOMES, take_samples
from dagster_project.core.challenger_rules import JudgedOn
from dagster_project.core.models import Model, models_of, promoted
from dagster_project.core.playbook import FILES, Playbook, PlaybookError, load_playbook
from dagster_project.core.sections import as_markdown
from dagster_project.playbook_files import PACKAGED, read_playbook

TEXTS = {name: (PACKAGED / name).read_text(encoding="utf-8") for name in FILES}
CHAMPION = Model("champion", "m1", PLAYBOOK)


def challenger(name: str = "tried", **judged_on: object) -> Model:
    return Model(name, f"m of {name}", PLAYBOOK, "another way", JudgedOn.model_validate(judged_on))


def scored_by(scores: pl.DataFrame, model: Model, score: pl.Expr) -> pl.DataFrame:
    return scores.with_columns(model_version=pl.lit(model.version), score=score)


def chance(scores: pl.DataFrame, seed: int = 3) -> pl.DataFrame:
    """The same people with scores that say nothing."""
    return scores.with_columns(score=pl.int_range(pl.len()).shuffle(seed) % 1000 / 10)


def table_of(scores: pl.DataFrame, outcomes: pl.DataFrame, *others: Model) -> pl.DataFrame:
    return compare(scores, outcomes, [CHAMPION, *others], rules=RULES, observed_until=OBSERVED)


# --- how they are declared -------------------------------------------------------------------------


def test_a_challenger_says_only_what_differs(tmp_path) -> None:
    folder = tmp_path / "challengers"
    folder.mkdir()
    (folder / "expansion.yml").write_text(
        "about: who outgrows their plan\n"
        "judged_on: {deals: expansion, segments: [enterprise]}\n"
        "scoring:\n"
        "  pql:\n"
        "    usage: {minutes_per_week: {low: 2}}\n"
        "    intent: {invoice_download: null, sales_request: 4}\n"
    )
    (folder / "notes.txt").write_text("other files may lie beside them")
    playbook = read_playbook(tmp_path)
    champion, other = models_of(playbook, "catalogue")
    assert champion.version == PLAYBOOK.model_version("catalogue") != other.version
    assert (other.name, other.about, other.is_champion) == ("expansion", "who outgrows their plan", False)
    assert other.judged_on == JudgedOn(deals="expansion", segments=("enterprise",))
    pql = other.scoring.pql
    assert pql.usage["minutes_per_week"].low == 2
    assert set(pql.intent) == set(PLAYBOOK.scoring.pql.intent) - {"invoice_download"} | {"sales_request"}
    assert (pql.weights, pql.fit_multiplier) == (PLAYBOOK.scoring.pql.weights, PLAYBOOK.scoring.pql.fit_multiplier)


def test_a_challenger_is_no_reason_to_compute_everything_anew() -> None:
    with_one = load_playbook(TEXTS, {"a.yml": "scoring: {pql: {intent: {upgrade_click: 9}}}"})
    assert with_one.fingerprint() == PLAYBOOK.fingerprint()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scoring: {pql: {weights: {usage: 0.9}}}", "scoring.pql.weights: weights usage 0.9, engagement 0.3"),
        ("scoring: {pql: {wieghts: {usage: 0.9}}}", "scoring.pql.wieghts: unknown key, expected one of weights, usage"),
        ("scoring: {pql: {intent: {trust: null}}}", "scoring.pql.intent.trust: scoring.yml has no such key"),
        ("scoring: {measurement: {window_days: 7}}", "scoring.measurement: all models score the same measurements"),
        ("scoring: {pql: {intent: {upgrade_click: 5}}}", "scoring: this scores as scoring.yml does"),
        ("scoring: {pql: {intent: {upgrade_click: 9}}}", "scoring: this scores as challengers/a.yml does"),
        ("scoring: {classes: {hot: {from: 85}}}\njudged_on: {deals: renewals}", "judged_on.deals: found 'renewals'"),
        ("about: nothing else", "scoring: missing, expected a value"),
        ("scoring: {pql: 1", "this is no YAML"),
    ],
)
def test_what_is_wrong_with_a_challenger_is_named_by_file_and_key(text: str, said: str) -> None:
    others = {"a.yml": "scoring: {pql: {intent: {upgrade_click: 9}}}"}
    with pytest.raises(PlaybookError, match="can't be used") as caught:
        load_playbook(TEXTS, {**others, "wrong.yml": text})
    assert f"challengers/wrong.yml: {said}" in str(caught.value)


@pytest.mark.parametrize("name", ["champion.yml", "Big Ones.yml", "a.yaml"])
def test_a_name_that_cannot_be_used(name: str) -> None:
    with pytest.raises(PlaybookError, match=r"challengers/.*: expected a name of small letters"):
        load_playbook(TEXTS, {name: "scoring: {pql: {intent: {upgrade_click: 9}}}"})


def test_a_challenger_can_be_planned_as_the_champion() -> None:
    playbook = load_playbook(TEXTS, {"a.yml": "scoring: {pql: {intent: {upgrade_click: 9}}}"})
    assert promoted(playbook, "a").scoring.pql.intent["upgrade_click"] == 9
    with pytest.raises(PlaybookError, match="there is no challenger b in challengers/: there are a"):
        promoted(playbook, "b")


# --- whom they are judged on -----------------------------------------------------------------------


def test_expansion_is_judged_by_the_next_deal_of_those_who_are_customers() -> None:
    day = datetime(2026, 3, 1)
    scores = scored_company(0, {}, accounts=3, periods=1)[0].with_columns(day=pl.lit(day.date()))
    before, after, late = day - timedelta(days=9), day + timedelta(days=9), day + timedelta(days=120)
    won = [("a_0", before), ("a_0", after), ("a_1", before), ("a_1", late), ("a_2", after)]
    outcomes = pl.DataFrame(
        [(account, None, f"o{n}", at, at, at) for n, (account, at) in enumerate(won)], schema=OUTCOMES, orient="row"
    )

    def told(deals: str) -> dict[str, bool]:
        found = take_samples(scores, outcomes, RULES, observed_until=OBSERVED, judged_on=JudgedOn(deals=deals))
        assert found.left_out == scores.height - found.matured.height
        return dict(found.matured.select("group", "won").iter_rows())

    assert told("new_business") == {"a_2": True}
    assert told("expansion") == {"a_0": True, "a_1": False}
    assert told("all") == {"a_0": True, "a_1": False, "a_2": True}


def test_a_segments_challenger_is_judged_on_that_segment() -> None:
    scores, outcomes = scored_company(0, DRIVERS, accounts=300)
    of_segment = challenger(segments=["enterprise", "mid-market"])
    both = pl.concat([scores, scored_by(scores, of_segment, pl.col("score"))])
    past = Past(both, both.drop("signals"), outcomes, FIRED.to_frame())
    found = find(past, [CHAMPION, of_segment], observed_until=OBSERVED)
    mine = found.rates.filter(pl.col("model_version") == of_segment.version)
    assert set(mine.filter(pl.col("dimension") == "segment")["value"]) == {"enterprise", "mid-market"}
    samples = scores.filter(pl.col("segment") != "smb")
    expected = take_samples(samples, outcomes, RULES, observed_until=OBSERVED).matured.height
    assert set(found.challengers["leads"]) == {expected}


# --- what is told ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("champion_knows", "verdict"), [(True, WORSE), (False, BETTER)])
def test_the_model_that_knows_something_ranks_better_than_one_that_does_not(champion_knows, verdict) -> None:
    scores, outcomes = scored_company(1, DRIVERS)
    tried = challenger()
    knows, guesses = (scores, chance(scores)) if champion_knows else (chance(scores), scores)
    found = table_of(pl.concat([knows, scored_by(guesses, tried, pl.col("score"))]), outcomes, tried)
    assert found.schema == COMPARISON
    rows = {(row["metric"], row["per_week"]): row for row in found.iter_rows(named=True)}
    assert set(rows) == {("auc", None), ("lift", None), *(("precision", each) for each in RULES.capacity_per_week)}
    assert rows["auc", None]["note"] == verdict
    for row in rows.values():
        difference = row["challenger_value"] - row["champion_value"]
        assert row["difference_value"] == pytest.approx(difference)
        assert row["difference_low"] <= difference <= row["difference_high"]
        assert (difference < 0) == champion_knows


def test_two_models_that_only_guess_cannot_be_told_apart() -> None:
    scores, outcomes = scored_company(1, {}, base=-3.5)
    tried = [challenger("a"), challenger("b")]
    guesses = [scored_by(chance(scores, n), model, pl.col("score")) for n, model in enumerate(tried)]
    found = table_of(pl.concat([chance(scores, 9), *guesses]), outcomes, *tried)
    assert found.filter(pl.col("metric") == "auc")["note"].to_list() == [UNTOLD, UNTOLD]


def test_numbers_are_those_of_each_model_alone() -> None:
    scores, outcomes = scored_company(1, DRIVERS, accounts=300)
    tried = challenger()
    both = pl.concat([scores, scored_by(scores, tried, 100 - pl.col("score"))])
    past = Past(both, both.drop("signals"), outcomes, FIRED.to_frame())
    found = find(past, [CHAMPION, tried], observed_until=OBSERVED)
    side_by_side = found.challengers.filter(pl.col("metric") == "auc").row(0, named=True)
    alone = dict(found.summary.filter(pl.col("metric") == "auc").select("model_version", "value").iter_rows())
    assert side_by_side["champion_value"] == pytest.approx(alone["m1"])
    assert side_by_side["challenger_value"] == pytest.approx(alone[tried.version]) == pytest.approx(1 - alone["m1"])
    curve = found.curves.filter((pl.col("model_version") == tried.version) & (pl.col("curve") == "capacity"))
    precision = found.challengers.filter(pl.col("metric") == "precision").select("per_week", "challenger_value")
    assert dict(precision.iter_rows()) == pytest.approx({int(x): y for x, y in curve.select("x", "y").iter_rows()})


def test_suggestions_are_for_the_champion_and_signals_are_judged_for_both() -> None:
    scores, outcomes = scored_company(1, DRIVERS)
    tried = challenger()
    both = pl.concat([scores, scored_by(scores, tried, pl.col("score"))])
    found = find(
        Past(both, both.drop("signals"), outcomes, FIRED.to_frame()), [CHAMPION, tried], observed_until=OBSERVED
    )
    assert set(found.suggestions["model_version"]) == {"m1"}
    assert set(found.signals["model_version"]) == {"m1", tried.version}


def test_with_too_few_deals_no_verdict_is_given() -> None:
    scores, outcomes = scored_company(0, DRIVERS, accounts=30)
    tried = challenger()
    found = table_of(pl.concat([scores, scored_by(chance(scores), tried, pl.col("score"))]), outcomes, tried)
    assert all(note.startswith("needed: 30 accounts that won") for note in found["note"])
    nobody = table_of(scores, outcomes, tried)
    assert nobody.select("challenger", "metric", "leads").rows() == [("tried", "auc", 0)]
    text = _report(scores, outcomes, tried)
    assert "**tried** (another way), judged on new business: too early to tell. Needed: 30 accounts" in text


def test_the_report_sets_them_side_by_side() -> None:
    scores, outcomes = scored_company(1, DRIVERS)
    tried = challenger()
    text = _report(pl.concat([chance(scores), scored_by(scores, tried, pl.col("score"))]), outcomes, tried)
    assert "## Champion and challengers" in text
    assert "accounts won): ranks better." in text
    assert "| tried | AUC | 0." in text
    assert "| tried | Best 20 a week close |" in text


def _report(scores: pl.DataFrame, outcomes: pl.DataFrame, *others: Model) -> str:
    past = Past(scores, scores.drop("signals"), outcomes, FIRED.to_frame())
    tables = {**vars(find(past, [CHAMPION, *others], observed_until=OBSERVED)), "feedback": pl.DataFrame()}
    return as_markdown(report(published_of(tables, "m1")), "Were the scores right?")


def test_the_rules_of_a_challenger_read_its_points() -> None:
    rules: Playbook = load_playbook(TEXTS, {"a.yml": "scoring: {points: {low: 2, medium: 3, high: 5}}"})
    scores, outcomes = scored_company(1, DRIVERS, accounts=60)
    tried = replace(models_of(rules, "")[1], version="m2")
    entry = pl.element().struct
    more = pl.when(entry.field("points") == 1).then(2.0).otherwise(entry.field("points"))
    twos = pl.col("signals").list.eval(pl.struct(signal=entry.field("signal"), points=more))
    other = scores.with_columns(model_version=pl.lit("m2"), signals=twos)
    past = Past(pl.concat([scores, other]), scores.drop("signals"), outcomes, FIRED.to_frame())
    rates = find(past, [CHAMPION, tried], observed_until=OBSERVED).rates.filter(pl.col("dimension") == "signal")
    by_version = {v: rates.filter(model_version=v).select("value", "leads").rows() for v in ("m1", "m2")}
    assert by_version["m1"] == by_version["m2"]
