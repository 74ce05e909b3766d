"""What a run adds to the histories of scores and segments: a row where something changed, and nothing else.

The histories only grow. The latest row of each subject comes in, the new rows go out.
"""

from collections.abc import Sequence

import polars as pl

from dagster_project.core.causes import CAUSE, CAUSES, Kind, causes

_TEXT: pl.DataType = pl.String()
_MOMENT: pl.DataType = pl.Datetime("us")
SUBJECT = ["subject_type", "subject_id"]
SCORE_HISTORY = pl.Schema(
    {
        **dict.fromkeys(SUBJECT, _TEXT),
        "score": pl.Float64(),
        "classification": _TEXT,
        "previous_score": pl.Float64(),
        "reason": _TEXT,
        "as_of": _MOMENT,
        "model_version": _TEXT,
        "parts": pl.List(pl.Float64),
        "contributions": pl.List(pl.Float64),
        "causes": CAUSE,
    }
)
"""`parts` is what each component added to the score, `contributions` what each signal did, `causes` why it moved."""
STANDING = (*SUBJECT, "score", "model_version", "contributions")
SEGMENT_HISTORY = pl.Schema(
    {**dict.fromkeys(SUBJECT, _TEXT), **dict.fromkeys(("segment", "motion", "source"), _TEXT), "valid_from": _MOMENT}
)
_VISIBLE = 0.005


def score_changes(scored: pl.DataFrame, latest: pl.DataFrame, kinds: Sequence[Kind]) -> pl.DataFrame:
    """The rows to add to the score history.

    Args:
        scored: One row per subject: `subject_type, subject_id, score, classification, as_of, model_version, parts,
            contributions`.
        latest: The latest earlier row of each subject, as `SCORE_HISTORY`.
        kinds: What each of the contributions is of, in their order.

    Returns:
        `SCORE_HISTORY`, one row per subject whose score or class is another one now, or who had none. The reason
        names its causes; the numbers in it sum to the change.
    """
    before = latest.select(
        *SUBJECT,
        previous_score="score",
        previous_class="classification",
        previous_model_version="model_version",
        previous_contributions="contributions",
    )
    joined = scored.join(before, on=SUBJECT, how="left", maintain_order="left")
    changed = joined.filter(
        pl.col("previous_score").is_null()
        | (pl.col("score") != pl.col("previous_score"))
        | (pl.col("classification") != pl.col("previous_class"))
    )
    return (
        changed.with_columns(causes=causes(kinds))
        .with_columns(reason=_reason())
        .select(SCORE_HISTORY.names())
        .sort(SUBJECT)
    )


def standing(latest: pl.DataFrame, published: pl.DataFrame) -> pl.DataFrame:
    """The latest rows of the score history, with what stood behind the same score when it was published last.

    A score may stay while what it consists of moves, or while another model comes to give the same.

    Args:
        latest: The latest row of each subject, as `SCORE_HISTORY`.
        published: `STANDING` of subjects, as of an earlier moment than the one that is compared.
    """
    behind = published.select(*SUBJECT, "score", _model="model_version", _contributions="contributions")
    return latest.join(behind, on=[*SUBJECT, "score"], how="left", maintain_order="left").select(
        *(name for name in latest.columns if name not in ("model_version", "contributions")),
        model_version=pl.coalesce("_model", "model_version"),
        contributions=pl.coalesce("_contributions", "contributions"),
    )


def unchanged(scored: pl.DataFrame, published: pl.DataFrame) -> pl.DataFrame:
    """Of whom a run finds what another one has published for the same moment: what was said of it then still holds.

    What had stood behind the score before is not published any more.

    Args:
        scored: As for `score_changes`.
        published: `STANDING` of subjects as of the moment that is scored.

    Returns:
        `subject_type, subject_id`, one row per subject.
    """
    same = [name for name in STANDING if name != "contributions"]
    found = scored.join(published.select(*STANDING), on=same, suffix="_published")
    return found.filter(pl.col("contributions") == pl.col("contributions_published")).select(SUBJECT)


def segment_changes(segmented: pl.DataFrame, latest: pl.DataFrame) -> pl.DataFrame:
    """The rows to add to the segment history.

    Args:
        segmented: One row per subject: `subject_type, subject_id, segment, motion, source, valid_from`.
        latest: The latest earlier row of each subject, as `SEGMENT_HISTORY`.

    Returns:
        `SEGMENT_HISTORY`, one row per subject whose segment, motion or source is another one now, or who had none.
    """
    said = ["segment", "motion", "source"]
    same = latest.select(*SUBJECT, *said)
    return (
        segmented.join(same, on=[*SUBJECT, *said], how="anti", nulls_equal=True)
        .select(SEGMENT_HISTORY.names())
        .sort(SUBJECT)
    )


def _reason() -> pl.Expr:
    moved = [_signed(name.replace("_", " "), pl.col("causes").struct.field(name)) for name in CAUSES]
    what = pl.concat_str(moved, separator=", ", ignore_nulls=True)
    into_class = pl.when(pl.col("classification") != pl.col("previous_class")).then(
        pl.format("from {} to {}", "previous_class", "classification")
    )
    other_model = pl.when(pl.col("model_version") != pl.col("previous_model_version")).then(
        pl.format("model {} after {}", "model_version", "previous_model_version")
    )
    told = pl.concat_str(into_class, other_model, pl.when(what != "").then(what), separator="; ", ignore_nulls=True)
    first = pl.when(pl.col("previous_score").is_null()).then(pl.lit("first score"))
    return first.when(told == "").then(pl.lit("what moved is not known any more")).otherwise(told)


def _signed(name: str, change: pl.Expr) -> pl.Expr:
    """`usage +4.25`, or null where nothing visible changed."""
    sign = pl.when(change > 0).then(pl.lit(f"{name} +")).otherwise(pl.lit(f"{name} -"))
    return pl.when(change.abs() >= _VISIBLE).then(pl.concat_str(sign, change.abs().round(2).cast(pl.String)))
