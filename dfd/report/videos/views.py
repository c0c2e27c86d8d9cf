"""Views of scored videos for the page: rows, facts, faces over time, and moments."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from urllib.parse import quote

from dfd.base.types import TrackScore, Verdict, WindowScore
from dfd.models.files.scope import words_of, words_of_part
from dfd.predictions.layout import ANNOTATED_NAME
from dfd.predictions.pictures import annotated_files
from dfd.report.page import wording
from dfd.report.videos.facts import (
    Known,
    appearance_name,
    blink_words,
    label_words,
    looked_at,
    segment_words,
    stated_facts,
    weak_words,
)
from dfd.report.videos.pictures import PictureSizes, ShownEvidence, ShownMoment, embed
from dfd.report.videos.scored import LabelFacts, ScoredVideo
from dfd.report.videos.timeline import Scale, Timeline, lanes, timeline
from dfd.scoring.aggregation import NO_VERDICT

MAX_IN_NUMBERS = 120
"""Maximum number of windows of a face that are listed; predictions.jsonl has all."""
MAX_NOTE = 140
"""Maximum length of a message in the table; the video's section has the whole."""

Facts = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class MomentView:
    """Pictures of a moment, with its position in the video and in the frame."""

    number: int
    shown: ShownMoment
    percent: float
    """Position in the video, in percent."""
    lane: int
    """Row of the pin above the timeline, from 0; close pins are in different rows."""
    when: str
    prob: str
    box: tuple[float, float, float, float] | None


@dataclass(frozen=True, slots=True)
class FaceView:
    """A face tracked through a video."""

    anchor: str
    name: str
    verdict: str
    said: str
    """Verdict in words, within the scope of the detector."""
    prob: str
    timeline: Timeline
    summary: str
    """Timeline in words."""
    windows: Sequence[WindowScore]
    """Windows to list; none if there are too many to read."""
    moments: Sequence[MomentView]


@dataclass(frozen=True, slots=True, eq=False)
class VideoView:
    """One video on the page; ``name`` is its path below the common folder of all videos."""

    scored: ScoredVideo
    name: str
    anchor: str
    evidence: ShownEvidence
    faces: Sequence[FaceView]
    is_detailed: bool
    """Whether the video has its own section, to which ``anchor`` leads."""
    known: Mapping[str, Known]
    """What is known of the detectors, by their names in the scores."""
    label: LabelFacts | None = None
    """Label that a manifest has of it."""

    @property
    def verdict(self) -> str:
        """Verdict, or ``none``."""
        return str(self.scored.score.verdict) if self.scored.has_verdict else "none"

    @property
    def said(self) -> str:
        """Verdict in words, within the scope of the detector."""
        score = self.scored.score
        return wording.SAID["none"] if score.verdict is None else words_of(score.verdict, score.message)

    @property
    def folder(self) -> str:
        """Folder part of the name, with a trailing slash; usually empty."""
        return self.name[: len(self.name) - len(self.file_name)]

    @property
    def file_name(self) -> str:
        """Last part of the name."""
        return self.name.rpartition("/")[2]

    @property
    def status(self) -> str:
        """Status in words."""
        return wording.STATUS_WORDS[self.scored.score.status]

    @property
    def duration(self) -> str:
        """Duration in minutes and seconds."""
        seconds = self.scored.score.duration_seconds
        return wording.DASH if seconds is None else wording.clock(seconds)

    @property
    def message(self) -> str:
        """Message of the scoring, with the video's name as on the page."""
        score = self.scored.score
        text = score.message.partition(NO_VERDICT)[0].removesuffix("; ")  # the page says it once
        text = wording.visible(" ".join(text.replace(score.path, self.file_name).split()))
        return text.removeprefix(f"{self.file_name}: ")

    @property
    def alike(self) -> Sequence[str]:
        """Sentences on how often a video with such a score was fake, of each detector that knows it."""
        score = self.scored.score
        own = [wording.alike_words(score.alike)] if score.alike else []
        each = ((one.model, one.alike) for one in score.detectors if one.alike)
        return [*own, *(f"{self.known[model].name}: {wording.alike_words(found)}" for model, found in each)]

    def prob_of(self, model: str) -> float | None:
        """Score that one of several detectors gave."""
        return next((one.prob_fake for one in self.scored.score.detectors if one.model == model), None)

    @property
    def remark(self) -> str:
        """Message of the scoring without what the page says of all videos at once: that windows were left out."""
        return "; ".join(
            part for part in self.message.split("; ") if "windows were looked at, evenly spaced" not in part
        )

    @property
    def note(self) -> str:
        """Shortened remark for a row."""
        return wording.shortened(self.remark, MAX_NOTE)

    @property
    def annotated(self) -> str:
        """Address of the annotated video or picture, relative to the folder of its scores; empty if there is none."""
        found = annotated_files(self.scored.folder, self.scored.score.path)
        return quote(f"{ANNOTATED_NAME}/{found[0].name}", errors="surrogateescape") if found else ""

    def file_facts(self) -> Facts:
        """Facts about the scored file: size, resolution, codec and duration."""
        score, file = self.scored.score, self.scored.score.file
        facts: dict[str, str | None] = {}
        if file is not None:
            is_still = file.num_frames == 1 and score.duration_seconds is None
            has_size = file.width is not None and file.height is not None
            facts = {
                "Size": wording.file_size(file.size_bytes),
                "Resolution": f"{file.width} × {file.height} pixels" if has_size else None,
                "Frame rate": None if file.fps is None or is_still else f"{file.fps:.6g} per second",
                "Codec": None if file.codec is None else wording.visible(file.codec),
                "Frames": None if file.num_frames is None or is_still else f"{file.num_frames:,}",
            }
            facts |= stated_facts(file.stated)
        lasts = score.duration_seconds
        facts["Duration"] = None if lasts is None else wording.clock(lasts, decimals=1)
        return [(name, text) for name, text in facts.items() if text is not None]

    @property
    def sha256(self) -> str:
        """SHA-256 of the file; empty if not known."""
        return wording.visible(self.scored.score.file.sha256) if self.scored.score.file else ""

    def scoring_facts(self) -> Facts:
        """Facts about the scoring: status, examined frames, faces and time taken."""
        facts, score = [("Status", self.status)], self.scored.score
        if score.num_frames or self.scored.has_verdict:
            facts.append(("Examined", looked_at(self.scored)))
        if self.scored.has_verdict:
            facts.append(("Appearances", f"{score.num_faces:,}"))
        for one in score.detectors:
            said = one.message if one.prob_fake is None else wording.probability(one.prob_fake)
            verdict = "" if one.prob_fake is None else f", {words_of(one.verdict or Verdict.UNCERTAIN, one.message)}"
            facts.append((self.known[one.model].name, f"{wording.visible(said)}{verdict}"))
        if self.label:
            facts.append(("Label", label_words(self.label)))
        if score.blinks:
            facts.append(("Blinks", blink_words(score.blinks)))
        if score.scored_at:
            facts.append(("Scored", wording.minute(score.scored_at)))
        facts.append(("Time taken", f"{score.seconds:.1f} s"))
        return facts

    def left_out(self, *, names_folder: bool) -> str:
        """Sentence about pictures that are not in the page, and their folder; empty if all are."""
        parts = []
        if number := self.evidence.num_left_out:
            are = f"{wording.counted(number, 'more moment')} {'is' if number == 1 else 'are'}"
            crop = self.scored.moments[0].crop
            place = f"; the pictures are in {wording.visible(crop.rpartition('/')[0])}/" if names_folder else ""
            parts.append(f"{are} left out here to keep the page small{place}.")
        if self.evidence.num_missing:
            parts.append(f"{wording.counted(self.evidence.num_missing, 'picture')} could not be read.")
        return " ".join(parts)


def view(
    video: ScoredVideo,
    name: str,
    *,
    scale: Scale,
    known: Mapping[str, Known],
    sizes: PictureSizes,
    is_detailed: bool,
    in_numbers: bool,
    label: LabelFacts | None = None,
) -> VideoView:
    """Prepare a video for the page, with its own section if ``is_detailed`` and listed windows if ``in_numbers``."""
    segments = label.segments if label else ()
    evidence = embed(video, sizes)
    anchor = "video-" + hashlib.sha256(video.score.path.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    most = MAX_IN_NUMBERS if in_numbers else 0
    faces = []
    seen = _seen_by(video, scale, known) if is_detailed else ()
    for number, (detector, tracks, its_scale, message) in enumerate(seen):
        for track in sorted(tracks, key=lambda track: (-track.prob_fake, track.track)):
            drawn = timeline(track.windows, video.score.duration_seconds, its_scale, segments)
            moments = [moment for moment in evidence.moments if not number and moment.facts.track == track.track]
            face = FaceView(
                anchor=f"{anchor}-face-{track.track + 1}{f'-{number + 1}' if number else ''}",
                name=appearance_name(track, detector),
                verdict=str(track.verdict),
                said=words_of_part(track.verdict, its_scale.call(track.prob_fake, track.verdict), message),
                prob=wording.probability(track.prob_fake),
                timeline=drawn,
                summary=" ".join(filter(None, (_summary(track, drawn), segment_words(segments), weak_words(track)))),
                windows=track.windows if len(track.windows) <= most else (),
                moments=_moments(moments, track, drawn),
            )
            faces.append(face)
    return VideoView(video, wording.visible(name), anchor, evidence, faces, is_detailed, known, label)


def _seen_by(
    video: ScoredVideo, scale: Scale, known: Mapping[str, Known]
) -> Iterator[tuple[str, Sequence[TrackScore], Scale, str]]:
    """Name, tracks, scale and message of each detector; no name for a single one, whose scale is the page's."""
    score = video.score
    if not video.has_verdict:
        return
    if not score.detectors:
        yield "", score.tracks, scale, score.message
    for one in score.detectors:
        its_scale = known[one.model].scale if one.verdict is not None else Scale()
        yield known[one.model].name, one.tracks, its_scale, one.message


def _summary(track: TrackScore, drawn: Timeline) -> str:
    if not track.windows:
        return "No window of this face is known."
    first, last, mean = track.windows[0], track.windows[-1], fmean(window.prob_fake for window in track.windows)
    highest = max(track.windows, key=lambda window: window.prob_fake)
    decimals = int(wording.clock(first.start_seconds) == wording.clock(last.end_seconds))  # "from 0:00 to 0:00"
    start, end = (wording.clock(when, decimals=decimals) for when in (first.start_seconds, last.end_seconds))
    text = (
        f"{wording.counted(len(track.windows), 'window')} from {start} to "
        f"{end}: mean {wording.probability(mean)}, highest "
        f"{wording.probability(highest.prob_fake)} at {wording.clock(highest.start_seconds, decimals=1)}"
    )
    if (threshold := drawn.scale.threshold) is not None:
        above = sum(window.prob_fake >= threshold for window in track.windows)
        text += f", {above:,} of {len(track.windows):,} at or above the threshold"
    if drawn.is_binned:
        text += "; close windows share a bar, dark up to their mean, light up to the highest"
    return text + "."


def _moments(moments: Sequence[ShownMoment], track: TrackScore, drawn: Timeline) -> list[MomentView]:
    percents = [drawn.percent(moment.facts.seconds) for moment in moments]
    views = []
    for number, (moment, place, lane) in enumerate(zip(moments, percents, lanes(percents), strict=True), start=1):
        facts = moment.facts
        box = track.windows[facts.window].box if facts.window < len(track.windows) else None
        when, prob = wording.clock(facts.seconds, decimals=1), wording.probability(facts.prob_fake)
        views.append(MomentView(number, moment, place, lane, when, prob, box))
    return views
