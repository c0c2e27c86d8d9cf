"""Fingerprints of video content, a few kilobytes each, for finding copies of one video under other names.

Equality is decided by two hashes: that of the file, and that of a grid of pixels of every ``HASH_STRIDE``-th frame,
which does not depend on container or metadata. Re-encoded, scaled or trimmed copies share neither. For these there is a
sequence of small vectors, ``RATE`` per second: the lowest frequencies of the whole picture's brightness, which encoding
hardly changes. :mod:`dfd.data.copies.compare` compares them.

Fingerprints are computed from the frames that the preprocessing decodes anyway; memory grows with the video only by its
vectors, which end after ``MAX_SECONDS``.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from dfd.base.types import FloatArray, FrameArray

VERSION = 1
"""Version of the fingerprints; only equal versions are compared. Raise it when equal frames give other fingerprints."""
RATE = 8
"""Vectors per second. Copies are misaligned by at most 1/16 s, in which a talking head moves little."""
MAX_SECONDS = 60
"""Length of video that gets vectors; the rest has none."""
HASH_STRIDE = 10
"""Distance between hashed frames."""

NUM_FREQUENCIES = 8
"""Number of horizontal and of vertical frequencies; a vector holds them row by row, without the mean."""
_SIDE = 32
_READ_SIDE = 128
"""Large frames are subsampled by whole steps as long as the shorter side keeps this many pixels."""
_STEPS_PER_LEVEL = 8
"""Quantisation: vectors and their mean are stored in eighths of a grey level."""
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Fingerprint of one video's frames, as plain values for its record.

    ``pixels_sha256`` is equal for equal frames. ``mean`` and ``motion`` are base64 of little-endian integers; see
    :meth:`vectors`.

    Raises:
        ValueError: ``mean`` or ``motion`` cannot be decoded.
    """

    version: int
    pixels_sha256: str
    mean: str
    motion: str

    def __post_init__(self) -> None:
        self.vectors()

    def vectors(self) -> FloatArray:
        """Vectors ``(T, 63)`` in grey levels, ``RATE`` per second from the start; T is 0 for another version."""
        size = NUM_FREQUENCIES**2 - 1
        if self.version != VERSION:
            return np.zeros((0, size), np.float32)
        mean = np.frombuffer(base64.b64decode(self.mean, validate=True), "<i2").astype(np.float32)
        motion = np.frombuffer(base64.b64decode(self.motion, validate=True), np.int8).astype(np.float32)
        return np.asarray((mean.reshape(size) + motion.reshape(-1, size)) / _STEPS_PER_LEVEL, np.float32)


class FrameWatcher:
    """Computes the fingerprint of one video from the frames that pass through :meth:`watch`."""

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._digest = hashlib.sha256()
        self._vectors: list[FloatArray] = []

    def watch(self, chunks: Iterable[tuple[int, FrameArray]]) -> Iterator[tuple[int, FrameArray]]:
        """Pass through chunks ``(first index, (N, H, W, 3))`` of consecutive frames, starting at frame 0."""
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
        """Index of the frame shown when the next vector is due."""
        number = len(self._vectors)
        return round(number / RATE * self._fps) if number < MAX_SECONDS * RATE else float("inf")

    def fingerprint(self) -> Fingerprint:
        """Fingerprint of the frames that have passed.

        Raises:
            ValueError: no frame has passed.
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
    """Lowest frequencies of the picture's brightness, without the mean, in grey levels."""
    grey = np.asarray(cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.float32) @ _GREY
    basis = _cosines()
    return np.asarray((basis @ grey @ basis.T).ravel()[1:], np.float32)


@cache
def _cosines() -> FloatArray:
    """First rows of the type II cosine transform, scaled to preserve the mean."""
    frequencies, places = np.arange(NUM_FREQUENCIES)[:, None], np.arange(_SIDE)
    basis = np.cos(np.pi * (places + 0.5) * frequencies / _SIDE) * np.sqrt(2) / _SIDE
    basis[0] /= np.sqrt(2)
    return np.asarray(basis, np.float32)
