"""Persons over cuts: appearances that a face recognition network surely takes for one person are joined."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dfd.base.errors import ConfigError
from dfd.base.types import FloatArray
from dfd.faces.crop.aligned import FivePoints
from dfd.faces.crop.base import opencv
from dfd.faces.tracks.track import TrackSummary

LEAST_COSINE = 0.5
"""Least likeness of two faces of one person. Stricter than 0.363, with which OpenCV's documentation of SFace tells
pairs of photographs: two persons who are taken for one are worse than one who is taken for two."""
MAX_LOOKS = 8
"""Frames of a track that are compared, further and further apart."""
Input = Literal["arcface", "sface"]
_CROP = FivePoints(size=112, template="arcface", scale=1.0)


class Persons:
    """Faces of the tracks of a video as vectors, by a network that takes one person's to be alike.

    Args:
        network: ONNX file that takes an aligned RGB face, ``(1, 3, 112, 112)``, and gives one vector.
        takes: pixels that it takes: ``arcface``: -1..1, as InsightFace's; ``sface``: 0..255, as OpenCV's SFace.
        least_cosine: least cosine of two faces of one person.

    Raises:
        ConfigError: when OpenCV cannot read the file.
    """

    def __init__(self, network: Path, *, takes: Input = "arcface", least_cosine: float = LEAST_COSINE) -> None:
        self._network = _network(network)
        self._path, self._takes, self._least = network, takes, least_cosine
        self._vectors: dict[int, list[FloatArray]] = {}
        self._num_seen: dict[int, int] = {}

    def add(self, track: int, frame: NDArray[np.uint8], landmarks: FloatArray) -> None:
        """Look at a face in a frame ``(H, W, 3)`` by its points ``(5, 2)``; most looks are passed over."""
        seen = self._num_seen[track] = self._num_seen.get(track, 0) + 1
        vectors = self._vectors.setdefault(track, [])
        if seen & (seen - 1) == 0 and len(vectors) < MAX_LOOKS:  # the first, second, fourth, eighth ...
            vectors.append(self._vector(_CROP.cut(frame, np.zeros(4), landmarks)))

    def joined(self, chains: Sequence[list[TrackSummary]]) -> list[list[TrackSummary]]:
        """Appearances, each a list of tracks in order, with those of one person together.

        An appearance joins an earlier person if it is like each appearance of that one, is seen at other times, and is
        like no other person. One whose own looks differ from each other joins none.
        """
        persons: list[list[list[TrackSummary]]] = []
        for chain in chains:
            alike = [person for person in persons if all(self._are_one(chain, other) for other in person)]
            if len(alike) == 1:
                alike[0].append(chain)
            else:
                persons.append([chain])
        return [[track for chain in person for track in chain] for person in persons]

    def _are_one(self, one: Sequence[TrackSummary], other: Sequence[TrackSummary]) -> bool:
        if min(one[-1].last_frame, other[-1].last_frame) >= max(one[0].first_frame, other[0].first_frame):
            return False  # seen at the same time
        a, b = self._looks(one), self._looks(other)
        if not len(a) or not len(b):
            return False
        together = np.concatenate([a, b])
        return bool((together @ together.T).min() >= self._least)

    def _looks(self, chain: Sequence[TrackSummary]) -> FloatArray:
        return np.array([vector for track in chain for vector in self._vectors.get(track.track, ())], np.float32)

    def _vector(self, crop: NDArray[np.uint8]) -> FloatArray:
        values = crop.astype(np.float32) if self._takes == "sface" else crop.astype(np.float32) / 127.5 - 1
        try:
            self._network.setInput(np.ascontiguousarray(values.transpose(2, 0, 1)[None]))
            found = np.asarray(self._network.forward(), np.float32).ravel()
        except opencv().error as error:
            raise ConfigError(f"{self._path}: is no network for aligned faces of 112 pixels ({error.err})") from error
        length = float(np.linalg.norm(found))
        return found / length if length > 0 else found


@cache
def _network(path: Path) -> Any:
    try:
        return opencv().dnn.readNetFromONNX(str(path))
    except opencv().error as error:
        raise ConfigError(f"{path}: OpenCV cannot read it as an ONNX network ({error.err or error})") from error
