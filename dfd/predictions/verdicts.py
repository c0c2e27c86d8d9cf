"""Verdicts told anew for another threshold, band or share of fakes: the scores stay, and no video is scored again."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dfd.base.types import Verdict
from dfd.metrics.alike import alike, labelled_in
from dfd.scoring.aggregation import DISAGREE, combined, side, verdict

TOLD_ANEW = ("threshold", "uncertain_margin", "prevalence")
"""Settings on which verdicts depend and scores do not."""


@dataclass(frozen=True, slots=True)
class Teller:
    """What the verdicts of one detector depend on.

    ``labelled`` are the scores of labelled videos that it knows (see :func:`dfd.metrics.alike.alike`), ``weight`` is
    its weight among several.
    """

    threshold: float
    gives_verdicts: bool = True
    labelled: Mapping[str, Sequence[float]] | None = None
    weight: float = 1.0


def tellers_of(
    described: Mapping[str, Any], *, votes: Sequence[float] | None = None, threshold: float | None = None
) -> dict[str, Teller]:
    """Name -> teller of the detector, or of each of several, that ``Detector.describe`` describes.

    Args:
        described: the description, also as ``run.json`` holds it.
        votes: weights of several detectors; None: equal ones.
        threshold: of all of them; None: of each its own.

    Raises:
        KeyError: when the description lacks a name or a threshold.
    """
    each = described.get("detectors") or [described]
    weights = votes or [1.0] * len(each)
    return {
        one["name"]: Teller(
            one["threshold"] if threshold is None else threshold,
            not one.get("no_verdict"),
            labelled_in(one.get("calibration") or {}, aggregation=str(one.get("aggregation"))),
            weight,
        )
        for one, weight in zip(each, weights, strict=True)
    }


def told_anew(value: Mapping[str, Any], settings: Mapping[str, Any], tellers: Mapping[str, Teller]) -> dict[str, Any]:
    """Line of ``predictions.jsonl`` with the verdicts that other settings give.

    Args:
        value: the line.
        settings: the new settings, among them those of :data:`TOLD_ANEW`.
        tellers: the detector, or several, by name; of several, their thresholds are those that count.

    Raises:
        KeyError: when a detector of the line is not among them.
    """
    anew = {**value, "settings": dict(settings)}
    if value["prob_fake"] is None:
        return anew
    each = value.get("detectors")
    if not each:
        teller = next(iter(tellers.values())) if len(tellers) == 1 else tellers[value["model"]]
        return anew | _told(value, teller, settings)
    anew["detectors"] = [{**one, **_part(one, tellers[one["model"]], settings)} for one in each]
    shown = next(one for one in each if one["prob_fake"] is not None)  # the line has its faces
    anew |= _told({**shown, "tracks": value["tracks"]}, tellers[shown["model"]], settings) | {"alike": None}
    scored = [one for one in anew["detectors"] if one["prob_fake"] is not None]
    voting = [one for one in scored if tellers[one["model"]].gives_verdicts and tellers[one["model"]].weight > 0]
    if not voting:
        return anew
    weights = [tellers[one["model"]].weight for one in voting]
    threshold = combined([tellers[one["model"]].threshold for one in voting], weights)
    whole = {"prob_fake": value["prob_fake"], "tracks": ()}
    told = _told(whole, Teller(threshold), settings)
    remarks = [part for part in value["message"].split("; ") if part and part != DISAGREE]
    if len({one["verdict"] for one in voting} - {str(Verdict.UNCERTAIN)}) > 1:
        remarks.append(DISAGREE)
    return anew | {name: told[name] for name in ("verdict", "label", "confidence")} | {"message": "; ".join(remarks)}


def _told(value: Mapping[str, Any], teller: Teller, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a line that depend on the verdicts of one detector."""
    prob_fake, margin = value["prob_fake"], settings["uncertain_margin"]

    def told(prob: float) -> str:
        found = verdict(prob, threshold=teller.threshold, margin=margin)
        return str(found if teller.gives_verdicts else Verdict.UNCERTAIN)

    label, confidence = side(prob_fake, threshold=teller.threshold, gives_verdicts=teller.gives_verdicts)
    found = alike(prob_fake, teller.labelled, prevalence=settings.get("prevalence")) if teller.labelled else None
    return {
        "verdict": told(prob_fake),
        "label": None if label is None else str(label),
        "confidence": confidence,
        "tracks": [{**track, "verdict": told(track["prob_fake"])} for track in value["tracks"]],
        "alike": found and asdict(found),
    }


def _part(one: Mapping[str, Any], teller: Teller, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of one of several detectors that depend on its verdicts; the verdict is None where it gives none."""
    if one["prob_fake"] is None:
        return {}
    told = _told(one, teller, settings)
    if not teller.gives_verdicts:
        told["verdict"] = None
    return {name: told[name] for name in ("verdict", "tracks", "alike")}
