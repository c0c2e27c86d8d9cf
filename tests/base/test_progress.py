"""The time left is told before anything is done, where it can be estimated."""

import time

import pytest
from rich.progress import Task

from dfd.base.progress import TimeLeftColumn, progress_bar


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock, which stands still until it is set."""
    times = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: times[0])
    return times


def shown(now: list[float], *, ends: float | None, at: float, done: tuple[tuple[float, float], ...] = ()) -> str:
    """Time left of a task of one video ``at`` a time; ``done`` has earlier times and shares."""
    bar = progress_bar()
    bar.get_time = lambda: now[0]
    number = bar.add_task("scoring", total=1, note="", ends=ends)
    for moment, share in done:
        now[0] = moment
        bar.update(number, completed=share)
    now[0] = at
    task: Task = next(task for task in bar.tasks if task.id == number)
    return TimeLeftColumn().render(task).plain


def test_an_estimate_counts_down_until_there_is_a_rate(now: list[float]) -> None:
    assert shown(now, ends=80, at=0) == "about 0:01:20"
    assert shown(now, ends=80, at=30.2) == "about 0:00:50"
    assert shown(now, ends=80, at=100) == "about 0:00:00"
    assert shown(now, ends=80, at=20, done=((10, 0.2), (20, 0.4))) == "0:00:30"


def test_without_an_estimate_nothing_is_claimed(now: list[float]) -> None:
    assert shown(now, ends=None, at=1) == "-:--:--"
