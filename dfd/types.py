"""The values that the parts of dfd hand to each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

FrameArray = NDArray[np.uint8]
"""RGB frames or crops, shape ``(N, H, W, 3)``."""

FloatArray = NDArray[np.float32]


class Label(IntEnum):
    """The two classes, in the order of the logits. FAKE is the positive class of every metric.

    >>> Label.parse(" Fake ")
    <Label.FAKE: 1>
    >>> str(Label.REAL)
    'real'
    """

    REAL = 0
    FAKE = 1

    def __str__(self) -> str:
        return self.name.lower()

    @classmethod
    def parse(cls, text: str) -> "Label":
        """The label written as ``real`` or ``fake``, in any case.

        Raises:
            ValueError: it is neither. A number is refused too: files disagree on which number is fake.
        """
        try:
            return cls[text.strip().upper()]
        except KeyError:
            raise ValueError(f"label {text!r} is not 'real' or 'fake'") from None


LABEL_NAMES = tuple(str(label) for label in Label)

CARD_KEY = "dfd"
"""Where a Lightning checkpoint (a dict) and a safetensors header (JSON text) have the card."""


class Status(StrEnum):
    """What became of a video. Only OK and PARTIAL have a label and a score."""

    OK = "ok"
    PARTIAL = "partial"
    NO_FACE = "no_face"
    MISSING = "missing"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    TIMEOUT = "timeout"
    ERROR = "error"

    @property
    def has_faces(self) -> bool:
        """True if there is something to score or to train on."""
        return self in (Status.OK, Status.PARTIAL)


class Verdict(StrEnum):
    """What is said of a scored video or face. UNCERTAIN: its probability is too near to the threshold to tell."""

    FAKE = "fake"
    REAL = "real"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class FaceBox:
    """A detected face: corners in pixels of the frame it was found in, ``score`` in 0..1.

    ``landmarks`` are (x, y) of the five points that the field's detectors share, as seen in the picture: left eye,
    right eye, nose, left and right corner of the mouth. The box may reach over the frame's edge.

    Raises:
        ValueError: the box is empty or not finite, or there are not five landmarks.
    """

    x1: float
    y1: float
    x2: float
    y2: float
    score: float
    landmarks: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if not np.isfinite([self.x1, self.y1, self.x2, self.y2, self.score]).all():
            raise ValueError(f"a face box must be finite, got {self}")
        if self.x2 <= self.x1 or self.y2 <= self.y1:
            raise ValueError(f"a face box must not be empty, got {self}")
        if len(self.landmarks) != 5:
            raise ValueError(f"a face has five landmarks, got {len(self.landmarks)}")

    @property
    def area(self) -> float:
        """In square pixels."""
        return (self.x2 - self.x1) * (self.y2 - self.y1)


class BatchFacts(TypedDict):
    """What a batch says of its B clips."""

    label: Any
    """int64 tensor (B,), values of :class:`Label`."""
    video_id: list[str]
    track: list[int]
    dataset: list[str]
    method: list[str]
    is_repeat: NotRequired[Any]
    """bool tensor (B,): clips that another process counts, and that only make its share as long as the others'."""


class ClipBatch(BatchFacts):
    """What the data module hands to the model, B clips of T frames."""

    frames: Any
    """uint8 tensor (B, T, C, H, W), RGB."""


@dataclass(frozen=True, slots=True)
class WindowScore:
    """One clip of one face: ``[start_seconds, end_seconds)`` of the video and the probability that it is fake.

    ``box`` is (x1, y1, x2, y2) of the face in the middle of the window, in pixels of the source.
    """

    start_seconds: float
    end_seconds: float
    prob_fake: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class TrackScore:
    """One face followed through the video: its windows in order, and what :mod:`dfd.aggregation` makes of them."""

    track: int
    prob_fake: float
    verdict: Verdict
    windows: tuple[WindowScore, ...]


@dataclass(frozen=True, slots=True)
class FileFacts:
    """The file that was scored, for whoever is handed the result: which bytes, and what they claim to be.

    ``sha256`` is of the whole file, ``modified_seconds`` when it was last changed, since 1970. What only a video has is
    None if the file could not be read as one.
    """

    size_bytes: int
    sha256: str
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    codec: str | None = None
    num_frames: int | None = None
    modified_seconds: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Moment:
    """A window that says why: ``crop`` ``(S, S, 3)`` is the frame of it that moved the score most, at ``seconds``.

    ``heatmap`` ``(S, S)`` in 0..1 says how much each part of the crop speaks for FAKE; None where there is no network
    to look into. ``window`` is the place of the window in its track.
    """

    track: int
    window: int
    seconds: float
    prob_fake: float
    crop: FrameArray
    heatmap: FloatArray | None


@dataclass(frozen=True, slots=True)
class VideoScore:
    """A row of ``predictions.csv`` with, below it, each face and window.

    ``verdict`` is what to tell a person, ``label`` the side of the threshold that ``prob_fake`` is on, ``confidence``
    the probability of ``label``. All four are None unless ``status`` is ok or partial: "no face" is not "real".
    ``num_frames`` were looked at, in ``num_windows`` of the ``num_windows_possible`` that there are without a cap.
    ``seconds`` is the time it took, ``seconds_by_stage`` what each stage worked: the stages overlap in time.
    ``thumbnail`` ``(h, w, 3)``, ``moments`` and ``boxes`` are for showing, and not part of what is compared or printed;
    ``boxes`` has, for each track, F frame indices and boxes ``(F, 4)`` in source pixels, if they were asked for.
    """

    path: str
    status: Status
    verdict: Verdict | None = None
    label: Label | None = None
    prob_fake: float | None = None
    confidence: float | None = None
    num_faces: int = 0
    num_frames: int = 0
    num_windows: int = 0
    num_windows_possible: int = 0
    duration_seconds: float | None = None
    seconds: float = 0.0
    seconds_by_stage: Mapping[str, float] = field(default_factory=dict, compare=False)
    model: str = ""
    message: str = ""
    file: FileFacts | None = None
    tracks: tuple[TrackScore, ...] = field(default=(), repr=False)
    thumbnail: FrameArray | None = field(default=None, repr=False, compare=False)
    moments: tuple[Moment, ...] = field(default=(), repr=False, compare=False)
    boxes: Mapping[int, tuple[NDArray[np.int64], FloatArray]] = field(default_factory=dict, repr=False, compare=False)
