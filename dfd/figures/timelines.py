"""Scores over time beside labelled segments."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from dfd.figures.style import BLUE, GREY, ORANGE, _figure, _plain
from dfd.metrics.segments import Segment

Window = tuple[float | None, float | None, float]


def timelines(curves: Mapping[str, tuple[Sequence[Window], Sequence[Segment]]], *, threshold: float) -> Figure:
    """Draw a row for each video: its windows' scores over time, and its labelled segments shaded.

    Args:
        curves: windows (start and end in seconds, probability of fake) and segments of each video, by its name.
        threshold: probability from which a video is called fake, drawn as a dotted line.
    """
    figure, axes = _figure(1, rows=len(curves), height=1.35, width=7.6)
    for ax, (name, (windows, segments)) in zip(axes, curves.items(), strict=True):
        for index, segment in enumerate(segments):
            label = "labelled as fake" if index == 0 else None
            ax.axvspan(segment.start, segment.end, color=ORANGE, alpha=0.22, linewidth=0, label=label)
        for start, end, prob in windows:
            if start is not None and end is not None:
                ax.plot([start, end], [prob, prob], color=BLUE, linewidth=2, solid_capstyle="butt")
        ax.axhline(threshold, color=GREY, linestyle=":", linewidth=1)
        ax.set(ylim=(-0.03, 1.03), ylabel="score")
        ax.set_title(_plain(name, 90), fontsize=8, loc="left")
    axes[-1].set_xlabel("seconds")
    axes[0].plot([], [], color=BLUE, linewidth=2, label="score of a window")
    axes[0].plot([], [], color=GREY, linestyle=":", label="threshold")
    figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside lower center", ncols=3)
    return figure
