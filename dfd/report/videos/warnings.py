"""Warnings at the top of a report of scored videos."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from dfd.base.types import Status
from dfd.metrics.formulas import one_sided_warning
from dfd.models.files.caveat import DEMO
from dfd.report.page.wording import counted, visible
from dfd.report.videos.facts import is_capped, looked_at, title_of
from dfd.report.videos.scored import Scored, ScoredVideo
from dfd.runs.settings import nested

NOT_LOOKED_AT = "Sound, bodies and backgrounds are not examined."


NO_PROOF = (
    "A score is a reason to look closer, not a proof. It says how much a face resembles the forgeries that this "
    f"detector was trained on. “No sign found” does not mean that a video is genuine. {NOT_LOOKED_AT}"
)


NOT_CALIBRATED = (
    "The detector is not calibrated: its scores rank videos, but 0.9 does not mean that nine of ten such videos are "
    "fake."
)


NO_RUN = (
    "There is no run.json beside the scores, so the detector's threshold, calibration and training data are not known "
    "here; the timelines are drawn without a threshold."
)


def found_warnings(scored: Scored) -> Iterator[str]:
    """Yield what readers should know before they act on these scores."""
    run, videos = scored.run, scored.videos
    if run is None:
        yield NO_RUN
    else:
        if run.model and run.temperature is None and run.gives_verdicts:
            yield NOT_CALIBRATED
    called = Counter(str(video.score.verdict) for video in videos if video.has_verdict)
    if (run is None or run.gives_verdicts) and (one_sided := one_sided_warning(called)):
        yield one_sided
    capped = [video for video in videos if is_capped(video)]
    if capped:
        least = min(capped, key=lambda video: video.score.num_windows / video.score.num_windows_possible)
        name = visible(PurePath(least.score.path).name)
        least_words = f"{name} the least: " if len(capped) > 1 else ""
        yield (
            f"{_of_all(len(capped), videos)} {'was' if len(capped) == 1 else 'were'} examined only in part "
            f"({least_words}{looked_at(least)}). A forgery between these windows is missed; a larger max_windows "
            "examines more."
        )
    if partial := sum(video.score.status is Status.PARTIAL for video in videos):
        yield f"{_of_all(partial, videos)} {_be(partial)} damaged: only the readable part was scored."
    if without := sum(not video.has_verdict for video in videos):
        them = "it" if without == 1 else "them"
        yield f"{_of_all(without, videos)} {_be(without)} without a verdict. That does not make {them} genuine."
    versions = sorted({run.dfd for run in scored.runs if run.dfd})
    if len(versions) > 1:
        yield f"The folders were scored with different versions of dfd: {', '.join(map(visible, versions))}."


def caveats_of(model: Mapping[str, Any]) -> list[str]:
    """What must be said beside the scores of the detectors that are described, each text once, with their names.

    >>> caveats_of({"name": "a@01", "caveat": "Trained on paintings."})
    ['Trained on paintings.']
    >>> caveats_of({"detectors": [{"name": "a@01", "caveat": "Old."}, {"name": "b@02", "caveat": "Old."}]})
    ['a, b: Old.']
    """
    each = model.get("detectors")
    several = [one for one in each if isinstance(one, Mapping)] if isinstance(each, list) else []
    names: dict[str, list[str]] = {}
    for one in several or [model]:
        caveat = one.get("caveat") or (DEMO if nested(one, "data", "is_demo") else "")
        if caveat:
            names.setdefault(visible(str(caveat)), []).append(title_of(one))
    return [f"{', '.join(of)}: {caveat}" if several else caveat for caveat, of in names.items()]


def _of_all(number: int, videos: Sequence[ScoredVideo]) -> str:
    return "This video" if len(videos) == 1 else counted(number, "video")


def _be(number: int) -> str:
    return "is" if number == 1 else "are"
