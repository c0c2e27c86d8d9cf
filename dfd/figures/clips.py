"""Strips of clips with their scores."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from dfd.base.types import FrameArray
from dfd.figures.style import ORANGE, _plain


def clip_strips(clips: Sequence[tuple[str, bool, FrameArray]], *, max_frames: int = 10) -> Figure:
    """Draw clips below each other: for each a line of text and its frames in order.

    Args:
        clips: text, whether the verdict is right (if not, the text has another colour and says so), and frames ``(T, H,
            W, 3)``.
        max_frames: maximum number of frames per clip, evenly spaced.
    """
    columns = max(min(len(frames), max_frames) for _, _, frames in clips)
    width = max(5.0, 0.95 * columns)
    figure = Figure(figsize=(width, len(clips) * (0.3 + width / columns)), layout="constrained", dpi=110)
    panels = figure.subplots(len(clips), 1, squeeze=False)[:, 0]
    for ax, (text, is_right, frames) in zip(panels, clips, strict=True):
        shown = frames[np.linspace(0, len(frames) - 1, min(len(frames), columns)).round().astype(int)]
        gap = max(1, shown.shape[2] // 32)
        parted = np.pad(shown, ((0, columns - len(shown)), (0, 0), (0, gap), (0, 0)), constant_values=255)
        strip = np.concatenate(list(parted), axis=1)[:, :-gap]
        ax.imshow(strip, interpolation="nearest")
        ax.set_axis_off()
        words = text if is_right else f"{text}: wrong"
        ax.set_title(_plain(words, 100), fontsize=8, loc="left", color="black" if is_right else ORANGE)
    return figure
