"""Formats of numbers, intervals and lists in reports; unknown values are dashes."""

from collections.abc import Sequence
from typing import Any

from dfd.base.words import show_setting
from dfd.figures.style import Interval
from dfd.report.page.document import Cell

DASH = "–"
NO_INTERVAL = "no interval"
HASH_LENGTH = 12


def listed(items: Sequence[str]) -> str:
    """Join items for a sentence.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def number(value: float | None) -> str:
    """Format a number to three places, more than a test of some hundred videos can resolve."""
    return DASH if value is None else f"{value:.3f}"


def interval_of(interval: Interval | None) -> str:
    """Format an interval for a table."""
    if interval is None:
        return NO_INTERVAL
    low, high = interval
    return f"{low:.3f}–{high:.3f}" if low >= 0 else f"{low:.3f} to {high:.3f}"


def interval_words(interval: Interval | None) -> str:
    """Format an interval for a sentence."""
    return NO_INTERVAL if interval is None else f"95 % interval {interval[0]:.3f} to {interval[1]:.3f}"


def estimate(value: float | None, interval: Interval | None) -> Cell:
    """Cell with a number and its interval, or a note that there is none."""
    return Cell(number(value), "" if value is None else interval_of(interval))


def whole(value: int | None) -> str:
    """Format a count."""
    return DASH if value is None else str(value)


def text_of(value: Any) -> str:
    """Format a plain value as in a config."""
    return DASH if value is None else show_setting(value)


def short_hash(value: Any) -> str:
    """First digits of a hash, enough to compare two."""
    return str(value)[:HASH_LENGTH] if value else DASH


def p_value(value: float) -> str:
    """Format a p value for a table."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def p_words(value: float) -> str:
    """Format a p value for a sentence, after "p"."""
    return p_value(value) if value < 0.001 else f"= {value:.3f}"
