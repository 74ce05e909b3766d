"""How long to wait before the next try of what fails."""

_MOST_DOUBLINGS = 30
"""Beyond any longest pause. What fails for days would be beyond any number."""


def doubled(first: float, failures: int, *, longest: float) -> float:
    """The pause after some failures in a row: doubled with each, up to the longest.

    Args:
        first: After the first failure, seconds.
        failures: How many there were, from 1.
        longest: Seconds.
    """
    return min(first * 2.0 ** min(failures - 1, _MOST_DOUBLINGS), longest)
