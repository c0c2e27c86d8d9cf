"""Figures of a study: its metric by parameter, and its configurations as parallel coordinates."""

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from dfd.figures.style import BLUE, GREY, ORANGE, _figure, _plain, _whole_numbers


@dataclass(frozen=True, slots=True)
class StudyPoint:
    """A job of a study, or the jobs that differ only in their seed, as drawn in its figures."""

    choices: Mapping[str, str]
    """Parameter values of the job, as text."""
    value: float | None
    """Metric, as the mean over its seeds; None if there is none."""
    kind: str = "finished"
    """``finished``, ``incomplete`` (some seeds have no result), ``pruned``, or ``failed`` for all others."""
    deviation: float | None = None
    """Standard deviation over its seeds; None if it has one seed."""

    @property
    def look(self) -> str:
        """Kind as which it is drawn: without a value it is ``failed``."""
        return "failed" if self.value is None else self.kind


Points = Sequence[StudyPoint]


def parallel_coordinates(points: Points, *, metric: str, minimize: bool = False, log: Collection[str] = ()) -> Figure:
    """Draw a line per job through its parameters to its metric, with an axis for each.

    Darker lines are better jobs; the best one, or all with its value, is orange. Jobs with a seed without result are
    dash-dotted, and never the best. Pruned jobs are dashed, up to the value that they reached. Failed jobs end before
    the metric's axis.

    Args:
        points: jobs, all with the same parameters.
        metric: name of the metric.
        minimize: low values are better; the metric's axis is then reversed, so that better is up.
        log: parameters to show on a logarithmic scale.
    """
    keys = list(dict.fromkeys(key for point in points for key in point.choices))
    figure = Figure(figsize=(max(6.4, 1.9 * (len(keys) + 1)), 4.4), layout="constrained", dpi=130)
    ax = figure.add_subplot()
    ax.set_axis_off()
    ax.set(xlim=(-0.35, len(keys) + 0.45), ylim=(-0.16, 1.14))
    scales = [_scale([point.choices.get(key, "") for point in points], log=key in log) for key in keys]
    values = [point.value for point in points if point.value is not None and point.look != "failed"]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = (high - low) or 1.0

    def height(value: float) -> float:
        share = (value - low) / room if high > low else 0.5
        return 1 - share if minimize else share

    for place, (key, scale) in enumerate(zip(keys, scales, strict=True)):
        _draw_axis(ax, place, key.rpartition(".")[2], scale.ticks)
    shown = np.linspace(low, high, 5) if high > low else np.array([low])
    _draw_axis(ax, len(keys), metric, [(height(float(v)), f"{v:.3f}") for v in shown], right=True)
    best = _best(points, minimize)
    # The best line is drawn last, on top; jobs with the same choice are shifted a little.
    for index, point in sorted(enumerate(points), key=lambda one: (one[1] in best, one[1].kind == "finished")):
        apart = 0.05 * ((index * 0.618) % 1 - 0.5)
        chosen = [(scale, scale.at[point.choices.get(key, "")]) for key, scale in zip(keys, scales, strict=True)]
        y = [at + (0 if scale.is_numeric else apart) for scale, at in chosen]
        x = [float(place) for place in range(len(keys))]
        if point.value is not None and point.kind != "failed":
            x, y = [*x, len(keys)], [*y, height(point.value)]
        elif y:
            x, y = [*x, len(keys) - 0.7], [*y, y[-1]]
        ax.plot(x, y, **_job_stroke(point, best, height), clip_on=False)
    handles = _job_legend(points, best, lambda point: _job_stroke(point, best, lambda _: 1.0))
    figure.legend(handles=handles, frameon=False, fontsize=8, loc="outside lower center", ncols=4)
    return figure


def metric_by_parameter(points: Points, *, metric: str, minimize: bool = False, log: Collection[str] = ()) -> Figure:
    """Draw the metric against each parameter, a panel for each; the best job, or all with its value, is orange.

    Jobs with the same choice and about the same value are drawn beside each other.

    Args:
        points: jobs, all with the same parameters.
        metric: name of the metric.
        minimize: low values are better.
        log: parameters to show on a logarithmic scale.
    """
    keys = list(dict.fromkeys(key for point in points for key in point.choices))
    columns = 2 if len(keys) == 4 else min(3, len(keys))
    rows = -(-len(keys) // columns)
    figure, axes = _figure(columns, rows=rows, height=3.5, width=5.6 if columns == 1 else 4.0, share_y=True)
    best = _best(points, minimize)
    for place, (ax, key) in enumerate(zip(axes, keys, strict=False)):
        scale = _scale([point.choices.get(key, "") for point in points], log=key in log)
        beside = _Beside(points)
        for point in sorted(points, key=lambda point: (point in best, point.kind == "finished")):
            choice, mark = point.choices.get(key, ""), MARKS["best" if point in best else point.look]
            at = scale.number(choice) + (0 if scale.is_numeric else beside(choice, point))
            if point.value is None or point.kind == "failed":
                # At the panel's lower edge, whatever the range of the metric.
                ax.plot(at, 0.02, **mark, transform=ax.get_xaxis_transform(), clip_on=False)
                continue
            if point.deviation is not None:
                ax.errorbar(at, point.value, yerr=point.deviation, fmt="none", ecolor=mark["color"], capsize=4)
            ax.plot(at, point.value, **mark)
            if columns == 1 and not scale.is_numeric:
                shown = f"{point.value:.3f}"
                ax.annotate(shown, (at, point.value), (0, 7), textcoords="offset points", ha="center")
        if scale.is_numeric and scale.is_log:
            ax.set_xscale("log")
        elif scale.is_numeric and all(float(value).is_integer() for value in scale.at):
            _whole_numbers(ax)
        elif not scale.is_numeric:
            names = list(scale.at)
            turned = max(map(len, names)) * len(names) > (44 if columns == 1 else 30)
            look: dict[str, Any] = {"rotation": 25, "ha": "right"} if turned else {"rotation": 0, "ha": "center"}
            ax.set_xticks(range(len(names)), [_plain(name, 24) for name in names], rotation_mode="anchor", **look)
            ax.set_xlim(-0.5, len(names) - 0.5)
        ax.set_xlabel(_plain(key, 40))
        if place % columns == 0:
            ax.set_ylabel(metric)
        else:
            ax.tick_params(labelleft=False)
    if any(point.look == "failed" for point in points):
        low, high = axes[0].get_ylim()  # of all panels
        axes[0].set_ylim(low - 0.1 * (high - low), high)
    for ax in axes[len(keys) :]:
        ax.set_axis_off()
    handles = _job_legend(points, best, lambda point: MARKS["best" if point in best else point.look])
    figure.legend(handles=handles, frameon=False, fontsize=8, loc="outside lower center", ncols=4)
    return figure


@dataclass(frozen=True, slots=True)
class _Scale:
    """Position of each value of a parameter, 0 to 1, and the ticks of the axis."""

    at: Mapping[str, float]
    ticks: Sequence[tuple[float, str]]
    is_numeric: bool
    is_log: bool

    def number(self, value: str) -> float:
        """Position on an axis of its own: the number, or the index among the choices."""
        return float(value) if self.is_numeric else float(list(self.at).index(value))


def _scale(values: Sequence[str], *, log: bool) -> _Scale:
    """Scale for numbers, if all values are finite numbers; else for choices in their order."""
    distinct = list(dict.fromkeys(values))
    try:
        numbers = {text: float(text) for text in distinct}
    except ValueError:
        numbers = {}
    if not numbers or not all(math.isfinite(number) for number in numbers.values()):
        share = {text: index / (len(distinct) - 1) if index else 0.0 for index, text in enumerate(distinct)}
        share |= {distinct[0]: 0.5} if len(distinct) == 1 else {}
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
    """Offsets of jobs with the same choice and about the same value, so that they do not hide each other."""

    _STEP, _MOST = 0.07, 0.35

    def __init__(self, points: Sequence[StudyPoint]) -> None:
        values = [point.value for point in points if point.value is not None]
        self._room = (max(values) - min(values) if values else 0.0) or 1.0
        self._there: Counter[tuple[str, int | None]] = Counter()

    def __call__(self, choice: str, point: StudyPoint) -> float:
        """Offset of the next job: 0, a step to the right, to the left, two to the right, and so on."""
        level = None if point.look == "failed" else round(40 * (point.value or 0.0) / self._room)
        number = self._there[choice, level]
        self._there[choice, level] += 1
        steps = (number + 1) // 2 % (round(self._MOST / self._STEP) + 1)
        return self._STEP * steps * (1 if number % 2 else -1)


def _best(points: Sequence[StudyPoint], minimize: bool) -> list[StudyPoint]:
    values = [point.value for point in points if point.kind == "finished" and point.value is not None]
    best = (min if minimize else max)(values, default=None)
    return [point for point in points if point.kind == "finished" and point.value == best and values]


MARKS: dict[str, dict[str, Any]] = {
    "best": {"marker": "o", "color": ORANGE, "markersize": 8, "zorder": 4, "linestyle": ""},
    "finished": {"marker": "o", "color": BLUE, "markersize": 6, "alpha": 0.8, "linestyle": ""},
    "incomplete": {"marker": "o", "color": BLUE, "markersize": 6, "markerfacecolor": "none", "linestyle": ""},
    "pruned": {"marker": "o", "color": GREY, "markersize": 5, "markerfacecolor": "none", "linestyle": ""},
    "failed": {"marker": "x", "color": GREY, "markersize": 6, "linestyle": ""},
}
LEGEND = {
    "finished": "finished",
    "incomplete": "a seed of it has no result",
    "pruned": "pruned, as far as it came",
    "failed": "without a result",
}


def _job_stroke(point: StudyPoint, best: Sequence[StudyPoint], height: Callable[[float], float]) -> dict[str, Any]:
    if point in best:
        return {"color": ORANGE, "linewidth": 2.6, "zorder": 2.5}
    if point.kind == "finished" and point.value is not None:
        weight = 0.25 + 0.75 * height(point.value)  # from light to full blue
        color = tuple(1 - weight * (1 - part) for part in to_rgb(BLUE))
        return {"color": color, "linewidth": 1.4, "zorder": 2}
    if point.look == "incomplete":
        return {"color": BLUE, "linewidth": 1, "linestyle": "-.", "zorder": 1}
    return {"color": GREY, "linewidth": 1, "linestyle": "--" if point.kind == "pruned" else ":", "zorder": 1}


def _job_legend(points: Points, best: Points, look: Callable[[StudyPoint], dict[str, Any]]) -> list[Line2D]:
    shown = {"the best" if len(best) < 2 else f"the best, {len(best)} equal": best}
    shown |= {name: [p for p in points if p.look == kind and p not in best] for kind, name in LEGEND.items()}
    return [Line2D([], [], **look(found[0]), label=name) for name, found in shown.items() if found]
