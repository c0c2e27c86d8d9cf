"""Result of one scored video as an HTML fragment, for embedding in a web page.

The fragment has no style or script, loads nothing, and needs the style sheets ``css/video.css`` and ``result.css``.
Its headings start at h2, since the page's own heading is the file's name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dfd.base.errors import ReportError
from dfd.base.types import DetectorScore, Status, Verdict
from dfd.models.files.scope import NOTHING, scope_remark, with_remark, words_of
from dfd.predictions.layout import JSONL_NAME
from dfd.report.page.document import rendered
from dfd.report.page.wording import STATUS_WORDS, probability, visible
from dfd.report.videos.page import VideosPage, videos_page
from dfd.report.videos.scored import Scored, read_scored
from dfd.report.videos.views import Facts, VideoView
from dfd.report.videos.warnings import NOT_LOOKED_AT
from dfd.scoring.aggregation import NO_VERDICT

MEANINGS = {
    Verdict.FAKE: (
        "The examined faces resemble the forgeries that this detector was trained on. That is a reason to look closer, "
        "not a proof: genuine videos sometimes look like that, too."
    ),
    Verdict.UNCERTAIN: (
        "The score is too close to the threshold to tell. Treat the video as not judged, whichever side of the "
        "threshold it is on."
    ),
    Verdict.REAL: (
        "The detector found no sign of the forgeries that it was trained on. That is no proof that the video is "
        "genuine: a forgery of another kind, or a good one, can be missed."
    ),
}
NOTHING_FOUND = (
    "The detector found no sign of what it knows. Treat the video as not judged: a low score says nothing about fakes "
    "of the kinds that it would miss, or that it was never measured on."
)
WITHOUT_VERDICT = (
    "This detector gives a score and no verdict. A higher score is more suspicious than a lower one of the same "
    "detector, and how often such a video is fake is not known. Treat the video as not judged."
)
NOT_REAL = "That does not make the video genuine: nothing is known about it."
FOR_VISITORS = ("; a larger max_windows examines more.", "; name a part of the video to have more of it examined.")
"""Advice on the command line, and that on a page."""
IMPORTANT = ("only the part", "a still picture", "the detectors disagree")
"""Beginnings of remarks that belong on top of a result."""
FAR_APART = 0.5
"""Difference of the scores of two detectors from which they are said to disagree although they give no verdicts."""
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


@dataclass(frozen=True, slots=True)
class DetectorView:
    """What one of several detectors found; ``verdict`` is ``none`` where it has no score."""

    name: str
    verdict: str
    said: str
    """Verdict in words, within the scope of the detector; without a score, the reason."""
    prob: str


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """Data of the template; ``no_verdict`` and ``mark`` exclude each other.

    ``when`` is the time of scoring, as ISO 8601 and in words, both UTC; None if it is not known.
    """

    page: VideosPage
    video: VideoView
    meaning: Sequence[str]
    warnings: Sequence[str] = ()
    no_verdict: NoVerdict | None = None
    mark: Mark | None = None
    more_facts: Facts = ()
    detectors: Sequence[DetectorView] = ()
    disagreement: str = ""
    when: tuple[str, str] | None = None

    @property
    def is_still(self) -> bool:
        """Whether the file is a single picture."""
        file = self.video.scored.score.file
        return self.video.scored.score.duration_seconds is None and file is not None and file.num_frames == 1


def render_result(folder: Path) -> str:
    """Render the result of the only video scored in ``folder`` as HTML for a page's ``main``.

    Args:
        folder: output folder of predict.py, with the scores, ``run.json`` and the pictures of one video.

    Returns:
        One ``div`` of class ``result`` without scripts, styles, or URLs other than the pictures' ``data:``.

    Raises:
        ReportError: the scores are missing or damaged, or are not those of exactly one video.
    """
    return rendered("result.html.j2", result=read_result(folder))


def read_result(folder: Path) -> Result:
    """Collect the data of the result of the only video scored in ``folder``; errors as for :func:`render_result`."""
    scored = read_scored([folder])
    if len(scored.videos) != 1:
        raise ReportError(f"{folder / JSONL_NAME}: has {len(scored.videos)} videos; a result page needs exactly one")
    return _result(videos_page(scored), scored)


def _result(page: VideosPage, scored: Scored) -> Result:
    (video,) = page.videos
    score = video.scored.score
    when = _when(scored)
    if score.verdict is None or score.prob_fake is None:
        if score.status not in NO_VERDICTS:
            raise ReportError(f"{video.file_name}: its score is damaged ({score.status}, no verdict); score it again")
        return Result(page, video, meaning=(NOT_REAL,), no_verdict=NO_VERDICTS[score.status], when=when)
    why = visible(score.message.partition(NO_VERDICT)[2])  # a page of many videos says it once, for all of them
    important, others = _sorted_remarks(video.message.partition(NO_VERDICT)[0])
    if score.status is Status.PARTIAL and others:
        important.append(f"What was wrong with the file: {others}")
    within = scope_remark(video.message)
    meaning = WITHOUT_VERDICT if why else NOTHING_FOUND if within.startswith(NOTHING) else MEANINGS[score.verdict]
    others = with_remark(others, "")
    reason = f"The reason: {why}." if why else ""
    return Result(
        page,
        video,
        meaning=[text for text in (sentence(within), meaning, reason, NOT_LOOKED_AT) if text],
        warnings=[*important, *(line.replace(*FOR_VISITORS) for line in page.warnings)],
        mark=mark(score.prob_fake),
        more_facts=[("Note", others)] if others and score.status is not Status.PARTIAL else (),
        detectors=[_detector_view(one, video.known[one.model].name) for one in score.detectors],
        disagreement=_disagreement(score.detectors),
        when=when,
    )


def _sorted_remarks(text: str) -> tuple[list[str], str]:
    """Remarks that belong on top of a result, as sentences, and the others as they were."""
    # How many windows were looked at is a warning already.
    remarks = [remark for remark in text.split("; ") if remark and "windows were looked at" not in remark]
    important = [sentence(remark) for remark in remarks if remark.startswith(IMPORTANT[:2])]
    return important, "; ".join(remark for remark in remarks if not remark.startswith(IMPORTANT))


def sentence(remark: str) -> str:
    """Remark as a sentence; empty if there is none.

    >>> sentence("a still picture")
    'A still picture.'
    """
    return f"{remark[0].upper()}{remark[1:]}." if remark else ""


def _detector_view(one: DetectorScore, name: str) -> DetectorView:
    has_score = one.prob_fake is not None
    verdict = one.verdict or Verdict.UNCERTAIN
    said = words_of(verdict, one.message) if has_score else STATUS_WORDS[one.status]
    return DetectorView(name, str(verdict) if has_score else "none", said, probability(one.prob_fake))


def _disagreement(detectors: Sequence[DetectorScore]) -> str:
    """Sentence on detectors that contradict each other; empty if they do not."""
    calls = {one.verdict for one in detectors} - {None, Verdict.UNCERTAIN}
    probs = [one.prob_fake for one in detectors if one.prob_fake is not None]
    if len(calls) < 2 and (len(probs) < 2 or max(probs) - min(probs) < FAR_APART):
        return ""
    return (
        f"The detectors disagree: their scores range from {probability(min(probs))} to {probability(max(probs))}. Each "
        "knows other forgeries, so one may see what the others cannot, or be mistaken."
    )


def _when(scored: Scored) -> tuple[str, str] | None:
    """Time of scoring, as ISO 8601 and in words, both UTC; None if it is not known."""
    (video,) = scored.videos
    text = video.score.scored_at or (scored.run.started if scored.run else None)
    try:
        when = datetime.fromisoformat(text or "").astimezone(UTC)
    except ValueError:
        return None
    return when.isoformat(timespec="seconds"), f"{when.day} {when:%B %Y, %H:%M} UTC"


def mark(prob_fake: float) -> Mark:
    """Position of a probability on the scale.

    >>> mark(0.25), mark(0.999).anchor
    (Mark(percent=25.0, anchor='middle'), 'end')
    """
    percent = round(100 * prob_fake, 2)
    return Mark(percent, "start" if percent < ENDS_PERCENT else "end" if percent > 100 - ENDS_PERCENT else "middle")
