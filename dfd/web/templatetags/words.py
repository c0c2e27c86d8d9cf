"""Numbers as the pages write them."""

from typing import Any

from django import template

from dfd.report.wording import probability
from dfd.web import wording

register = template.Library()
register.filter("about_seconds", wording.about_seconds)
register.filter("hours", wording.hours)
register.filter("size", wording.size)
register.filter("percent", wording.percent)
register.filter("probability", probability)


@register.filter
def sub(value: Any, key: str) -> Any:
    """A part of what may be no mapping: a detector's card is what its training wrote, or nothing."""
    return value.get(key) if isinstance(value, dict) else None
