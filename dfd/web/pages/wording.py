"""Numbers and job states in words; ``static/web/page.js`` formats sizes and waits in the same way."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from dfd.base.types import Status, Verdict
from dfd.models.files.scope import words_of
from dfd.report.page.wording import SHAPES, STATUS_WORDS

KIB = 2**10
ERROR_TITLES = {
    HTTPStatus.FORBIDDEN: "Not allowed",
    HTTPStatus.NOT_FOUND: "Not found",
    HTTPStatus.METHOD_NOT_ALLOWED: "Not allowed",
    HTTPStatus.REQUEST_TIMEOUT: "Too slow",
    HTTPStatus.CONFLICT: "No longer here",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Too large",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many uploads",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Something went wrong",
    HTTPStatus.SERVICE_UNAVAILABLE: "Busy",
    HTTPStatus.INSUFFICIENT_STORAGE: "No room left",
}
"""Titles of error pages."""


def about_seconds(seconds: float) -> str:
    """Format an approximate wait.

    >>> [about_seconds(value) for value in (0, 17, 75, 100, 5000, 10000)]
    ['a few seconds', 'about 20 seconds', 'about 80 seconds', 'about 2 minutes', 'about 83 minutes', 'about 3 hours']
    """
    if seconds < 10:
        return "a few seconds"
    if seconds < 90:
        return f"about {10 * round(seconds / 10)} seconds"
    return f"about {seconds / 60:.0f} minutes" if seconds < 90 * 60 else f"about {seconds / 3600:.0f} hours"


def hours(number: float) -> str:
    """Format a storage period given in hours.

    >>> [hours(number) for number in (0.5, 1, 24, 36, 72)]
    ['30 minutes', '1 hour', '24 hours', '36 hours', '3 days']
    """
    if number < 1:
        return f"{60 * number:.0f} minutes"
    if number >= 48 and number % 24 == 0:
        return f"{number / 24:.0f} days"
    return f"{number:g} hour{'' if number == 1 else 's'}"


def size(num_bytes: float) -> str:
    """Format a size in binary units, like the limits.

    >>> size(999), size(1536), size(500 * 2**20), size(3 * 2**30)
    ('999 bytes', '1.5 KiB', '500.0 MiB', '3.0 GiB')
    """
    if num_bytes < KIB:
        return f"{num_bytes:.0f} bytes"
    for unit in ("KiB", "MiB"):
        num_bytes /= KIB
        if num_bytes < KIB:
            return f"{num_bytes:.1f} {unit}"
    return f"{num_bytes / KIB:.1f} GiB"


def percent(share: float) -> int:
    """Percent of the work done; 100 only if all of it is done.

    >>> percent(0.999), percent(1.0)
    (99, 100)
    """
    return int(100 * share)


@dataclass(frozen=True, slots=True)
class Badge:
    """A verdict, or the lack of one, shown by word, shape and colour."""

    verdict: str
    word: str

    @property
    def shape(self) -> str:
        """Symbol before the word."""
        return SHAPES[self.verdict]


def badge(state: Mapping[str, Any]) -> Badge | None:
    """Badge of a finished job, given its :func:`dfd.web.pages.presentation.state_of`; None for other jobs."""
    if state["state"] == "failed":
        return Badge("none", "failed")
    if state["state"] != "done":
        return None
    if state["verdict"]:
        return Badge(state["verdict"], words_of(Verdict(state["verdict"]), state["message"]))
    return Badge("none", STATUS_WORDS[Status(state["outcome"])] if state["outcome"] else "no verdict")


def line(state: Mapping[str, Any], *, num_workers: int, is_starting: bool = False) -> str:
    """Describe the state of a job in a sentence.

    >>> line({"state": "queued", "place": 3, "wait_seconds": 95}, num_workers=1)
    'Place 3 in the queue, about 2 minutes until its turn'
    >>> line({"state": "queued", "place": 1, "wait_seconds": 20}, num_workers=0)
    'Next in the queue. Nothing is scored at the moment: it waits until a worker is started'
    >>> line({"state": "running", "stage": "looking at the faces"}, num_workers=1)
    'Looking at the faces'
    """
    if state["state"] == "running":
        stage = state["stage"] or "beginning"
        return str(stage[:1].upper() + stage[1:])
    if state["state"] != "queued":
        return {"done": "Done", "failed": "Failed"}.get(state["state"], "")
    if not state["place"]:  # taken at this moment
        return "Beginning"
    place = "Next in the queue" if state["place"] == 1 else f"Place {state['place']} in the queue"
    if is_starting:
        return f"{place}. The service is starting"
    if not num_workers:
        return f"{place}. Nothing is scored at the moment: it waits until a worker is started"
    return f"{place}, {about_seconds(state['wait_seconds'])} until its turn"
