"""What a video shows, in a few kilobytes: by these, copies of one video are found under other names.

Equality is told by two hashes: of the file, and of a grid of pixels of every ``HASH_STRIDE``-th frame, which survives
another container and other metadata. What was encoded anew, scaled or trimmed has neither. For that there is a sequence
of small vectors, ``RATE`` a second: the lowest frequencies of the whole picture's brightness, in which an encoder
changes nearly nothing. :mod:`dfd.data.copies` compares them.

All is taken from frames that the preprocessing decodes anyway, as they pass: nothing is decoded for it, and what is
held does not grow with the video but for its vectors, which end after ``MAX_SECONDS``.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from dfd.types import FloatArray, FrameArray

VERSION = 1
"""Written with each fingerprint, and only equal ones are compared: raise it when equal frames begin to give others."""
RATE = 8
"""Vectors per second. Half the way between two is 1/16 s, in which a talking head moves little."""
MAX_SECONDS = 60
"""What lies behind it has no vectors."""
HASH_STRIDE = 10
"""One of so many frames is hashed."""

NUM_FREQUENCIES = 8
"""Frequencies of the picture across and down; a vector has them row by row, without the mean."""
_SIDE = 32
_READ_SIDE = 128
"""Large frames are read every second, third ... pixel, until the shorter side would be less than this."""
_STEPS_PER_LEVEL = 8
"""Vectors are kept in eighths of a grey level around their mean, the mean in whole numbers of such."""
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What the frames of one video look like, as plain values for its record.

    ``pixels_sha256`` is equal for equal frames. ``mean`` and ``motion`` are base64 of little-endian integers; see
    :meth:`vectors`.

    Raises:
        ValueError: they are no such integers.
    """

    version: int
    pixels_sha256: str
    mean: str
    motion: str

    def __post_init__(self) -> None:
        self.vectors()

    def vectors(self) -> FloatArray:
        """``(T, 63)`` in grey levels, ``RATE`` a second from the video's beginning; T is 0 for another version."""
        size = NUM_FREQUENCIES**2 - 1
        if self.version != VERSION:
            return np.zeros((0, size), np.float32)
        mean = np.frombuffer(base64.b64decode(self.mean, validate=True), "<i2").astype(np.float32)
        motion = np.frombuffer(base64.b64decode(self.motion, validate=True), np.int8).astype(np.float32)
        return np.asarray((mean.reshape(size) + motion.reshape(-1, size)) / _STEPS_PER_LEVEL, np.float32)


class FrameWatcher:
    """Takes a fingerprint from the frames of one video that pass through :meth:`watch`."""

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._digest = hashlib.sha256()
        self._vectors: list[FloatArray] = []

    def watch(self, chunks: Iterable[tuple[int, FrameArray]]) -> Iterator[tuple[int, FrameArray]]:
        """The same chunks ``(first index, (N, H, W, 3))`` of consecutive frames from frame 0 on."""
        for start, frames in chunks:
            for index, frame in enumerate(frames, start):
                is_sampled = index >= self._next_frame
                is_hashed = index % HASH_STRIDE == 0
                if not (is_sampled or is_hashed):
                    continue
                step = max(1, min(frame.shape[:2]) // _READ_SIDE)
                small = np.ascontiguousarray(frame[::step, ::step])
                if is_hashed:
                    self._digest.update(repr(frame.shape).encode())
                    self._digest.update(small.data)
                if is_sampled:
                    vector = _vector(small)
                    while index >= self._next_frame:  # a slow video's frame is shown at several samples
                        self._vectors.append(vector)
            yield start, frames

    @property
    def _next_frame(self) -> float:
        """The first frame that is shown when the next vector is due."""
        number = len(self._vectors)
        return round(number / RATE * self._fps) if number < MAX_SECONDS * RATE else float("inf")

    def fingerprint(self) -> Fingerprint:
        """The fingerprint of the frames that have passed.

        Raises:
            ValueError: nothing has.
        """
        if not self._vectors:
            raise ValueError("no frame has passed")
        steps = np.stack(self._vectors) * _STEPS_PER_LEVEL
        mean = np.rint(steps.mean(axis=0))
        motion = np.rint(steps - mean).clip(-127, 127)
        return Fingerprint(
            VERSION,
            self._digest.hexdigest(),
            base64.b64encode(mean.astype("<i2").tobytes()).decode(),
            base64.b64encode(motion.astype(np.int8).tobytes()).decode(),
        )


def _vector(picture: FrameArray) -> FloatArray:
    """The lowest frequencies of the picture's brightness without its mean, in grey levels."""
    import cv2

    grey = np.asarray(cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.float32) @ _GREY
    basis = _cosines()
    return np.asarray((basis @ grey @ basis.T).ravel()[1:], np.float32)


@cache
def _cosines() -> FloatArray:
    """The first rows of the type II cosine transform, scaled so that a picture's mean would stay its mean."""
    frequencies, places = np.arange(NUM_FREQUENCIES)[:, None], np.arange(_SIDE)
    basis = np.cos(np.pi * (places + 0.5) * frequencies / _SIDE) * np.sqrt(2) / _SIDE
    basis[0] /= np.sqrt(2)
    return np.asarray(basis, np.float32)
