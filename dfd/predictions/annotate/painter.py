"""Drawing faces, scores and the strip below the picture into frames."""

from collections.abc import Mapping
from math import ceil

import cv2
import numpy as np

from dfd.base.types import FloatArray, FrameArray, VideoScore
from dfd.predictions.annotate import captions
from dfd.predictions.annotate.captions import BACKING, GREY, VERDICT_COLORS, VERDICT_WORDS, WHITE, Color
from dfd.predictions.annotate.face import FaceBoxes, Look, _Clock, _Face
from dfd.predictions.annotate.strip import _Strip
from dfd.video.decode import VideoReader

MIN_SIDE = 480
"""A picture whose longer side is shorter is enlarged by a whole number, or no text would fit."""


class _Painter:
    """Draws frames of one video. ``width`` and ``height`` are of what it draws, both even."""

    def __init__(
        self, reader: VideoReader, clock: _Clock, score: VideoScore, boxes: Mapping[int, FaceBoxes], look: Look
    ) -> None:
        scores = {track.track: track for track in score.tracks}
        self._reader = reader
        tracks = sorted({*scores, *boxes})
        self._faces = [_Face(track, boxes.get(track), scores.get(track), reader, clock) for track in tracks]
        self._look = look
        self._zoom = ceil(MIN_SIDE / max(reader.width, reader.height))
        self._picture = (reader.height * self._zoom, reader.width * self._zoom)
        picture_height, picture_width = self._picture
        self.width = picture_width + picture_width % 2
        self._size = max(14, round(0.011 * (picture_width + picture_height)))
        self._labels: dict[tuple[int, float | None, bool], captions.Plate] = {}
        self._duration = clock.seconds([reader.num_frames - 1])[0] + 1 / reader.fps
        self._strip = _Strip(self.width, self._size, score, self._faces, self._duration, look)
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

    def _draw_faces(self, picture: FrameArray, index: int, seconds: float, scale: float, offset: FloatArray) -> None:
        boxes = [(face, face.box(index, self._look.max_gap_seconds)) for face in self._faces]
        shown = [(face, box * scale + offset, face.score_at(seconds)) for face, box in boxes if box is not None]
        shown.sort(key=lambda item: -1.0 if item[2] is None else item[2][0])  # the most suspicious on top
        for _, box, found in shown:
            color = GREY if found is None else VERDICT_COLORS[self._look.judge(found[0])]
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
            text, color = "not scored", GREY
            if prob is not None:
                verdict = self._look.judge(prob)
                text, color = f"{VERDICT_WORDS[verdict]} {captions.percent(prob)}", VERDICT_COLORS[verdict]
            parts = [(f"face {track + 1}", WHITE), (text, color)]  # as the report counts them
            self._labels[key] = captions.plate(parts, self._size, stripe=color, dimmed=not covered)
        return self._labels[key]


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
    label: captions.Plate, box: FloatArray, shape: tuple[int, ...], size: int, taken: list[tuple[int, int, int, int]]
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
