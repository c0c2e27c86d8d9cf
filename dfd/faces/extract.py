"""Turns the frames of a video into face tracks, streaming: detect on key frames, track, interpolate.

Key frames are the first and last frame of every shot and of every run of consecutive frames, and every
``key_frame_stride``-th frame in between. The result depends on the frames, not on how they are split into chunks. At
most ``max_missed + 2`` key-frame intervals are held in memory, plus ``batch_size`` for a detector that uses batches.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil

import numpy as np
from numpy.typing import NDArray

from dfd.base.types import FaceBox, FloatArray, FrameArray
from dfd.faces.crop import Crop
from dfd.faces.crop.base import filters, opencv
from dfd.faces.detect import FaceDetector, LooksWithin
from dfd.faces.settings import ExtractionSettings
from dfd.faces.tracks.regions import Regions
from dfd.faces.tracks.shots import ShotCutDetector
from dfd.faces.tracks.track import Tracker, TrackSpan, TrackSummary, confirmed, main_track
from dfd.faces.turned import PictureSample
from dfd.process.stages import StageClock

__all__ = [
    "ExtractionSettings",
    "FaceChunk",
    "FaceExtractor",
    "ShotCutDetector",
    "TrackSummary",
    "confirmed",
    "main_track",
]

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class FaceChunk:
    """One face in F consecutive frames.

    ``frames`` are the F frames ``(H, W, 3)``, which the decoder's memory backs: whoever keeps one keeps its chunk.
    ``boxes_xyxy`` ``(F, 4)`` and ``landmarks`` ``(F, 5, 2)`` are in pixels of these; ``scores`` ``(F,)`` are the
    detector's, interpolated between key frames.
    """

    track: int
    start_frame: int
    frames: list[Image]
    boxes_xyxy: FloatArray
    landmarks: FloatArray
    scores: FloatArray

    def crops(self, crop: Crop) -> FrameArray:
        """The face cut out of each frame, ``(F, S, S, 3)``."""
        faces = zip(self.frames, self.boxes_xyxy, self.landmarks, strict=True)
        return np.stack([crop.cut(frame, box, points) for frame, box, points in faces])


@dataclass(frozen=True, slots=True)
class _Frame:
    """A frame being processed; ``faces`` is None unless it is a key frame on which the detector has run."""

    index: int
    image: Image
    is_key: bool
    ends_segment: bool = False
    ends_shot: bool = False
    faces: list[FaceBox] | None = None


class FaceExtractor:
    """Finds and follows the faces of one video after another."""

    def __init__(
        self, detector: FaceDetector, settings: ExtractionSettings | None = None, *, clock: StageClock | None = None
    ) -> None:
        self.detector = detector
        self.settings = settings or ExtractionSettings()
        self.clock = clock or StageClock()
        """Clock of the stage ``detect``."""
        self.num_frames = 0
        """Frames received so far."""
        self.num_key_frames = self.num_with_face = 0
        """Frames on which the detector ran, and those of them with a face."""
        self._faceless, self._unsure = PictureSample(), PictureSample()
        self.best_score = 0.0
        """Highest score of any face so far."""
        self._tracker = Tracker()
        self._regions = Regions(1)

    @property
    def faceless(self) -> list[Image]:
        """Some key frames without a face, spread evenly, to find out why."""
        return [image for image, _ in self._faceless.kept]

    @property
    def unsure(self) -> list[tuple[Image, float]]:
        """Some key frames, spread evenly, whose best face scores below the detector's ``sure_score``, with it."""
        return self._unsure.kept

    @property
    def is_sure(self) -> bool:
        """Whether some face scores as high as only upright ones do; always True without a ``sure_score``.

        Detectors also find faces that lie on their side or are upside down, with lower scores.
        """
        return self.best_score >= getattr(self.detector, "sure_score", 0.0)

    @property
    def tracks(self) -> list[TrackSummary]:
        """Tracks that have ended, in order; all of them after :meth:`run`."""
        return self._tracker.tracks

    @property
    def live_tracks(self) -> list[TrackSummary]:
        """Tracks that may continue, up to the current frame."""
        return self._tracker.live_tracks

    def small_faceless(self) -> list[Image]:
        """Pictures of ``faceless``, scaled as for the detector."""
        return self._small(self.faceless)

    def small_unsure(self) -> list[Image]:
        """Pictures of ``unsure``, scaled as for the detector."""
        return self._small([image for image, _ in self.unsure])

    def _small(self, images: Sequence[Image]) -> list[Image]:
        return [shrink(image, detection_side(image, self.detector, self.settings)) for image in images]

    def run(self, chunks: Iterable[tuple[int, FrameArray]]) -> Iterator[FaceChunk]:
        """Iterate over the faces of a video, given as chunks of frames ``(first index, (N, H, W, 3))`` in order.

        The pieces of a track come in order, without gaps where the frames have none. At a jump of the frame index
        nothing is interpolated; a face that is found again after it continues its track.

        Raises:
            ValueError: when a chunk begins before the end of the previous one.
        """
        for pieces, _ in self.steps(chunks):
            yield from pieces

    def steps(self, chunks: Iterable[tuple[int, FrameArray]]) -> Iterator[tuple[list[FaceChunk], int]]:
        """Iterate like :meth:`run`, by key frame: finished pieces, and the first frame that later ones may contain.

        Raises:
            ValueError: when a chunk begins before the end of the previous one.
        """
        settings = self.settings
        self.num_frames = self.num_key_frames = self.num_with_face = 0
        self._faceless, self._unsure, self.best_score = PictureSample(), PictureSample(), 0.0
        tracker = self._tracker = Tracker(max_missed=settings.max_missed, smoothing=settings.smoothing)
        self._regions = Regions(settings.whole_every, getattr(self.detector, "room", float))
        held: deque[_Frame] = deque()
        for frame in self._with_faces(self._with_key_frames(chunks)):
            held.append(frame)
            if frame.faces is None:
                if tracker.oldest_needed_frame is None:
                    held.clear()  # no face to track: a track can begin only on a key frame
                continue
            height, width = frame.image.shape[:2]
            spans = tracker.update(frame.index, frame.faces, size=(width, height))
            if frame.ends_shot:
                spans += tracker.end_shot()
            elif frame.ends_segment:
                spans += tracker.end_segment()
            pieces = [_with_frames(span, held) for span in spans]
            oldest = tracker.oldest_needed_frame
            yield pieces, frame.index + 1 if oldest is None else oldest
            while held and (oldest is None or held[0].index < oldest):
                held.popleft()

    def _with_key_frames(self, chunks: Iterable[tuple[int, FrameArray]]) -> Iterator[_Frame]:
        """Single frames with key frames marked; one frame late, since the last frame of a shot is a key frame too."""
        cuts = ShotCutDetector()
        waiting: tuple[int, Image, bool] | None = None
        position = 0  # in the shot, or in the run of consecutive frames
        for start, frames in chunks:
            for index, image in enumerate(frames, start):
                self.num_frames += 1
                if waiting is None:
                    cuts.is_cut(image)
                else:
                    before, image_before, is_key = waiting
                    if index <= before:
                        raise ValueError(f"frames must come in order, got {index} after {before}")
                    after_gap = index > before + 1
                    cut = cuts.is_cut(image, after_gap=after_gap)
                    ends = cut or after_gap
                    yield _Frame(before, image_before, is_key or ends, ends_segment=ends, ends_shot=cut)
                    position = 0 if ends else position + 1
                waiting = index, image, position % self.settings.key_frame_stride == 0
        if waiting is not None:
            yield _Frame(waiting[0], waiting[1], is_key=True, ends_segment=True, ends_shot=True)

    def _with_faces(self, frames: Iterable[_Frame]) -> Iterator[_Frame]:
        """Frames with the faces of key frames, held back until the detector has a full batch."""
        held: list[_Frame] = []
        num_keys = 0
        for frame in frames:
            held.append(frame)
            num_keys += frame.is_key
            if num_keys == self.detector.batch_size or num_keys == 0:
                yield from self._look(held)
                held, num_keys = [], 0
        yield from self._look(held)

    def _look(self, frames: list[_Frame]) -> Iterator[_Frame]:
        keys = [frame for frame in frames if frame.is_key]
        found: list[list[FaceBox]] = []
        # All frames of a batch have one size, but a video may change its size.
        for _, same in groupby(keys, key=lambda frame: frame.image.shape):
            images = [frame.image for frame in same]
            height, width = images[0].shape[:2]
            with self.clock("detect"):
                side = detection_side(images[0], self.detector, self.settings)
                small = np.stack([shrink(image, side) for image in images])
                scale_x, scale_y = width / small.shape[2], height / small.shape[1]
                for image, faces in zip(images, self._faces_in(small), strict=True):
                    found.append([_scaled(face, scale_x, scale_y) for face in faces])
                    self._count(image, found[-1])
        waiting = iter(found)
        for frame in frames:
            if not frame.is_key:
                yield frame
                continue
            faces = next(waiting)
            yield _Frame(frame.index, frame.image, True, frame.ends_segment, frame.ends_shot, faces)
            if frame.ends_segment:
                self._regions.forget()

    def _faces_in(self, small: FrameArray) -> list[list[FaceBox]]:
        """Faces in each picture; in those parts of a picture where some may be, if the detector can."""
        # A batch is looked at as a whole: where to look is known from the key frame before.
        if len(small) > 1 or not isinstance(self.detector, LooksWithin):
            return self.detector(small)
        regions = self._regions.of(small[0])
        faces = [] if regions is None else self.detector.within(small[0], regions)
        is_whole = not faces
        if is_whole:
            (faces,) = self.detector(small)
        self._regions.seen(faces, whole=is_whole)
        return [faces]

    def _count(self, image: Image, faces: list[FaceBox]) -> None:
        self.num_key_frames += 1
        self.num_with_face += bool(faces)
        score = max((face.score for face in faces), default=0.0)
        self.best_score = max(self.best_score, score)
        if not faces:
            self._faceless.add(image, score)
        elif not self.is_sure:
            self._unsure.add(image, score)


def _with_frames(span: TrackSpan, held: Sequence[_Frame]) -> FaceChunk:
    first = span.start_frame - held[0].index
    frames = [held[first + i].image for i in range(len(span.boxes_xyxy))]
    return FaceChunk(span.track, span.start_frame, frames, span.boxes_xyxy, span.landmarks, span.scores)


def detection_side(image: Image, detector: FaceDetector, settings: ExtractionSettings) -> int:
    """Longer side in pixels of the detector's input; larger than usual if small faces are asked for."""
    short, long = sorted(image.shape[:2])
    needed: int = ceil(getattr(detector, "min_short_side", 0) * long / short)
    return max(settings.detection_side, needed)


def shrink(image: Image, longest_side: int) -> Image:
    """Shrink a picture ``(H, W, 3)`` to this longest side; a smaller one is returned as it is.

    >>> shrink(np.zeros((720, 1280, 3), np.uint8), 640).shape
    (360, 640, 3)
    """
    height, width = image.shape[:2]
    scale = longest_side / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(opencv().resize(image, size, interpolation=filters()["area"]), np.uint8)


def _scaled(face: FaceBox, scale_x: float, scale_y: float) -> FaceBox:
    return FaceBox(
        face.x1 * scale_x,
        face.y1 * scale_y,
        face.x2 * scale_x,
        face.y2 * scale_y,
        score=face.score,
        landmarks=tuple((x * scale_x, y * scale_y) for x, y in face.landmarks),
    )
