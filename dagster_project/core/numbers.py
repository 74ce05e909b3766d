"""How numbers are rounded, everywhere a number is published or compared."""

import polars as pl

# A sum such as 0.4 x 55 + 0.3 x 71.25 may come out a few units in the last place below the half that it is on paper.
# Far more than that noise, far less than any step between two scores.
_NOISE = 1e-7


def rounded(value: pl.Expr, decimals: int = 1) -> pl.Expr:
    """`value` (not negative) rounded half away from zero."""
    scale = 10**decimals
    # Polars divides by a constant through its reciprocal, which is a digit off; its round gives the nearest number.
    return ((value * scale + 0.5 + _NOISE).floor() / scale).round(decimals)


def settled(value: pl.Expr) -> pl.Expr:
    """`value` without the noise of the last places, which depends on how many rows are computed at once."""
    return value.round(12)


def number_text(value: pl.Expr) -> pl.Expr:
    """A number as people write it: two decimals at most and no trailing zeros; null stays null."""
    return value.cast(pl.Float64).round(2).cast(pl.String).str.strip_suffix(".0")
