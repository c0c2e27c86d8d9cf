"""What a study is, and what became of each of its jobs, as files in their folders: ``study.json``, ``outcome.json``."""

import logging
import math
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Self

from dfd.base.errors import DfdError, JobFailed, ReportError, RunPruned
from dfd.base.files import inside, write_json
from dfd.base.untrusted import decode, read_json

ERROR_FILE = "error.txt"
"""The whole traceback of a job that failed by an error nobody foresaw."""
MAX_MESSAGE = 300

logger = logging.getLogger(__name__)


class Outcome(StrEnum):
    """What became of a job."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    PRUNED = "pruned"
    """Ended early, because other jobs of its study were better by then."""
    FAILED = "failed"
    STOPPED = "stopped"
    """Interrupted by somebody; repeating the study's command goes on with it."""
    LEFT_OUT = "left_out"
    """Not run, since the data do not fit it; the message says why."""

    @property
    def is_settled(self) -> bool:
        """A study that goes on does not run it again."""
        return self in (Outcome.FINISHED, Outcome.PRUNED)


class _Record:
    """A record in a folder of its own, as the file ``FILE``."""

    __slots__ = ()
    FILE: ClassVar[str]

    def write(self, folder: Path) -> None:
        """Leave it in its folder, whole or not at all."""
        write_json(folder / self.FILE, asdict(self))  # type: ignore[call-overload]

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Read the record of a folder; None if there is none.

        Raises:
            ReportError: the file is damaged.
        """
        path = folder / cls.FILE
        if not path.is_file():
            return None
        try:
            return decode(cls, read_json(inside(folder, path)))
        except (OSError, ValueError) as error:
            raise ReportError(f"{path}: cannot be read ({' '.join(str(error).split())}); remove it") from error


@dataclass(frozen=True, slots=True)
class JobRecord(_Record):
    """``outcome.json`` of a job. ``value`` is what the study optimises; None if it is not known."""

    FILE = "outcome.json"
    outcome: Outcome
    overrides: Sequence[str] = ()
    """All that its configuration was composed with."""
    started: str = ""
    seconds: float | None = None
    value: float | None = None
    message: str = ""
    """Why it has no value, for a person."""


@dataclass(frozen=True, slots=True)
class StudyRecord(_Record):
    """``study.json`` in the folder of a multirun: what it varies, and what it looks for."""

    FILE = "study.json"
    name: str
    group: str
    """Its runs' group in Weights & Biases."""
    metric: str
    """Metric that it optimises, such as ``val/auc``."""
    swept: Sequence[str]
    """The keys that it varies."""
    log_scale: Sequence[str] = ()
    """Swept keys whose ratios matter, and not their differences."""

    @property
    def is_minimized(self) -> bool:
        """A low value is a good one."""
        return is_minimized(self.metric)

    def choices(self, overrides: Sequence[str]) -> dict[str, str]:
        """What a job with these overrides chose of what is varied.

        >>> StudyRecord("lr", "", "val/auc", ["optimizer.lr"]).choices(["seed=1", "optimizer.lr=1e-4"])
        {'optimizer.lr': '1e-4'}
        """
        given = overrides_by_key(overrides)
        return {key: given[key] for key in self.swept if key in given}


def is_minimized(metric: str) -> bool:
    """Whether less is better.

    >>> is_minimized("val/loss"), is_minimized("val/auc")
    (True, False)
    """
    return metric.rpartition("/")[2] == "loss"


def overrides_by_key(overrides: Sequence[str]) -> dict[str, str]:
    """Hydra overrides as keys and values, without the marks that add or force; the last of a key counts.

    >>> overrides_by_key(["+a.b=1", "c=x=y", "~d"])
    {'a.b': '1', 'c': 'x=y'}
    """
    pairs = (override.partition("=") for override in overrides if "=" in override)
    return {key.lstrip("+~"): value.strip("'\"") for key, _, value in pairs}


class JobsFailed(SystemExit):
    """Ends the command of a study in which jobs failed, after each has been reported."""

    code = 1


@dataclass(slots=True)
class Recorder:
    """Takes what a job returns."""

    value: float | None = None
    started: float = field(default_factory=time.monotonic)


@contextmanager
def recorded(folder: Path, overrides: Sequence[str]) -> Iterator[Recorder]:
    """Keep ``outcome.json`` in ``folder`` while a job runs in it, and say there how it ended.

    A failed job's memory is given back: an exception that a launcher keeps would otherwise keep the network, too.

    Raises:
        JobFailed: the job raised an exception. It is of one plain message, so that it comes back from other processes.
    """
    begun = JobRecord(Outcome.RUNNING, list(overrides), f"{datetime.now():%Y-%m-%d %H:%M:%S}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ERROR_FILE).unlink(missing_ok=True)
    begun.write(folder)
    recorder = Recorder()

    def end(outcome: Outcome, message: str = "") -> None:
        seconds = round(time.monotonic() - recorder.started, 1)
        value = recorder.value if recorder.value is not None and math.isfinite(recorder.value) else None
        replace(begun, outcome=outcome, seconds=seconds, value=value, message=message).write(folder)

    try:
        yield recorder
    except RunPruned as error:
        end(Outcome.PRUNED, str(error))
        logger.info("%s: %s", folder, error)
        return
    except Exception as error:  # noqa: BLE001 - whatever it is, the study's other jobs go on
        message = str(error) if isinstance(error, DfdError) else _one_line(error)
        if not isinstance(error, DfdError):
            (folder / ERROR_FILE).write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        traceback.clear_frames(error.__traceback__)
        end(Outcome.FAILED, message)
        failure = JobFailed(message)
    except BaseException:
        end(Outcome.STOPPED, "interrupted")
        raise
    else:
        end(Outcome.FINISHED, "" if recorder.value is not None else "its metric is not defined")
        return
    logger.error("%s: %s", folder, failure)
    raise failure  # not within the except clause, where it would keep the exception as its context


def _one_line(error: BaseException) -> str:
    """The kind of an error that nobody foresaw, and the beginning of what it says."""
    text = " ".join(str(error).split())
    text = text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE - 1]}…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
