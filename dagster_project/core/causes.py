"""Why a score changed: what is new, what left the window, the fit, or another definition of the score.

A cause is told from the contributions of the signals, then and now. What rose is new activity and what fell is activity
that left the window, or that a longer acquaintance thinned out; both at the fit that was before. What the fit itself
moved comes after. When another model made the score, all of the change is its definition's: nobody knows what the old
one would say.
"""

from collections.abc import Sequence
from typing import Literal

import polars as pl

Kind = Literal["activity", "fit", "multiplier", "cap", "rounding"]
CAUSES = ("new_activity", "left_window", "fit", "definition", "cap", "rounding")
CAUSE = pl.Struct(dict.fromkeys(CAUSES, pl.Float64()))


def causes(kinds: Sequence[Kind]) -> pl.Expr:
    """What each of `CAUSES` adds to a change; they sum to it.

    Args:
        kinds: What each contribution is of, in their order. A signal of `fit` adds to the score; the entry
            `multiplier` is what the fit makes of all activity.

    Returns:
        A struct over the columns `score, contributions, model_version` and the same with `previous_` before them;
        null where the contributions of before are not known.
    """
    rose = fell = pl.lit(0.0)
    nothing = pl.lit(0.0)
    moved: dict[Kind, pl.Expr] = {"fit": nothing, "multiplier": nothing, "cap": nothing, "rounding": nothing}
    for place, kind in enumerate(kinds):
        change = _now(place) - _before(place)
        if kind == "activity":
            rose = rose + pl.max_horizontal(change, 0.0)
            fell = fell + pl.min_horizontal(change, 0.0)
        else:
            moved[kind] = moved[kind] + change
    factor = _factor(kinds)
    # Of what the multiplier adds, this much comes from the activity that it multiplies.
    followed = (factor - 1) * (rose + fell)
    same = pl.struct(
        new_activity=factor * rose,
        left_window=factor * fell,
        fit=moved["fit"] + moved["multiplier"] - followed,
        definition=pl.lit(0.0),
        cap=moved["cap"],
        rounding=moved["rounding"],
    )
    redefined = {"definition": pl.col("score") - pl.col("previous_score")}
    other = pl.struct([redefined.get(name, nothing).alias(name) for name in CAUSES])
    is_same = pl.col("model_version") == pl.col("previous_model_version")
    is_known = pl.col("previous_contributions").list.len() == pl.col("contributions").list.len()
    return (
        pl.when(is_same & is_known)
        .then(same.cast(CAUSE))
        .when(~is_same)
        .then(other.cast(CAUSE))
        .otherwise(pl.lit(None, CAUSE))
    )


def _factor(kinds: Sequence[Kind]) -> pl.Expr:
    """The multiplier of before; where there was nothing to multiply, that of now."""
    if "multiplier" not in kinds:
        return pl.lit(1.0)
    place = list(kinds).index("multiplier")
    before, now = (
        pl.sum_horizontal(of(at) for at, kind in enumerate(kinds) if kind == "activity") for of in (_before, _now)
    )
    return (
        pl.when(before > 0)
        .then((before + _before(place)) / before)
        .when(now > 0)
        .then((now + _now(place)) / now)
        .otherwise(1.0)
    )


def _now(place: int) -> pl.Expr:
    return pl.col("contributions").list.get(place, null_on_oob=True)


def _before(place: int) -> pl.Expr:
    return pl.col("previous_contributions").list.get(place, null_on_oob=True)
