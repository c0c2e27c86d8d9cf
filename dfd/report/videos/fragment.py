"""Result of one scored video as an HTML fragment, for embedding in a web page.

The fragment has no style or script, loads nothing, and needs the style sheets ``css/video.css`` and ``result.css``.
Its headings start at h2, since the page's own heading is the file's name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dfd.base.errors import ReportError
from dfd.base.types import Status, Verdict
from dfd.predictions.layout import JSONL_NAME
from dfd.report.page.document import rendered
from dfd.report.videos.page import VideosPage, videos_page, when_scored
from dfd.report.videos.scored import read_scored
from dfd.report.videos.views import Facts, VideoView
from dfd.report.videos.warnings import NOT_LOOKED_AT

MEANINGS = {
    Verdict.FAKE: (
        "The examined faces resemble the forgeries that this detector was trained on. That is a reason to look closer, "
        "not a proof: real videos are sometimes called fake, too."
    ),
    Verdict.UNCERTAIN: (
        "The probability is too close to the threshold to say real or fake. Treat the video as not judged, whichever "
        "side it is nearer to."
    ),
    Verdict.REAL: (
        "The detector found no sign of the forgeries that it was trained on. That is no proof that the video is "
        "genuine: a forgery of another kind, or a good one, can be missed."
    ),
}
NOT_REAL = "That does not make the video real: nothing is known about it, and it may be real or fake."
ENDS_PERCENT = 10.0
"""Distance from an end of the scale within which a number is aligned towards the middle."""


@dataclass(frozen=True, slots=True)
class NoVerdict:
    """Reason why a video has no verdict, and advice to its sender."""

    reason: str
    advice: str


NO_VERDICTS: Mapping[Status, NoVerdict] = {
    Status.NO_FACE: NoVerdict(
        "The video was read, but none of the examined frames has a face that is large and clear enough.",
        "Send a part in which a face is large, lit and turned to the camera, in the best quality available. A video "
        "that plays sideways has to be rotated first.",
    ),
    Status.MISSING: NoVerdict("The file no longer existed when it was to be scored.", "Send the video again."),
    Status.UNREADABLE: NoVerdict(
        "It is not a video, has an unsupported format, or is damaged.",
        "Try to play it. If it plays, save it as MP4 (H.264) and send that; if it does not, get it from its source "
        "again.",
    ),
    Status.TOO_LARGE: NoVerdict(
        "Its frames have more pixels than is allowed here, so none was read.",
        "Scale the video down and send it again. Scaling removes traces of a forgery, so keep the original.",
    ),
    Status.TIMEOUT: NoVerdict(
        "Its scoring took longer than is allowed here and was stopped.",
        "Send the part of the video that matters, or try again when fewer videos are being scored.",
    ),
    Status.ERROR: NoVerdict(
        "Something went wrong during scoring, which need not be the video's fault.",
        "Send the video again. If it fails again, tell the operator of this service, quoting the message above.",
    ),
}


@dataclass(frozen=True, slots=True)
class Mark:
    """Position of a probability on the scale from 0 to 1; ``anchor`` is the SVG text anchor of its number."""

    percent: float
    anchor: str


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """Data of the template; ``no_verdict`` and ``mark`` exclude each other."""

    page: VideosPage
    video: VideoView
    meaning: Sequence[str]
    warnings: Sequence[str]
    no_verdict: NoVerdict | None
    mark: Mark | None
    more_facts: Facts

    @property
    def nearer(self) -> str:
        """Side that an uncertain verdict is nearer to; empty for other verdicts."""
        score = self.video.scored.score
        return str(score.label) if score.verdict is Verdict.UNCERTAIN and score.label is not None else ""


def render_result(folder: Path) -> str:
    """Render the result of the only video scored in ``folder`` as HTML for a page's ``main``.

    Args:
        folder: output folder of predict.py, with the scores, ``run.json`` and the pictures of one video.

    Returns:
        One ``div`` of class ``result`` without scripts, styles, or URLs other than the pictures' ``data:``.

    Raises:
        ReportError: the scores are missing or damaged, or are not those of exactly one video.
    """
    scored = read_scored([folder])
    if len(scored.videos) != 1:
        raise ReportError(f"{folder / JSONL_NAME}: has {len(scored.videos)} videos; a result page needs exactly one")
    page = videos_page(scored)
    when = when_scored(scored.runs)
    return rendered("result.html.j2", result=_result(page, (("Scored", when),) if when else ()))


def _result(page: VideosPage, more_facts: Facts) -> Result:
    (video,) = page.videos
    score = video.scored.score
    if score.verdict is None or score.prob_fake is None:
        if score.status not in NO_VERDICTS:
            raise ReportError(f"{video.file_name}: its score is damaged ({score.status}, no verdict); score it again")
        return Result(page, video, (NOT_REAL,), (), NO_VERDICTS[score.status], None, more_facts)
    warnings, notes = [*page.caveats, *page.warnings], list(more_facts)
    if video.message and score.status is Status.PARTIAL:
        warnings.append(f"What was wrong with the file: {video.message}")
    elif video.message:
        notes.append(("Note", video.message))
    meaning = (MEANINGS[score.verdict], NOT_LOOKED_AT)
    return Result(page, video, meaning, warnings, None, mark(score.prob_fake), notes)


def mark(prob_fake: float) -> Mark:
    """Position of a probability on the scale.

    >>> mark(0.25), mark(0.999).anchor
    (Mark(percent=25.0, anchor='middle'), 'end')
    """
    percent = round(100 * prob_fake, 2)
    return Mark(percent, "start" if percent < ENDS_PERCENT else "end" if percent > 100 - ENDS_PERCENT else "middle")
