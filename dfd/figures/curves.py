"""Figures of one detector: learning curves, ROC and PR, calibration, confusion."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from dfd.base.types import LABEL_NAMES, Label
from dfd.figures.style import BLUE, GREY, MARKERS, ORANGE, SERIES_COLORS, _figure, _plain, _whole_numbers
from dfd.metrics.calibration import expected_calibration_error, reliability_bins
from dfd.metrics.formulas import CALIBRATION_BINS

COLORS = {"train": BLUE, "val": ORANGE}


FEW_IN_BIN = 10
"""Bins with fewer videos are marked as uncertain: one video is more than a tenth of them."""


def read_history(metrics_csv: Path) -> pd.DataFrame:
    """Read a run's ``metrics.csv``: one row per epoch, counted from 1, with columns such as ``train/loss``.

    Values logged per step (``train/loss_step``) are left out. A file with an epoch 0 is from an older version, which
    counted from 0.
    """
    table = pd.read_csv(metrics_csv)
    table["epoch"] += int((table["epoch"] == 0).any())
    # Training and validation are logged in separate rows; the last value of an epoch is the epoch's.
    others = [name for name in table.columns if name not in ("epoch", "step")]
    columns = [name for name in others if not name.startswith("test/") and not name.endswith("_step")]
    # The test's row belongs to no epoch, but older versions numbered it after the last.
    return table.groupby("epoch")[columns].last().dropna(how="all").reset_index()


def learning_curves(
    history: pd.DataFrame, *, title: str = "", chosen_epochs: Sequence[int] = (), max_loss: float | None = None
) -> Figure:
    """Draw loss and accuracy per epoch, for training and validation.

    Args:
        history: columns ``epoch``, counted from 1, ``train/loss``, ``val/loss``, ``train/accuracy``, ``val/accuracy``;
            others are ignored, and non-finite values left out. An epoch that occurs several times, from runs with
            several seeds, is drawn as the mean in a band of one standard deviation.
        title: title of the figure.
        chosen_epochs: epochs that were kept, one per run, marked by lines.
        max_loss: end of the loss axis, to compare figures of several runs; None: from the data.
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
                    band = (mean - deviation, mean + deviation)
                    ax.fill_between(mean.index, *band, color=color, alpha=0.18, linewidth=0)
        ax.set(xlabel="epoch", ylabel=metric)
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
    # The legend is below the panels, where it hides no line.
    figure.legend([*shown.values()], [*shown], frameon=False, fontsize=8, loc="outside lower center", ncols=3)
    if title:
        figure.suptitle(_plain(title, 90))
    return figure


def confusion_matrix(metrics: Mapping[str, float | int | None], *, title: str = "") -> Figure:
    """Draw a confusion matrix with class names; rows are true classes, columns are verdicts.

    Args:
        metrics: ``tp, fp, fn, tn`` with FAKE positive, as from :func:`dfd.metrics.videos.video_metrics`.
        title: title of the figure.
    """
    figure, (ax,) = _figure(height=3.8, width=4.4)
    _draw_confusion(ax, metrics)
    if title:
        ax.set_title(_plain(title))
    return figure


def confusion_matrices(metrics: Mapping[str, Mapping[str, float | int | None]]) -> Figure:
    """Draw a :func:`confusion_matrix` for each detector, by name, three or four beside each other."""
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
            look: dict[str, Any] = {"ha": "center", "va": "center", "color": "white" if share > 0.5 else "black"}
            ax.text(column, row, f"{counts[row, column]}\n{share:.0%} of {row}", **look)
    ax.set_xticks(list(Label), [f"called {name}" for name in LABEL_NAMES])
    ax.set_yticks(list(Label), [f"is {name}" for name in LABEL_NAMES], rotation=90, va="center")
    ax.spines[:].set_visible(False)


def roc_and_pr(prob_fake: ArrayLike, label: ArrayLike, *, title: str = "") -> Figure:
    """Draw ROC and precision-recall curves with FAKE positive, each with the line of guessing.

    Args:
        prob_fake: (N,) probabilities.
        label: (N,) of :class:`~dfd.base.types.Label`; both classes must occur.
        title: title of the figure.
    """
    prob_fake, label = np.asarray(prob_fake), np.asarray(label)
    figure, (left, right) = _figure(2)
    false_rate, true_rate, _ = roc_curve(label, prob_fake, pos_label=int(Label.FAKE))
    left.plot(false_rate, true_rate, color=BLUE, label=f"AUC {roc_auc_score(label, prob_fake):.3f}")
    left.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="guessing")
    left.set(xlabel="real videos called fake", ylabel="fake videos found")
    precision, recall, _ = precision_recall_curve(label, prob_fake, pos_label=int(Label.FAKE))
    right.plot(recall, precision, color=BLUE, label=f"AP {average_precision_score(label, prob_fake):.3f}")
    right.axhline(float(label.mean()), color=GREY, linestyle=":", label="guessing")
    right.set(xlabel="recall of fake", ylabel="precision of fake")
    for ax in (left, right):
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        ax.legend(frameon=False, loc="lower right" if ax is left else "lower left")
    if title:
        figure.suptitle(_plain(title, 90))
    return figure


def reliability_diagram(
    prob_fake: Mapping[str, ArrayLike], label: ArrayLike, *, title: str = "", num_bins: int = CALIBRATION_BINS
) -> Figure:
    """Draw the share of fakes against the predicted probability, and below it the number of videos per bin.

    Points on the diagonal are calibrated. Whiskers are exact 95 % binomial intervals (Clopper & Pearson 1934) of the
    share of fakes; a bin with fewer than ``FEW_IN_BIN`` videos has a hollow point.

    Args:
        prob_fake: (N,) probabilities by name, such as before and after calibration.
        label: (N,) of :class:`~dfd.base.types.Label`.
        title: title of the figure.
        num_bins: see :func:`dfd.metrics.calibration.reliability_bins`.
    """
    label = np.asarray(label)
    figure = Figure(figsize=(5.2, 7.0), layout="constrained", dpi=130)
    upper, lower = figure.subplots(2, height_ratios=(3.2, 1), sharex=True)
    for ax in (upper, lower):
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25, linewidth=0.6)
    upper.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="perfect calibration")
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
    upper.set(ylabel="share of fakes", ylim=(-0.03, 1.03))
    lower.set(xlabel="probability of fake", ylabel="videos", xlim=(-0.03, 1.03), xticks=np.linspace(0, 1, 6))
    lower.margins(y=0.18)
    lower.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    lower.grid(visible=False, axis="x")
    counts = f"{int((label == Label.REAL).sum())} real, {int((label == Label.FAKE).sum())} fake"
    upper.set_title(_plain(f"{title}: {counts}" if title else counts), fontsize="medium")
    figure.legend(*upper.get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside lower center")
    return figure
