"""Values that the parts of dfd pass to each other."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Annotated, Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

FrameArray = NDArray[np.uint8]
"""RGB frames or crops, shape ``(N, H, W, 3)``."""

FloatArray = NDArray[np.float32]

# Numbers of a record, in the range that dfd.base.untrusted.decode checks.
Prob = Annotated[float, (0.0, 1.0)]
Amount = Annotated[float, (0.0, math.inf)]
Count = Annotated[int, (0, math.inf)]


class Label(IntEnum):
    """The two classes, in the order of the logits; FAKE is the positive class of every metric.

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
        """Read a label written as ``real`` or ``fake``, in any case.

        Raises:
            ValueError: when it is neither. Numbers are refused too: files disagree on which number is fake.
        """
        try:
            return cls[text.strip().upper()]
        except KeyError:
            raise ValueError(f"label {text!r} is not 'real' or 'fake'") from None


LABEL_NAMES = tuple(str(label) for label in Label)

CARD_KEY = "dfd"
"""Key of the card in a Lightning checkpoint (a dict) and in a safetensors header (JSON text)."""


class Status(StrEnum):
    """Outcome of processing a video; only OK and PARTIAL have a label and a score."""

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
        """Whether there is something to score or to train on."""
        return self in (Status.OK, Status.PARTIAL)


class Verdict(StrEnum):
    """Verdict on a scored video or face; UNCERTAIN: the probability is too close to the threshold."""

    FAKE = "fake"
    REAL = "real"
    UNCERTAIN = "uncertain"

    @property
    def words(self) -> str:
        """What is said to people: a low score never means that a video is genuine."""
        return {"fake": "signs of a fake", "real": "no sign found", "uncertain": "cannot tell"}[self]


@dataclass(frozen=True, slots=True)
class FaceBox:
    """Detected face: corners in pixels of its frame, ``score`` in 0..1.

    ``landmarks`` are (x, y) of the five points that common detectors share, as seen in the picture: left eye, right
    eye, nose, left and right corner of the mouth. The box may reach over the frame's edge.

    Raises:
        ValueError: when the box is empty or not finite, or there are not five landmarks.
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
        """Area of the box in square pixels."""
        return (self.x2 - self.x1) * (self.y2 - self.y1)


class BatchFacts(TypedDict):
    """Facts about the B clips of a batch."""

    label: Any
    """int64 tensor (B,), values of :class:`Label`."""
    video_id: list[str]
    track: list[int]
    dataset: list[str]
    method: list[str]
    is_repeat: NotRequired[Any]
    """bool tensor (B,): clips that another process counts, added only to make all processes' shares equally long."""


class ClipBatch(BatchFacts):
    """Batch that the data module passes to the model, B clips of T frames."""

    frames: Any
    """uint8 tensor (B, T, C, H, W), RGB."""
    landmarks: NotRequired[Any]
    """float32 tensor (B, T, 5, 2), the points of :class:`FaceBox` in pixels from the frames' upper left corner; with
    ``data.landmarks=true``."""
    masks: NotRequired[Any]
    """float32 tensor (B, T, H, W), 0..1, where a clip was made into a fake; 0 for real ones; with
    ``data.masks=true``."""
    seconds: NotRequired[Any]
    """float64 tensor (B, T)."""


@dataclass(frozen=True, slots=True)
class WindowScore:
    """Score of one clip of one face: ``[start_seconds, end_seconds)`` of the video and the probability of FAKE.

    ``box`` is (x1, y1, x2, y2) of the face in the middle of the window, in pixels of the source.
    """

    start_seconds: Amount
    end_seconds: Amount
    prob_fake: Prob
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class TrackScore:
    """Score of one appearance, a face within one shot, with its windows in order.

    ``track`` is its number in the video, from 0, and ``shot`` that of the shot. ``face_score`` is how sure the face
    detector was, on average; None where it is not known. ``weak`` says why the appearance has no part in the video's
    score; empty if it has. ``num_shots`` is above 1 for a person who was recognised across cuts. Windows are aggregated
    by :mod:`dfd.scoring.aggregation`.
    """

    track: Count
    prob_fake: Prob
    verdict: Verdict
    windows: tuple[WindowScore, ...]
    shot: Count = 0
    face_score: Prob | None = None
    weak: str = ""
    num_shots: Count = 1

    @property
    def span(self) -> tuple[float, float]:
        """Start of the first window and end of the last one, in seconds."""
        return (self.windows[0].start_seconds, self.windows[-1].end_seconds) if self.windows else (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Facts about a scored file, for those who receive the result: its bytes, and what its header claims.

    ``sha256`` is that of the whole file, ``modified_seconds`` its last change in seconds since 1970. Properties of a
    video are None if the file could not be read as one. ``stated`` is what the file says of its own making, by name:
    see :mod:`dfd.video.file.stated`.
    """

    size_bytes: Count
    sha256: str
    width: Count | None = None
    height: Count | None = None
    fps: Amount | None = None
    codec: str | None = None
    num_frames: Count | None = None
    modified_seconds: Amount | None = field(default=None, compare=False)
    stated: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Moment:
    """Window that explains a score: ``crop`` ``(S, S, 3)`` is its most influential frame, at ``seconds``.

    ``heatmap`` ``(S, S)`` in 0..1 shows how much each part of the crop speaks for FAKE; None if the network cannot be
    inspected. ``window`` is the index of the window in its track. ``frame`` ``(h, w, 3)`` is the whole frame, small,
    with the face's box drawn in; None if it was not kept.
    """

    track: int
    window: int
    seconds: float
    prob_fake: float
    crop: FrameArray
    heatmap: FloatArray | None
    frame: FrameArray | None = None


@dataclass(frozen=True, slots=True)
class Alike:
    """Labelled videos that a detector scored most nearly like this one: ``lowest`` to ``highest``.

    ``share_fake``, with its 95 % ``interval``, is how often such a video is fake where a share ``prevalence`` of all
    videos is. Of the ``num_real_known`` labelled real videos, ``num_real_as_high`` have this video's score or a higher
    one. :func:`dfd.metrics.alike.alike` counts them.
    """

    lowest: Prob
    highest: Prob
    num_real: Count
    num_fake: Count
    prevalence: Prob
    share_fake: Prob
    interval: tuple[Prob, Prob]
    num_real_as_high: Count
    num_real_known: Count


@dataclass(frozen=True, slots=True)
class Blinks:
    """Blinks of the largest face while its eyes are seen, with the 95 % ``interval`` of their rate: no score."""

    number: Count
    seconds: Amount
    share_seen: Prob
    openness: Amount
    per_minute: Amount
    interval: tuple[Amount, Amount]


@dataclass(frozen=True, slots=True)
class DetectorScore:
    """What one of several detectors found in a video; ``verdict`` is None where it gives none, being uncalibrated.

    ``alike`` is as in :class:`VideoScore`, on the videos that this detector was calibrated on.
    """

    model: str
    status: Status
    prob_fake: Prob | None = None
    verdict: Verdict | None = None
    num_windows: Count = 0
    tracks: tuple[TrackScore, ...] = field(default=(), repr=False)
    message: str = ""
    alike: Alike | None = None


@dataclass(frozen=True, slots=True)
class VideoScore:
    """Row of ``predictions.csv``, with each face and window.

    ``verdict`` is what to tell a person, ``label`` the side of the threshold on which ``prob_fake`` lies,
    ``confidence`` the probability of ``label``; these two are None where the detector gives no verdicts. All four are
    None unless ``status`` is ok or partial: "no face" is not "real". ``num_frames`` were scored, in ``num_windows`` of
    the ``num_windows_possible`` without a cap. ``seconds`` is
    the time taken, ``seconds_by_stage`` that of each stage; stages overlap. ``thumbnail`` ``(h, w, 3)``, ``moments``
    and ``boxes`` are for display, and neither compared nor printed; ``boxes`` has for each track, if asked for, F frame
    indices and boxes ``(F, 4)`` in source pixels. ``detectors`` holds what each of several detectors found. ``alike``
    says how often such a score was right on labelled videos, if the detector knows any; ``caveat`` is what must be said
    beside the score, and ``scored_at`` the time at which scoring ended (ISO 8601, UTC).
    """

    path: str
    status: Status
    verdict: Verdict | None = None
    label: Label | None = None
    prob_fake: Prob | None = None
    confidence: Prob | None = None
    num_faces: Count = 0
    num_frames: Count = 0
    num_windows: Count = 0
    num_windows_possible: Count = 0
    duration_seconds: Amount | None = None
    seconds: Amount = 0.0
    seconds_by_stage: Mapping[str, Amount] = field(default_factory=dict, compare=False)
    model: str = ""
    message: str = ""
    file: FileFacts | None = None
    tracks: tuple[TrackScore, ...] = field(default=(), repr=False)
    detectors: tuple[DetectorScore, ...] = field(default=(), repr=False)
    alike: Alike | None = None
    caveat: str = field(default="", repr=False)
    scored_at: str = field(default="", compare=False)
    blinks: Blinks | None = None
    thumbnail: FrameArray | None = field(default=None, repr=False, compare=False)
    moments: tuple[Moment, ...] = field(default=(), repr=False, compare=False)
    boxes: Mapping[int, tuple[NDArray[np.int64], FloatArray]] = field(default_factory=dict, repr=False, compare=False)
