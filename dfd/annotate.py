"""A video with its scores drawn in: each face's box and score, and below the picture the verdict and a time line.

A solid box has the score of the window that covers this very frame. Of a frame between windows only the corners are
drawn and the label is dim: its score is that of the face's nearest window. Nothing is drawn where a face was not looked
for, and a face that was followed but not scored is said to be so.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dfd import captions
from dfd.aggregation import verdict
from dfd.captions import BACKING, GREY, VERDICT_COLORS, VERDICT_WORDS, WHITE, Color
from dfd.inputs import ANNOTATED_NAME
from dfd.memory import begin_task, limit_tasks
from dfd.predictions import BOXES_NAME, evidence_place, read_boxes, read_scores, score_of
from dfd.types import FloatArray, FrameArray, Status, TrackScore, Verdict, VideoScore
from dfd.video.container import DEFAULT_LIMITS, VideoLimits
from dfd.video.decode import VideoReader
from dfd.video.encode import VideoWriter
from dfd.video.sound import SoundCopy
from dfd.workers import hold_to_one_core

IntArray = NDArray[np.int64]

FaceBoxes = tuple[IntArray, FloatArray]
"""Where one face is: indices of frames ``(F,)``, ascending, and its boxes there ``(F, 4)``, x1 y1 x2 y2, in pixels of
the source as it is shown (after rotation)."""

MIN_SIDE = 480
"""A picture whose longer side is shorter is enlarged by a whole number, or no text would fit."""

_CRF = 20  # looks like the source; x264's own default is 23
_CHUNK = 8  # frames held at once: 22 MB at 1280 x 720

# The longest that fits is written below the time line.
_LEGENDS = (
    "% = how likely fake. Above: the most suspicious face over time; dim between the clips that were scored",
    "% = how likely fake. Above: the most suspicious face over time",
    "% = how likely fake, above over time",
    "% = how likely fake",
)

_NO_VERDICT = {Status.NO_FACE: "no face found"}


@dataclass(frozen=True, slots=True)
class AnnotatedVideo:
    """What was written. ``message`` says what of the source is not in it, and why; empty if all is."""

    num_frames: int
    message: str


def annotate_video(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    score: VideoScore,
    boxes: Mapping[int, FaceBoxes],
    *,
    threshold: float,
    uncertain_margin: float = 0.0,
    max_side: int = 1280,
    max_gap_seconds: float = 0.5,
    limits: VideoLimits | None = None,
    video_stream: int | None = None,
) -> AnnotatedVideo:
    """Write ``source`` with ``score`` drawn in to ``target``, an MP4 file (H.264), frames at their own times.

    Memory does not grow with the length of the video. Of a damaged video what can be read is written, from the first
    frame that can be decoded on. Where the size changes on the way, later parts are fitted into the first one's, in
    their own shape. The sound is copied as it is, if MP4 can hold it. The file gets its name when it is whole; on
    failure none is left.

    Args:
        source: the video that was scored.
        target: the file to write; overwritten if it exists.
        score: of the video, with its tracks.
        boxes: by track, for the frames that were looked at.
        threshold: probability from which a face is called fake.
        uncertain_margin: as for :func:`dfd.aggregation.verdict`.
        max_side: longest side of the picture in pixels; the strip below it comes on top.
        max_gap_seconds: between two frames with boxes of one face that are no further apart, the box moves evenly.
        limits: see :class:`dfd.video.decode.VideoReader`.
        video_stream: which of the file's video streams, from 0; None: the one that players show.

    Raises:
        UnreadableVideo, VideoTooLarge: from the reader.
        ValueError: ``target`` is ``source`` or does not end in .mp4, or boxes do not belong to frames.
        OSError: ``target`` cannot be written.
    """
    source, target = Path(source), Path(target)
    if target.suffix.lower() != ".mp4":
        raise ValueError(f"{target}: an annotated video is an MP4 file; let its name end in .mp4")
    if target.exists() and source.exists() and target.samefile(source):
        raise ValueError(f"{target}: would overwrite the video it is made of; give another name")
    if max_side < 2:
        raise ValueError(f"max_side must be 2 pixels or more, got {max_side}")

    def judge(prob: float) -> Verdict:
        return verdict(prob, threshold=threshold, margin=uncertain_margin)

    # Beside the target, so that renaming is atomic; short, as the target's name may be as long as names can be.
    unfinished = target.with_name(f".{uuid4().hex}.partial.mp4")
    try:
        limits = limits or DEFAULT_LIMITS
        with VideoReader(source, max_side=max_side, limits=limits, stream=video_stream) as reader:
            clock = _Clock(reader)
            painter = _Painter(reader, clock, clock.shifted(score), boxes, judge, threshold, max_gap_seconds)
            with SoundCopy(source, start_seconds=clock.zero) as sound:
                try:
                    num_frames = _write(unfinished, reader, clock, painter, sound)
                    message = sound.message
                except FFmpegError as error:
                    if not sound.is_copied:
                        raise
                    # Sound that a muxer chokes on is found out when it is written, interleaved with the pictures.
                    num_frames = _write(unfinished, reader, clock, painter, None)
                    message = f"the sound was left out: it cannot be copied ({error.strerror or error})"
            os.replace(unfinished, target)
            return AnnotatedVideo(num_frames, "; ".join(part for part in (reader.partial, message) if part))
    finally:
        unfinished.unlink(missing_ok=True)


class _Clock:
    """Times in the video that is written: 0 is when the first frame that can be decoded is shown."""

    def __init__(self, reader: VideoReader) -> None:
        self._reader = reader
        first = min(reader.first_frame, reader.num_frames - 1)
        self._first = reader.timestamps([first])[0]
        self._on_file_clock = reader.clock_seconds([first])[0]
        self.zero = reader.start_seconds + Fraction(self._first).limit_denominator(1_000_000)
        """The same moment on the clock that the sound shares, in seconds."""

    def seconds(self, indices: Sequence[int]) -> list[float]:
        """When these frames are shown."""
        return [seconds - self._first for seconds in self._reader.timestamps(indices)]

    def shifted(self, score: VideoScore) -> VideoScore:
        """The score with the times of its windows on this clock."""
        zero = self._on_file_clock

        def moved(track: TrackScore) -> TrackScore:
            windows = (
                replace(window, start_seconds=window.start_seconds - zero, end_seconds=window.end_seconds - zero)
                for window in track.windows
            )
            return replace(track, windows=tuple(windows))

        return replace(score, tracks=tuple(map(moved, score.tracks))) if zero else score


def _write(path: Path, reader: VideoReader, clock: _Clock, painter: "_Painter", sound: SoundCopy | None) -> int:
    num_frames = 0
    with VideoWriter(
        path,
        width=painter.width,
        height=painter.height,
        fps=reader.fps,
        crf=_CRF,
        pixel_format="yuv420p",
        keyframe_interval=max(1, round(2 * reader.fps)),
        preset="veryfast",
        fast_decode=False,
        timed=True,
        faststart=True,
        sound=sound,
    ) as writer:
        for start, frames in reader.chunks(chunk_len=_CHUNK):
            indices = range(start, start + len(frames))
            times = clock.seconds(indices)
            for index, seconds, frame in zip(indices, times, frames, strict=True):
                writer.write(painter.paint(index, seconds, frame)[None], seconds=[seconds])
            num_frames += len(frames)
    return num_frames


class _Face:
    """One track: where it is and how it was scored."""

    def __init__(
        self,
        track: int,
        boxes: FaceBoxes | None,
        score: TrackScore | None,
        reader: VideoReader,
        clock: _Clock,
    ) -> None:
        self.track = track
        self.windows = score.windows if score is not None else ()
        indices, self._boxes = boxes if boxes is not None else (np.empty(0, np.int64), np.empty((0, 4), np.float32))
        if indices.ndim != 1 or self._boxes.shape != (len(indices), 4) or (np.diff(indices) <= 0).any():
            raise ValueError(
                f"boxes of track {track}: there must be one for each of the frames, in order; "
                f"got {indices.shape} frames and {self._boxes.shape} boxes"
            )
        if len(indices) and indices[0] < 0:
            raise ValueError(f"boxes of track {track}: frame {indices[0]} is below 0")
        self._indices = indices[indices < reader.num_frames]
        self._times = np.array(clock.seconds(self._indices.tolist()))

    def box(self, index: int, max_gap_seconds: float) -> FloatArray | None:
        """The box on a frame; None where the face was not seen, or not looked for too long."""
        after = int(np.searchsorted(self._indices, index))
        if after == len(self._indices):
            return None
        if self._indices[after] == index:
            return np.asarray(self._boxes[after], np.float32)
        if after == 0 or self._times[after] - self._times[after - 1] > max_gap_seconds + 1e-6:
            return None
        first, last = self._indices[after - 1 : after + 1]
        share = (index - first) / (last - first)
        return np.asarray(self._boxes[after - 1] * (1 - share) + self._boxes[after] * share, np.float32)

    def score_at(self, seconds: float) -> tuple[float, bool] | None:
        """Of the window that covers this time, or else of the nearest; and whether it covers it."""
        if not self.windows:
            return None
        distances = [max(window.start_seconds - seconds, seconds - window.end_seconds, 0.0) for window in self.windows]
        nearest = int(np.argmin(distances))
        window = self.windows[nearest]
        return window.prob_fake, window.start_seconds - 1e-6 <= seconds < window.end_seconds

    def is_present(self, seconds: float, max_gap_seconds: float) -> bool:
        """True between boxes that are near in time, and within windows."""
        if any(window.start_seconds <= seconds < window.end_seconds for window in self.windows):
            return True
        after = int(np.searchsorted(self._times, seconds))
        return 0 < after < len(self._times) and self._times[after] - self._times[after - 1] <= max_gap_seconds + 1e-6


class _Painter:
    """Draws frames of one video. ``width`` and ``height`` are of what it draws, both even."""

    def __init__(
        self,
        reader: VideoReader,
        clock: _Clock,
        score: VideoScore,
        boxes: Mapping[int, FaceBoxes],
        judge: Callable[[float], Verdict],
        threshold: float,
        max_gap_seconds: float,
    ) -> None:
        scores = {track.track: track for track in score.tracks}
        self._reader = reader
        self._faces = [
            _Face(track, boxes.get(track), scores.get(track), reader, clock) for track in sorted({*scores, *boxes})
        ]
        self._judge = judge
        self._max_gap_seconds = max_gap_seconds
        self._zoom = ceil(MIN_SIDE / max(reader.width, reader.height))
        self._picture = (reader.height * self._zoom, reader.width * self._zoom)
        picture_height, picture_width = self._picture
        self.width = picture_width + picture_width % 2
        self._size = max(14, round(0.011 * (picture_width + picture_height)))
        self._labels: dict[tuple[int, float | None, bool], captions.Plate] = {}
        self._duration = clock.seconds([reader.num_frames - 1])[0] + 1 / reader.fps
        self._strip = _Strip(
            self.width, self._size, score, self._faces, judge, threshold, self._duration, max_gap_seconds
        )
        self.height = picture_height + len(self._strip.pixels)
        self.height += self.height % 2

    def paint(self, index: int, seconds: float, frame: FrameArray) -> FrameArray:
        """The frame with all that is drawn on and below it."""
        import cv2

        height, width = self._picture
        zoom, left, top = self._placed(frame)
        if zoom != 1:
            size = max(1, round(frame.shape[1] * zoom)), max(1, round(frame.shape[0] * zoom))
            how = cv2.INTER_CUBIC if zoom > 1 else cv2.INTER_AREA
            frame = np.asarray(cv2.resize(frame, size, interpolation=how), np.uint8)
        canvas = np.empty((self.height, self.width, 3), np.uint8)
        if frame.shape[:2] != self._picture:
            canvas[:height] = 0
        canvas[top : top + frame.shape[0], left : left + frame.shape[1]] = frame
        canvas[:height, width:] = canvas[:height, width - 1 : width]  # an even width: the last column once more
        scale = zoom / self._reader.scale_at(index)
        self._draw_faces(canvas[:height], index, seconds, scale, np.array([left, top, left, top], np.float32))
        canvas[height:] = BACKING
        self._strip.draw(canvas[height:], seconds)
        return canvas

    def _placed(self, frame: FrameArray) -> tuple[float, int, int]:
        """How much a frame is enlarged, and where it lies: a part of another size is fitted in, in its own shape."""
        height, width = self._picture
        if (frame.shape[0] * self._zoom, frame.shape[1] * self._zoom) == self._picture:
            return self._zoom, 0, 0
        zoom = min(width / frame.shape[1], height / frame.shape[0])
        return zoom, round((width - frame.shape[1] * zoom) / 2), round((height - frame.shape[0] * zoom) / 2)

    def _draw_faces(self, picture: FrameArray, index: int, seconds: float, scale: float, offset: FloatArray) -> None:
        shown = []
        for face in self._faces:
            box = face.box(index, self._max_gap_seconds)
            if box is not None:
                shown.append((face, box * scale + offset, face.score_at(seconds)))
        shown.sort(key=lambda item: -1.0 if item[2] is None else item[2][0])  # the most suspicious on top
        for _, box, found in shown:
            color = GREY if found is None else VERDICT_COLORS[self._judge(found[0])]
            _draw_box(picture, box, color, self._size, solid=found is not None and found[1])
        taken: list[tuple[int, int, int, int]] = []
        for face, box, found in reversed(shown):
            label = self._label(face.track, found)
            left, top = _place(label, box, picture.shape[:2], self._size, taken)
            taken.append((left, top, left + label.shape[1], top + label.shape[0]))
            captions.blend(picture, label, left, top)

    def _label(self, track: int, found: tuple[float, bool] | None) -> captions.Plate:
        prob, covered = found if found is not None else (None, False)
        key = (track, prob, covered)
        if key not in self._labels:
            number = (f"face {track + 1}", WHITE)  # as the report counts them
            if prob is None:
                self._labels[key] = captions.plate([number, ("not scored", GREY)], self._size, stripe=GREY, dimmed=True)
            else:
                said = self._judge(prob)
                color = VERDICT_COLORS[said]
                text = f"{VERDICT_WORDS[said]} {captions.percent(prob)}"
                self._labels[key] = captions.plate(
                    [number, (text, color)], self._size, stripe=color, dimmed=not covered
                )
        return self._labels[key]


class _Strip:
    """What is below the picture: the verdict, the time, how suspicious the video is over time, the model.

    ``pixels`` ``(h, w, 3)`` is what does not change.
    """

    def __init__(
        self,
        width: int,
        size: int,
        score: VideoScore,
        faces: list[_Face],
        judge: Callable[[float], Verdict],
        threshold: float,
        duration: float,
        max_gap_seconds: float,
    ) -> None:
        self._size = size
        self._duration = duration
        self._clock = captions.font(size)
        self._edge = round(0.7 * size)
        self._text_middle = round(1.15 * size)
        self._bar = (self._edge, round(2.1 * size), max(self._edge + 2, width - self._edge), round(3.6 * size))
        small = captions.font(max(10, round(0.68 * size)))
        image = Image.new("RGB", (width, round(5.1 * size)), BACKING)
        draw = ImageDraw.Draw(image)
        self._clock_width = self._clock.getlength(self._time_text(duration))
        text, color = _verdict_text(score)
        bold = captions.font(round(1.15 * size), bold=True)
        room = width - 3 * self._edge - self._clock_width
        text = captions.fitted(text, bold, room)
        draw.text((self._edge, self._text_middle), text, fill=color, font=bold, anchor="lm")
        if score.prob_fake is not None:
            left = 2 * self._edge + bold.getlength(text)
            of = captions.fitted("whole video", small, room - left)
            draw.text((left, self._text_middle), of, fill=GREY, font=small, anchor="lm")
        bottom = round(4.35 * size)
        model = captions.fitted(score.model, small, 0.6 * (width - 3 * self._edge))
        draw.text((width - self._edge, bottom), model, fill=GREY, font=small, anchor="rm")
        room = width - 3 * self._edge - small.getlength(model)
        legend = next((text for text in _LEGENDS if small.getlength(text) <= room), "")
        draw.text((self._edge, bottom), legend, fill=GREY, font=small, anchor="lm")
        self.pixels: FrameArray = np.array(image)
        self._draw_time_line(faces, judge, threshold, max_gap_seconds)

    def draw(self, below: FrameArray, seconds: float) -> None:
        """The strip at this time, onto what is below the picture."""
        below[: len(self.pixels)] = self.pixels
        x1, y1, x2, y2 = self._bar
        x = x1 + round((x2 - x1 - 1) * min(1.0, max(0.0, seconds / self._duration)))
        reach, half = round(0.2 * self._size), max(1, self._size // 12)
        below[y1 - reach : y2 + reach, max(0, x - half - 1) : x + half + 2] = BACKING
        below[y1 - reach : y2 + reach, max(0, x - half) : x + half + 1] = WHITE
        left = round(below.shape[1] - self._edge - self._clock_width)
        if left < 0:
            return
        image = Image.new("RGB", (below.shape[1] - left, round(1.6 * self._size)), BACKING)
        ImageDraw.Draw(image).text(
            (0, image.height / 2), self._time_text(seconds), fill=WHITE, font=self._clock, anchor="lm"
        )
        top = max(0, self._text_middle - image.height // 2)
        below[top : top + image.height, left:] = np.asarray(image)

    def _time_text(self, seconds: float) -> str:
        return f"{captions.clock(seconds)} / {captions.clock(self._duration)}"

    def _draw_time_line(
        self, faces: list[_Face], judge: Callable[[float], Verdict], threshold: float, max_gap_seconds: float
    ) -> None:
        """A column for each pixel: as high as the most suspicious face then is, dim between windows, empty without."""
        x1, y1, x2, y2 = self._bar
        pixels = self.pixels
        pixels[y1:y2, x1:x2] = (40, 44, 51)
        probs, covered = self._suspicion(faces, x2 - x1, max_gap_seconds)
        for column in np.flatnonzero(probs >= 0):
            top = y2 - max(2, round(float(probs[column]) * (y2 - y1)))
            color = np.array(VERDICT_COLORS[judge(float(probs[column]))])
            pixels[top:y2, x1 + column] = color if covered[column] else np.rint(0.45 * color + 0.55 * np.array(BACKING))
        level = y2 - 1 - round(threshold * (y2 - y1 - 1))
        dash = max(3, self._size // 3)
        for x in range(x1, x2, 2 * dash):
            pixels[level, x : min(x + dash, x2)] = GREY

    def _suspicion(
        self, faces: list[_Face], num_columns: int, max_gap_seconds: float
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """By column, the highest score (-1: no face), and whether a window covers it. Short windows get 3 columns."""
        probs = np.full(num_columns, -1.0)
        covered = np.zeros(num_columns, bool)
        for column in range(num_columns):
            seconds = (column + 0.5) / num_columns * self._duration
            found = [face.score_at(seconds) for face in faces if face.is_present(seconds, max_gap_seconds)]
            probs[column] = max((item[0] for item in found if item is not None), default=-1.0)
        places = [
            (window, self._columns(window.start_seconds, window.end_seconds, num_columns))
            for face in faces
            for window in face.windows
        ]
        for window, place in sorted(places, key=lambda item: item[0].prob_fake):
            probs[place] = window.prob_fake
            covered[place] = True
        return probs, covered

    def _columns(self, start_seconds: float, end_seconds: float, num_columns: int) -> slice:
        first = int(start_seconds / self._duration * num_columns)
        last = max(first + 3, ceil(end_seconds / self._duration * num_columns))
        return slice(max(0, min(first, num_columns - 3)), min(last, num_columns))


def _verdict_text(score: VideoScore) -> tuple[str, Color]:
    if score.prob_fake is None or score.verdict is None:
        return _NO_VERDICT.get(score.status, "no verdict"), GREY
    return f"{VERDICT_WORDS[score.verdict]} {captions.percent(score.prob_fake)}", VERDICT_COLORS[score.verdict]


def _draw_box(picture: FrameArray, box: FloatArray, color: Color, size: int, *, solid: bool) -> None:
    """Corners, and between them a thin line if ``solid``; on a dark edge, to be seen on any ground."""
    import cv2

    x1, y1, x2, y2 = (round(float(value)) for value in box)
    thick, thin = max(2, round(0.16 * size)), max(1, round(0.07 * size))
    reach = max(thick, round(0.22 * min(x2 - x1, y2 - y1)))
    corners = [
        np.array([(x + dx * reach, y), (x, y), (x, y + dy * reach)], np.int32)
        for x, dx in ((x1, 1), (x2, -1))
        for y, dy in ((y1, 1), (y2, -1))
    ]
    for paint, extra in ((BACKING, 2), (color, 0)):
        if solid:
            cv2.rectangle(picture, (x1, y1), (x2, y2), paint, thin + extra, cv2.LINE_AA)
        cv2.polylines(picture, corners, False, paint, thick + extra, cv2.LINE_AA)


def _place(
    label: captions.Plate,
    box: FloatArray,
    shape: tuple[int, ...],
    size: int,
    taken: list[tuple[int, int, int, int]],
) -> tuple[int, int]:
    """Left and top of a label: above its box, or below, or within, where it is whole and on no other label."""
    height, width = label.shape[:2]
    x1, y1, _, y2 = (round(float(value)) for value in box)
    space = max(3, round(0.25 * size))
    left = max(0, min(x1, shape[1] - width))
    tops = [y1 - height - space, y2 + space, y1 + space, y2 - height - space]
    whole = [top for top in tops if 0 <= top <= shape[0] - height] or [max(0, min(tops[0], shape[0] - height))]
    free = [top for top in whole if not any(_overlap((left, top, left + width, top + height), one) for one in taken)]
    return left, (free or whole)[0]


def _overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


_MAX_STEM_BYTES = 180  # of the 255 that a name may have


@dataclass(frozen=True, slots=True)
class AnnotateTask:
    """One video of a folder of scores that is to be drawn."""

    folder: Path
    value: Mapping[str, Any]
    threshold: float
    uncertain_margin: float
    limits: VideoLimits
    video_stream: int | None = None

    @property
    def target(self) -> Path:
        """Named after the video, and by a part of its path's hash: two videos may have one name."""
        stem = os.fsencode(Path(self.value["path"]).stem)[:_MAX_STEM_BYTES].rstrip(b" .")
        digest = evidence_place(self.value["path"]).rpartition("/")[2][:8]
        return self.folder / ANNOTATED_NAME / f"{os.fsdecode(stem)}-{digest}.mp4"


def to_annotate(
    folder: Path, *, threshold: float, uncertain_margin: float, limits: VideoLimits, video_stream: int | None = None
) -> list[AnnotateTask]:
    """The scored videos of ``folder`` whose boxes were kept and that have not been drawn yet."""
    values = read_scores(folder).values()
    tasks = [AnnotateTask(folder, value, threshold, uncertain_margin, limits, video_stream) for value in values]
    return [
        task
        for task in tasks
        if (folder / evidence_place(task.value["path"]) / BOXES_NAME).is_file() and not task.target.exists()
    ]


def num_without_boxes(folder: Path) -> int:
    """Scored videos of ``folder`` that cannot be drawn, since their boxes were not kept."""
    values = read_scores(folder).values()
    return sum(
        value["verdict"] is not None and not (folder / evidence_place(value["path"]) / BOXES_NAME).is_file()
        for value in values
    )


def annotate_task(task: AnnotateTask) -> str:
    """In a worker: draw one video; what of it is not in the result."""
    hold_to_one_core()
    limit_tasks(task.limits.task_bytes)
    begin_task()
    task.target.parent.mkdir(parents=True, exist_ok=True)
    score = score_of(task.value)
    boxes = read_boxes(task.folder, score.path) or {}
    done = annotate_video(
        score.path,
        task.target,
        score,
        boxes,
        threshold=task.threshold,
        uncertain_margin=task.uncertain_margin,
        limits=task.limits,
        video_stream=task.video_stream,
    )
    return done.message
