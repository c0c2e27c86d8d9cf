"""The strip below an annotated video: its verdict and time line."""

from math import ceil

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dfd.base.types import FrameArray, Status, VideoScore
from dfd.predictions.annotate import captions
from dfd.predictions.annotate.captions import BACKING, GREY, VERDICT_COLORS, VERDICT_WORDS, WHITE, Color
from dfd.predictions.annotate.face import Look, _Face

# The longest that fits is written below the time line.
_LEGENDS = (
    "% = how likely fake. Above: the most suspicious face over time; dim between the clips that were scored",
    "% = how likely fake. Above: the most suspicious face over time",
    "% = how likely fake, above over time",
    "% = how likely fake",
)


class _Strip:
    """What is below the picture: the verdict, the time, how suspicious the video is over time, the model.

    ``pixels`` ``(h, w, 3)`` is what does not change.
    """

    def __init__(
        self, width: int, size: int, score: VideoScore, faces: list[_Face], duration: float, look: Look
    ) -> None:
        self._size, self._faces = size, faces
        self._duration, self._look = duration, look
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
        self._draw_time_line()

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
        middle, text = (0, image.height / 2), self._time_text(seconds)
        ImageDraw.Draw(image).text(middle, text, fill=WHITE, font=self._clock, anchor="lm")
        top = max(0, self._text_middle - image.height // 2)
        below[top : top + image.height, left:] = np.asarray(image)

    def _time_text(self, seconds: float) -> str:
        return f"{captions.clock(seconds)} / {captions.clock(self._duration)}"

    def _draw_time_line(self) -> None:
        """A column for each pixel: as high as the most suspicious face then is, dim between windows, empty without."""
        x1, y1, x2, y2 = self._bar
        pixels = self.pixels
        pixels[y1:y2, x1:x2] = (40, 44, 51)
        probs, covered = self._suspicion(x2 - x1)
        for column in np.flatnonzero(probs >= 0):
            top = y2 - max(2, round(float(probs[column]) * (y2 - y1)))
            color = np.array(VERDICT_COLORS[self._look.judge(float(probs[column]))])
            pixels[top:y2, x1 + column] = color if covered[column] else np.rint(0.45 * color + 0.55 * np.array(BACKING))
        level = y2 - 1 - round(self._look.threshold * (y2 - y1 - 1))
        dash = max(3, self._size // 3)
        for x in range(x1, x2, 2 * dash):
            pixels[level, x : min(x + dash, x2)] = GREY

    def _suspicion(self, num_columns: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """By column, the highest score (-1: no face), and whether a window covers it. Short windows get 3 columns."""
        probs = np.full(num_columns, -1.0)
        covered = np.zeros(num_columns, bool)
        for column in range(num_columns):
            seconds = (column + 0.5) / num_columns * self._duration
            present = [face for face in self._faces if face.is_present(seconds, self._look.max_gap_seconds)]
            found = [face.score_at(seconds) for face in present]
            probs[column] = max((item[0] for item in found if item is not None), default=-1.0)
        windows = [window for face in self._faces for window in face.windows]
        for window in sorted(windows, key=lambda window: window.prob_fake):
            first = int(window.start_seconds / self._duration * num_columns)
            last = max(first + 3, ceil(window.end_seconds / self._duration * num_columns))
            place = slice(max(0, min(first, num_columns - 3)), min(last, num_columns))
            probs[place], covered[place] = window.prob_fake, True
        return probs, covered


def _verdict_text(score: VideoScore) -> tuple[str, Color]:
    if score.prob_fake is None or score.verdict is None:
        return "no face found" if score.status is Status.NO_FACE else "no verdict", GREY
    return f"{VERDICT_WORDS[score.verdict]} {captions.percent(score.prob_fake)}", VERDICT_COLORS[score.verdict]
