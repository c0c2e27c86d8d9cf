"""Figures of one detector and of several beside each other. Each function returns a matplotlib figure.

Figures are made without pyplot, so nothing global is touched and no window is opened. Names of detectors may be of any
length and hold any character.
"""

import math
import textwrap
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike
from PIL import Image
from scipy.stats import binomtest

from dfd.files import partial_of
from dfd.metrics import CALIBRATION_BINS, expected_calibration_error, reliability_bins, roc_curve
from dfd.types import LABEL_NAMES, FrameArray, Label

Interval = tuple[float, float]
Estimate = tuple[float | None, Interval | None]
"""A number and its interval; None where it is not known."""

# Okabe and Ito's palette, told apart by readers with any colour vision (jfly.uni-koeln.de/color).
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#6b6b6b"
COLORS = {"train": BLUE, "val": ORANGE}
# Yellow left out: it cannot be seen on white. Beyond six detectors the strokes tell them apart.
SERIES_COLORS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
STROKES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D")
FEW_IN_BIN = 10
"""Videos in a bin below which its share of fakes is marked as hardly known: one video is more than a tenth of it."""


def _figure(
    columns: int = 1, *, rows: int = 1, height: float = 3.6, width: float = 4.8, share_y: bool = False
) -> tuple[Figure, list[Axes]]:
    """``height`` and ``width`` are of one panel, in inches."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained", dpi=130)
    axes: list[Axes] = []
    for index in range(rows * columns):
        axes.append(figure.add_subplot(rows, columns, index + 1, sharey=axes[0] if share_y and axes else None))
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25, linewidth=0.6)
    return figure, axes


def _whole_numbers(ax: Axes) -> None:
    """Let the marks of the horizontal axis be whole, however few there are."""
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG under a temporary name, then rename it."""
    partial = partial_of(path)
    figure.savefig(partial, format="png")
    return partial.replace(path)


def as_array(figure: Figure) -> FrameArray:
    """The figure as RGB pixels, (H, W, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]


def read_png(path: Path) -> FrameArray:
    """A figure that was saved, as RGB pixels (H, W, 3)."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def read_history(metrics_csv: Path) -> pd.DataFrame:
    """A run's ``metrics.csv`` with one row per epoch, counted from 1: columns such as ``train/loss``, ``val/auc``.

    What is logged by step (``train/loss_step``) is left out. A file with an epoch 0 is of an older version, which
    counted from 0.
    """
    table = pd.read_csv(metrics_csv)
    table["epoch"] += int((table["epoch"] == 0).any())
    # Training and validation are logged in rows of their own; the last value of an epoch is the epoch's.
    columns = [
        name
        for name in table.columns
        if name not in ("epoch", "step") and not name.startswith("test/") and not name.endswith("_step")
    ]
    # The test's row is of no epoch: older versions gave it the number after the last.
    return table.groupby("epoch")[columns].last().dropna(how="all").reset_index()


def _plain(name: str, width: int = 60) -> str:
    """A name as text of lines of at most ``width`` characters; dollar signs are no formula.

    What a file's name may hold and a font may not is a question mark.
    """
    text = name.encode("utf-8", "replace").decode()
    return "\n".join(textwrap.wrap(text, width, break_long_words=True)).replace("$", r"\$")


def learning_curves(
    history: pd.DataFrame, *, title: str = "", chosen_epochs: Sequence[int] = (), max_loss: float | None = None
) -> Figure:
    """Loss and accuracy per epoch, training against validation.

    Args:
        history: columns ``epoch``, counted from 1, ``train/loss``, ``val/loss``, ``train/accuracy``, ``val/accuracy``;
            others ignored. What is not finite is left out. Of an epoch that is there several times, as that of runs
            with several seeds, the mean is drawn, in a band of one standard deviation.
        title: over both panels.
        chosen_epochs: those that were kept, one of each run; they are marked.
        max_loss: where the axis of the loss ends, so that figures of several runs compare; None: where the data do.
    """
    figure, axes = _figure(2, height=3.5, width=3.9)
    for ax, metric in zip(axes, ("loss", "accuracy"), strict=True):
        for split, color in COLORS.items():
            column = f"{split}/{metric}"
            if column in history:
                known = history.loc[np.isfinite(history[column].to_numpy(float)), ["epoch", column]]
                by_epoch = known.groupby("epoch")[column]
                mean, deviation = by_epoch.mean(), by_epoch.std().fillna(0.0)
                ax.plot(mean.index, mean, color=color, marker="o", markersize=3, label=split)
                if known["epoch"].duplicated().any():
                    ax.fill_between(
                        mean.index, mean - deviation, mean + deviation, color=color, alpha=0.18, linewidth=0
                    )
        ax.set_xlabel("epoch")
        ax.set_ylabel(metric)
        _whole_numbers(ax)
        if len(history):
            ax.set_xlim(history["epoch"].min() - 0.4, history["epoch"].max() + 0.4)
        for epoch in sorted(set(chosen_epochs)):
            ax.axvline(epoch, color=GREY, linestyle="--", linewidth=1, label="chosen")
    axes[0].set_ylim(0, max_loss)
    axes[1].set_ylim(0, 1.02)
    handles, labels = axes[0].get_legend_handles_labels()
    shown = dict(zip(labels, handles, strict=True))
    if chosen_epochs:
        several = "s" if len(chosen_epochs) > 1 else ""
        shown[f"chosen: epoch{several} {', '.join(map(str, chosen_epochs))}"] = shown.pop("chosen")
    # Under the panels: within them it would hide a line.
    figure.legend([*shown.values()], [*shown], frameon=False, fontsize=8, loc="outside lower center", ncols=3)
    if title:
        figure.suptitle(_plain(title, 90))
    return figure


def confusion_matrix(metrics: Mapping[str, float | int | None], *, title: str = "") -> Figure:
    """Counts with class names; rows are what a video is, columns what it was called.

    Args:
        metrics: has ``tp, fp, fn, tn`` with FAKE positive, as :func:`dfd.metrics.video_metrics` gives them.
        title: over the matrix.
    """
    figure, (ax,) = _figure(height=3.8, width=4.4)
    _draw_confusion(ax, metrics)
    if title:
        ax.set_title(_plain(title))
    return figure


def confusion_matrices(metrics: Mapping[str, Mapping[str, float | int | None]]) -> Figure:
    """:func:`confusion_matrix` of several detectors, by name, three or four beside each other."""
    columns = min(3 if len(metrics) <= 6 else 4, len(metrics))
    rows = -(-len(metrics) // columns)
    longest = max(_plain(name, 34).count("\n") for name in metrics)
    figure, axes = _figure(columns, rows=rows, height=3.5 + 0.2 * longest, width=3.7)
    figure.set_layout_engine("constrained", h_pad=0.12)
    for ax, (name, counts) in zip(axes, metrics.items(), strict=False):
        _draw_confusion(ax, counts)
        ax.set_title(_plain(name, 34), fontsize="medium")
    for ax in axes[len(metrics) :]:
        ax.set_axis_off()
    return figure


def _draw_confusion(ax: Axes, metrics: Mapping[str, float | int | None]) -> None:
    counts = np.array([[metrics["tn"], metrics["fp"]], [metrics["fn"], metrics["tp"]]], dtype=int)
    ax.grid(visible=False)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row in Label:
        for column in Label:
            share = shares[row, column]
            ax.text(
                column,
                row,
                f"{counts[row, column]}\n{share:.0%} of {row}",
                ha="center",
                va="center",
                color="white" if share > 0.5 else "black",
            )
    ax.set_xticks(list(Label), [f"called {name}" for name in LABEL_NAMES])
    ax.set_yticks(list(Label), [f"is {name}" for name in LABEL_NAMES], rotation=90, va="center")
    ax.spines[:].set_visible(False)


def bar_comparison(
    names: Sequence[str],
    panels: Mapping[str, Sequence[Estimate]],
    *,
    reference: Mapping[str, tuple[str, float]] | None = None,
) -> Figure:
    """Horizontal bars that compare detectors: a panel per quantity, a row per detector, the intervals as whiskers.

    Args:
        names: of the detectors, from the top.
        panels: by quantity, one estimate per detector. Where it is None there is no bar, but a dash.
        reference: by quantity, a value to compare with and what it is: a dotted line.
    """
    lines = [_plain(name, 28) for name in names]
    height = 1.1 + sum(0.34 + 0.17 * line.count("\n") for line in lines)
    figure, axes = _figure(len(panels), height=max(2.2, height), width=3.6, share_y=True)
    places = list(range(len(names)))
    for panel, (ax, (quantity, estimates)) in enumerate(zip(axes, panels.items(), strict=True)):
        ends = [interval[1] if interval else value for value, interval in estimates if value is not None]
        right = max([*ends, 1e-9])
        for place, (value, interval) in zip(places, estimates, strict=True):
            if value is None:
                ax.text(0, place, " –", va="center")
                continue
            ax.barh(place, value, height=0.62, color=SERIES_COLORS[panel % len(SERIES_COLORS)], alpha=0.85)
            if interval:
                around = [[max(0.0, value - interval[0])], [max(0.0, interval[1] - value)]]
                ax.errorbar(value, place, xerr=around, color="black", linewidth=1.1, capsize=3)
            ax.text((interval[1] if interval else value) + 0.02 * right, place, f"{value:.3f}", va="center", fontsize=8)
        if reference and quantity in reference:
            what, level = reference[quantity]
            ax.axvline(level, color=GREY, linestyle=":", label=f"{what} {level:.3f}")
            ax.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        ax.set_xlim(0, right * 1.2)
        ax.set_xlabel(quantity)
        ax.grid(visible=False, axis="y")
        ax.tick_params(axis="y", length=0, labelleft=panel == 0)
    axes[0].set_yticks(places, lines)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    return figure


def roc_overlay(scores: Mapping[str, Sequence[tuple[ArrayLike, ArrayLike]]]) -> Figure:
    """ROC curves of several detectors, with FAKE positive, and what guessing gives.

    Args:
        scores: by name, for each of its runs (N,) probabilities and (N,) labels; both classes must be there. Of several
            runs, as with several seeds, the mean of the curves is drawn, in a band of one standard deviation.
    """
    lines = 1 + sum(1 + _plain(name, 34).count("\n") for name in scores)
    figure, (ax,) = _figure(height=max(4.4, 0.6 + 0.19 * lines), width=7.6)
    for index, (name, runs) in enumerate(scores.items()):
        curves = [roc_curve(prob_fake, label)[:2] for prob_fake, label in runs]
        areas = [float(np.trapezoid(true_rate, false_rate)) for false_rate, true_rate in curves]
        stroke = _stroke(index)
        if len(curves) == 1:
            ((false_rate, true_rate),) = curves
            area = f"AUC {areas[0]:.3f}"
        else:
            false_rate = np.linspace(0, 1, 501)
            rates = np.array([np.interp(false_rate, *curve) for curve in curves])
            true_rate, deviation = rates.mean(axis=0), rates.std(axis=0, ddof=1)
            low, high = np.clip(true_rate - deviation, 0, 1), np.clip(true_rate + deviation, 0, 1)
            ax.fill_between(false_rate, low, high, color=stroke["color"], alpha=0.15, linewidth=0)
            area = f"AUC {np.mean(areas):.3f} ± {np.std(areas, ddof=1):.3f}, {len(areas)} seeds"
        ax.plot(false_rate, true_rate, **stroke, label=_plain(f"{name} ({area})", 34))
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (1, 3)), label="guessing (AUC 0.5)")
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel("real videos called fake")
    ax.set_ylabel("fake videos found")
    figure.legend(frameon=False, fontsize=8, loc="outside right center")
    return figure


def metric_against(setting: str, panels: Mapping[str, Mapping[str, Mapping[float, Estimate]]]) -> Figure:
    """How metrics change with a numeric setting: a panel per metric, a line per series, whiskers for the intervals.

    Args:
        setting: what the horizontal axis is.
        panels: by metric, then by series, the estimate at each value of the setting. None is left out.
    """
    num_series = max(len(series) for series in panels.values())
    figure, axes = _figure(len(panels), height=3.6 + (0.25 * num_series if num_series > 1 else 0))
    values = sorted({value for series in panels.values() for estimates in series.values() for value in estimates})
    spread = 0.012 * (values[-1] - values[0])
    for ax, (metric, series) in zip(axes, panels.items(), strict=True):
        for index, (name, estimates) in enumerate(series.items()):
            known = [(x, *estimates[x]) for x in sorted(estimates) if estimates[x][0] is not None]
            x = np.array([value for value, _, _ in known])
            y = np.array([estimate or 0.0 for _, estimate, _ in known])
            ends = np.array([interval or (np.nan, np.nan) for _, _, interval in known])  # nan: no whisker
            around = np.abs(ends.reshape(-1, 2).T - y)
            # Series stand a little apart, so that their whiskers do not cover each other.
            shifted = x + spread * (index - (len(series) - 1) / 2)
            ax.errorbar(
                shifted, y, yerr=around, **_stroke(index), marker="o", markersize=4, capsize=3, label=_plain(name)
            )
        ax.set_xticks(values, [f"{value:g}" for value in values])
        ax.set_xlabel(_plain(setting))
        ax.set_ylabel(metric)
    if num_series > 1:
        figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", fontsize=8)
    return figure


def robustness_curves(
    base: Estimate, curves: Mapping[str, Mapping[int, Estimate]], *, metric: str = "AUC at video level", title: str = ""
) -> Figure:
    """A metric against the level of disturbances: a line for each. Grey: the interval without any.

    Args:
        base: without any; its value is known.
        curves: by disturbance, the estimate at each level from 0 on; unknown ones are left out.
        metric: its name.
        title: over the figure.
    """
    figure, (ax,) = _figure(height=4.6, width=7.4)
    if base[1]:
        ax.axhspan(*base[1], color=GREY, alpha=0.15, linewidth=0, label="undisturbed, 95 % interval")
    for index, (name, estimates) in enumerate(curves.items()):
        known = [(level, value) for level, (value, _) in sorted(estimates.items()) if value is not None]
        marker = MARKERS[index % len(MARKERS)]
        ax.plot(*zip(*known, strict=True), **_stroke(index), marker=marker, markersize=4, label=_plain(name, 24))
    _finish_robustness(ax, base, curves)
    ax.set_xlabel("level of strength; 0: undisturbed")
    ax.set_ylabel(metric)
    figure.legend(frameon=False, fontsize=8, loc="outside right center")
    ax.set_title(_plain(title, 70), fontsize="medium")
    return figure


def robustness_intervals(
    base: Estimate,
    curves: Mapping[str, Mapping[int, Estimate]],
    *,
    strengths: Mapping[str, str],
    metric: str = "AUC at video level",
    title: str = "",
) -> Figure:
    """A panel for each disturbance, with the interval of each level; the other disturbances are thin grey lines.

    Args:
        base: without any disturbance; its value is known.
        curves: as for :func:`robustness_curves`.
        strengths: by disturbance, what its levels are.
        metric: its name.
        title: over the figure.
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


def _finish_robustness(ax: Axes, base: Estimate, curves: Mapping[str, Mapping[int, Estimate]]) -> None:
    everything = [base, *(estimate for estimates in curves.values() for estimate in estimates.values())]
    lowest = min(min([value, *(ends or ())]) for value, ends in everything if value is not None)
    ax.axhline(0.5, color=GREY, linestyle=":", linewidth=1, label="guessing")
    ax.set_ylim(min(0.45, lowest - 0.02), 1.02)
    _whole_numbers(ax)


@dataclass(frozen=True, slots=True)
class Dot:
    """A row of :func:`dots_with_intervals`."""

    name: str
    estimate: Estimate
    count: str
    """What it rests on, such as ``12 real, 30 fake``."""
    is_group: bool = True
    """A whole, in bold; else a part of the one above."""
    is_known: bool = False
    """Of what the detector was trained on; else its dot is filled."""


def dots_with_intervals(dots: Sequence[Dot], *, quantity: str, title: str = "") -> Figure:
    """A dot and its interval for each row, and what it rests on at the right. A hollow dot: the detector knows the set.

    Args:
        dots: from the top. Where the estimate is None there is no dot, but a dash at the right.
        quantity: what the axis is.
        title: over the figure.
    """
    names = [_plain(dot.name if dot.is_group else f"    {dot.name}", 44) for dot in dots]
    height = 1.3 + sum(0.3 + 0.16 * name.count("\n") for name in names)
    figure, (ax,) = _figure(height=max(2.4, height), width=7.6)
    for place, dot in enumerate(dots):
        value, ends = dot.estimate
        color = BLUE if dot.is_group else "#56B4E9"
        if value is not None:
            around = [[max(0.0, value - ends[0])], [max(0.0, ends[1] - value)]] if ends else None
            look: dict[str, Any] = {"markerfacecolor": "white" if dot.is_known else color, "markersize": 6}
            ax.errorbar(value, place, xerr=around, fmt="o", color=color, capsize=3, linewidth=1.4, **look)
        shown = "–" if value is None else f"{value:.3f}"
        ax.text(1.02, place, f"{shown}   {dot.count}", va="center", fontsize=8, transform=ax.get_yaxis_transform())
    ax.axvline(0.5, color=GREY, linestyle=":", linewidth=1, label="guessing")
    for known, text in ((True, "data set of the training"), (False, "new data set")):
        if any(dot.is_known is known for dot in dots) and any(dot.is_known for dot in dots):
            ax.plot([], [], "o", color=BLUE, markerfacecolor="white" if known else BLUE, label=text)
    ax.set_yticks(range(len(dots)), names)
    for label, dot in zip(ax.get_yticklabels(), dots, strict=True):
        label.set_fontweight("bold" if dot.is_group else "normal")
    ax.set_ylim(len(dots) - 0.5, -0.5)
    lows = [min([value, *(ends or ())]) for value, ends in (dot.estimate for dot in dots) if value is not None]
    ax.set_xlim(min([0.45, *(low - 0.02 for low in lows)]), 1.02)
    ax.set_xlabel(f"{quantity}, 95 % interval")
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)
    figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=3)
    if title:
        figure.suptitle(_plain(title, 90), fontsize="medium")
    return figure


def disturbance_sheet(rows: Sequence[tuple[str, Sequence[tuple[str, FrameArray]]]]) -> Figure:
    """Pictures of disturbances: a row for each, by rising strength.

    Args:
        rows: the name, and captions with pictures (H, W, 3), of as many as in the other rows.
    """
    columns = len(rows[0][1])
    figure = Figure(figsize=(0.7 + 1.25 * columns, 1.45 * len(rows)), layout="constrained", dpi=130)
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, pictures) in zip(panels, rows, strict=True):
        for ax, (caption, picture) in zip(line, pictures, strict=True):
            ax.imshow(picture, interpolation="nearest")
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_visible(False)
            ax.set_title(_plain(caption, 30), fontsize=7, pad=2)
        line[0].set_ylabel(_plain(name, 20), fontweight="bold", fontsize=8)
    return figure


@dataclass(frozen=True, slots=True)
class StudyPoint:
    """A job of a study, or the jobs that differ in their seed only, as its figures show them."""

    choices: Mapping[str, str]
    """What it chose, as text."""
    value: float | None
    """The metric, over its seeds the mean; None if it has none."""
    kind: str = "finished"
    """``finished``, ``incomplete`` (of its seeds some have no result), ``pruned``, or ``failed`` for all others."""
    deviation: float | None = None
    """Standard deviation over its seeds; None if it has one seed."""


def parallel_coordinates(
    points: Sequence[StudyPoint], *, metric: str, minimize: bool = False, log: Collection[str] = ()
) -> Figure:
    """A line per job, through what it chose to what it reached: an axis per parameter, and the metric's.

    The darker a line, the better its job; the best one, or all that share its value, is in orange. Those of which a
    seed has no result are dotted and dashed, and never the best. Those that were pruned are dashed, up to what they had
    reached. Those that failed end before the metric's axis.

    Args:
        points: jobs; all choose of the same parameters.
        metric: its name.
        minimize: a low value is a good one; then its axis is the other way round, so that good is up.
        log: the parameters to show on a logarithmic scale.
    """
    keys = list(dict.fromkeys(key for point in points for key in point.choices))
    figure = Figure(figsize=(max(6.4, 1.9 * (len(keys) + 1)), 4.4), layout="constrained", dpi=130)
    ax = figure.add_subplot()
    ax.set_axis_off()
    ax.set_xlim(-0.35, len(keys) + 0.45)
    ax.set_ylim(-0.16, 1.14)
    scales = [_scale([point.choices.get(key, "") for point in points], log=key in log) for key in keys]
    values = [point.value for point in points if point.value is not None and point.kind != "failed"]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = (high - low) or 1.0

    def height(value: float) -> float:
        share = (value - low) / room if high > low else 0.5
        return 1 - share if minimize else share

    for place, (key, scale) in enumerate(zip(keys, scales, strict=True)):
        _draw_axis(ax, place, _short_key(key), scale.ticks)
    shown = np.linspace(low, high, 5) if high > low else np.array([low])
    _draw_axis(ax, len(keys), metric, [(height(float(v)), f"{v:.3f}") for v in shown], right=True)
    finished = [point for point in points if point.kind == "finished" and point.value is not None]
    best = _best(finished, minimize)
    # The best last, so that it lies on top; jobs of one choice stand a little apart.
    order = sorted(range(len(points)), key=lambda i: (points[i] in best, points[i].kind == "finished"))
    for index in order:
        point = points[index]
        apart = 0.05 * ((index * 0.618) % 1 - 0.5)
        y = [
            scale.at[point.choices.get(key, "")] + (0 if scale.is_numeric else apart)
            for key, scale in zip(keys, scales, strict=True)
        ]
        x = [float(place) for place in range(len(keys))]
        if point.value is not None and point.kind != "failed":
            x, y = [*x, len(keys)], [*y, height(point.value)]
        elif y:
            x, y = [*x, len(keys) - 0.7], [*y, y[-1]]
        ax.plot(x, y, **_job_stroke(point, best, height), clip_on=False)
    handles = _job_legend(points, best, lambda point: _job_stroke(point, best, lambda _: 1.0))
    figure.legend(handles=handles, frameon=False, fontsize=8, loc="outside lower center", ncols=4)
    return figure


def metric_by_parameter(
    points: Sequence[StudyPoint], *, metric: str, minimize: bool = False, log: Collection[str] = ()
) -> Figure:
    """The metric against each parameter, a panel for each; the best job, or all that share its value, is in orange.

    Jobs of one choice that came to the same stand beside each other.

    Args:
        points: jobs; all choose of the same parameters.
        metric: its name.
        minimize: a low value is a good one.
        log: the parameters to show on a logarithmic scale.
    """
    keys = list(dict.fromkeys(key for point in points for key in point.choices))
    columns = 2 if len(keys) == 4 else min(3, len(keys))
    rows = -(-len(keys) // columns)
    figure, axes = _figure(columns, rows=rows, height=3.5, width=5.6 if columns == 1 else 4.0, share_y=True)
    finished = [point for point in points if point.kind == "finished" and point.value is not None]
    best = _best(finished, minimize)
    for place, (ax, key) in enumerate(zip(axes, keys, strict=False)):
        scale = _scale([point.choices.get(key, "") for point in points], log=key in log)
        beside = _Beside(points)
        for point in sorted(points, key=lambda point: (point in best, point.kind == "finished")):
            at = scale.number(point.choices.get(key, ""))
            if not scale.is_numeric:
                at += beside(point.choices.get(key, ""), point)
            if point.value is None or point.kind == "failed":
                # At the panel's lower edge, whatever the metric's range is.
                ax.plot(at, 0.02, **_job_mark(point, best), transform=ax.get_xaxis_transform(), clip_on=False)
            else:
                mark = _job_mark(point, best)
                if point.deviation is not None:
                    ax.errorbar(at, point.value, yerr=point.deviation, fmt="none", ecolor=mark["color"], capsize=4)
                ax.plot(at, point.value, **mark)
                if columns == 1 and not scale.is_numeric:
                    ax.annotate(
                        f"{point.value:.3f}", (at, point.value), (9, 0), textcoords="offset points", va="center"
                    )
        if scale.is_numeric and scale.is_log:
            ax.set_xscale("log")
        elif scale.is_numeric and all(float(value).is_integer() for value in scale.at):
            _whole_numbers(ax)
        elif not scale.is_numeric:
            names = list(scale.at)
            turned = max(map(len, names)) * len(names) > (44 if columns == 1 else 30)
            ax.set_xticks(
                range(len(names)),
                [_plain(name, 24) for name in names],
                rotation=25 if turned else 0,
                ha="right" if turned else "center",
                rotation_mode="anchor",
            )
            ax.set_xlim(-0.5, len(names) - 0.5)
        ax.set_xlabel(_plain(key, 40))
        if place % columns == 0:
            ax.set_ylabel(metric)
        else:
            ax.tick_params(labelleft=False)
    if any(point.value is None or point.kind == "failed" for point in points):
        low, high = axes[0].get_ylim()  # of all panels
        axes[0].set_ylim(low - 0.1 * (high - low), high)
    for ax in axes[len(keys) :]:
        ax.set_axis_off()
    handles = _job_legend(points, best, lambda point: _job_mark(point, best))
    figure.legend(handles=handles, frameon=False, fontsize=8, loc="outside lower center", ncols=4)
    return figure


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where each value of a parameter stands between 0 and 1, and the marks of the axis."""

    at: Mapping[str, float]
    ticks: Sequence[tuple[float, str]]
    is_numeric: bool
    is_log: bool

    def number(self, value: str) -> float:
        """Its place on an axis of its own: the number, or the place among the choices."""
        return float(value) if self.is_numeric else float(list(self.at).index(value))


def _scale(values: Sequence[str], *, log: bool) -> _Scale:
    """Numbers on a line, if all are; else choices, in their order."""
    distinct = list(dict.fromkeys(values))
    try:
        numbers = {text: float(text) for text in distinct}
    except ValueError:
        numbers = {}
    if not numbers or not all(math.isfinite(number) for number in numbers.values()):
        share = {
            text: index / max(1, len(distinct) - 1) if len(distinct) > 1 else 0.5 for index, text in enumerate(distinct)
        }
        return _Scale(share, [(place, text) for text, place in share.items()], is_numeric=False, is_log=False)
    is_log = log and min(numbers.values()) > 0
    on_line = {text: math.log10(number) if is_log else number for text, number in numbers.items()}
    low, high = min(on_line.values()), max(on_line.values())
    room = (high - low) or 1.0
    share = {text: (number - low) / room if high > low else 0.5 for text, number in on_line.items()}
    if len(distinct) <= 7:
        ticks = sorted((place, f"{numbers[text]:.3g}") for text, place in share.items())
    else:
        marks = np.linspace(low, high, 5)
        ticks = [((float(mark) - low) / room, f"{10**mark if is_log else mark:.2g}") for mark in marks]
    return _Scale(share, ticks, is_numeric=True, is_log=is_log)


def _draw_axis(ax: Axes, x: float, name: str, ticks: Sequence[tuple[float, str]], *, right: bool = False) -> None:
    ax.plot([x, x], [0, 1], color=GREY, linewidth=1, zorder=3)
    ax.text(x, 1.07, _plain(name, 20), ha="center", va="bottom", fontweight="bold", fontsize=9)
    side, align = (0.04, "left") if right else (-0.04, "right")
    for y, text in ticks:
        ax.plot([x, x + side / 2], [y, y], color=GREY, linewidth=1, zorder=3)
        label = ax.text(x + side, y, _plain(text, 20), ha=align, va="center", fontsize=8, zorder=4)
        label.set_path_effects([withStroke(linewidth=2.5, foreground="white")])


class _Beside:
    """How far to the side of its choice a job stands, so that those of about one value do not hide each other."""

    _STEP, _MOST = 0.07, 0.35

    def __init__(self, points: Sequence[StudyPoint]) -> None:
        values = [point.value for point in points if point.value is not None]
        self._room = (max(values) - min(values) if values else 0.0) or 1.0
        self._there: Counter[tuple[str, int | None]] = Counter()

    def __call__(self, choice: str, point: StudyPoint) -> float:
        """0, then a step to the right, to the left, two to the right, and so on, short of the next choice."""
        level = None if point.value is None or point.kind == "failed" else round(40 * point.value / self._room)
        number = self._there[choice, level]
        self._there[choice, level] += 1
        steps = (number + 1) // 2 % (round(self._MOST / self._STEP) + 1)
        return self._STEP * steps * (1 if number % 2 else -1)


def _best(finished: Sequence[StudyPoint], minimize: bool) -> list[StudyPoint]:
    values = [point.value for point in finished if point.value is not None]
    best = (min if minimize else max)(values, default=None)
    return [] if best is None else [point for point in finished if point.value == best]


def _short_key(key: str) -> str:
    return key.rpartition(".")[2]


def _job_stroke(point: StudyPoint, best: Sequence[StudyPoint], height: Callable[[float], float]) -> dict[str, Any]:
    if point in best:
        return {"color": ORANGE, "linewidth": 2.6, "zorder": 2.5}
    if point.kind == "finished" and point.value is not None:
        weight = 0.25 + 0.75 * height(point.value)  # from light to the full blue
        color = tuple(1 - weight * (1 - part) for part in to_rgb(BLUE))
        return {"color": color, "linewidth": 1.4, "zorder": 2}
    if point.kind == "incomplete" and point.value is not None:
        return {"color": BLUE, "linewidth": 1, "linestyle": "-.", "zorder": 1}
    return {"color": GREY, "linewidth": 1, "linestyle": "--" if point.kind == "pruned" else ":", "zorder": 1}


def _job_mark(point: StudyPoint, best: Sequence[StudyPoint]) -> dict[str, Any]:
    if point in best:
        return {"marker": "o", "color": ORANGE, "markersize": 8, "zorder": 4, "linestyle": ""}
    if point.kind == "finished" and point.value is not None:
        return {"marker": "o", "color": BLUE, "markersize": 6, "alpha": 0.8, "linestyle": ""}
    if point.kind == "incomplete" and point.value is not None:
        return {"marker": "o", "color": BLUE, "markersize": 6, "markerfacecolor": "none", "linestyle": ""}
    if point.kind == "pruned" and point.value is not None:
        return {"marker": "o", "color": GREY, "markersize": 5, "markerfacecolor": "none", "linestyle": ""}
    return {"marker": "x", "color": GREY, "markersize": 6, "linestyle": ""}


def _job_legend(
    points: Sequence[StudyPoint], best: Sequence[StudyPoint], look: Callable[[StudyPoint], dict[str, Any]]
) -> list[Line2D]:
    shown = {
        "the best" if len(best) < 2 else f"the best, {len(best)} alike": best,
        "finished": [p for p in points if p.kind == "finished" and p.value is not None and p not in best],
        "a seed of it has no result": [p for p in points if p.kind == "incomplete" and p.value is not None],
        "pruned, as far as it came": [p for p in points if p.kind == "pruned" and p.value is not None],
        "without a result": [p for p in points if p.value is None or p.kind == "failed"],
    }
    return [Line2D([], [], **look(found[0]), label=name) for name, found in shown.items() if found]


def _stroke(index: int) -> dict[str, Any]:
    """The colour and line style of one of several series."""
    round_, color = divmod(index, len(SERIES_COLORS))
    return {"color": SERIES_COLORS[color], "linestyle": STROKES[round_ % len(STROKES)], "linewidth": 1.5}


def clip_strips(clips: Sequence[tuple[str, bool, FrameArray]], *, max_frames: int = 10) -> Figure:
    """Clips below each other: of each a line of text and its frames, first to last.

    Args:
        clips: the text, whether the verdict is right (if not, the text is of another colour and says so), and frames
            ``(T, H, W, 3)``.
        max_frames: of a clip, evenly spaced.
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


def roc_and_pr(prob_fake: ArrayLike, label: ArrayLike, *, title: str = "") -> Figure:
    """ROC and precision-recall curves with FAKE positive, each beside what guessing gives.

    Args:
        prob_fake: (N,) probabilities.
        label: (N,) of :class:`~dfd.types.Label`; both classes must be there.
        title: over both panels.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

    prob_fake, label = np.asarray(prob_fake), np.asarray(label)
    figure, (left, right) = _figure(2)
    false_rate, true_rate, _ = roc_curve(label, prob_fake, pos_label=int(Label.FAKE))
    left.plot(false_rate, true_rate, color=BLUE, label=f"AUC {roc_auc_score(label, prob_fake):.3f}")
    left.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="guessing")
    left.set_xlabel("real videos called fake")
    left.set_ylabel("fake videos found")
    precision, recall, _ = precision_recall_curve(label, prob_fake, pos_label=int(Label.FAKE))
    right.plot(recall, precision, color=BLUE, label=f"AP {average_precision_score(label, prob_fake):.3f}")
    right.axhline(float(label.mean()), color=GREY, linestyle=":", label="guessing")
    right.set_xlabel("recall of fake")
    right.set_ylabel("precision of fake")
    for ax in (left, right):
        ax.set_xlim(-0.02, 1.02)
        ax.set_ylim(-0.02, 1.02)
        ax.legend(frameon=False, loc="lower right" if ax is left else "lower left")
    if title:
        figure.suptitle(_plain(title, 90))
    return figure


def reliability_diagram(
    prob_fake: Mapping[str, ArrayLike], label: ArrayLike, *, title: str = "", num_bins: int = CALIBRATION_BINS
) -> Figure:
    """How many of the videos that are given a probability are fake, and below it how many videos are given it.

    Points on the diagonal say what they know. Whiskers are exact 95 % binomial intervals (Clopper & Pearson 1934) of
    the share of fakes; a bin of fewer than ``FEW_IN_BIN`` videos has a hollow point.

    Args:
        prob_fake: (N,) probabilities, by what they are called, such as before and after calibration.
        label: (N,) of :class:`~dfd.types.Label`.
        title: over the figure.
        num_bins: as in :func:`dfd.metrics.reliability_bins`.
    """
    label = np.asarray(label)
    figure = Figure(figsize=(5.2, 7.0), layout="constrained", dpi=130)
    upper, lower = figure.subplots(2, height_ratios=(3.2, 1), sharex=True)
    for ax in (upper, lower):
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25, linewidth=0.6)
    upper.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="where a probability is what it says")
    width = 0.8 / num_bins / len(prob_fake)
    for index, (name, prob) in enumerate(prob_fake.items()):
        bins = [found for found in reliability_bins(prob, label, num_bins=num_bins) if found.count]
        color, marker = SERIES_COLORS[index % len(SERIES_COLORS)], MARKERS[index % len(MARKERS)]
        for found in bins:
            few = found.count < FEW_IN_BIN
            share = found.num_fake / found.count
            ends = binomtest(found.num_fake, found.count).proportion_ci(0.95)
            upper.errorbar(
                *(found.mean_prob, share),
                yerr=[[max(0.0, share - ends.low)], [max(0.0, ends.high - share)]],
                **{"marker": marker, "color": color, "markerfacecolor": "white" if few else color},
                **{"markersize": 5, "capsize": 2 if few else 3, "elinewidth": 0.6 if few else 1.3},
            )
        error = expected_calibration_error(prob, label, num_bins=num_bins)
        text = f"{name}: calibration error {0.0 if error is None else error:.3f}"
        upper.plot([], [], marker=marker, color=color, linestyle="", markersize=5, label=_plain(text))
        shift = (index - (len(prob_fake) - 1) / 2) * width
        places = [(found.low + found.high) / 2 + shift for found in bins]
        drawn = lower.bar(places, [found.count for found in bins], width=width * 0.94, color=color, alpha=0.85)
        lower.bar_label(drawn, fontsize=6.5, padding=1)
    hollow = {"markerfacecolor": "white", "color": GREY, "markersize": 5, "linestyle": ""}
    upper.plot([], [], marker="o", **hollow, label=f"hollow: fewer than {FEW_IN_BIN} videos; whiskers: 95 % intervals")
    upper.set_ylabel("share of fakes among them")
    upper.set_ylim(-0.03, 1.03)
    lower.set_xlabel("probability of fake that videos are given")
    lower.set_ylabel("videos")
    lower.set_xlim(-0.03, 1.03)
    lower.set_xticks(np.linspace(0, 1, 6))
    lower.margins(y=0.18)
    lower.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    lower.grid(visible=False, axis="x")
    counts = f"{int((label == Label.REAL).sum())} real, {int((label == Label.FAKE).sum())} fake"
    upper.set_title(_plain(f"{title}: {counts}" if title else counts), fontsize="medium")
    figure.legend(*upper.get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside lower center")
    return figure
