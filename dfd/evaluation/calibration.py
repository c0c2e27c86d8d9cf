"""Calibration of a detector: a temperature and a threshold, fitted on videos.

Trained networks are overconfident. Dividing the logits by one number, the temperature, before the softmax corrects most
of that (Guo, Pleiss, Sun & Weinberger 2017). It is fitted here on the video's probability, which users see: window
logits divided by the temperature, softmax, and :mod:`dfd.scoring.aggregation` over windows and faces.

Only the difference of the two logits matters: ``fake - real`` is the log-odds of a window, with probability
``1 / (1 + exp(-log_odds))``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil, exp, isclose, log
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from dfd.base.errors import ConfigError
from dfd.base.types import Label
from dfd.metrics.formulas import SMALLEST_PROB
from dfd.metrics.videos import video_metrics
from dfd.models.files.card import DetectorCard
from dfd.models.files.caveat import ON_BLENDS, with_made_caveat
from dfd.models.files.scope import Scope
from dfd.scoring.aggregation import DEFAULT_AGGREGATION, aggregation_named

LogOddsByTrack = Sequence[Sequence[float]]
"""Log-odds of one video's windows, for each face track."""

DEFAULT_THRESHOLD = 0.5
MIN_OF_LABEL = 5
"""Smallest number of videos of each label for fitting; with 4, one video changes balanced accuracy by over a tenth."""
TEMPERATURES = (0.05, 20.0)
"""Range of the temperature search: at 20, log-odds of 10 still give 0.62; at 0.05, log-odds of 0.1 give 0.88."""
QUALITY = ("ece", "brier", "nll", "balanced_accuracy")
"""Metrics of :func:`dfd.metrics.videos.video_metrics` that are compared before and after calibration."""

_GRID = 40  # steps between the ends of TEMPERATURES, each of 16 %

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Result of :func:`calibrate`.

    Attributes:
        temperature: divisor of the logits; None if nothing could be fitted.
        threshold: calibrated probability from which a video is called fake.
        aggregation: function of :mod:`dfd.scoring.aggregation` used in the fit.
        num_real, num_fake: numbers of videos used in the fit.
        before, after: metrics named in ``QUALITY`` on the same videos, None where not defined. ``after`` is None if
            nothing was fitted.
        note: reason why nothing was fitted, or a warning about the fit; empty if there is none.
    """

    temperature: float | None
    threshold: float
    aggregation: str
    num_real: int
    num_fake: int
    before: Mapping[str, float | None]
    after: Mapping[str, float | None] | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values that the card keeps beside temperature and threshold."""
        return {name: value for name, value in asdict(self).items() if name not in ("temperature", "threshold")}

    def on(self, card: DetectorCard, *, on_blends: bool = False, **facts: Any) -> DetectorCard:
        """Copy of ``card`` with this calibration and further ``facts`` about it, such as the split.

        A detector whose threshold was fitted to blends (``on_blends``) gives no verdict: their scores are not those of
        recorded fakes. One that was fitted to labelled videos gives verdicts, even if it gave none before.
        """
        fitted = {"temperature": self.temperature, "threshold": self.threshold}
        no_verdict = card.no_verdict if self.temperature is None else ""
        if on_blends:
            no_verdict = card.no_verdict or ON_BLENDS
        # Earlier test results and shares of found fakes refer to the old scores and verdicts.
        changes: dict[str, Any] = {"calibration": {**facts, **self.to_dict()}, "no_verdict": no_verdict, "test": {}}
        if card.scope:
            changes["scope"] = Scope.of(card.scope).without_shares().to_dict()
        return with_made_caveat(card, **fitted, **changes)


def video_probs(
    log_odds: Sequence[LogOddsByTrack], *, temperature: float | None = None, aggregation: str = DEFAULT_AGGREGATION
) -> _Floats:
    """Probability of FAKE of each video, (N,), from the log-odds of its windows.

    >>> video_probs([[[0.0, 0.0], [-50.0]], [[2.0]]], temperature=2.0, aggregation="max_of_means").round(3).tolist()
    [0.5, 0.731]
    """
    aggregate = aggregation_named(aggregation)
    divisor = temperature or 1.0
    windows = [[expit(np.asarray(track, float) / divisor).tolist() for track in tracks] for tracks in log_odds]
    return np.array([aggregate(tracks)[1] for tracks in windows])


def calibrate(
    log_odds: Sequence[LogOddsByTrack],
    label: ArrayLike,
    *,
    aggregation: str = DEFAULT_AGGREGATION,
    card: DetectorCard | None = None,
    false_alarms: float | None = None,
) -> Calibration:
    """Fit a temperature and a threshold to N videos that the detector was not trained on.

    The temperature minimises the negative log-likelihood of the videos' labels, with the targets of Platt (1999):
    ``(F + 1) / (F + 2)`` for F fakes and ``1 / (R + 2)`` for R real ones instead of 1 and 0. Otherwise a few perfectly
    separated videos would give a temperature of 0 and probabilities of 0 and 1. The threshold is that of
    :func:`best_threshold`.

    Args:
        log_odds: log-odds of the windows of each video, (N,).
        label: values of :class:`~dfd.base.types.Label`, (N,).
        aggregation: a name that :func:`~dfd.scoring.aggregation.aggregation_named` takes.
        card: card that ``before`` refers to; None stands for no temperature and a threshold of 0.5.
        false_alarms: share of the real videos that may be called fake, for :func:`threshold_at`; None takes
            :func:`best_threshold`.

    Returns:
        The calibration. If a label has fewer than ``MIN_OF_LABEL`` videos, or the detector's output is not finite, it
        has no temperature, and a note says why and what to do.
    """
    labels = np.asarray(label)
    num_fake = int((labels == Label.FAKE).sum())
    num_real = len(labels) - num_fake
    fitted_on = aggregation, num_real, num_fake
    if not all(np.isfinite(track).all() for tracks in log_odds for track in tracks):
        note = "not calibrated: the detector gave no number for some windows; train again with a lower learning rate"
        return Calibration(None, DEFAULT_THRESHOLD, *fitted_on, before=dict.fromkeys(QUALITY), note=note)
    given, threshold_given = (card.temperature, card.threshold) if card else (None, DEFAULT_THRESHOLD)
    before = quality(video_probs(log_odds, temperature=given, aggregation=aggregation), labels, threshold_given)
    if min(num_real, num_fake) < MIN_OF_LABEL:
        note = (
            f"not calibrated: there are {num_real} real and {num_fake} fake videos, and calibration needs at least "
            f"{MIN_OF_LABEL} of each. The probabilities are as the network gives them, the threshold is 0.5. Prepare "
            "more videos, give val a larger share (split_fractions), or use python -m dfd.calibrate with other videos"
        )
        return Calibration(None, DEFAULT_THRESHOLD, *fitted_on, before=before, note=note)
    temperature = _best_temperature(log_odds, labels, aggregation)
    probs = video_probs(log_odds, temperature=temperature, aggregation=aggregation)
    threshold = chosen_threshold(probs, labels, false_alarms)
    chosen = DEFAULT_THRESHOLD if threshold is None else threshold
    after = quality(probs, labels, chosen)
    notes = []
    if any(isclose(temperature, end, rel_tol=0.01) for end in TEMPERATURES):
        blind = "the detector cannot tell these videos apart, so do not rely on its scores of similar ones"
        why = blind if temperature > 1 else "its logits are very small"
        notes.append(f"the temperature is {temperature:.3g}, at the end of the searched range: {why}")
    if threshold is None:
        notes.append("no threshold separates these videos better than chance, so it stays at 0.5")
    return Calibration(temperature, chosen, *fitted_on, before=before, after=after, note="; ".join(notes))


def chosen_threshold(prob_fake: ArrayLike, label: ArrayLike, false_alarms: float | None) -> float | None:
    """Threshold at this share of false alarms, or the best one if none is given."""
    return best_threshold(prob_fake, label) if false_alarms is None else threshold_at(false_alarms, prob_fake, label)


def threshold_at(false_alarms: float, prob_fake: ArrayLike, label: ArrayLike) -> float:
    """Lowest threshold that calls at most this share of the real videos fake; fakes do not count.

    >>> threshold_at(0.25, [0.1, 0.2, 0.4, 0.7, 0.9], [0, 0, 0, 0, 1])
    0.4000000000000001

    Raises:
        ConfigError: when the share is not between 0 and 1, or there are too few real videos for one of them to be it.
    """
    real = np.sort(np.asarray(prob_fake, dtype=np.float64)[np.asarray(label) == Label.REAL])
    if not 0 < false_alarms < 1:
        raise ConfigError(
            f"false_alarms={false_alarms} must be between 0 and 1: a share of the real videos, such as 0.05"
        )
    allowed = int(false_alarms * real.size + 1e-9)
    if allowed < 1:
        raise ConfigError(
            f"false_alarms={false_alarms}: there are {real.size} real videos, and one of them is more than that; it "
            f"takes {ceil(1 / false_alarms - 1e-9)} or more"
        )
    if real[-allowed - 1] == 1:
        raise ConfigError(f"false_alarms={false_alarms}: more of the {real.size} real videos have a probability of 1")
    return float(np.nextafter(real[-allowed - 1], 1))


def best_threshold(prob_fake: ArrayLike, label: ArrayLike) -> float | None:
    """Threshold with the highest balanced accuracy; a video is called fake if its probability is at least this.

    All thresholds between two neighbouring probabilities are equally good on these videos. The middle of the widest of
    the best gaps is taken, for the largest margin on other videos. Both are measured in log-odds, in which a network's
    evidence adds up and distances near 0 and 1 count. A temperature then moves the threshold along and changes no
    verdict on videos of one window.

    >>> best_threshold([0.2, 0.5, 0.8, 0.9], [0, 0, 1, 1])
    0.6666666666666666

    Returns:
        The threshold; None if none is better than chance, or there is only one label.
    """
    prob, fake = np.asarray(prob_fake, dtype=np.float64), np.asarray(label) == Label.FAKE
    if fake.all() or not fake.any():
        return None
    distinct, place = np.unique(prob, return_inverse=True)
    # For a threshold in the gap above each distinct probability: fakes below are missed, real ones below are correct.
    missed, told = (np.cumsum(np.bincount(place, weights=of, minlength=distinct.size))[:-1] for of in (fake, ~fake))
    gain = told / (~fake).sum() - missed / fake.sum()  # twice the balanced accuracy, less 1
    if not gain.size or gain.max() < 1e-9:
        return None
    best = np.flatnonzero(np.isclose(gain, gain.max(), rtol=0, atol=1e-9))
    odds = logit(distinct.clip(SMALLEST_PROB, 1 - SMALLEST_PROB))
    middle = (odds[best] + odds[best + 1]) / 2
    widths = odds[best + 1] - odds[best]
    widest = max(range(best.size), key=lambda index: (widths[index], -abs(middle[index])))
    low, high = distinct[best[widest]], distinct[best[widest] + 1]
    return float(np.clip(expit(middle[widest]), np.nextafter(low, 1), high))


def quality(prob: _Floats, label: NDArray[Any], threshold: float) -> dict[str, float | None]:
    """Metrics named in ``QUALITY`` of videos at a threshold; None where one is not defined."""
    metrics = video_metrics(prob, label, threshold=threshold)
    return {name: metrics[name] for name in QUALITY}


def _best_temperature(log_odds: Sequence[LogOddsByTrack], label: NDArray[Any], aggregation: str) -> float:
    fake = label == Label.FAKE
    target = np.where(fake, (fake.sum() + 1) / (fake.sum() + 2), 1 / ((~fake).sum() + 2))

    def loss(log_temperature: float) -> float:
        prob = video_probs(log_odds, temperature=exp(log_temperature), aggregation=aggregation)
        prob = prob.clip(SMALLEST_PROB, 1 - SMALLEST_PROB)
        return float(-(target * np.log(prob) + (1 - target) * np.log1p(-prob)).mean())

    return exp(_minimum(loss, log(TEMPERATURES[0]), log(TEMPERATURES[1])))


def _minimum(function: Callable[[float], float], low: float, high: float) -> float:
    """Minimise a function of one variable.

    A grid search comes first: with several windows and faces there may be more than one minimum, and where all
    probabilities are clipped the function is flat, which a bounded search alone would take for a minimum.
    """
    grid = np.linspace(low, high, _GRID + 1)
    lowest = int(np.argmin([function(float(x)) for x in grid]))
    bounds = float(grid[max(0, lowest - 1)]), float(grid[min(_GRID, lowest + 1)])
    return float(minimize_scalar(function, bounds=bounds, method="bounded", options={"xatol": 1e-4}).x)
