"""Verdicts told anew for another threshold, band or share of fakes: the scores stay, and no video is scored again."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dfd.base.types import Verdict
from dfd.metrics.alike import alike, labelled_in
from dfd.metrics.formulas import combined
from dfd.models.files.scope import DISAGREE, Scope, common_scope, trace_of, with_remark
from dfd.scoring.aggregation import NO_VERDICT, Judge

TOLD_ANEW = ("threshold", "uncertain_margin", "prevalence")
"""Settings on which verdicts depend and scores do not."""


@dataclass(frozen=True, slots=True)
class Teller:
    """What the verdicts of one detector depend on.

    ``labelled`` are the scores of labelled videos that it knows (see :func:`dfd.metrics.alike.alike`), ``weight`` is
    its weight among several.
    """

    judge: Judge
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
        KeyError, TypeError, ValueError: when the description lacks a name or a threshold, or is damaged.
    """
    each = described.get("detectors") or [described]
    found = {}
    for one, weight in zip(each, votes or [1.0] * len(each), strict=True):
        judge = _judge_of(one, one["threshold"] if threshold is None else threshold)
        labelled = labelled_in(one.get("calibration") or {}, aggregation=str(one.get("aggregation")))
        found[one["name"]] = Teller(judge, labelled, weight)
    return found


def _judge_of(described: Mapping[str, Any], threshold: float) -> Judge:
    """Rule of a detector that is described, with this threshold; what is not known of it restricts nothing."""
    scope, data = described.get("scope"), described.get("data")
    data = data if isinstance(data, Mapping) else {}
    known = Scope.of(scope).at(threshold) if isinstance(scope, Mapping) and not data.get("is_demo") else None
    return Judge(threshold, 0.0, known, trace_of(data), described.get("no_verdict") or "")


def told_anew(value: Mapping[str, Any], settings: Mapping[str, Any], tellers: Mapping[str, Teller]) -> dict[str, Any]:
    """Line of ``predictions.jsonl`` with the verdicts that other settings give.

    Args:
        value: the line.
        settings: the new settings, among them those of :data:`TOLD_ANEW`.
        tellers: the detector, or several, by name; their thresholds are those that count.

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
    faces = _told({**shown, "tracks": value["tracks"]}, tellers[shown["model"]], settings)
    scored = [(one["prob_fake"], tellers[one["model"]]) for one in each if one["prob_fake"] is not None]
    voting = [(prob, teller) for prob, teller in scored if not teller.judge.no_verdict and teller.weight > 0]
    if not voting:
        return anew | faces | {"message": value["message"], "alike": None}
    judges = [replace(teller.judge, margin=settings["uncertain_margin"]) for _, teller in voting]
    scopes = [judge.scope for judge in judges if judge.scope is not None]
    weights = [teller.weight for _, teller in voting]
    threshold = combined([judge.threshold for judge in judges], "log_odds", weights=weights)
    whole = Teller(Judge(threshold, 0.0, common_scope(scopes) if scopes else None, "a fake"))
    calls = {judge.call(prob) for judge, (prob, _) in zip(judges, voting, strict=True)} - {Verdict.UNCERTAIN}
    message = "; ".join(part for part in value["message"].split("; ") if part != DISAGREE)
    told = _told({"prob_fake": value["prob_fake"], "tracks": (), "message": message}, whole, settings)
    remarks = [part for part in (told["message"], DISAGREE if len(calls) > 1 else "") if part]
    return anew | told | {"tracks": faces["tracks"], "message": "; ".join(remarks)}


def _told(value: Mapping[str, Any], teller: Teller, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a line that depend on the verdicts of one detector."""
    prob_fake, rule = value["prob_fake"], replace(teller.judge, margin=settings["uncertain_margin"])
    label, confidence = rule.side(prob_fake)
    found = alike(prob_fake, teller.labelled, prevalence=settings.get("prevalence")) if teller.labelled else None
    remark = rule.remark(prob_fake)
    return {
        "verdict": str(rule.verdict(prob_fake)),
        "label": None if label is None else str(label),
        "confidence": confidence,
        "tracks": [{**track, "verdict": str(rule.verdict(track["prob_fake"]))} for track in value["tracks"]],
        "message": value["message"] if rule.no_verdict else with_remark(value["message"], remark),
        "alike": found and asdict(found),
    }


def _part(one: Mapping[str, Any], teller: Teller, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of one of several detectors that depend on its verdicts; the verdict is None where it gives none."""
    if one["prob_fake"] is None:
        return {}
    told = _told(one, teller, settings)
    if teller.judge.no_verdict:
        told["verdict"] = None
    return {name: told[name] for name in ("verdict", "tracks", "message", "alike")}


def remarks(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """What is to be said of videos, each kind of remark once: of which video, or of how many and one as an example.

    Reasons for giving no verdict are left out: they are the detector's, and the command tells them.
    """
    kinds: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        message = row["message"].partition(NO_VERDICT)[0].removesuffix("; ").replace(f"{row['path']}: ", "")
        for part in message.split("; ") if row["status"] in ("ok", "partial") else [message]:
            if part:
                kinds.setdefault(re.sub(r"\d+", "0", part), []).append((Path(row["path"]).name, part))
    for found in kinds.values():
        (name, part), number = found[0], len(found)
        yield f"{name}: {part}" if number == 1 else f"{number} videos, such as {name}: {part}"
