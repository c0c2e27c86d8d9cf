"""Figures of a detector under disturbances of increasing strength."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfd.base.types import FrameArray
from dfd.figures.style import BLUE, GREY, MARKERS, Estimate, _figure, _plain, _stroke, _whole_numbers

Curves = Mapping[str, Mapping[int, Estimate]]
"""Estimates by disturbance and level."""
METRIC = "AUC at video level"


def robustness_curves(base: Estimate, curves: Curves, *, metric: str = METRIC, title: str = "") -> Figure:
    """Draw a metric against the strength of disturbances, a line for each, with the undisturbed interval in grey.

    Args:
        base: estimate without disturbance; its value must be known.
        curves: estimate at each level from 0, by disturbance; unknown ones are left out.
        metric: name of the metric.
        title: title of the figure.
    """
    figure, (ax,) = _figure(height=4.6, width=7.4)
    if base[1]:
        ax.axhspan(*base[1], color=GREY, alpha=0.15, linewidth=0, label="undisturbed, 95 % interval")
    for index, (name, estimates) in enumerate(curves.items()):
        known = [(level, value) for level, (value, _) in sorted(estimates.items()) if value is not None]
        marker = MARKERS[index % len(MARKERS)]
        ax.plot(*zip(*known, strict=True), **_stroke(index), marker=marker, markersize=4, label=_plain(name, 24))
    _finish_robustness(ax, base, curves)
    ax.set(xlabel="level of strength; 0: undisturbed", ylabel=metric)
    figure.legend(frameon=False, fontsize=8, loc="outside right center")
    ax.set_title(_plain(title, 70), fontsize="medium")
    return figure


def robustness_intervals(
    base: Estimate, curves: Curves, *, strengths: Mapping[str, str], metric: str = METRIC, title: str = ""
) -> Figure:
    """Draw a panel per disturbance with the interval at each level; other disturbances are thin grey lines.

    Args:
        base: estimate without disturbance; its value must be known.
        curves: as for :func:`robustness_curves`.
        strengths: meaning of the levels, by disturbance.
        metric: name of the metric.
        title: title of the figure.
    """
    columns = min(4, len(curves))
    rows = -(-len(curves) // columns)
    figure, axes = _figure(columns, rows=rows, height=2.9, width=2.9, share_y=True)
    for place, (ax, (name, estimates)) in enumerate(zip(axes, curves.items(), strict=False)):
        for other in curves.values():
            known = [(level, value) for level, (value, _) in sorted(other.items()) if value is not None]
            ax.plot(*zip(*known, strict=True), color=GREY, alpha=0.35, linewidth=0.8)
        levels = [level for level in sorted(estimates) if estimates[level][0] is not None]
        values = [estimates[level][0] or 0.0 for level in levels]
        ends = [estimates[level][1] or (value, value) for level, value in zip(levels, values, strict=True)]
        lows, highs = zip(*ends, strict=True)
        ax.fill_between(levels, lows, highs, color=BLUE, alpha=0.2, linewidth=0)
        ax.plot(levels, values, color=BLUE, marker="o", markersize=4)
        ax.set_title(_plain(name, 24), fontsize="medium")
        ax.set_xlabel(_plain(strengths.get(name, ""), 40), fontsize=8)
        if place % columns == 0:
            ax.set_ylabel(metric)
        else:
            ax.tick_params(labelleft=False)
        _finish_robustness(ax, base, curves)
    for ax in axes[len(curves) :]:
        ax.set_axis_off()
    if title:
        figure.suptitle(_plain(title, 90), fontsize="medium")
    return figure


def _finish_robustness(ax: Axes, base: Estimate, curves: Curves) -> None:
    everything = [base, *(estimate for estimates in curves.values() for estimate in estimates.values())]
    lowest = min(min([value, *(ends or ())]) for value, ends in everything if value is not None)
    ax.axhline(0.5, color=GREY, linestyle=":", linewidth=1, label="guessing")
    ax.set_ylim(min(0.45, lowest - 0.02), 1.02)
    _whole_numbers(ax)


def disturbance_sheet(rows: Sequence[tuple[str, Sequence[tuple[str, FrameArray]]]]) -> Figure:
    """Draw pictures of disturbances: a row for each, in order of strength.

    Args:
        rows: name, and captions with pictures (H, W, 3); the same number of pictures in each row.
    """
    columns = len(rows[0][1])
    figure = Figure(figsize=(0.7 + 1.25 * columns, 1.45 * len(rows)), layout="constrained", dpi=130)
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, pictures) in zip(panels, rows, strict=True):
        for ax, (caption, picture) in zip(line, pictures, strict=True):
            ax.imshow(picture, interpolation="nearest")
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            ax.set_title(_plain(caption, 30), fontsize=7, pad=2)
        line[0].set_ylabel(_plain(name, 20), fontweight="bold", fontsize=8)
    return figure
