"""Common style of all figures, and saving."""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from dfd.base.files import written_whole
from dfd.base.types import FrameArray

Interval = tuple[float, float]
Estimate = tuple[float | None, Interval | None]
"""Number and its interval; None if unknown."""

# Okabe and Ito's palette, which readers with any colour vision can distinguish (jfly.uni-koeln.de/color).
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#6b6b6b"
# Without yellow, which is invisible on white. Beyond six detectors the strokes distinguish them.
SERIES_COLORS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
STROKES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D")


def _figure(
    columns: int = 1, *, rows: int = 1, height: float = 3.6, width: float = 4.8, share_y: bool = False
) -> tuple[Figure, list[Axes]]:
    """Figure and its panels, each ``width`` x ``height`` inches."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained", dpi=130)
    axes: list[Axes] = []
    for index in range(rows * columns):
        axes.append(figure.add_subplot(rows, columns, index + 1, sharey=axes[0] if share_y and axes else None))
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25, linewidth=0.6)
    return figure, axes


def _whole_numbers(ax: Axes) -> None:
    """Put the ticks of the horizontal axis at whole numbers, however few there are."""
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def save(figure: Figure, path: Path) -> Path:
    """Write a figure completely or not at all, as PNG or, by its suffix, as PDF or SVG; its path."""
    with written_whole(path) as partial:
        figure.savefig(partial, format=path.suffix.lstrip(".") or "png")
    return path


def as_array(figure: Figure) -> FrameArray:
    """Render a figure to RGB pixels, (H, W, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]


def read_png(path: Path) -> FrameArray:
    """Read a saved figure as RGB pixels (H, W, 3)."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _plain(name: str, width: int = 60) -> str:
    """Name as lines of at most ``width`` characters, with dollar signs escaped.

    Characters that are allowed in a file's name but cannot be encoded become question marks.
    """
    text = name.encode("utf-8", "replace").decode()
    return "\n".join(textwrap.wrap(text, width, break_long_words=True)).replace("$", r"\$")


def _stroke(index: int) -> dict[str, Any]:
    """Colour and line style of one of several series."""
    round_, color = divmod(index, len(SERIES_COLORS))
    return {"color": SERIES_COLORS[color], "linestyle": STROKES[round_ % len(STROKES)], "linewidth": 1.5}
