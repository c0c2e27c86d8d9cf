"""Figures that compare detectors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from dfd.figures.style import BLUE, GREY, SERIES_COLORS, Estimate, _figure, _plain, _stroke
from dfd.metrics.videos import roc_curve


def bar_comparison(
    names: Sequence[str],
    panels: Mapping[str, Sequence[Estimate]],
    *,
    reference: Mapping[str, tuple[str, float]] | None = None,
) -> Figure:
    """Draw horizontal bars that compare detectors: a panel per quantity, a row per detector, intervals as whiskers.

    Args:
        names: names of the detectors, from the top.
        panels: one estimate per detector, by quantity; None is drawn as a dash.
        reference: name and value of a reference by quantity, drawn as a dotted line.
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
        ax.set(xlim=(0, right * 1.2), xlabel=quantity)
        ax.grid(visible=False, axis="y")
        ax.tick_params(axis="y", length=0, labelleft=panel == 0)
    axes[0].set_yticks(places, lines)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    return figure


def roc_overlay(scores: Mapping[str, Sequence[tuple[ArrayLike, ArrayLike]]]) -> Figure:
    """Draw ROC curves of several detectors, with FAKE positive, and the line of guessing.

    Args:
        scores: (N,) probabilities and (N,) labels, with both classes, of each run of a detector, by its name. Several
            runs (seeds) are drawn as the mean of their curves in a band of one standard deviation.
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
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="real videos called fake", ylabel="fake videos found")
    figure.legend(frameon=False, fontsize=8, loc="outside right center")
    return figure


def metric_against(setting: str, panels: Mapping[str, Mapping[str, Mapping[float, Estimate]]]) -> Figure:
    """Draw metrics against a numeric setting: a panel per metric, a line per series, whiskers for the intervals.

    Args:
        setting: name of the horizontal axis.
        panels: estimates at each value of the setting, by metric and series; None is left out.
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
            # Series are shifted a little so that their whiskers do not cover each other.
            shifted = x + spread * (index - (len(series) - 1) / 2)
            ax.errorbar(
                shifted, y, yerr=around, **_stroke(index), marker="o", markersize=4, capsize=3, label=_plain(name)
            )
        ax.set_xticks(values, [f"{value:g}" for value in values])
        ax.set(xlabel=_plain(setting), ylabel=metric)
    if num_series > 1:
        figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", fontsize=8)
    return figure


@dataclass(frozen=True, slots=True)
class Dot:
    """Row of :func:`dots_with_intervals`."""

    name: str
    estimate: Estimate
    count: str
    """Number of videos behind the estimate, such as ``12 real, 30 fake``."""
    is_group: bool = True
    """Whether the row is a whole, in bold, or a part of the one above."""
    is_known: bool = False
    """Whether the detector was trained on this data set; its dot is then hollow."""


def dots_with_intervals(dots: Sequence[Dot], *, quantity: str, title: str = "", known_as: str = "data set") -> Figure:
    """Draw a dot with interval for each row, and its numbers at the right; hollow for data sets seen in training.

    Args:
        dots: rows, from the top; an estimate of None is shown as a dash at the right.
        quantity: name of the axis.
        title: title of the figure.
        known_as: what a row is, in the legend of hollow dots.
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
    for known, text in ((True, f"{known_as} of the training"), (False, f"new {known_as}")):
        if any(dot.is_known is known for dot in dots) and any(dot.is_known for dot in dots):
            ax.plot([], [], "o", color=BLUE, markerfacecolor="white" if known else BLUE, label=text)
    ax.set_yticks(range(len(dots)), names)
    for label, dot in zip(ax.get_yticklabels(), dots, strict=True):
        label.set_fontweight("bold" if dot.is_group else "normal")
    lows = [min([value, *(ends or ())]) for value, ends in (dot.estimate for dot in dots) if value is not None]
    left = min([0.45, *(low - 0.02 for low in lows)])
    ax.set(xlim=(left, 1.02), ylim=(len(dots) - 0.5, -0.5), xlabel=f"{quantity}, 95 % interval")
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)
    figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=3)
    if title:
        figure.suptitle(_plain(title, 90), fontsize="medium")
    return figure
