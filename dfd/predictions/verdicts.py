"""Verdicts told anew for another threshold, band or share of fakes: the scores stay, and no video is scored again."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dfd.metrics.alike import alike
from dfd.models.files.scope import with_remark
from dfd.scoring.aggregation import Judge

TOLD_ANEW = ("threshold", "uncertain_margin", "prevalence")
"""Settings on which verdicts depend and scores do not."""


def told_anew(
    value: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    judge: Judge | None = None,
    labelled: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, Any]:
    """Line of ``predictions.jsonl`` with the verdicts that other settings give.

    Args:
        value: the line, of one detector.
        settings: the new settings, among them those of :data:`TOLD_ANEW`.
        judge: rule of the detector, of which the scope and the reason for giving no verdicts are kept; None: it has
            neither.
        labelled: scores of labelled videos that the detector knows; see :func:`dfd.metrics.alike.alike`.
    """
    rule = (judge or Judge(0.5, 0.0)).at(settings["threshold"], settings["uncertain_margin"])
    anew = {**value, "settings": dict(settings)}
    prob_fake = value["prob_fake"]
    if prob_fake is None:
        return anew
    label, confidence = rule.side(prob_fake)
    found = alike(prob_fake, labelled, prevalence=settings.get("prevalence")) if labelled else None
    if not rule.no_verdict:
        anew["message"] = with_remark(value["message"], rule.remark(prob_fake))
    anew |= {
        "verdict": str(rule.verdict(prob_fake)),
        "label": None if label is None else str(label),
        "confidence": confidence,
        "tracks": [{**track, "verdict": str(rule.verdict(track["prob_fake"]))} for track in value["tracks"]],
    }
    return anew | {"alike": found and asdict(found)}
