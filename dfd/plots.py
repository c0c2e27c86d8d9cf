"""Figures: learning curves, confusion matrix, ROC and precision-recall. Each function returns a matplotlib figure.

Figures are made without pyplot, so nothing global is touched and no window is opened.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from dfd.types import LABEL_NAMES, Label

# Okabe and Ito's palette, told apart by readers with any colour vision (jfly.uni-koeln.de/color).
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#6b6b6b"
COLORS = {"train": BLUE, "val": ORANGE}


def _figure(columns: int = 1, *, height: float = 3.6, width: float = 4.8) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width * columns, height), layout="constrained", dpi=130)
    axes = [figure.add_subplot(1, columns, index + 1) for index in range(columns)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25, linewidth=0.6)
    return figure, axes


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG under a temporary name, then rename it."""
    partial = path.with_name(path.name + ".partial")
    figure.savefig(partial, format="png")
    return partial.replace(path)


def read_history(metrics_csv: Path) -> pd.DataFrame:
    """Lightning's ``metrics.csv`` with one row per epoch: columns such as ``train/loss``, ``val/auc``."""
    table = pd.read_csv(metrics_csv)
    # Training and validation are logged in rows of their own; the last value of an epoch is the epoch's.
    columns = [name for name in table.columns if name not in ("epoch", "step") and not name.startswith("test/")]
    return table.groupby("epoch")[columns].last().reset_index()


def learning_curves(history: pd.DataFrame, *, title: str = "") -> Figure:
    """Loss and accuracy per epoch, training against validation.

    Args:
        history: columns ``epoch``, ``train/loss``, ``val/loss``, ``train/accuracy``, ``val/accuracy``; others ignored.
        title: over both panels.
    """
    figure, axes = _figure(2)
    for ax, metric in zip(axes, ("loss", "accuracy"), strict=True):
        for split, color in COLORS.items():
            column = f"{split}/{metric}"
            if column in history:
                known = history[["epoch", column]].dropna()
                ax.plot(known["epoch"] + 1, known[column], color=color, marker="o", markersize=3, label=split)
        ax.set_xlabel("epoch")
        ax.set_ylabel(metric)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.legend(frameon=False)
    axes[0].set_ylim(bottom=0)
    axes[1].set_ylim(0, 1.02)
    if title:
        figure.suptitle(title)
    return figure


def confusion_matrix(metrics: Mapping[str, float | int | None], *, title: str = "") -> Figure:
    """Counts with class names; rows are what a video is, columns what it was called.

    Args:
        metrics: has ``tp, fp, fn, tn`` with FAKE positive, as :func:`dfd.metrics.video_metrics` gives them.
        title: over the matrix.
    """
    counts = np.array([[metrics["tn"], metrics["fp"]], [metrics["fn"], metrics["tp"]]], dtype=int)
    figure, (ax,) = _figure(height=3.8, width=4.4)
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
    if title:
        ax.set_title(title)
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
        figure.suptitle(title)
    return figure
