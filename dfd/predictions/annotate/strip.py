"""The strip below an annotated video: its verdict, time lines, and what must be said beside the scores."""

from collections.abc import Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dfd.base.types import FrameArray, Status, VideoScore
from dfd.predictions.annotate import captions
from dfd.predictions.annotate.captions import BACKING, GREY, PALE, WHITE, Color
from dfd.predictions.annotate.face import Face, Rules, Voice

# The longest that fits is written below the time line.
_LEGENDS = (
    "score: how likely fake, from 0 to 1. Above: the most suspicious face over time; dim where no clip was scored",
    "score: how likely fake, from 0 to 1. Above: the most suspicious face over time",
    "score: how likely fake, from 0 to 1, over time",
    "score: how likely fake, 0 to 1",
)
_LEGENDS_OF_STILLS = _LEGENDS[3:]
MAX_CAVEAT_LINES = 4


class Strip:
    """What is below the picture: the verdict, the time, each detector's suspicion over time, and the caveat.

    ``pixels`` ``(h, w, 3)`` is what does not change. A still picture, whose ``duration`` is None, has no time lines.
    """

    def __init__(
        self,
        width: int,
        size: int,
        score: VideoScore,
        voices: Sequence[Voice],
        faces: Sequence[Face],
        duration: float | None,
        rules: Rules,
    ) -> None:
        self._size, self._faces, self._voices, self._rules = size, faces, voices, rules
        self._duration, self._clock = duration, captions.font(size)
        self._edge, self._text_middle = round(0.7 * size), round(1.15 * size)
        self._clock_width = 0.0 if duration is None else self._clock.getlength(self._time_text(0.0, duration))
        small = captions.font(max(10, round(0.68 * size)))
        line = round(1.35 * max(10, round(0.68 * size)))
        room = width - 2 * self._edge
        caveat = captions.wrapped(rules.caveat, small, room, max_lines=MAX_CAVEAT_LINES)
        top = round(2.1 * size)
        names: list[int] = []
        self._bars: list[tuple[int, int, int, int]] = []
        for voice in voices:
            if voice.name:
                names.append(top + line // 2)
                top += line
            if duration is not None:
                height = round((1.5 if len(voices) == 1 else 1.1) * size)
                self._bars.append((self._edge, top, max(self._edge + 2, width - self._edge), top + height))
                top += height + round(0.2 * size)
        bottom = top + round(0.55 * size)
        image = Image.new("RGB", (width, bottom + round(0.75 * size) + line * len(caveat)), BACKING)
        draw = ImageDraw.Draw(image)
        self._draw_verdict(draw, score, small, width)
        for voice, middle in zip((one for one in voices if one.name), names, strict=True):
            text, color = _voice_text(voice)
            draw.text((self._edge, middle), captions.fitted(text, small, room), fill=color, font=small, anchor="lm")
        self._draw_legend(draw, score.model, small, width, bottom)
        for number, text in enumerate(caveat):
            middle = bottom + round(0.55 * size) + line * number + line // 2
            draw.text((self._edge, middle), text, fill=PALE, font=small, anchor="lm")
        self.pixels: FrameArray = np.array(image)
        for number, bar in enumerate(self._bars):
            self._draw_time_line(number, bar)

    def draw(self, below: FrameArray, seconds: float) -> None:
        """The strip at this time, onto what is below the picture."""
        below[: len(self.pixels)] = self.pixels
        if self._duration is None:
            return
        reach, half = round(0.2 * self._size), max(1, self._size // 12)
        for x1, y1, x2, y2 in self._bars:
            x = x1 + round((x2 - x1 - 1) * min(1.0, max(0.0, seconds / self._duration)))
            below[y1 - reach : y2 + reach, max(0, x - half - 1) : x + half + 2] = BACKING
            below[y1 - reach : y2 + reach, max(0, x - half) : x + half + 1] = WHITE
        left = round(below.shape[1] - self._edge - self._clock_width)
        if left < 0:
            return
        image = Image.new("RGB", (below.shape[1] - left, round(1.6 * self._size)), BACKING)
        middle, text = (0, image.height / 2), self._time_text(seconds, self._duration)
        ImageDraw.Draw(image).text(middle, text, fill=WHITE, font=self._clock, anchor="lm")
        top = max(0, self._text_middle - image.height // 2)
        below[top : top + image.height, left:] = np.asarray(image)

    @staticmethod
    def _time_text(seconds: float, duration: float) -> str:
        return f"{captions.clock(seconds)} / {captions.clock(duration)}"

    def _draw_verdict(self, draw: ImageDraw.ImageDraw, score: VideoScore, small: captions.Letters, width: int) -> None:
        text, color = _verdict_text(score, has_verdict=self._rules.threshold is not None)
        bold = captions.font(round(1.15 * self._size), bold=True)
        room = width - 3 * self._edge - self._clock_width
        text = captions.fitted(text, bold, room)
        draw.text((self._edge, self._text_middle), text, fill=color, font=bold, anchor="lm")
        if score.prob_fake is not None:
            left = 2 * self._edge + bold.getlength(text)
            whole = "whole picture" if self._duration is None else "whole video"
            whole = captions.fitted(whole, small, room - left)
            draw.text((left, self._text_middle), whole, fill=GREY, font=small, anchor="lm")

    def _draw_legend(
        self, draw: ImageDraw.ImageDraw, model: str, small: captions.Letters, width: int, middle: int
    ) -> None:
        named = captions.fitted(model, small, 0.6 * (width - 3 * self._edge))
        draw.text((width - self._edge, middle), named, fill=GREY, font=small, anchor="rm")
        room = width - 3 * self._edge - small.getlength(named)
        legends = _LEGENDS if self._duration is not None else _LEGENDS_OF_STILLS
        legend = next((text for text in legends if small.getlength(text) <= room), "")
        draw.text((self._edge, middle), legend, fill=GREY, font=small, anchor="lm")

    def _draw_time_line(self, number: int, bar: tuple[int, int, int, int]) -> None:
        """A column for each pixel: as high as the most suspicious face then is, dim between windows, empty without."""
        x1, y1, x2, y2 = bar
        voice, pixels = self._voices[number], self.pixels
        pixels[y1:y2, x1:x2] = (40, 44, 51)
        probs, covered = self._suspicion(number, x2 - x1)
        for column in np.flatnonzero(probs >= 0):
            top = y2 - max(2, round(float(probs[column]) * (y2 - y1)))
            color = np.array(captions.color_of(voice.judge(float(probs[column]))))
            pixels[top:y2, x1 + column] = color if covered[column] else np.rint(0.45 * color + 0.55 * np.array(BACKING))
        if voice.threshold is None:
            return
        level = y2 - 1 - round(voice.threshold * (y2 - y1 - 1))
        dash = max(3, self._size // 3)
        for x in range(x1, x2, 2 * dash):
            pixels[level, x : min(x + dash, x2)] = GREY

    def _suspicion(self, voice: int, num_columns: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """By column, the highest score (-1: no face), and whether a window covers it. Short windows get 3 columns."""
        duration = self._duration or 1.0
        probs = np.full(num_columns, -1.0)
        covered = np.zeros(num_columns, bool)
        for column in range(num_columns):
            seconds = (column + 0.5) / num_columns * duration
            present = [face for face in self._faces if face.is_present(seconds, self._rules.max_gap_seconds)]
            found = [face.score_at(seconds, voice) for face in present]
            probs[column] = max((item[0] for item in found if item is not None), default=-1.0)
        windows = [window for face in self._faces for window in face.windows[voice]]
        for window in sorted(windows, key=lambda window: window.prob_fake):
            first = int(window.start_seconds / duration * num_columns)
            last = max(first + 3, ceil(window.end_seconds / duration * num_columns))
            place = slice(max(0, min(first, num_columns - 3)), min(last, num_columns))
            probs[place], covered[place] = window.prob_fake, True
        return probs, covered


def _verdict_text(score: VideoScore, *, has_verdict: bool) -> tuple[str, Color]:
    if score.prob_fake is None or score.verdict is None:
        return "no face found" if score.status is Status.NO_FACE else "no verdict", GREY
    verdict = score.verdict if has_verdict else None
    return captions.score_words(score.prob_fake, verdict, score.message), captions.color_of(verdict)


def _voice_text(voice: Voice) -> tuple[str, Color]:
    if voice.prob_fake is None:
        return f"{voice.name}: no score", GREY
    said = captions.with_score(voice.words(voice.prob_fake), voice.prob_fake)
    return f"{voice.name}: {said}", captions.color_of(voice.judge(voice.prob_fake))
