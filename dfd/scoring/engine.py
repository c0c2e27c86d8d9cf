"""Scoring of any number of videos by worker processes that decode them and find the faces."""

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from dfd.base.machine import num_cores, return_freed_memory
from dfd.base.types import VideoScore
from dfd.process.failure import Failure
from dfd.process.pool import Again, WorkerPool
from dfd.scoring.look.workers import Task, numbered_windows_task, start_worker, worker_pool
from dfd.scoring.video.state import Piece

Progress = Callable[[Path, float], None]
"""Told of a video and the share of the work on it, 0..1, that is done."""

V = TypeVar("V")
"""What an engine keeps of a video while it is scored."""


class Engine(ABC, Generic[V]):
    """Scores videos. Its worker processes start with the first video and stay for the next.

    A context manager, or :meth:`close` it; one that is forgotten stops its workers too. Not for several threads.

    Args:
        looks: arguments of :func:`dfd.scoring.look.workers.start_worker`.
        batch_size: clips of one video through a network at once.
        num_workers: processes that decode and find faces; None: one per core.
        deadline_seconds: a video that takes longer is given up as ``timeout``.
        stall_seconds: so is one that comes no further for so long.
        pool: processes to take over; see :class:`dfd.scoring.detector.Detector`.

    Raises:
        ValueError: a number is not above 0.
    """

    def __init__(
        self,
        looks: tuple[Any, ...],
        *,
        batch_size: int,
        num_workers: int | None,
        deadline_seconds: float,
        stall_seconds: float,
        pool: WorkerPool | None,
    ) -> None:
        counts = {"batch_size": batch_size, "num_workers": num_workers}
        for option, value in {**counts, "deadline_seconds": deadline_seconds, "stall_seconds": stall_seconds}.items():
            if value is not None and not value > 0:
                raise ValueError(f"{option} must be above 0, got {value}")
        self.parts: Sequence[str] = ()
        """Names of the detectors, where several are shown beside each other."""
        self._looks = looks
        self.batch_size = batch_size
        self.num_workers = num_workers or num_cores()
        self.deadline_seconds, self.stall_seconds = deadline_seconds, stall_seconds
        self.keeps_workers = True
        """Whether processes stay for the next videos; False: they end with the last video's frames, which frees memory
        before that video is explained."""
        self._is_scoring = False
        self._pool: WorkerPool | None = None
        self._at_end: weakref.finalize[..., Any] | None = None
        if pool is not None:
            self.take_over(pool)

    @abstractmethod
    def begin(self, path: Path) -> V:
        """Begin a video."""

    @abstractmethod
    def take(self, video: V, item: Piece) -> None:
        """Keep what was found in a video."""

    def settle(self, video: V) -> Iterator[float]:
        """Score what waited until everything was taken of a video; yields the share of that which is done, 0..1."""
        return iter(())

    @abstractmethod
    def share(self, video: V, looked: float) -> float:
        """Share of the work on a video that is done, 0..1, when this share of it was ``looked`` at."""

    @abstractmethod
    def failed(self, video: V, failure: Failure) -> VideoScore:
        """Score of a video that cannot be scored: its status and message."""

    @abstractmethod
    def finished(self, video: V) -> VideoScore:
        """Score of a video of which everything was taken."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the worker processes. The next video starts them again."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None
        if self._at_end is not None:
            self._at_end.detach()

    def score(self, path: str | Path, *, on_progress: Progress | None = None, **changes: Any) -> VideoScore:
        """Score one video. A video that cannot be scored gets a status and a message, not an exception.

        Args:
            path: the video.
            on_progress: told of the share that has been looked at.
            changes: which clips are scored in this video, where that differs from what the detector was loaded with:
                options of :class:`~dfd.faces.found.WindowSettings`, such as ``span=(40.0, 60.0), max_windows=None``.
        """
        (score,) = self.score_many([path], on_progress=on_progress, **changes)
        return score

    def score_many(
        self, paths: Iterable[str | Path], *, on_progress: Progress | None = None, **changes: Any
    ) -> Iterator[VideoScore]:
        """Score videos as they come out of the workers, in no particular order; one score for each path.

        Memory does not grow with the number of videos, and with their length by a line for each window only.

        Raises:
            RuntimeError: this detector is at work on other videos, whose scores have not all been taken.
        """
        files = [Path(path) for path in paths]
        if not files:
            return
        if self._is_scoring:
            remedy = "take all of their scores first, or load a second Detector"
            raise RuntimeError(f"this Detector is scoring other videos; {remedy}")
        self._is_scoring = True
        try:
            yield from self._score_all(files, on_progress, changes)
        finally:
            self._is_scoring = False

    def _score_all(
        self, files: list[Path], on_progress: Progress | None, changes: Mapping[str, Any]
    ) -> Iterator[VideoScore]:
        videos: dict[int, V] = {}
        looked: dict[int, float] = {}
        num_left = len(files)
        # Tasks without changes are those that a pool may have begun already.
        tasks: list[Task] = [(key, path, changes) if changes else (key, path) for key, path in enumerate(files)]
        for (key, path, *_), item in self._workers(len(files)).stream(numbered_windows_task, tasks):
            if key not in videos or isinstance(item, Again):
                videos[key] = self.begin(path)
                looked[key] = 0.0
            if isinstance(item, Again):
                continue
            if isinstance(item, Failure):
                num_left -= 1
                yield self.failed(videos.pop(key), item)
                continue
            if item is None:
                num_left -= 1
                if not (num_left or self.keeps_workers):
                    self.close()
                    return_freed_memory()
                for share in self.settle(videos[key]):
                    if on_progress is not None:
                        on_progress(path, share)
                score = self.finished(videos.pop(key))
                if on_progress is not None:
                    on_progress(path, 1.0)
                yield score
                continue
            if isinstance(item, float):
                looked[key] = item
            else:
                self.take(videos[key], item)
            if on_progress is not None:
                on_progress(path, self.share(videos[key], looked[key]))

    def _workers(self, num_tasks: int) -> WorkerPool:
        """The pool, with no more processes than there is work for, and no fewer than it had."""
        wanted = min(self.num_workers, num_tasks)
        if self._pool is not None and self._pool.num_workers < wanted:
            self.close()
        if self._pool is None:
            seconds: dict[str, Any] = {"deadline_seconds": self.deadline_seconds, "stall_seconds": self.stall_seconds}
            return self.take_over(worker_pool(wanted, batch_size=self.batch_size, **seconds))
        return self._pool

    def take_over(self, pool: WorkerPool) -> WorkerPool:
        """Use these processes, and close them in the end; see :class:`dfd.scoring.detector.Detector`."""
        pool.prepare(start_worker, *self._looks)
        self._pool = pool
        self._at_end = weakref.finalize(self, pool.close)
        return pool
