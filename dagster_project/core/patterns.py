"""Scores that look alike: what a day's rows say in few words, because most of them say the same."""

import polars as pl

SIGNALS = pl.List(pl.Struct({"signal": pl.String(), "points": pl.Float64()}))
_SAID = ("score", "classification")


def patterns(graded: pl.DataFrame) -> tuple[pl.Series, pl.DataFrame]:
    """Number the different scores of a frame.

    Args:
        graded: `score`, `classification` and a column of points per signal (`pql.grade_users`, `pqa.grade_accounts`).

    Returns:
        The number of each row's pattern, and the patterns: `number, score, classification, signals` (a list of signal
        and points in the order of the columns), one row each.
    """
    different = (
        graded.with_row_index("row")
        .group_by(graded.columns, maintain_order=True)
        .agg("row")
        .with_row_index("number")
        .with_columns(pl.col("number").cast(pl.Int64))
    )
    number = different.select("number", "row").explode("row").sort("row")["number"]
    names = [name for name in graded.columns if name not in _SAID]
    said = [pl.struct(signal=pl.lit(name), points=pl.col(name)) for name in names]
    return number, different.select("number", *_SAID, signals=pl.concat_list(said).cast(SIGNALS))
