"""Text on pictures: dark plates with anti-aliased letters, blended into frames."""

from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dfd.base.types import FrameArray, Verdict
from dfd.models.files.scope import words_of

Color = tuple[int, int, int]
Letters = ImageFont.FreeTypeFont
Plate = NDArray[np.uint8]
"""A picture with opacity, RGBA ``(h, w, 4)``."""

BACKING: Color = (17, 19, 23)
WHITE: Color = (244, 245, 247)
GREY: Color = (160, 166, 176)
PALE: Color = (206, 210, 216)

# Vermilion, yellow and sky blue of Okabe and Ito (2008), told apart with any colour vision, lightened to stand out
# from the backing. A word is always beside them.
VERDICT_COLORS: dict[Verdict, Color] = {
    Verdict.FAKE: (255, 112, 58),
    Verdict.UNCERTAIN: (245, 208, 66),
    Verdict.REAL: (92, 190, 240),
}
_BACKING_OPACITY = 225
_DIMMED = 0.75


def score_words(prob: float, verdict: Verdict | None, message: str = "") -> str:
    """A probability of FAKE with what it means in front, so that a still of the video keeps its meaning.

    The score's ``message`` says what it means within the detector's scope.

    >>> score_words(0.1712, Verdict.REAL), score_words(0.9999, Verdict.FAKE), score_words(0.5, None)
    ('no sign found · score 0.17', 'signs of a fake · score >0.99', 'cannot tell · score 0.50')
    """
    return with_score(words_of(verdict or Verdict.UNCERTAIN, message), prob)


def with_score(words: str, prob: float) -> str:
    """``words`` and the score that they stand for."""
    return f"{words} · score {hundredths(prob)}"


def hundredths(prob: float) -> str:
    """A probability with two decimals; nothing is ever certain.

    >>> [hundredths(p) for p in (0.9312, 0.9999, 0.0, 0.005)]
    ['0.93', '>0.99', '<0.01', '<0.01']
    """
    if prob >= 0.995:
        return ">0.99"
    return "<0.01" if prob < 0.01 else f"{prob:.2f}"


def color_of(verdict: Verdict | None) -> Color:
    """Colour of a verdict, and of a score without one."""
    return PALE if verdict is None else VERDICT_COLORS[verdict]


def clock(seconds: float) -> str:
    """A time in the video.

    >>> [clock(s) for s in (3.24, 75.0, 3725.5)]
    ['0:03.2', '1:15.0', '1:02:05.5']
    """
    tenths = max(0, int(seconds * 10 + 1e-6))
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return f"{f'{hours}:{minutes:02}' if hours else minutes}:{rest // 10:02}.{rest % 10}"


def printable(text: str) -> str:
    """``text`` with what has no glyph replaced: names come from files, and may hold anything.

    >>> printable("a" + chr(10) + "b" + chr(0xDCFF))
    'a?b?'
    """
    return "".join(letter if letter.isprintable() else "?" for letter in text)


@lru_cache(maxsize=16)
def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along, its letters ``size`` pixels high."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(files("matplotlib") / "mpl-data" / "fonts" / "ttf" / name), size)


def fitted(text: str, letters: ImageFont.FreeTypeFont, width: float) -> str:
    """``text``, its end cut off with an ellipsis if it is wider than ``width`` pixels; empty if nothing fits."""
    text = printable(text)
    if letters.getlength(text) <= width:
        return text
    while text and letters.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…" if text else ""


def wrapped(text: str, letters: ImageFont.FreeTypeFont, width: float, *, max_lines: int) -> list[str]:
    """``text`` in lines of at most ``width`` pixels; an ellipsis stands for what does not fit.

    >>> wrapped("one two three", font(10), font(10).getlength("one two"), max_lines=2)
    ['one two', 'three']
    """
    lines: list[str] = []
    words = printable(text).split()
    while words and len(lines) < max_lines:
        number = 1
        while number < len(words) and letters.getlength(" ".join(words[: number + 1])) <= width:
            number += 1
        if len(lines) == max_lines - 1:
            number = len(words)
        lines.append(fitted(" ".join(words[:number]), letters, width))
        words = words[number:]
    return lines


def plate(parts: list[tuple[str, Color]], size: int, *, stripe: Color | None = None, dimmed: bool = False) -> Plate:
    """``parts`` side by side on a dark plate, in bold letters ``size`` pixels high, a coloured stripe at the left."""
    letters = font(size, bold=True)
    gap, padding = round(0.45 * size), round(0.42 * size)
    bar = max(3, round(0.22 * size)) if stripe else 0
    widths = [letters.getlength(text) for text, _ in parts]
    width = bar + 2 * padding + round(sum(widths)) + gap * (len(parts) - 1)
    height = round(1.6 * size)
    image = Image.new("RGBA", (width, height), (*BACKING, _BACKING_OPACITY))
    draw = ImageDraw.Draw(image)
    if stripe:
        draw.rectangle((0, 0, bar - 1, height), fill=(*stripe, 255))
    left = float(bar + padding)
    for (text, color), text_width in zip(parts, widths, strict=True):
        draw.text((left, height / 2), text, font=letters, fill=(*color, 255), anchor="lm")
        left += text_width + gap
    pixels = np.array(image)
    if dimmed:
        pixels[..., 3] = np.rint(pixels[..., 3] * _DIMMED).astype(np.uint8)
    return pixels


def blend(frame: FrameArray, patch: Plate, left: int, top: int) -> None:
    """Lay ``patch`` over ``frame`` ``(H, W, 3)``, in place; what reaches over the edge is cut off."""
    height, width = frame.shape[:2]
    x1, y1 = max(0, left), max(0, top)
    x2, y2 = min(width, left + patch.shape[1]), min(height, top + patch.shape[0])
    if x1 >= x2 or y1 >= y2:
        return
    over = patch[y1 - top : y2 - top, x1 - left : x2 - left].astype(np.float32)
    opacity = over[..., 3:] / 255
    below = frame[y1:y2, x1:x2]
    below[:] = np.rint(below + (over[..., :3] - below) * opacity).astype(np.uint8)
