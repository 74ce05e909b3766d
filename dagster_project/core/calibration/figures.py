"""Numbers as people write them."""

from __future__ import annotations


def percent(value: float | None, decimals: int = 1) -> str:
    """0.123 -> 12.3 %."""
    return "" if value is None else f"{100 * value:.{decimals}f} %"


def between(low: float | None, high: float | None) -> str:
    """An interval of shares."""
    return "" if low is None or high is None else f"{100 * low:.1f}-{100 * high:.1f} %"


def times(value: float | None) -> str:
    """A lift."""
    return "" if value is None else f"{value:.2f}x"


def count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def decimal(value: float | None, decimals: int = 3) -> str:
    """0.1234 -> 0.123."""
    return "" if value is None else f"{value:.{decimals}f}"
