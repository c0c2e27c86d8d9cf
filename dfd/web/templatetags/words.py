"""Template filters that format numbers."""

from typing import Any

from django import template

from dfd.report.page.wording import probability
from dfd.web.pages import wording

register = template.Library()
register.filter("about_seconds", wording.about_seconds)
register.filter("hours", wording.hours)
register.filter("size", wording.size)
register.filter("percent", wording.percent)
register.filter("probability", probability)


@register.filter
def sub(value: Any, key: str) -> Any:
    """Value of ``key`` if ``value`` is a mapping, else None; a detector's card may lack any part."""
    return value.get(key) if isinstance(value, dict) else None
