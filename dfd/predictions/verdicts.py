"""Verdicts told anew for another threshold, band or share of fakes: the scores stay, and no video is scored again."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dfd.base.types import Verdict
from dfd.metrics.alike import alike
from dfd.scoring.aggregation import side, verdict

TOLD_ANEW = ("threshold", "uncertain_margin", "prevalence")
"""Settings on which verdicts depend and scores do not."""


def told_anew(
    value: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    gives_verdicts: bool = True,
    labelled: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, Any]:
    """Line of ``predictions.jsonl`` with the verdicts that other settings give.

    Args:
        value: the line, of one detector.
        settings: the new settings, among them those of :data:`TOLD_ANEW`.
        gives_verdicts: whether the detector gives verdicts at all.
        labelled: scores of labelled videos that the detector knows; see :func:`dfd.metrics.alike.alike`.
    """
    threshold, margin = settings["threshold"], settings["uncertain_margin"]

    def told(prob_fake: float) -> str:
        return str(verdict(prob_fake, threshold=threshold, margin=margin) if gives_verdicts else Verdict.UNCERTAIN)

    anew = {**value, "settings": dict(settings)}
    prob_fake = value["prob_fake"]
    if prob_fake is None:
        return anew
    label, confidence = side(prob_fake, threshold=threshold, gives_verdicts=gives_verdicts)
    found = alike(prob_fake, labelled, prevalence=settings.get("prevalence")) if labelled else None
    anew |= {
        "verdict": told(prob_fake),
        "label": None if label is None else str(label),
        "confidence": confidence,
        "tracks": [{**track, "verdict": told(track["prob_fake"])} for track in value["tracks"]],
    }
    return anew | {"alike": found and asdict(found)}
