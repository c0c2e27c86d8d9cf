"""Damage of a video in words: frames that could not be read as they were written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_MAX_NAMED = 3
_MAX_NOTED = 100_000


@dataclass(slots=True)
class Damage:
    """Indices of damaged frames: those that the decoder partly made up, and those that it never returned."""

    made_up: set[int] = field(default_factory=set)
    missing: set[int] = field(default_factory=set)
    words: str = ""
    """FFmpeg's message about the first of them."""

    @staticmethod
    def note(frames: set[int], index: int) -> None:
        """Add a frame to one of the sets, which do not grow without a bound."""
        if len(frames) < _MAX_NOTED:
            frames.add(index)

    def sentences(self, seconds: Callable[[int], float], first: int) -> list[str]:
        """Sentences that say what is damaged, and when.

        Args:
            seconds: gives the time of a frame by its index.
            first: index of the first frame that can be decoded; earlier frames are reported elsewhere.
        """
        told = []
        lost = sorted(index for index in self.missing if index >= first)
        if lost:
            told.append(f"damaged: {_frames(lost, seconds)}, cannot be decoded{self._why()}")
        if self.made_up:
            made_up = _frames(sorted(self.made_up), seconds)
            told.append(f"damaged: the decoder had to make up parts of {made_up}{self._why()}")
        return told

    def _why(self) -> str:
        return f" ({self.words})" if self.words else ""


def _frames(indices: Sequence[int], seconds: Callable[[int], float]) -> str:
    """Number of frames and their times.

    >>> _frames([0, 1, 2, 9], lambda index: index / 10)
    '4 frames, at 0.00-0.20 s and 0.90 s'
    """
    stretches: list[tuple[int, int]] = []
    for index in indices:
        if stretches and index <= stretches[-1][1] + 1:
            stretches[-1] = stretches[-1][0], index
        else:
            stretches.append((index, index))
    shown = [
        f"{seconds(a):.2f} s" if a == b else f"{seconds(a):.2f}-{seconds(b):.2f} s" for a, b in stretches[:_MAX_NAMED]
    ]
    more = [f"{len(stretches) - _MAX_NAMED} more places"] if len(stretches) > _MAX_NAMED else []
    places = [*shown, *more]
    listed = places[0] if len(places) == 1 else f"{', '.join(places[:-1])} and {places[-1]}"
    return f"{len(indices)} frame{'s' if len(indices) != 1 else ''}, at {listed}"
