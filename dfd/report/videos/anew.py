"""Scored videos with the verdicts of another threshold, band or assumed share of fakes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dfd.base.errors import ReportError
from dfd.metrics.alike import check_prevalence, labelled_in
from dfd.predictions.rows import score_of
from dfd.predictions.verdicts import TOLD_ANEW, told_anew
from dfd.report.videos.scored import RunFacts, Scored
from dfd.scoring.aggregation import uncertain_band


def with_verdicts_anew(scored: Scored, changes: Mapping[str, float]) -> Scored:
    """Scored videos with other settings of :data:`dfd.predictions.verdicts.TOLD_ANEW`; nothing is scored again.

    Raises:
        ReportError: the detector is not known or gives no verdicts, there are several, or a value is out of range.
    """
    run = scored.run
    before = {**scored.settings, **{key: run.model[key] for key in TOLD_ANEW if run and key in run.model}}
    if run is None or any(video.score.detectors for video in scored.videos):
        why = "there is no run.json beside the scores" if run is None else "they are of several detectors"
        raise ReportError(f"{scored.folders[0]}: verdicts cannot be told anew, since {why}; score the videos again")
    settings = {**before, **changes}
    try:
        band = uncertain_band(settings["threshold"], settings["uncertain_margin"])
        check_prevalence(settings.get("prevalence"))
    except ValueError as error:
        raise ReportError(str(error)) from error
    if not run.gives_verdicts and {"threshold", "uncertain_margin"} & set(changes):
        raise ReportError(f"no threshold makes verdicts of these scores: {run.no_verdict}")
    calibration = run.of_model("calibration")
    known = calibration if isinstance(calibration, Mapping) else {}
    labelled = labelled_in(known, aggregation=str(run.of_model("aggregation")))
    videos = []
    for video in scored.videos:
        value = told_anew(video.value, settings, judge=run.judge, labelled=labelled)
        videos.append(replace(video, value=value, score=score_of(value)))
    facts = {**{key: settings.get(key) for key in TOLD_ANEW}, "uncertain_band": list(band)}
    return replace(scored, videos=tuple(videos), runs=tuple(_changed(one, facts, settings) for one in scored.runs))


def _changed(run: RunFacts, facts: Mapping[str, Any], settings: Mapping[str, Any]) -> RunFacts:
    value = {**run.value, "model": {**run.model, **facts}, "settings": dict(settings)}
    return replace(run, value=value, threshold=facts["threshold"], band=tuple(facts["uncertain_band"]))
