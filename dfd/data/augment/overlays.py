"""Drawings on top of a clip, as apps and their users put them there: a border, a caption, an emoji."""

import math
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor

from dfd.base.types import FrameArray
from dfd.data.augment.recode import _check_clip

Choice = TypeVar("Choice")

CAPTIONS = ("WAIT FOR IT", "no way", "LOL", "part 2", "you won't believe this", "POV", "BREAKING NEWS", "100% real")
COLORS = ((255, 255, 255), (0, 0, 0), (255, 221, 51), (230, 40, 60), (40, 120, 230), (250, 120, 200))
FONTS = (cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_COMPLEX)
SUPERSAMPLING = 4
"""Factor by which drawings are made larger than the clip, so that their edges are smooth in a small picture."""


def overlaid(frames_TCHW: Tensor, coverage: float, generator: torch.Generator | None = None) -> Tensor:
    """Draw a border, a caption and an emoji on all frames alike, each on about a third of ``coverage``.

    What is drawn, in which colours and where, depends on the draws alone, so that levels differ in size only.

    Args:
        frames_TCHW: uint8 (T, 3, H, W).
        coverage: share of the picture that is covered, from 0 to 0.9.
        generator: source of randomness; None uses torch's global generator.

    Raises:
        ValueError: ``coverage`` is out of range, or the clip has another shape or type.
    """
    if not 0 <= coverage <= 0.9:
        raise ValueError(f"coverage must be from 0 to 0.9, got {coverage}")
    _check_clip(frames_TCHW)
    draws = torch.rand(8, generator=generator).tolist()
    if coverage == 0:
        return frames_TCHW
    height, width = frames_TCHW.shape[-2:]
    layer = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING, 4), np.uint8)
    _draw_caption(layer, coverage / 3, draws[:4])
    _draw_emoji(layer, coverage / 3, draws[4:7])
    _draw_border(layer, coverage / 3, draws[7])
    opacity = (layer[..., 3:] > 0).astype(np.float32)
    # Colours are shrunk with their opacity, else the empty layer's black would darken every edge.
    small = cv2.resize(np.dstack([layer[..., :3] * opacity, opacity]), (width, height), interpolation=cv2.INTER_AREA)
    drawn = torch.from_numpy(small).permute(2, 0, 1)
    return (frames_TCHW * (1 - drawn[3]) + drawn[:3]).round_().clamp_(0, 255).to(torch.uint8)


def _chosen(choices: tuple[Choice, ...], draw: float) -> Choice:
    return choices[min(int(draw * len(choices)), len(choices) - 1)]


def _draw_border(layer: FrameArray, share: float, draw: float) -> None:
    height, width = layer.shape[:2]
    thick = max(SUPERSAMPLING, round(min(height, width) * (1 - math.sqrt(1 - share)) / 2))
    color = (*_chosen(COLORS, draw), 255)
    layer[:thick], layer[-thick:], layer[:, :thick], layer[:, -thick:] = color, color, color, color


def _draw_caption(layer: FrameArray, share: float, draws: list[float]) -> None:
    """A line of text in a box, in the middle of the top or the bottom; the box is at most as wide as the picture."""
    height, width = layer.shape[:2]
    text, font = _chosen(CAPTIONS, draws[2]), _chosen(FONTS, draws[3])
    (wide, high), below = cv2.getTextSize(text, font, 1, 1)
    margin = 0.4 * high
    box = (wide + 2 * margin, high + below + 2 * margin)  # at scale 1
    scale = min(math.sqrt(share * width * height / (box[0] * box[1])), 0.94 * width / box[0])
    across, tall = round(scale * box[0]), max(SUPERSAMPLING, round(scale * box[1]))
    left, top = (width - across) // 2, round((0.08 if draws[0] < 0.3 else 0.85) * (height - tall))
    back = _chosen(COLORS, draws[1])
    is_bright = 0.299 * back[0] + 0.587 * back[1] + 0.114 * back[2] > 140
    front = (0, 0, 0) if is_bright else (255, 255, 255)
    layer[top : top + tall, left : left + across] = (*back, 255)
    place = (left + round(scale * margin), top + round(scale * (margin + high)))
    cv2.putText(layer, text, place, font, scale, (*front, 255), max(1, round(2 * scale)), cv2.LINE_8)


def _draw_emoji(layer: FrameArray, share: float, draws: list[float]) -> None:
    """A yellow face that laughs or wonders."""
    height, width = layer.shape[:2]
    radius = max(2 * SUPERSAMPLING, round(math.sqrt(share * height * width / math.pi)))
    x, y = (round(0.15 * side + 0.7 * side * draw) for side, draw in ((width, draws[0]), (height, draws[1])))
    yellow, dark = (255, 205, 60, 255), (70, 45, 15, 255)
    cv2.circle(layer, (x, y), radius, yellow, -1)
    for side in (-1, 1):
        cv2.circle(layer, (x + side * round(0.35 * radius), y - round(0.25 * radius)), round(0.13 * radius), dark, -1)
    if draws[2] < 0.6:
        cv2.ellipse(
            layer, (x, y + round(0.1 * radius)), (round(0.6 * radius), round(0.55 * radius)), 0, 0, 180, dark, -1
        )
    else:
        cv2.circle(layer, (x, y + round(0.4 * radius)), round(0.2 * radius), dark, -1)
