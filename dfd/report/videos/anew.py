"""Scored videos with the verdicts of another threshold, band or assumed share of fakes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dfd.base.errors import ReportError
from dfd.metrics.alike import check_prevalence
from dfd.predictions.rows import score_of
from dfd.predictions.verdicts import TOLD_ANEW, tellers_of, told_anew
from dfd.report.videos.scored import RunFacts, Scored
from dfd.scoring.aggregation import uncertain_band


def with_verdicts_anew(scored: Scored, changes: Mapping[str, float]) -> Scored:
    """Scored videos with other settings of :data:`dfd.predictions.verdicts.TOLD_ANEW`; nothing is scored again.

    Raises:
        ReportError: the detector is not known or gives no verdicts, or a value is out of range.
    """
    run = scored.run
    before = {**scored.settings, **{key: run.model[key] for key in TOLD_ANEW if run and key in run.model}}
    try:
        tellers = tellers_of(run.model, votes=before.get("votes"), threshold=changes.get("threshold")) if run else {}
    except (KeyError, TypeError, ValueError):
        tellers = {}
    if run is None or not _models(scored) <= tellers.keys():
        why = "there is no run.json beside the scores" if run is None else "run.json does not describe each detector"
        raise ReportError(f"{scored.folders[0]}: verdicts cannot be told anew, since {why}; score the videos again")
    settings = {**before, **changes}
    try:
        band = uncertain_band(settings["threshold"], settings["uncertain_margin"])
        check_prevalence(settings.get("prevalence"))
    except ValueError as error:
        raise ReportError(str(error)) from error
    if not run.gives_verdicts and {"threshold", "uncertain_margin"} & set(changes):
        raise ReportError(f"no threshold makes verdicts of these scores: {run.no_verdict}")
    values = [told_anew(video.value, settings, tellers) for video in scored.videos]
    pairs = zip(scored.videos, values, strict=True)
    videos = [replace(video, value=value, score=score_of(value)) for video, value in pairs]
    facts = {**{key: settings.get(key) for key in TOLD_ANEW}, "uncertain_band": list(band)}
    runs = [_changed(one, facts, settings, changes) for one in scored.runs]
    return replace(scored, videos=tuple(videos), runs=tuple(runs))


def _models(scored: Scored) -> set[str]:
    """Names of the detectors that the videos were scored with: of each of several, or of the one."""
    scores = (video.score for video in scored.videos if video.has_verdict)
    return {one.model for score in scores for one in score.detectors or (score,)}


def _with_band(described: Mapping[str, Any]) -> dict[str, Any]:
    """Description of one of several detectors, with the band that its threshold and margin give."""
    return {**described, "uncertain_band": list(uncertain_band(described["threshold"], described["uncertain_margin"]))}


def _changed(
    run: RunFacts, facts: Mapping[str, Any], settings: Mapping[str, Any], changes: Mapping[str, float]
) -> RunFacts:
    model: dict[str, Any] = {**run.model, **facts}
    if each := run.model.get("detectors"):
        own = {key: value for key, value in facts.items() if key in changes or key == "uncertain_margin"}
        model["detectors"] = [_with_band({**one, **own}) for one in each]
    value = {**run.value, "model": model, "settings": dict(settings)}
    return replace(run, value=value, threshold=facts["threshold"], band=tuple(facts["uncertain_band"]))
