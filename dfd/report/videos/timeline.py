"""Geometry of a timeline: bars, marks and labels for the probability of one face, window by window.

Horizontally, 0..``WIDTH`` is the whole video; vertically, 0..``HEIGHT`` is the probability from 1 to 0.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from dfd.base.types import Verdict, WindowScore
from dfd.report.page.wording import clock

WIDTH, HEIGHT = 1000, 100
MIN_BAR = 3.0
"""Minimum width of a bar, so that windows of long videos stay visible."""
MAX_BARS = 400
"""Maximum number of bars, which a screen can still separate; more windows share bars."""
PIN_PERCENT = 5.0
"""Width of a pin on a narrow screen, in percent of a timeline."""
MAX_TICKS = 6
TICK_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800)


@dataclass(frozen=True, slots=True)
class Scale:
    """Probability from which a window counts as fake, and band in which it is uncertain; None if not known."""

    threshold: float | None = None
    band: tuple[float, float] | None = None

    @property
    def has_band(self) -> bool:
        """Whether any probability would be called uncertain."""
        return self.band is not None and self.band[0] < self.band[1]

    def zone(self, prob_fake: float) -> str:
        """Verdict of a probability, as in :func:`dfd.scoring.aggregation.verdict`, or ``unknown``."""
        if self.threshold is None:
            return "unknown"
        if self.band is not None and self.has_band and self.band[0] <= prob_fake <= self.band[1]:
            return str(Verdict.UNCERTAIN)
        return str(Verdict.FAKE if prob_fake >= self.threshold else Verdict.REAL)

    def call(self, prob_fake: float, told: Verdict) -> Verdict:
        """Verdict of a probability, whatever the detector's scope; ``told`` if the threshold is not known."""
        zone = self.zone(prob_fake)
        return told if zone == "unknown" else Verdict(zone)


@dataclass(frozen=True, slots=True)
class Bar:
    """One window, or several that share a bar: ``prob_fake`` is their mean, ``highest`` the largest."""

    left: float
    right: float
    prob_fake: float
    highest: float


@dataclass(frozen=True, slots=True)
class Tick:
    """A label below the axis at ``percent`` of the width; ``anchor`` is the SVG text anchor."""

    percent: float
    label: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """Probability of one face over the video's time."""

    duration: float
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    scale: Scale
    is_binned: bool
    labelled: tuple[tuple[float, float], ...] = ()
    """Left and right of the segments that are labelled as fake."""

    def lines(self) -> Mapping[str, str]:
        """SVG path data of the tops of the bars by zone, drawn as lines."""
        return self._paths(lambda bar: f"M{_short(bar.left)} {_short(height(bar.prob_fake))}H{_short(bar.right)}")

    def areas(self) -> Mapping[str, str]:
        """SVG path data of the bars by zone, drawn filled."""
        return self._paths(lambda bar: _box(bar, height(bar.prob_fake), HEIGHT))

    def peaks(self) -> str:
        """SVG path data of the areas between mean and highest value where windows share bars."""
        peaked = [bar for bar in self.bars if bar.highest > bar.prob_fake]
        return "".join(_box(bar, height(bar.highest), height(bar.prob_fake)) for bar in peaked)

    def _paths(self, draw: Callable[[Bar], str]) -> dict[str, str]:
        zones = sorted(self.bars, key=lambda bar: (self.scale.zone(bar.prob_fake), bar.left))
        grouped = groupby(zones, key=lambda bar: self.scale.zone(bar.prob_fake))
        return {zone: "".join(map(draw, group)) for zone, group in grouped}

    def percent(self, seconds: float) -> float:
        """Position of a moment from the left, in percent."""
        return round(100 * min(max(seconds / self.duration, 0.0), 1.0), 2)


def timeline(
    windows: Sequence[WindowScore],
    duration: float | None,
    scale: Scale,
    labelled: Sequence[tuple[float, float]] = (),
) -> Timeline:
    """Build the timeline of a face with ``windows`` in a video of ``duration`` seconds (None: up to the last window).

    Segments that are ``labelled`` as fake (start and end in seconds) are marked, up to the end of the video.

    >>> drawn = timeline([WindowScore(0.0, 2.5, 0.75, (0, 0, 1, 1))], 10.0, Scale(0.5))
    >>> drawn.areas(), [tick.label for tick in drawn.ticks]
    ({'fake': 'M0 100V25H250V100z'}, ['0:00', '0:02', '0:04', '0:06', '0:08', '0:10'])
    """
    whole = max([duration or 0.0, *(window.end_seconds for window in windows)], default=0.0) or 1.0
    bars = [
        Bar(*_extent(window.start_seconds / whole, window.end_seconds / whole), window.prob_fake, window.prob_fake)
        for window in windows
    ]
    is_binned = len(bars) > MAX_BARS
    marked = tuple(_extent(start / whole, min(end / whole, 1.0)) for start, end in labelled if start < whole)
    return Timeline(whole, tuple(_binned(bars) if is_binned else bars), _ticks(whole), scale, is_binned, marked)


def lanes(percents: Sequence[float]) -> list[int]:
    """Lowest row for each pin in which it is not too close to an earlier one.

    >>> lanes([10.0, 50.0, 12.0, 52.0, 14.0])
    [0, 0, 1, 1, 2]
    """
    rows: list[int] = []
    for index, place in enumerate(percents):
        near = {rows[other] for other in range(index) if abs(percents[other] - place) < PIN_PERCENT}
        rows.append(next(row for row in range(index + 1) if row not in near))
    return rows


def height(prob_fake: float) -> float:
    """Vertical position of a probability, from the top."""
    return round(HEIGHT * (1 - prob_fake), 1)


def _extent(start: float, end: float) -> tuple[float, float]:
    left, right = WIDTH * start, WIDTH * max(start, end)
    missing = MIN_BAR - (right - left)
    if missing > 0:
        left = min(max(left - missing / 2, 0.0), WIDTH - MIN_BAR)
        right = left + MIN_BAR
    return round(left, 1), round(right, 1)


def _binned(bars: Sequence[Bar]) -> list[Bar]:
    """Merge bars by the column of their centre; empty columns stay gaps."""
    step = WIDTH / MAX_BARS
    columns: dict[int, list[Bar]] = {}
    for bar in bars:
        columns.setdefault(min(int((bar.left + bar.right) / 2 / step), MAX_BARS - 1), []).append(bar)
    found = []
    for column, here in sorted(columns.items()):
        probs = [bar.prob_fake for bar in here]
        ends = round(column * step, 1), round((column + 1) * step, 1)
        found.append(Bar(*ends, sum(probs) / len(probs), max(probs)))
    return found


def _ticks(duration: float) -> tuple[Tick, ...]:
    step = next((step for step in TICK_STEPS if duration / step < MAX_TICKS), duration / MAX_TICKS)
    decimals = 0 if step >= 1 else 1
    ticks = []
    for index in range(int(duration / step + 1e-6) + 1):
        percent = round(100 * index * step / duration, 2)
        anchor = "start" if index == 0 else "end" if percent > 96 else "middle"
        ticks.append(Tick(percent, clock(index * step, decimals=decimals), anchor))
    return tuple(ticks)


def _box(bar: Bar, top: float, bottom: float) -> str:
    left, right = _short(bar.left), _short(bar.right)
    return f"M{left} {_short(bottom)}V{_short(top)}H{right}V{_short(bottom)}z"


def _short(value: float) -> str:
    return f"{value:g}" if value < 1000 else f"{value:.1f}".removesuffix(".0")
