"""What the page of scored videos says of each video: its row, its facts, its faces over time and their moments."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from dfd.report.evidence import Picture, PictureSizes, ShownEvidence, ShownMoment, embed
from dfd.report.scored import ScoredVideo
from dfd.report.timeline import Scale, Timeline, timeline
from dfd.report.wording import (
    DASH,
    STATUS_WORDS,
    clock,
    counted,
    file_size,
    percent,
    probability,
    shortened,
    visible,
)
from dfd.types import TrackScore, WindowScore

MAX_IN_NUMBERS = 120
"""Windows of a face that are written out; predictions.jsonl has all."""
PIN_PERCENT = 5.0
"""Of a timeline's width, that of a pin on a narrow screen."""
MAX_NOTE = 140
"""Characters of a message in the table; the video's section has all."""

Facts = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class WindowView:
    """A window as a line of text."""

    when: str
    prob: str
    zone: str


@dataclass(frozen=True, slots=True)
class MomentView:
    """Pictures of a moment, with where in the video and where in the frame it is."""

    number: int
    crop: Picture
    heatmap: Picture | None
    percent: float
    """Of the way through the video."""
    lane: int
    """Row of its pin over the timeline, 0 or more: pins that are close have rows of their own."""
    when: str
    prob: str
    box: tuple[float, float, float, float] | None

    @property
    def box_words(self) -> str:
        """Left, top, right and bottom, in pixels."""
        if self.box is None:
            return ""
        left, top, right, bottom = (f"{corner:.0f}" for corner in self.box)
        return f"{left}, {top} to {right}, {bottom}"


@dataclass(frozen=True, slots=True)
class FaceView:
    """A face followed through a video."""

    anchor: str
    name: str
    verdict: str
    prob: str
    timeline: Timeline
    summary: str
    """The timeline in words."""
    windows: Sequence[WindowView]
    moments: Sequence[MomentView]

    @property
    def num_lanes(self) -> int:
        """Rows that the pins need."""
        return max((moment.lane for moment in self.moments), default=0) + 1


@dataclass(frozen=True, slots=True, eq=False)
class VideoView:
    """One video as the page shows it. ``name`` is where it is below the folder that all videos share."""

    scored: ScoredVideo
    name: str
    anchor: str
    evidence: ShownEvidence
    faces: Sequence[FaceView]
    is_detailed: bool
    """It has a section of its own, which ``anchor`` leads to."""

    @property
    def verdict(self) -> str:
        """``none`` where there is none."""
        return str(self.scored.score.verdict) if self.scored.has_verdict else "none"

    @property
    def folder(self) -> str:
        """The part of the name before the file's own, with a slash; mostly empty."""
        return self.name[: len(self.name) - len(self.file_name)]

    @property
    def file_name(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("/")[2]

    @property
    def status(self) -> str:
        """In words."""
        return STATUS_WORDS[self.scored.score.status]

    @property
    def prob(self) -> str:
        """Of being fake."""
        return probability(self.scored.score.prob_fake)

    @property
    def confidence(self) -> str:
        """Of the label, which an uncertain verdict is still nearer to."""
        return probability(self.scored.score.confidence)

    @property
    def duration(self) -> str:
        """Minutes and seconds."""
        seconds = self.scored.score.duration_seconds
        return DASH if seconds is None else clock(seconds)

    @property
    def message(self) -> str:
        """What the scoring had to say, with the video called as in the page."""
        score = self.scored.score
        text = visible(" ".join(score.message.replace(score.path, self.file_name).split()))
        return text.removeprefix(f"{self.file_name}: ")

    @property
    def note(self) -> str:
        """Of the status and the message, for a row."""
        return shortened(self.message, MAX_NOTE)

    def file_facts(self) -> Facts:
        """The file that was scored: which bytes, and what they claim to be."""
        score, file = self.scored.score, self.scored.score.file
        facts = []
        if file is not None:
            facts.append(("Size", file_size(file.size_bytes)))
            if file.width is not None and file.height is not None:
                facts.append(("Resolution", f"{file.width} × {file.height} pixels"))
            if file.fps is not None:
                facts.append(("Frame rate", f"{file.fps:.6g} per second"))
            if file.codec is not None:
                facts.append(("Codec", visible(file.codec)))
            if file.num_frames is not None:
                facts.append(("Frames", f"{file.num_frames:,}"))
        if score.duration_seconds is not None:
            facts.append(("Duration", clock(score.duration_seconds, decimals=1)))
        return facts

    @property
    def sha256(self) -> str:
        """Of the file; empty if it is not known."""
        return visible(self.scored.score.file.sha256) if self.scored.score.file else ""

    def scoring_facts(self) -> Facts:
        """How much of the video was looked at, and what that took."""
        score = self.scored.score
        facts = [("Status", self.status)]
        if score.num_frames or self.scored.has_verdict:
            facts.append(("Looked at", looked_at(self.scored)))
        if self.scored.has_verdict:
            facts.append(("Faces followed", str(score.num_faces)))
        facts.append(("Time taken", f"{score.seconds:.1f} s"))
        return facts

    def left_out(self, *, names_folder: bool) -> str:
        """What pictures are not in the page, and in which folder they are; empty if all are."""
        parts = []
        if self.evidence.num_left_out:
            verb = "is" if self.evidence.num_left_out == 1 else "are"
            parts.append(
                f"{counted(self.evidence.num_left_out, 'more moment')} {verb} left out here to keep the page small"
                + (f"; the pictures are in {self._evidence_place()}." if names_folder else ".")
            )
        if self.evidence.num_missing:
            parts.append(f"{counted(self.evidence.num_missing, 'picture')} could not be read.")
        return " ".join(parts)

    def _evidence_place(self) -> str:
        return visible(self.scored.moments[0].crop.rpartition("/")[0] + "/") if self.scored.moments else ""


def looked_at(video: ScoredVideo) -> str:
    """Frames and windows, and what share of the video they are."""
    score = video.score
    frames = counted(score.num_frames, "frame")
    if score.num_windows_possible <= 0:
        return frames
    share = percent(min(score.num_windows, score.num_windows_possible), score.num_windows_possible)
    return f"{frames} in {score.num_windows:,} of {counted(score.num_windows_possible, 'window')}, {share}"


def is_capped(video: ScoredVideo) -> bool:
    """True if there was more to look at than was looked at."""
    return video.has_verdict and video.score.num_windows < video.score.num_windows_possible


def view(
    video: ScoredVideo, name: str, *, scale: Scale, sizes: PictureSizes, is_detailed: bool, in_numbers: bool
) -> VideoView:
    """Prepare a video for the page: with a section if it ``is_detailed``, with every window ``in_numbers``."""
    evidence = embed(video, sizes)
    anchor = "video-" + hashlib.sha256(video.score.path.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    faces = []
    if is_detailed and video.has_verdict:
        tracks = sorted(video.score.tracks, key=lambda track: (-track.prob_fake, track.track))
        for track in tracks:
            shown = [moment for moment in evidence.moments if moment.facts.track == track.track]
            duration = video.score.duration_seconds
            faces.append(_face(track, shown, anchor, timeline(track.windows, duration, scale), in_numbers))
    return VideoView(video, visible(name), anchor, evidence, faces, is_detailed)


def _face(
    track: TrackScore, moments: Sequence[ShownMoment], anchor: str, drawn: Timeline, in_numbers: bool
) -> FaceView:
    return FaceView(
        anchor=f"{anchor}-face-{track.track + 1}",
        name=f"Face {track.track + 1}",
        verdict=str(track.verdict),
        prob=probability(track.prob_fake),
        timeline=drawn,
        summary=_summary(track, drawn),
        windows=_windows(track.windows, drawn.scale) if in_numbers else (),
        moments=_moments(moments, track, drawn),
    )


def _summary(track: TrackScore, drawn: Timeline) -> str:
    if not track.windows:
        return "No window of this face is known."
    first, last = track.windows[0], track.windows[-1]
    highest = max(track.windows, key=lambda window: window.prob_fake)
    text = (
        f"{counted(len(track.windows), 'window')} from {clock(first.start_seconds)} to {clock(last.end_seconds)}: "
        f"mean {probability(sum(w.prob_fake for w in track.windows) / len(track.windows))}, highest "
        f"{probability(highest.prob_fake)} at {clock(highest.start_seconds, decimals=1)}"
    )
    threshold = drawn.scale.threshold
    if threshold is not None:
        above = sum(window.prob_fake >= threshold for window in track.windows)
        text += f", {above:,} of {len(track.windows):,} at or above the threshold"
    if drawn.is_binned:
        text += "; windows that are close share a bar, dark to their mean, light to the highest of them"
    return text + "."


def _windows(windows: Sequence[WindowScore], scale: Scale) -> list[WindowView]:
    """None of a face with too many to be read."""
    return [
        WindowView(
            f"{clock(window.start_seconds, decimals=1)}–{clock(window.end_seconds, decimals=1)}",
            probability(window.prob_fake),
            scale.zone(window.prob_fake),
        )
        for window in (windows if len(windows) <= MAX_IN_NUMBERS else ())
    ]


def _moments(moments: Sequence[ShownMoment], track: TrackScore, drawn: Timeline) -> list[MomentView]:
    percents = [drawn.percent(moment.facts.seconds) for moment in moments]
    views = []
    for number, (moment, place, lane) in enumerate(zip(moments, percents, lanes(percents), strict=True), start=1):
        facts = moment.facts
        box = track.windows[facts.window].box if facts.window < len(track.windows) else None
        when, prob = clock(facts.seconds, decimals=1), probability(facts.prob_fake)
        views.append(MomentView(number, moment.crop, moment.heatmap, place, lane, when, prob, box))
    return views


def lanes(percents: Sequence[float]) -> list[int]:
    """The lowest row for each pin in which it is not too near to one before it.

    >>> lanes([10.0, 50.0, 12.0, 52.0, 14.0])
    [0, 0, 1, 1, 2]
    """
    rows: list[int] = []
    for index, place in enumerate(percents):
        near = {rows[other] for other in range(index) if abs(percents[other] - place) < PIN_PERCENT}
        rows.append(next(row for row in range(index + 1) if row not in near))
    return rows
