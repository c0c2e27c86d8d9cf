"""The result of one scored video as a piece of HTML, for a web page that puts its own frame around it.

The piece has no style or script of its own, loads nothing, and needs ``dfd/templates/css/video.css`` and ``result.css``
beside it. Its headings begin at h2: the page's own is the file's name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dfd.errors import ReportError
from dfd.inputs import JSONL_NAME
from dfd.report.scored import read_scored
from dfd.report.video_views import Facts, VideoView
from dfd.report.videos import NOT_LOOKED_AT, VideosPage, template, videos_page, when_scored
from dfd.types import Status, Verdict

MEANINGS = {
    Verdict.FAKE: (
        "The faces that were looked at resemble the forgeries that this detector was trained on. That is a reason to "
        "look closer, not a proof: real videos are called fake, too."
    ),
    Verdict.UNCERTAIN: (
        "The probability is too near to the threshold to say real or fake. Take the video as not judged, whichever "
        "side it is nearer to."
    ),
    Verdict.REAL: (
        "The detector found nothing of the forgeries that it was trained on. That is no proof that the video is "
        "genuine: a forgery of another kind, or a good one, goes unseen."
    ),
}
NOT_REAL = "That does not make the video real: nothing is known of it, and it may be real or fake."
ENDS_PERCENT = 10.0
"""So near to an end of the scale a number is written towards the middle."""


@dataclass(frozen=True, slots=True)
class NoVerdict:
    """Why a video has no verdict, and what whoever sent it may do."""

    reason: str
    advice: str


NO_VERDICTS: Mapping[Status, NoVerdict] = {
    Status.NO_FACE: NoVerdict(
        "The video was read; none of the frames that were looked at has a face that is large and clear enough.",
        "Send a part in which a face is large, lit and turned to the camera, in the best quality that you can get. A "
        "video that plays on its side has to be turned first.",
    ),
    Status.MISSING: NoVerdict(
        "There was no such file when its turn came.",
        "Send the video again.",
    ),
    Status.UNREADABLE: NoVerdict(
        "It is not a video, or of a kind that is not read here, or damaged.",
        "Try to play it. If it plays, save it as MP4 (H.264) and send that; if it does not, get it from its source "
        "again.",
    ),
    Status.TOO_LARGE: NoVerdict(
        "Its frames have more pixels than is allowed here, so none was read.",
        "Scale the video down and send it again. Scaling takes traces of a forgery away, so keep the original.",
    ),
    Status.TIMEOUT: NoVerdict(
        "Its scoring was stopped at the end of the time that is allowed here.",
        "Send the part of the video that matters, or try again when less is being scored.",
    ),
    Status.ERROR: NoVerdict(
        "Something went wrong while it was scored, which need not be the video's fault.",
        "Send the video again. If it goes wrong again, tell whoever runs this service, with the words above.",
    ),
}


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a probability stands on the scale from 0 to 1; ``anchor`` is SVG's, of the number over it."""

    percent: float
    anchor: str


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """All that the template shows. ``no_verdict`` and ``mark`` exclude each other."""

    page: VideosPage
    video: VideoView
    meaning: Sequence[str]
    warnings: Sequence[str]
    no_verdict: NoVerdict | None
    mark: Mark | None
    more_facts: Facts

    @property
    def nearer(self) -> str:
        """The side that an uncertain verdict is nearer to; else empty."""
        score = self.video.scored.score
        return str(score.label) if score.verdict is Verdict.UNCERTAIN and score.label is not None else ""

    @property
    def scale_words(self) -> str:
        """What the drawing of the scale shows."""
        scale, text = self.page.scale, f"Probability of fake {self.video.prob} on a scale from 0, real, to 1, fake."
        if scale.threshold is not None:
            text += f" The threshold is {scale.threshold:.3g}."
        if scale.band is not None and scale.has_band:
            text += f" From {scale.band[0]:.3g} to {scale.band[1]:.3g} is uncertain."
        return text


def render_result(folder: Path) -> str:
    """What was found in the one video that was scored in ``folder``, as HTML to be put into a page's ``main``.

    Args:
        folder: an output folder of predict.py, with the scores, ``run.json`` and the pictures of one video.

    Returns:
        One ``div`` of class ``result``: no script, no style, no address but the pictures' own ``data:``.

    Raises:
        ReportError: the folder has no scores or damaged ones, or not exactly one video.
    """
    scored = read_scored([folder])
    if len(scored.videos) != 1:
        raise ReportError(f"{folder / JSONL_NAME}: has {len(scored.videos)} videos; a result is of exactly one")
    page = videos_page(scored)
    when = when_scored(scored.runs)
    return template("result.html.j2").render(result=_result(page, (("Scored", when),) if when else ()))


def _result(page: VideosPage, more_facts: Facts) -> Result:
    (video,) = page.videos
    score = video.scored.score
    if score.verdict is None or score.prob_fake is None:
        if score.status not in NO_VERDICTS:
            raise ReportError(
                f"{video.file_name}: its score is damaged ({score.status} and no verdict); score it again"
            )
        return Result(page, video, (NOT_REAL,), (), NO_VERDICTS[score.status], None, more_facts)
    warnings, notes = list(page.warnings), list(more_facts)
    if video.message and score.status is Status.PARTIAL:
        warnings.append(f"What was wrong with the file: {video.message}")
    elif video.message:
        notes.append(("Note", video.message))
    meaning = (MEANINGS[score.verdict], NOT_LOOKED_AT)
    return Result(page, video, meaning, warnings, None, mark(score.prob_fake), notes)


def mark(prob_fake: float) -> Mark:
    """Where a probability stands.

    >>> mark(0.25), mark(0.999).anchor
    (Mark(percent=25.0, anchor='middle'), 'end')
    """
    percent = round(100 * prob_fake, 2)
    return Mark(percent, "start" if percent < ENDS_PERCENT else "end" if percent > 100 - ENDS_PERCENT else "middle")
