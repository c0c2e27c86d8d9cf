"""Progress bar for long work: done, rate, time left and a note."""

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text


class RateColumn(ProgressColumn):
    """Rate in items per minute, as video work takes seconds per item."""

    def render(self, task: Task) -> Text:
        """Render the rate of ``task``."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed * 60:.1f}/min", style="progress.data.speed")


class TimeLeftColumn(TimeRemainingColumn):
    """Time left by the rate so far; before there is one, until the time at which the task ``ends``, if it has that."""

    def render(self, task: Task) -> Text:
        """Render the time left of ``task``."""
        ends = task.fields.get("ends")
        if ends is None or task.time_remaining is not None:
            return super().render(task)
        minutes, seconds = divmod(max(0, round(ends - time.monotonic())), 60)
        return Text(f"about {minutes // 60}:{minutes % 60:02d}:{seconds:02d}", style="progress.remaining")


def progress_bar(*, transient: bool = False) -> Progress:
    """Progress bar whose tasks carry a ``note``; on a pipe or in a log it prints only its last state.

    A task may carry ``ends``, an estimate of the :func:`time.monotonic` at which it ends. A ``transient`` bar
    disappears at its end.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        RateColumn(),
        TextColumn("left"),
        TimeLeftColumn(),
        TextColumn("[dim]{task.fields[note]}[/]"),
        console=Console(stderr=True),
        transient=transient,
    )


def download_bar() -> Progress:
    """Progress bar in bytes, with the rate and the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
