"""Aggregation of window probabilities to scores of faces and of the video, and the verdict of a score.

The windows of one face are evidence about one thing, so they are averaged: a single odd window does not make a fake. Of
several faces any one may be swapped, so the most suspicious of them stands for the video.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from statistics import fmean
from typing import Any

from dfd.base.errors import ConfigError
from dfd.base.names import plugins
from dfd.base.types import Label, Verdict
from dfd.models.files.scope import Scope, remark

WindowsByTrack = Sequence[Sequence[float]]
"""For each face track, the probability of FAKE of each of its windows; at least one track, none without a window."""

TrackAndVideoScores = tuple[list[float], float]
"""A score for each track, in the same order, and the video's."""

Aggregation = Callable[[WindowsByTrack], TrackAndVideoScores]

SHORT_SHARE = 0.25
"""Share of the most windows of any appearance below which another counts as short; see :func:`weakness`."""

NO_VERDICT = "no verdict: "
"""Begins the last remark of a score that comes without a verdict; the reason follows."""
PRIOR_WINDOWS = 2.0
"""How many windows of the whole video's mean are added to each track by :func:`max_of_shrunk_means`."""


def max_of_means(windows: WindowsByTrack) -> TrackAndVideoScores:
    """The mean over a track's windows, the maximum over the tracks.

    >>> max_of_means([[0.25, 0.75], [0.125]])
    ([0.5, 0.125], 0.5)
    """
    tracks = [sum(probs) / len(probs) for probs in windows]
    return tracks, max(tracks)


def max_of_shrunk_means(windows: WindowsByTrack) -> TrackAndVideoScores:
    """Mean as in :func:`max_of_means`, but a track of few windows leans towards the mean of all windows of the video.

    For footage with many cuts: there one person becomes many short tracks, and the maximum over many noisy means is
    high by chance. Each track is given ``PRIOR_WINDOWS`` more windows of the video's mean (shrinkage as in empirical
    Bayes; Efron and Morris 1975).

    >>> max_of_shrunk_means([[1.0], [0.25, 0.25, 0.25, 0.25, 0.25]])
    ([0.5833333333333334, 0.2857142857142857], 0.5833333333333334)
    """
    overall = _mean_of_all(windows)
    tracks = [(sum(probs) + PRIOR_WINDOWS * overall) / (len(probs) + PRIOR_WINDOWS) for probs in windows]
    return tracks, max(tracks)


def mean_of_windows(windows: WindowsByTrack) -> TrackAndVideoScores:
    """The mean over a track's windows; the video's is the mean over all windows, whoever they show.

    >>> mean_of_windows([[0.25, 0.75], [0.125, 0.125]])
    ([0.5, 0.125], 0.3125)
    """
    return max_of_means(windows)[0], _mean_of_all(windows)


def max_of_windows(windows: WindowsByTrack) -> TrackAndVideoScores:
    """The most suspicious window of a track, and of the video: for fakes that last a moment. Alarms falsely more often.

    >>> max_of_windows([[0.25, 0.75], [0.125]])
    ([0.75, 0.125], 0.75)
    """
    tracks = [max(probs) for probs in windows]
    return tracks, max(tracks)


def share(windows: WindowsByTrack) -> TrackAndVideoScores:
    """Share of a track's windows with a probability of 0.5 or more, maximum over the tracks: a vote of the frames.

    The published rule of MesoNet (Afchar and others, WIFS 2018) and LRNet (Sun and others, CVPR 2021).

    >>> share([[0.5, 0.75, 0.25, 0.0], [0.125]])
    ([0.5, 0.0], 0.5)
    """
    tracks = [sum(prob >= 0.5 for prob in probs) / len(probs) for probs in windows]
    return tracks, max(tracks)


def confident(windows: WindowsByTrack) -> TrackAndVideoScores:
    """Mean of the windows that are sure, if enough of them agree; else the mean of all, whoever they show.

    The published rule of the winner of the DFDC (Seferbekov 2020). Windows above 0.8 are averaged alone if they are
    more than 11 and more than 1 / 2.5 of all; else those below 0.2 if they are more than 90 % of all.

    >>> round(confident([[0.9] * 12 + [0.4] * 18])[1], 6)  # 12 are not more than 30 / 2.5
    0.6
    >>> round(confident([[0.9] * 13 + [0.4] * 17])[1], 6)
    0.9
    """
    everything = [prob for probs in windows for prob in probs]
    return [_confident_mean(probs) for probs in windows], _confident_mean(everything)


def _confident_mean(probs: Sequence[float]) -> float:
    fakes, reals = [p for p in probs if p > 0.8], [p for p in probs if p < 0.2]
    if len(fakes) > len(probs) / 2.5 and len(fakes) > 11:
        return fmean(fakes)
    return fmean(reals if len(reals) > 0.9 * len(probs) else probs)


def weakness(num_windows: int, most_windows: int, *, edge_fraction: float = 0.0, is_sure: bool = True) -> str:
    """Reason why an appearance should not decide on a video alone; empty if it may.

    A patch of background that is taken for a face, or half a face that passes at the frame's edge, is seen for a short
    time, cut off, or with a low score of the face detector. One of these happens to every face; an appearance of which
    two are true is weak. Windows count in relation to the appearance that has most of them.

    >>> weakness(7, 32, edge_fraction=1.0)
    "seen in 7 windows only and cut off by the frame's edge"
    >>> weakness(7, 32), weakness(20, 32, edge_fraction=1.0), weakness(32, 32, is_sure=False)
    ('', '', '')
    """
    reasons = []
    if num_windows < SHORT_SHARE * most_windows:
        reasons.append(f"seen in {num_windows} window{'' if num_windows == 1 else 's'} only")
    if edge_fraction >= 0.5:
        reasons.append("cut off by the frame's edge")
    if not is_sure:
        reasons.append("hardly recognised as a face")
    return " and ".join(reasons) if len(reasons) > 1 else ""


def without_weak(aggregation: Aggregation, windows: WindowsByTrack, is_weak: Sequence[bool]) -> TrackAndVideoScores:
    """Aggregation in which weak tracks get a score but have no part in the video's, unless all tracks are weak.

    >>> without_weak(max_of_means, [[0.25], [0.75]], [False, True])
    ([0.25, 0.75], 0.25)
    """
    tracks, video = aggregation(windows)
    strong = [index for index, weak in enumerate(is_weak) if not weak]
    if strong and len(strong) < len(windows):
        decisive, video = aggregation([windows[index] for index in strong])
        for index, prob in zip(strong, decisive, strict=True):
            tracks[index] = prob
    return tracks, video


AGGREGATIONS: dict[str, Aggregation] = {
    function.__name__: function
    for function in (max_of_means, max_of_shrunk_means, mean_of_windows, max_of_windows, share, confident)
}

DEFAULT_AGGREGATION = max_of_shrunk_means.__name__
"""Rule of a detector that says nothing else; docs/predictions.md has what was measured."""


def aggregation_of(scoring: Mapping[str, Any], calibration: Mapping[str, Any]) -> str:
    """Rule of a detector: the one that its card asks for, else the one that it was calibrated with, else the default.

    >>> aggregation_of({}, {"aggregation": "max_of_means"}), aggregation_of({}, {})
    ('max_of_means', 'max_of_shrunk_means')
    """
    named = scoring.get("aggregation") or calibration.get("aggregation")
    return named if isinstance(named, str) and named else DEFAULT_AGGREGATION


def aggregation_named(name: str) -> Aggregation:
    """Rule with this name: one of :data:`AGGREGATIONS`, or the one of a plug-in at its dotted name.

    Raises:
        ConfigError: there is none.
    """
    found = AGGREGATIONS.get(name) or plugins.parts("aggregation").get(name)
    if found is None:
        hint = f"; {plugins.remedy(name)}" if "." in name else ""
        raise ConfigError(f"aggregation={name} is not one of {', '.join(AGGREGATIONS)}{hint}")
    return found


def name_of(aggregation: str | Aggregation) -> str:
    """Name of a rule as it is shown."""
    return aggregation if isinstance(aggregation, str) else getattr(aggregation, "__name__", repr(aggregation))


def _mean_of_all(windows: WindowsByTrack) -> float:
    return sum(map(sum, windows)) / sum(map(len, windows))


def uncertain_band(threshold: float, margin: float) -> tuple[float, float]:
    """The probabilities between which a verdict is ``uncertain``, around a threshold.

    ``margin`` is the distance to either side at a threshold of 0.5; elsewhere the distance is the same in log-odds, so
    that the band stays within 0..1 and is narrow where probabilities are.

    >>> uncertain_band(0.5, 0.1)
    (0.4, 0.6)
    >>> [round(end, 3) for end in uncertain_band(0.05, 0.1)]
    [0.034, 0.073]
    >>> uncertain_band(0.3, 0.0)
    (0.3, 0.3)

    Raises:
        ValueError: ``margin`` is not in 0..0.5 (0.5 excluded), or ``threshold`` not in 0..1.
    """
    if not 0 <= margin < 0.5:
        raise ValueError(f"uncertain_margin must be in 0..0.5, 0.5 excluded, got {margin}")
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be in 0..1, got {threshold}")
    if margin == 0 or threshold in (0, 1):
        return threshold, threshold
    if threshold == 0.5:
        return 0.5 - margin, 0.5 + margin
    distance = log((0.5 + margin) / (0.5 - margin))
    centre = log(threshold / (1 - threshold))
    return _sigmoid(centre - distance), _sigmoid(centre + distance)


def check_chance(chance: float | None) -> None:
    """Refuse a chance of another verdict that is out of range.

    Raises:
        ConfigError: it is not in 0..0.1.
    """
    if chance is not None and not 0 <= chance <= 0.1:
        raise ConfigError(f"stop_early must be null or a probability in 0..0.1, such as 0.001, got {chance}")


def verdict(prob_fake: float, *, threshold: float, margin: float = 0.0) -> Verdict:
    """Verdict on a score; see :func:`uncertain_band`. Without a margin, FAKE from the threshold on.

    >>> [str(verdict(p, threshold=0.5, margin=0.1)) for p in (0.39, 0.4, 0.5, 0.6, 0.61)]
    ['real', 'uncertain', 'uncertain', 'uncertain', 'fake']
    >>> str(verdict(0.5, threshold=0.5))
    'fake'
    """
    low, high = uncertain_band(threshold, margin)
    if low < high and low <= prob_fake <= high:
        return Verdict.UNCERTAIN
    return Verdict.FAKE if prob_fake >= threshold else Verdict.REAL


@dataclass(frozen=True, slots=True)
class Judge:
    """Rule by which the scores of a detector become verdicts.

    ``scope`` is None where kinds of fakes do not matter; ``no_verdict`` is the reason for giving no verdicts, if any.
    """

    threshold: float
    margin: float
    scope: Scope | None = None
    trace: str = ""
    no_verdict: str = ""

    def at(self, threshold: float, margin: float) -> "Judge":
        """Rule with another threshold and margin."""
        return replace(self, threshold=threshold, margin=margin, scope=self.scope and self.scope.at(threshold))

    def call(self, prob_fake: float) -> Verdict:
        """Verdict on a score whatever the scope."""
        return verdict(prob_fake, threshold=self.threshold, margin=self.margin)

    def verdict(self, prob_fake: float) -> Verdict:
        """Verdict on a score, within the scope."""
        told = Verdict.UNCERTAIN if self.no_verdict else self.call(prob_fake)
        return told if self.scope is None else self.scope.told(told)

    def side(self, prob_fake: float) -> tuple[Label | None, float | None]:
        """Label on whose side of the threshold a score lies, and its probability; None where that may not be said.

        >>> Judge(0.5, 0.1).side(0.75), Judge(0.5, 0.1, Scope()).side(0.25)
        ((<Label.FAKE: 1>, 0.75), (None, None))
        """
        if self.no_verdict or (prob_fake < self.threshold and self.scope is not None and not self.scope.may_say_real):
            return None, None
        return (Label.FAKE, prob_fake) if prob_fake >= self.threshold else (Label.REAL, 1 - prob_fake)

    def remark(self, prob_fake: float) -> str:
        """Remark on what the score says within the scope, or on why it has no verdict; empty if there is none."""
        if self.no_verdict or self.scope is None:
            return NO_VERDICT + self.no_verdict if self.no_verdict else ""
        return remark(self.scope, self.call(prob_fake), trace=self.trace)


def _sigmoid(value: float) -> float:
    return 1 / (1 + exp(-value)) if value >= 0 else exp(value) / (1 + exp(value))
