"""Drawing faces, scores and the strip below the picture into frames."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import cv2
import numpy as np

from dfd.base.types import FloatArray, FrameArray, VideoScore
from dfd.predictions.annotate import captions
from dfd.predictions.annotate.captions import BACKING, GREY, WHITE, Color
from dfd.predictions.annotate.face import Clock, Face, FaceBoxes, Rules, voices_of
from dfd.predictions.annotate.strip import Strip
from dfd.video.decode import VideoReader
from dfd.video.still import StillReader

MIN_SIDE = 480
"""A picture whose longer side is shorter is enlarged by a whole number, or no text would fit."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A face as it is drawn on a frame: its box, and the score of each voice, with whether that is of this frame."""

    face: Face
    box: FloatArray
    found: tuple[tuple[float, bool] | None, ...]


class Painter:
    """Draws frames of one video. ``width`` and ``height`` are of what it draws, both even."""

    def __init__(
        self,
        reader: VideoReader | StillReader,
        clock: Clock,
        score: VideoScore,
        boxes: Mapping[int, FaceBoxes],
        rules: Rules,
    ) -> None:
        self._reader, self._rules = reader, rules
        self._voices = list(voices_of(score, rules))
        numbers = sorted({*boxes, *(number for voice in self._voices for number in voice.tracks)})
        self._faces = [
            Face(number, boxes.get(number), [voice.tracks.get(number) for voice in self._voices], reader, clock)
            for number in numbers
        ]
        self._zoom = ceil(MIN_SIDE / max(reader.width, reader.height))
        self._picture = (reader.height * self._zoom, reader.width * self._zoom)
        picture_height, picture_width = self._picture
        self.width = picture_width + picture_width % 2
        self._size = max(14, round(0.011 * (picture_width + picture_height)))
        self._labels: dict[tuple[int, tuple[tuple[float, bool] | None, ...], str], captions.Plate] = {}
        duration = None
        if isinstance(reader, VideoReader):
            duration = clock.seconds([reader.num_frames - 1])[0] + 1 / reader.fps
        self._strip = Strip(self.width, self._size, score, self._voices, self._faces, duration, rules)
        self.height = picture_height + len(self._strip.pixels)
        self.height += self.height % 2

    def paint(self, index: int, seconds: float, frame: FrameArray) -> FrameArray:
        """Draw on a frame and below it; returns the result."""
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

    def shown(self, index: int, seconds: float) -> list[Shown]:
        """Faces that are drawn on a frame, the most suspicious last; boxes are in pixels of the source."""
        voices = range(len(self._voices))
        boxes = ((face, face.box(index, self._rules.max_gap_seconds)) for face in self._faces)
        found = [
            Shown(face, box, tuple(face.score_at(seconds, voice) for voice in voices))
            for face, box in boxes
            if box is not None
        ]
        return sorted(found, key=lambda one: max((item[0] for item in one.found if item is not None), default=-1.0))

    def _draw_faces(self, picture: FrameArray, index: int, seconds: float, scale: float, offset: FloatArray) -> None:
        shown = [(one, one.box * scale + offset) for one in self.shown(index, seconds)]
        for one, box in shown:
            is_exact = any(item is not None and item[1] for item in one.found)
            _draw_box(picture, box, self._color(one), self._size, solid=is_exact)
        taken: list[tuple[int, int, int, int]] = []
        for one, box in reversed(shown):
            label = self._label(one, self._picture[1] - max(0.0, float(box[0])))
            others = [other for _, other in shown if other is not box]
            left, top = _place(label, box, picture.shape[:2], self._size, taken, others)
            taken.append((left, top, left + label.shape[1], top + label.shape[0]))
            captions.blend(picture, label, left, top)

    def _color(self, one: Shown) -> Color:
        """Colour of the first verdict; of the first score where no detector gives verdicts."""
        found = [(voice, item[0]) for voice, item in zip(self._voices, one.found, strict=True) if item is not None]
        if one.face.is_weak or not found:
            return GREY
        judged = [verdict for voice, prob in found if (verdict := voice.judge(prob)) is not None]
        return captions.color_of(judged[0] if judged else None)

    def _label(self, one: Shown, room: float) -> captions.Plate:
        """Label of a face, with the number that the report gives it; short where ``room`` pixels hold no longer one."""
        number = str(one.face.track + 1)
        whole = self._plate(one, f"appearance {number}")
        if whole.shape[1] <= room:
            return whole
        short = self._plate(one, number)
        return short if short.shape[1] <= self._picture[1] else self._plate(one, "")

    def _plate(self, one: Shown, name: str) -> captions.Plate:
        key = (one.face.track, one.found, name)
        if key not in self._labels:
            is_exact = any(item is not None and item[1] for item in one.found)
            parts = [*([(name, WHITE)] if name and one.face.is_scored else []), *self._said(one)]
            self._labels[key] = captions.plate(parts, self._size, stripe=self._color(one), dimmed=not is_exact)
        return self._labels[key]

    def _said(self, one: Shown) -> list[tuple[str, Color]]:
        """Words and colour of each score of a face."""
        if not one.face.is_scored:
            return [("not scored", GREY)]
        said: list[tuple[str, Color]] = []
        for voice, item in zip(self._voices, one.found, strict=True):
            if item is None:
                said.append((f"{voice.name} not scored".strip(), GREY))
                continue
            verdict = voice.judge(item[0])
            words = captions.with_score(voice.words(item[0]), item[0])
            if voice.name:
                words = f"{voice.name[:20]} {captions.hundredths(item[0])}"
            said.append((words, captions.color_of(verdict)))
        if one.face.is_weak:
            scores = ", ".join(captions.hundredths(item[0]) for item in one.found if item is not None)
            return [(f"does not count · score {scores}", GREY)]
        return said


def _draw_box(picture: FrameArray, box: FloatArray, color: Color, size: int, *, solid: bool) -> None:
    """Corners, and between them a thin line if ``solid``; on a dark edge, to be seen on any ground."""
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
    others: list[FloatArray],
) -> tuple[int, int]:
    """Left and top of a label: above its box, or below, or within, where it is whole and on no other label.

    Where there is a choice, it is on no other face either.
    """
    height, width = label.shape[:2]
    x1, y1, _, y2 = (round(float(value)) for value in box)
    space = max(3, round(0.25 * size))
    left = max(0, min(x1, shape[1] - width))
    tops = [y1 - height - space, y2 + space, y1 + space, y2 - height - space]
    whole = [top for top in tops if 0 <= top <= shape[0] - height] or [max(0, min(tops[0], shape[0] - height))]
    free = [top for top in whole if not any(_overlap((left, top, left + width, top + height), one) for one in taken)]
    faces = [(round(float(x1)), round(float(y1)), round(float(x2)), round(float(y2))) for x1, y1, x2, y2 in others]
    clear = [top for top in free if not any(_overlap((left, top, left + width, top + height), one) for one in faces)]
    return left, (clear or free or whole)[0]


def _overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
