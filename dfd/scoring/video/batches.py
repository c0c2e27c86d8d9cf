"""Clips that wait for the network until they fill a batch."""

import time
from collections.abc import Callable, Iterable, Sequence

from dfd.faces.found import FaceWindow
from dfd.scoring.aggregation import Aggregation
from dfd.scoring.video.state import _Video

LARGE_NETWORK = 50_000_000
"""Weights from which a batch on a CPU has two clips: with more, a vision transformer is no faster."""

Waiting = tuple[_Video, FaceWindow]
"""A clip that waits for the network, and its video."""


class Batches:
    """Clips that wait for the network until they fill a batch.

    Args:
        across_videos: whether a batch may hold clips of several videos. Probabilities differ in the last digits by
            how many clips a batch has: without, a score does not depend on what is scored beside it, or on where a run
            was stopped.
    """

    def __init__(self, across_videos: bool) -> None:
        self.across_videos = across_videos
        self._together: list[_Video] = []

    @staticmethod
    def size(given: int | None, device_type: str, num_parameters: int | None) -> int:
        """Clips at once: few of a large network on a CPU, so that the first are soon seen to be done.

        Args:
            given: number that somebody has asked for; None: nobody has.
            device_type: ``cpu`` or ``cuda``.
            num_parameters: of the network; None if they cannot be counted.

        >>> [Batches.size(None, "cpu", number) for number in (4_000_000, 300_000_000)]
        [8, 2]
        """
        if given is not None or device_type != "cpu":
            return 16 if given is None else given
        return 2 if (num_parameters or 0) >= LARGE_NETWORK else 8

    def full(self, video: _Video, batch_size: int) -> list[Waiting]:
        """Clips that fill a batch, now that something of ``video`` was taken; none if they do not fill it."""
        if not self.across_videos:
            return self._taken([video], len(video.waiting)) if len(video.waiting) >= batch_size else []
        if video.waiting and not any(one is video for one in self._together):
            self._together.append(video)
        is_full = sum(len(one.waiting) for one in self._together) >= batch_size
        return self._taken(self._together, batch_size) if is_full else []

    def rest(self, video: _Video, batch_size: int) -> list[Waiting]:
        """The last clips of ``video``, which ends, and as many of others as there is room for in their batch."""
        room = -(-len(video.waiting) // batch_size) * batch_size
        return self._taken([video, *(one for one in self._together if one is not video)], room)

    def _taken(self, videos: Iterable[_Video], most: int) -> list[Waiting]:
        taken: list[Waiting] = []
        for one in videos:
            windows = one.waiting[: most - len(taken)]
            del one.waiting[: len(windows)]
            taken += [(one, window) for window in windows]
        self._together = [one for one in self._together if one.waiting]
        return taken


def look(
    waiting: Sequence[Waiting], prob_fake: Callable[..., list[float]], *, num_kept: int, aggregation: Aggregation
) -> list[float]:
    """Give clips their probability, which becomes part of their videos, and return it.

    ``prob_fake`` computes it from the crops and the seconds of clips; for the others see :meth:`_Video.add`.
    """
    if not waiting:
        return []
    began = time.perf_counter()
    probs = prob_fake(*zip(*((window.crops, window.frame_seconds) for _, window in waiting), strict=True))
    each = (time.perf_counter() - began) / len(waiting)
    for (video, window), prob in zip(waiting, probs, strict=True):
        video.add(window, prob, seconds=each, num_kept=num_kept, aggregation=aggregation)
    return probs
