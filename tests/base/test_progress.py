"""The time left is told before anything is done, where it can be estimated."""

from rich.progress import Task

from dfd.base.progress import TimeLeftColumn, progress_bar


def shown(*, expected: float | None, elapsed: float, done: list[tuple[float, float]] | None = None) -> str:
    """Time left of a task of one video, after ``elapsed`` seconds; ``done`` has times and shares."""
    now = [0.0]
    bar = progress_bar()
    bar.get_time = lambda: now[0]
    number = bar.add_task("scoring", total=1, note="", expected=expected)
    for at, share in done or []:
        now[0] = at
        bar.update(number, completed=share)
    now[0] = elapsed
    task: Task = next(task for task in bar.tasks if task.id == number)
    return TimeLeftColumn().render(task).plain


def test_an_estimate_counts_down_until_there_is_a_rate() -> None:
    assert shown(expected=80, elapsed=0) == "about 0:01:20"
    assert shown(expected=80, elapsed=30.2) == "about 0:00:50"
    assert shown(expected=80, elapsed=100) == "about 0:00:00"
    assert shown(expected=80, elapsed=20, done=[(10, 0.2), (20, 0.4)]) == "0:00:30"


def test_without_an_estimate_nothing_is_claimed() -> None:
    assert shown(expected=None, elapsed=1) == "-:--:--"
