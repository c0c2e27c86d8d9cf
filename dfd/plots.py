"""Figures of one detector and of several beside each other. Each function returns a matplotlib figure.

Figures are made without pyplot, so nothing global is touched and no window is opened. Names of detectors may be of any
length and hold any character.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike
from PIL import Image
from scipy.stats import binomtest

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


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG under a temporary name, then rename it."""
    partial = path.with_name(path.name + ".partial")
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
    """Lightning's ``metrics.csv`` with one row per epoch: columns such as ``train/loss``, ``val/auc``."""
    table = pd.read_csv(metrics_csv)
    # Training and validation are logged in rows of their own; the last value of an epoch is the epoch's.
    columns = [name for name in table.columns if name not in ("epoch", "step") and not name.startswith("test/")]
    return table.groupby("epoch")[columns].last().reset_index()


def _plain(name: str, width: int = 60) -> str:
    """A name as text of lines of at most ``width`` characters; dollar signs are no formula.

    What a file's name may hold and a font may not is a question mark.
    """
    text = name.encode("utf-8", "replace").decode()
    return "\n".join(textwrap.wrap(text, width, break_long_words=True)).replace("$", r"\$")


def learning_curves(
    history: pd.DataFrame, *, title: str = "", chosen_epoch: int | None = None, max_loss: float | None = None
) -> Figure:
    """Loss and accuracy per epoch, training against validation.

    Args:
        history: columns ``epoch``, ``train/loss``, ``val/loss``, ``train/accuracy``, ``val/accuracy``; others ignored.
            What is not finite is left out.
        title: over both panels.
        chosen_epoch: the one that was kept, counted from 0 as in ``history``; it is marked.
        max_loss: where the axis of the loss ends, so that figures of several runs compare; None: where the data do.
    """
    figure, axes = _figure(2, height=3.2, width=3.9)
    for ax, metric in zip(axes, ("loss", "accuracy"), strict=True):
        for split, color in COLORS.items():
            column = f"{split}/{metric}"
            if column in history:
                known = history.loc[np.isfinite(history[column].to_numpy(float)), ["epoch", column]]
                ax.plot(known["epoch"] + 1, known[column], color=color, marker="o", markersize=3, label=split)
        ax.set_xlabel("epoch")
        ax.set_ylabel(metric)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        if chosen_epoch is not None:
            label = f"chosen: epoch {chosen_epoch + 1}"
            ax.axvline(chosen_epoch + 1, color=GREY, linestyle="--", linewidth=1, label=label)
        ax.legend(framealpha=0.85, edgecolor="none")
    axes[0].set_ylim(0, max_loss)
    axes[1].set_ylim(0, 1.02)
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


def roc_overlay(scores: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> Figure:
    """ROC curves of several detectors, with FAKE positive, and what guessing gives.

    Args:
        scores: by name, (N,) probabilities and (N,) labels; both classes must be there.
    """
    lines = 1 + sum(1 + _plain(name, 34).count("\n") for name in scores)
    figure, (ax,) = _figure(height=max(4.4, 0.6 + 0.19 * lines), width=7.6)
    for index, (name, (prob_fake, label)) in enumerate(scores.items()):
        false_rate, true_rate, _ = roc_curve(prob_fake, label)
        area = float(np.trapezoid(true_rate, false_rate))
        ax.plot(false_rate, true_rate, **_stroke(index), label=_plain(f"{name} (AUC {area:.3f})", 34))
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
