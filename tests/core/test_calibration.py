"""What calibration finds out about companies whose truth is known, and what it dares to suggest."""

import sys
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache

import polars as pl
import pytest
from calibration_frames import DRIVERS, NAMES, OBSERVED, RULES, SCORING, samples_of, scored_company
from scoring_frames import PLAYBOOK

from dagster_project.core.calibration.changes import Change, NotInTheFile, changed_text, changes_of
from dagster_project.core.calibration.evidence import DRIVES
from dagster_project.core.calibration.feedback import FEEDBACK, SILENCE, feedback_against_deals
from dagster_project.core.calibration.figures import between, percent
from dagster_project.core.calibration.findings import Findings, Past, find
from dagster_project.core.calibration.points import points_by_signal, rescored, untried
from dagster_project.core.calibration.published import published_of
from dagster_project.core.calibration.rates import FIRED
from dagster_project.core.calibration.report import report
from dagster_project.core.calibration.samples import OUTCOMES
from dagster_project.core.calibration.suggestions import Advice, advise, share_of_score
from dagster_project.core.models import Model
from dagster_project.core.playbook import FILES, load_playbook
from dagster_project.core.scoring_rules import ScoringRules
from dagster_project.core.sections import as_markdown
from dagster_project.playbook_files import PACKAGED
from dagster_project.reports.charts import as_svg, pictures
from dagster_project.reports.page import html_page

SEEDS = (0, 1, 2)
MODELS = [Model("champion", "m1", PLAYBOOK)]
TEXTS = {name: (PACKAGED / name).read_text(encoding="utf-8") for name in FILES}


@cache
def told(seed: int) -> Advice:
    return advise(samples_of(*scored_company(seed, DRIVERS)), SCORING, RULES)


@cache
def found() -> Findings:
    scores, outcomes = scored_company(1, DRIVERS)
    past = Past(scores, scores.drop("signals"), outcomes, FIRED.to_frame())
    return find(past, MODELS, observed_until=OBSERVED)


def tables() -> dict[str, pl.DataFrame]:
    nothing_said = feedback_against_deals(
        FEEDBACK.to_frame(), _handoffs().clear(), OUTCOMES.to_frame(), rules=RULES, observed_until=OBSERVED
    )
    return {**vars(found()), "feedback": nothing_said}


@pytest.mark.parametrize("seed", SEEDS)
def test_the_signals_that_drive_deals_are_found_and_no_others(seed):
    driving = set(told(seed).evidence.filter(pl.col("verdict") == DRIVES)["signal"])
    # How much two invites more pull is less than the chance of 14 signals; the three others always show.
    assert {"upgrade_click", "plan_comparison", "actions"} <= driving <= set(DRIVERS)


@pytest.mark.parametrize("seed", SEEDS)
def test_points_go_to_what_drives_deals_and_held_out_accounts_are_foretold_better(seed):
    advice = told(seed)
    worth = share_of_score(advice.rules)
    assert sum(points for name, points in worth.items() if name in DRIVERS) == pytest.approx(100)
    assert advice.gain.low > 0
    assert advice.suggested.estimate - advice.now.estimate == pytest.approx(advice.gain.estimate)


@pytest.mark.parametrize("seed", SEEDS)
def test_about_as_many_are_in_each_class_as_before(seed):
    matured = samples_of(*scored_company(seed, DRIVERS)).matured
    then = rescored(matured, SCORING, told(seed).rules)
    # Fewer signals give fewer different scores, so a bound can't split those who have the same.
    for name in ("hot", "warm"):
        before, after = (frame.filter(pl.col("classification") == name).height for frame in (matured, then))
        assert abs(after - before) < 0.12 * matured.height


@pytest.mark.parametrize("seed", SEEDS)
def test_scores_without_information_are_a_coin_and_nothing_is_suggested(seed):
    scores, outcomes = scored_company(seed, {}, base=-3.5)
    samples = samples_of(scores, outcomes)
    advice = advise(samples, SCORING, RULES)
    past = Past(scores, scores.drop("signals"), outcomes, FIRED.to_frame())
    summary = find(past, MODELS, observed_until=OBSERVED).summary
    [auc] = summary.filter(pl.col("metric") == "auc").iter_rows(named=True)
    assert auc["value"] == pytest.approx(0.5, abs=0.05)
    assert advice.rules is None
    assert advice.reason.startswith("No suggestion")


def test_a_signal_that_hardly_anybody_shows_is_not_judged():
    samples = samples_of(*scored_company(0, DRIVERS, accounts=200))
    one_account = pl.when(pl.col("group") == samples.matured["group"][0]).then(3.0).otherwise(0.0)
    rare = replace(samples, matured=samples.matured.with_columns(invoice_download=one_account, api_key_generated=0.0))
    told = dict(advise(rare, SCORING, RULES).evidence.select("signal", "verdict").rows())
    assert (told["invoice_download"], told["api_key_generated"]) == ("too rare to tell", "never seen")


def test_the_same_company_gives_the_same_advice():
    again = advise(samples_of(*scored_company(0, DRIVERS)), SCORING, RULES)
    assert (again.rules, again.reason, again.gain) == (told(0).rules, told(0).reason, told(0).gain)


def test_with_too_few_outcomes_it_says_how_many_are_needed_and_suggests_nothing():
    scores, outcomes = scored_company(0, DRIVERS, accounts=30)
    past = Past(scores, scores.drop("signals"), outcomes, FIRED.to_frame())
    few = find(past, MODELS, observed_until=OBSERVED)
    assert few.suggestions.is_empty()
    assert few.expected_rates.is_empty()
    assert few.rates.height
    [needed] = few.summary.filter(pl.col("metric") == "needed")["note"].to_list()
    won = samples_of(scores, outcomes).won_accounts()
    assert f"30 accounts that won a deal within 90 days, there are {won}" in needed
    text = as_markdown(report(published_of({**tables(), **vars(few)}, "m1")), "Were the scores right?")
    assert "**It is too early to tell" in text
    assert "**The scores carry" not in text


def test_before_anything_has_matured_it_says_what_it_waits_for():
    scores, outcomes = scored_company(0, DRIVERS, accounts=30)
    past = Past(scores, scores.drop("signals"), outcomes, FIRED.to_frame())
    young = find(past, MODELS, observed_until=datetime(2026, 2, 1))
    sections = report(published_of({**tables(), **vars(young)}, "m1"))
    assert [section.title for section in sections] == ["Nothing to judge yet"]
    assert "samples are waiting (samples too young to judge; outcomes are known until 2026-02-01" in sections[0].text


def test_what_people_do_drifts_alike_whether_they_can_be_judged_or_not():
    scores, outcomes = scored_company(0, DRIVERS, accounts=30)
    past = Past(scores, scores.drop("signals"), outcomes.clear(), FIRED.to_frame())
    none, some, all_judged = (
        find(past, MODELS, observed_until=until).drift
        for until in (datetime(2026, 2, 1), datetime(2026, 6, 1), OBSERVED)
    )
    assert all_judged["feature"].n_unique() == len(NAMES) + 1
    assert none.equals(all_judged)
    assert some.equals(all_judged)


def test_without_scikit_learn_rates_are_there_and_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    samples = samples_of(*scored_company(0, DRIVERS))
    advice = advise(samples, SCORING, RULES)
    assert advice.rules is None
    assert advice.reason == ("No suggestion: scikit-learn is not installed: .venv/bin/pip install -e '.[calibration]'.")
    assert advice.evidence.height == len(NAMES)


def test_points_give_the_score_that_was_published():
    matured = samples_of(*scored_company(2, DRIVERS)).matured
    again = rescored(matured, SCORING, SCORING)
    assert again.select("score", "classification").equals(matured.select("score", "classification"))


def test_other_rules_score_past_days_as_they_score_people():
    proposed = ScoringRules.model_validate(
        changed_scoring(
            {"pql.weights.usage": 0.2, "pql.weights.intent": 0.5, "pql.intent.upgrade_click": 1, "points.medium": 2}
        )
    )
    scores, _ = scored_company(2, DRIVERS, accounts=50, periods=1)
    tried = rescored(points_by_signal(scores, NAMES), SCORING, proposed)
    assert untried(SCORING, proposed) == []
    assert tried["score"].to_list() == scored_again(proposed)["score"].to_list()


def scored_again(rules: ScoringRules) -> pl.DataFrame:
    """The same people as `scored_company(2, ..., accounts=50, periods=1)`, scored by other rules."""
    import calibration_frames

    before, calibration_frames.SCORING = calibration_frames.SCORING, rules
    try:
        return scored_company(2, DRIVERS, accounts=50, periods=1)[0]
    finally:
        calibration_frames.SCORING = before


def changed_scoring(changes: dict[str, float]) -> dict[str, object]:
    scoring = SCORING.model_dump(by_alias=True)
    for key, value in changes.items():
        at = scoring
        *path, last = key.split(".")
        for step in path:
            at = at[step]
        at[last] = value
    return scoring


def test_what_points_cannot_tell_is_named():
    bounds = ScoringRules.model_validate(changed_scoring({"pql.usage.actions.high": 20, "measurement.window_days": 14}))
    assert untried(SCORING, bounds) == ["measurement", "pql.usage.actions"]
    assert untried(SCORING, bounds, is_measured=True) == ["measurement"], "a number can be graded again"
    asked = SCORING.model_dump(by_alias=True)
    asked["pql"]["intent"]["sales_request"] = 4
    assert untried(SCORING, ScoringRules.model_validate(asked)) == ["pql.intent.sales_request"]
    fewer = SCORING.model_dump(by_alias=True)
    del fewer["pql"]["usage"]["actions"]
    assert untried(ScoringRules.model_validate(fewer), SCORING, is_measured=True) == ["pql.usage.actions"]


def test_an_intent_signal_that_earned_little_was_seen() -> None:
    seen = points_by_signal(scored_company(2, DRIVERS, accounts=50, periods=1)[0], NAMES)
    little = ScoringRules.model_validate(changed_scoring({"pql.intent.upgrade_click": 1}))
    earned = seen.with_columns(upgrade_click=(pl.col("upgrade_click") > 0).cast(pl.Float64))
    assert rescored(earned, little, SCORING)["score"].to_list() == seen["score"].to_list()


@pytest.mark.parametrize(("low", "named"), [(3, ["points"]), (0, ["points"]), (2, [])])
def test_tiers_that_earned_the_same_or_nothing_cannot_be_told_apart(low: float, named: list[str]) -> None:
    live = ScoringRules.model_validate(changed_scoring({"points.low": low}))
    assert untried(live, SCORING) == named
    assert untried(live, live) == []


def test_a_signal_that_was_not_seen_earned_nothing_and_another_segment_multiplies_nothing() -> None:
    scores, _ = scored_company(2, DRIVERS, accounts=5, periods=1)
    nothing = scores.head(2).with_columns(signals=pl.lit([], scores.schema["signals"]))
    assert points_by_signal(nothing, NAMES).select(NAMES).row(0) == (0.0,) * len(NAMES)
    assert points_by_signal(nothing.clear(), NAMES).columns[-len(NAMES) :] == NAMES
    seen = points_by_signal(scores, NAMES)
    elsewhere, consumer = (
        rescored(seen.with_columns(segment=pl.lit("unheard of"), account_id=pl.lit(account)), SCORING, SCORING)
        for account in ("a_1", None)
    )
    least = SCORING.pql.fit_multiplier["consumer"]
    below = (elsewhere["score"] < 100) & (elsewhere["score"] > 0)
    assert below.any()
    assert (consumer["score"] - elsewhere["score"] * least).filter(below).abs().max() < 0.2


# --- what is published -----------------------------------------------------------------------------


def test_close_rates_have_the_contracts_columns_and_add_up():
    rates = found().rates
    assert rates.columns[:9] == [
        "model_version", "dimension", "value", "leads", "won", "close_rate", "lift", "from_date", "to_date",
    ]  # fmt: skip
    assert set(rates["dimension"]) == {"classification", "decile", "segment", "signal"}
    by_class, by_decile = (rates.filter(pl.col("dimension") == name) for name in ("classification", "decile"))
    assert by_class["leads"].sum() == by_decile["leads"].sum()
    assert rates.select((pl.col("close_rate") - pl.col("won") / pl.col("leads")).abs().max()).item() < 1e-12
    assert rates.filter(~pl.col("close_rate").is_between("close_rate_low", "close_rate_high")).is_empty()


def test_a_company_of_accounts_has_dimensions_of_its_own():
    scores, outcomes = scored_company(1, DRIVERS, accounts=60)
    accounts = scores.unique(["account_id", "day"]).with_columns(
        subject_type=pl.lit("account"), subject_id="account_id"
    )
    past = Past(pl.concat([scores, accounts]), scores.drop("signals"), outcomes, FIRED.to_frame())
    both = find(past, MODELS, observed_until=OBSERVED)
    rates = both.rates
    assert {"account_classification", "account_decile", "account_segment"} < set(rates["dimension"])
    assert not rates.select("model_version", "dimension", "value").is_duplicated().any()
    about = published_of({**tables(), **vars(both), "curves": both.curves.reverse()}, "m1")
    assert about.number("leads") == rates.filter(dimension="classification")["leads"].sum(), "the report is of people"
    assert set(about.curves["subject_type"]) == {"user"}
    drawn = about.curves.select("curve", "position").rows()
    assert drawn == sorted(drawn)


def test_a_trigger_is_judged_by_what_came_within_the_labels_days():
    scores, outcomes = scored_company(1, DRIVERS, accounts=60)
    won = outcomes.row(0, named=True)
    at = datetime(2026, 1, 1, 12)
    rows = [("u", won["account_id"], "hot_pql", "m1", at), ("v", "a_none", "hot_pql", "m1", at)]
    rows += [rows[0], ("w", "a_none", "pricing_visits", "m1", datetime(2026, 10, 20))]
    past = Past(scores, scores.drop("signals"), outcomes, pl.DataFrame(rows, schema=FIRED, orient="row"))
    rates = find(past, MODELS, observed_until=OBSERVED).rates
    told = rates.filter(pl.col("dimension") == "trigger").select("value", "leads", "won", "close_rate")
    assert told.rows() == [("hot_pql", 2, 1, 0.5)]


def test_the_expected_rate_climbs_and_is_the_live_models():
    steps = found().expected_rates
    assert steps.height > 1
    assert steps["expected_close_rate"].is_sorted()
    assert set(steps["model_version"]) == {"m1"}


def test_another_model_is_calibrated_and_gets_no_suggestion():
    scores, outcomes = scored_company(1, DRIVERS)
    other = pl.concat([scores, scores.with_columns(model_version=pl.lit("m0"))])
    past = Past(other, other.drop("signals"), outcomes, FIRED.to_frame())
    both = find(past, MODELS, observed_until=OBSERVED)
    assert set(both.rates["model_version"]) == {"m0", "m1"}
    assert set(both.suggestions["model_version"]) == {"m1"}


# --- the proposal ----------------------------------------------------------------------------------


def test_the_proposal_is_a_playbook_with_the_suggested_rules_and_its_comments():
    texts = dict(TEXTS)
    changes = changes_of(found().suggestions)
    for file in {change.file for change in changes}:
        texts[file] = changed_text(texts[file], [change for change in changes if change.file == file])
    proposed = load_playbook(texts)
    assert proposed.scoring == told(1).rules
    assert "# What a tier is worth, wherever a signal has tiers." in texts["scoring.yml"]
    trigger = proposed.handoffs.triggers.hot_pql
    assert trigger.rearm_below < trigger.score_above


@pytest.mark.parametrize(
    ("text", "change", "expected"),
    [
        ("a: {b: 1, c: 2}  # why\n", Change("f", ("a", "b"), 1, 3), "a: {b: 3, c: 2}  # why\n"),
        ("a: {b: 1, c: [2]}  # why\n", Change("f", ("a", "b"), 1, None), "a: {c: [2]}  # why\n"),
        ("a:\n  b: {x: 1}   # gone\n  c: 2\n", Change("f", ("a", "b"), None, None), "a:\n  c: 2\n"),
        ("a:\n  b: 1", Change("f", ("a", "b"), 1, 0.25), "a:\n  b: 0.25"),
    ],
)
def test_one_key_of_a_file_is_changed(text, change, expected):
    assert changed_text(text, [change]) == expected


def test_a_key_that_is_not_there_is_named():
    with pytest.raises(NotInTheFile, match=r"scoring\.yml: a\.b is not there"):
        changed_text("a: {c: 1}", [Change("scoring.yml", ("a", "b"), 1, 2)])


# --- the report ------------------------------------------------------------------------------------


def test_the_report_says_what_was_found_and_that_nothing_is_applied():
    text = as_markdown(report(published_of(tables(), "m1")), "Were the scores right?")
    assert "**The scores carry information.**" in text
    assert "| upgrade\\_click | foretells deals |" in text or "| upgrade_click | foretells deals |" in text
    assert "Nothing is applied." in text
    assert "nan" not in text
    assert "None" not in text.replace("None of", "")


def test_the_page_stands_alone_with_all_its_pictures():
    about = published_of(tables(), "m1")
    drawn = {name: as_svg(figure) for name, figure in pictures(about).items()}
    page = html_page(report(about), drawn, title="Were the scores right?", told="model m1")
    assert page.count("<svg") == len(drawn) == 7
    assert "src=" not in page
    assert "@import" not in page
    assert page.count("<section") == len(report(about))


def test_what_somebody_typed_stays_text_on_the_page():
    of_silence = feedback_against_deals(
        FEEDBACK.to_frame(), _handoffs(), OUTCOMES.to_frame(), rules=RULES, observed_until=OBSERVED
    )
    evil = of_silence.with_columns(label=pl.lit("<script>alert(1)</script>"))
    page = html_page(report(published_of({**tables(), "feedback": evil}, "m1")), {}, title="t", told="")
    assert "&lt;script&gt;" in page
    assert "<script" not in page


def test_an_interval_is_told_from_low_to_high_or_not_at_all():
    assert (percent(0.1234), percent(None), between(0.1, 0.25)) == ("12.3 %", "", "10.0-25.0 %")
    assert (between(None, 0.2), between(0.1, None)) == ("", "")


# --- feedback --------------------------------------------------------------------------------------


def _handoffs() -> pl.DataFrame:
    at = datetime(2026, 1, 10)
    return pl.DataFrame(
        [("h1", "u1", "a1", at), ("h2", "u2", "a2", at), ("h3", "u3", "a3", at), ("h4", "u4", "a1", OBSERVED)],
        schema={"handoff_id": pl.String, "user_id": pl.String, "account_id": pl.String, "created_at": pl.Datetime},
        orient="row",
    )


def test_what_sellers_said_stands_beside_the_deals():
    labels = (("h1", "not_a_fit"), ("h2", "claimed"), ("h2", "claimed"), ("h4", "claimed"))
    said = pl.DataFrame(labels, schema=FEEDBACK, orient="row")
    won = pl.DataFrame(
        [("a1", None, "o1", datetime(2026, 2, 1), None, None), ("a1", None, "o0", datetime(2025, 2, 1), None, None)],
        schema=OUTCOMES,
        orient="row",
    )
    compared = feedback_against_deals(said, _handoffs(), won, rules=RULES, observed_until=OBSERVED)
    assert compared.select("label", "handoffs", "matured", "won").rows() == [
        ("claimed", 2, 1, 0),
        ("not_a_fit", 1, 1, 1),
        (SILENCE, 1, 1, 0),
    ]


def feedback_row(created: list[tuple[str, datetime]], won_at: list[datetime], *, observed: datetime = OBSERVED):
    """What is told of handoffs (account and when) whose accounts won then, of which nobody said anything."""
    handed = [(f"h{n}", f"u{n}", account, at) for n, (account, at) in enumerate(created)]
    won = [(account, None, f"o{n}", at, None, None) for account, _ in created[:1] for n, at in enumerate(won_at)]
    frames = (
        pl.DataFrame(rows, schema=schema, orient="row")
        for rows, schema in ((handed, _handoffs().schema), (won, OUTCOMES))
    )
    compared = feedback_against_deals(FEEDBACK.to_frame(), *frames, rules=RULES, observed_until=observed)
    return compared.row(0, named=True)


HANDED = datetime(2026, 1, 10)
LABEL = timedelta(days=RULES.label_days)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("won_at", "won"),
    [
        ([HANDED], 0),
        ([HANDED + SECOND], 1),
        ([HANDED + LABEL - SECOND], 1),
        ([HANDED + LABEL], 0),
        ([HANDED - SECOND, HANDED + SECOND, HANDED + LABEL], 1),
    ],
)
def test_a_handoff_was_right_when_the_next_deal_came_within_the_labels_days(won_at, won):
    assert feedback_row([("a1", HANDED)], won_at)["won"] == won


def test_a_handoff_that_is_too_young_is_not_judged_even_if_it_has_won():
    young = feedback_row([("a1", HANDED)], [HANDED + SECOND], observed=HANDED + LABEL - SECOND)
    assert (young["handoffs"], young["matured"], young["won"], young["close_rate"]) == (1, 0, 0, None)
    assert feedback_row([("a1", HANDED)], [], observed=HANDED + LABEL)["matured"] == 1


def test_handoffs_of_one_account_are_no_surer_than_one():
    each = [(f"a{n}", HANDED) for n in range(8)]
    once, often = (feedback_row(each * times, [HANDED + SECOND]) for times in (1, 20))
    for end in ("close_rate_low", "close_rate_high"):
        assert often[end] == pytest.approx(once[end], abs=0.03)
