"""How often a video with such a score was fake, counted on videos whose label is known."""

from collections.abc import Mapping, Sequence
from math import log, sqrt
from typing import Any

from dfd.base.types import Alike, Prob
from dfd.base.untrusted import decode

NEAREST = 20
"""Smallest number of labelled videos that are counted; of a few, one video would change the share by over 5 %."""
MAX_KEPT = 1000
"""Scores of each label that a card keeps; of more, so many evenly spaced order statistics."""
_LEAST = 1e-6  # log-odds of 0 and 1 are infinite
_Z = 1.959964  # 95 %, two-sided


def labelled_scores(prob_fake: Sequence[float], is_fake: Sequence[bool]) -> dict[str, list[float]]:
    """Scores of labelled videos in the form that a card keeps, each label's in rising order.

    >>> labelled_scores([0.9, 0.25, 0.5], [True, False, False])
    {'real': [0.25, 0.5], 'fake': [0.9]}
    """
    found: dict[str, list[float]] = {"real": [], "fake": []}
    for prob, fake in sorted(zip(prob_fake, is_fake, strict=True)):
        found["fake" if fake else "real"].append(round(float(prob), 6))
    return {label: _thinned(scores) for label, scores in found.items()}


def labelled_in(calibration: Mapping[str, Any], *, aggregation: str) -> dict[str, list[float]] | None:
    """Scores of labelled videos that a card's ``calibration`` keeps.

    None where it keeps none that could be counted, or they came about by another ``aggregation``.
    """
    if calibration.get("aggregation") != aggregation:
        return None
    try:
        found = decode(dict[str, list[Prob]], calibration.get("labelled"), "labelled")
    except ValueError:
        return None
    known = set(found) == {"real", "fake"} and all(found.values())
    return found if known and sum(map(len, found.values())) >= NEAREST else None


def alike(
    prob_fake: float, labelled: Mapping[str, Sequence[float]], *, prevalence: float | None = None
) -> Alike | None:
    """Labelled videos with the scores nearest to ``prob_fake``, and how often they were fake.

    Nearness is measured in log-odds. A tenth of the labelled videos are counted, at least :data:`NEAREST`, and those
    that are as near as the last of them. By Bayes' rule the share is that among videos of which a share ``prevalence``
    is fake: the odds are multiplied by the ratio of the odds of ``prevalence`` and of the labelled videos' own share.
    The interval is Wilson's (1927), its ends transformed alike.

    >>> labelled = {"real": [0.1] * 12 + [0.8] * 4, "fake": [0.8] * 16 + [0.1] * 8}
    >>> found = alike(0.85, labelled)
    >>> found.num_fake, found.num_real, round(found.share_fake, 3), found.num_real_as_high, found.num_real_known
    (16, 4, 0.8, 0, 16)
    >>> found.prevalence, round(alike(0.85, labelled, prevalence=0.1).share_fake, 3)
    (0.6, 0.229)

    Args:
        prob_fake: score of a video.
        labelled: scores of labelled videos under ``real`` and ``fake``.
        prevalence: assumed share of fakes, above 0 and below 1; None: that among the labelled videos.

    Returns:
        None where fewer than :data:`NEAREST` videos are labelled, or none of one label.

    Raises:
        ValueError: when ``prevalence`` is not between 0 and 1.
    """
    check_prevalence(prevalence)
    real, fake = labelled["real"], labelled["fake"]
    total = len(real) + len(fake)
    if total < NEAREST or not real or not fake:
        return None
    here = _log_odds(prob_fake)
    distances = sorted(
        (abs(_log_odds(score) - here), score, is_fake) for scores, is_fake in ((real, 0), (fake, 1)) for score in scores
    )
    farthest = distances[max(NEAREST, total // 10) - 1][0]
    near = [(score, is_fake) for distance, score, is_fake in distances if distance <= farthest]
    num_fake = sum(is_fake for _, is_fake in near)
    assumed = len(fake) / total if prevalence is None else prevalence
    ratio = (assumed / (1 - assumed)) / (len(fake) / len(real))
    low, high = wilson_interval(num_fake, len(near))
    return Alike(
        lowest=min(score for score, _ in near),
        highest=max(score for score, _ in near),
        num_real=len(near) - num_fake,
        num_fake=num_fake,
        prevalence=assumed,
        share_fake=_reweighted(num_fake / len(near), ratio),
        interval=(_reweighted(low, ratio), _reweighted(high, ratio)),
        num_real_as_high=sum(score >= prob_fake for score in real),
        num_real_known=len(real),
    )


def check_prevalence(prevalence: float | None) -> float | None:
    """``prevalence`` itself, if it is strictly between 0 and 1 or None.

    Raises:
        ValueError: when it is neither.
    """
    if prevalence is not None and not 0 < prevalence < 1:
        raise ValueError(
            f"prevalence must be above 0 and below 1, got {prevalence}: the share of fakes that you expect among your "
            "videos, such as 0.02"
        )
    return prevalence


def wilson_interval(successes: int, number: int) -> tuple[float, float]:
    """Interval of 95 % for a share, by Wilson (1927).

    >>> [round(end, 3) for end in wilson_interval(8, 10)]
    [0.49, 0.943]

    Raises:
        ValueError: when ``number`` is below 1, or ``successes`` not in 0..``number``.
    """
    if number < 1 or not 0 <= successes <= number:
        raise ValueError(f"{successes} of {number} is no share")
    share, square = successes / number, _Z**2
    middle = (share + square / (2 * number)) / (1 + square / number)
    half = _Z * sqrt(share * (1 - share) / number + square / (4 * number**2)) / (1 + square / number)
    return (0.0 if successes == 0 else middle - half), (1.0 if successes == number else middle + half)


def _reweighted(share: float, ratio: float) -> float:
    return share * ratio / (share * ratio + 1 - share)


def _log_odds(prob: float) -> float:
    clipped = min(max(prob, _LEAST), 1 - _LEAST)
    return log(clipped / (1 - clipped))


def _thinned(scores: list[float]) -> list[float]:
    if len(scores) <= MAX_KEPT:
        return scores
    return [scores[round(index * (len(scores) - 1) / (MAX_KEPT - 1))] for index in range(MAX_KEPT)]
