"""Numbers, intervals and lists as a report shows them; what is not known is a dash."""

from collections.abc import Sequence
from typing import Any

from dfd.plots import Interval
from dfd.report.document import Cell
from dfd.report.runs import show_setting

DASH = "–"
NO_INTERVAL = "no interval"
HASH_LENGTH = 12


def listed(items: Sequence[str]) -> str:
    """Items as a sentence lists them.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def number(value: float | None) -> str:
    """To three places, more than a test of some hundred videos can tell."""
    return DASH if value is None else f"{value:.3f}"


def interval_of(interval: Interval | None) -> str:
    """An interval for a table."""
    return NO_INTERVAL if interval is None else f"{interval[0]:.3f}–{interval[1]:.3f}"


def interval_words(interval: Interval | None) -> str:
    """An interval for a sentence."""
    return NO_INTERVAL if interval is None else f"95 % interval {interval[0]:.3f} to {interval[1]:.3f}"


def estimate(value: float | None, interval: Interval | None) -> Cell:
    """A number with its interval, for a table; where there is none, it says so."""
    return Cell(number(value), "" if value is None else interval_of(interval))


def whole(value: int | None) -> str:
    """A count."""
    return DASH if value is None else str(value)


def text_of(value: Any) -> str:
    """A plain value as a config writes it."""
    return DASH if value is None else show_setting(value)


def short_hash(value: Any) -> str:
    """The beginning of a hash: enough to tell whether two are equal."""
    return str(value)[:HASH_LENGTH] if value else DASH


def p_value(value: float) -> str:
    """A p value for a table."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def p_words(value: float) -> str:
    """A p value for a sentence, after "p"."""
    return p_value(value) if value < 0.001 else f"= {value:.3f}"
