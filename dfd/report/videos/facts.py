"""Words on the appearances in a video, and on what its file states about itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dfd.base.types import Blinks, TrackScore
from dfd.report.page import wording
from dfd.report.videos.scored import LabelFacts, ScoredVideo
from dfd.report.videos.timeline import Scale
from dfd.video.file.formats import NO_SOUND

MAX_STATED = 200
"""Maximum length of what a file states about itself."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a page knows of a detector: its name for people, and the scale of its scores."""

    name: str
    scale: Scale


def known_detectors(described: Mapping[str, Any], names: Sequence[str]) -> dict[str, Known]:
    """What is known of detectors, by their names in the rows.

    Of two that are called alike, the names keep the hash of the weights.

    >>> starter = {"name": "detector@0123456789ab", "title": "starter"}
    >>> [known.name for known in known_detectors(starter, ["detector@0123456789ab", "b@01"]).values()]
    ['starter', 'b']
    >>> [known.name for known in known_detectors({}, ["b@01", "b@02"]).values()]
    ['b@01', 'b@02']

    Args:
        described: the description in ``run.json`` of the detector, or of several; may be empty.
        names: names in the rows.
    """
    each = described.get("detectors")
    several = [one for one in each if isinstance(one, Mapping)] if isinstance(each, list) else []
    facts = {str(one.get("name")): one for one in (*several, described)}
    titles = {name: title_of(facts.get(name, {"name": name})) for name in names}
    shown = list(titles.values())
    return {
        name: Known(title if shown.count(title) == 1 else wording.visible(name), _scale(facts.get(name, {})))
        for name, title in titles.items()
    }


def title_of(described: Mapping[str, Any]) -> str:
    """Name for people of a detector that is described, without the hash of its weights.

    >>> title_of({"name": "mine@0123456789ab"}), title_of({"name": "detector@01", "title": "starter"})
    ('mine', 'starter')
    """
    name, title = described.get("name"), described.get("title")
    name = name if isinstance(name, str) else ""
    return wording.visible(title if isinstance(title, str) and title else name.rpartition("@")[0] or name)


def full_name(described: Mapping[str, Any], name: str | None) -> str:
    """Name for people of what gave the scores, with the hash of its weights; of several detectors, each.

    >>> full_name({"name": "detector@01", "title": "starter"}, "detector@01")
    'starter@01'

    Args:
        described: the description in ``run.json``; may be empty.
        name: name in the rows; None if not known.
    """
    if not name:
        return "not known"
    each = described.get("detectors") if " + " in name else None
    several = [one for one in each if isinstance(one, Mapping)] if isinstance(each, list) else []
    found = several or [{"name": name, "title": described.get("title")}]
    parts = [(title_of(one), *str(one.get("name")).rpartition("@")) for one in found]
    return " + ".join(f"{title}@{wording.visible(digest)}" if stem else title for title, stem, _, digest in parts)


def _scale(described: Mapping[str, Any]) -> Scale:
    """Scale of a detector's scores; empty if it gives no verdicts, or its threshold is not known."""
    threshold, band = described.get("threshold"), described.get("uncertain_band")
    if described.get("no_verdict") or not _is_prob(threshold):
        return Scale()
    return Scale(
        threshold, tuple(band) if isinstance(band, list) and len(band) == 2 and all(map(_is_prob, band)) else None
    )


def _is_prob(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def looked_at(video: ScoredVideo) -> str:
    """Number of examined frames and windows, and their share of the video."""
    score = video.score
    frames = wording.counted(score.num_frames, "frame")
    if score.num_windows_possible <= 0:
        return frames
    share = wording.percent(min(score.num_windows, score.num_windows_possible), score.num_windows_possible)
    return f"{frames} in {score.num_windows:,} of {wording.counted(score.num_windows_possible, 'window')}, {share}"


def is_capped(video: ScoredVideo) -> bool:
    """Whether the video has more windows than were examined."""
    return video.has_verdict and video.score.num_windows < video.score.num_windows_possible


def appearance_name(track: TrackScore, detector: str = "") -> str:
    """Name of an appearance: its number, when it was seen, and the detector's name if there are several.

    >>> from dfd.base.types import Verdict, WindowScore
    >>> window = WindowScore(5.0, 9.4, 0.5, (0.0, 0.0, 1.0, 1.0))
    >>> appearance_name(TrackScore(1, 0.5, Verdict.UNCERTAIN, (window,)))
    'Appearance 2 (0:05–0:09)'
    """
    when = ""
    if track.windows:
        is_short = track.span[1] - track.span[0] < 2
        when = "–".join(wording.clock(seconds, decimals=int(is_short)) for seconds in track.span)
    shots = f"recognised in {track.num_shots} shots" if track.num_shots > 1 else ""
    said = ", ".join(part for part in (when, shots) if part)
    parts = [f"Appearance {track.track + 1}{f' ({said})' if said else ''}", detector]
    return ", ".join(part for part in parts if part)


def weak_words(track: TrackScore) -> str:
    """Sentence on an appearance that has no part in the video's score; empty for one that has."""
    return f"It does not count for the whole video: {wording.visible(track.weak)}." if track.weak else ""


def segment_words(segments: Sequence[tuple[float, float]]) -> str:
    """Sentence on the segments that are labelled as fake; empty without any.

    >>> segment_words([(40.0, 52.5), (60.0, 65.0)])
    'Labelled as fake: 0:40.0–0:52.5, 1:00.0–1:05.0.'
    """
    times = ("–".join(wording.clock(seconds, decimals=1) for seconds in segment) for segment in segments)
    return f"Labelled as fake: {', '.join(times)}." if segments else ""


def label_words(label: LabelFacts) -> str:
    """Label of a video in words, with the method of a fake and when it is fake.

    >>> from dfd.base.types import Label
    >>> label_words(LabelFacts(Label.FAKE, "wav2lip", ((2.0, 4.0),)))
    'fake (wav2lip), 0:02.0–0:04.0'
    """
    said = f"{label.label} ({wording.visible(label.method)})" if label.method else str(label.label)
    times = segment_words(label.segments).partition(": ")[2].removesuffix(".")
    return f"{said}, {times}" if times else said


STATED_NAMES = {
    "encoder": "Encoder",
    "software": "Program",
    "created": "Created",
    "camera": "Camera",
    "rotation": "Turned by",
    "sound": "Sound",
    "content_credentials": "Content Credentials",
    "signed_by": "Signed by",
    "claimed_by": "Stated by",
}
"""Names on a page of what a file states about itself; other statements are left out."""


def stated_facts(stated: Mapping[str, str]) -> dict[str, str | None]:
    """What a file states about itself, which anyone can have written; a page shows it as facts beside the score.

    >>> stated_facts({"sound": "aac, 2 channels", "created": "2025-01-31"})
    {'Created': '2025-01-31, as the file states', 'Sound': 'aac, 2 channels; it was not listened to'}
    """
    facts: dict[str, str | None] = {}
    for key, name in STATED_NAMES.items():
        text = wording.visible(wording.shortened(stated.get(key, ""), MAX_STATED))
        if key == "sound" and text and text != NO_SOUND:
            text += "; it was not listened to"
        elif text and key in ("encoder", "software", "created", "camera"):
            text += ", as the file states"
        facts[name] = text or None
    return {name: text for name, text in facts.items() if text}


def blink_words(blinks: Blinks) -> str:
    """Words about how often a person blinks; a fact, and no sign of anything by itself.

    >>> blink_words(Blinks(12, 60.0, 1.0, 0.3, 12.0, (6.2, 20.96)))
    '12 in 60 s: 12 per minute (95 % interval 6.2 to 21.0); no part of the score'
    """
    low, high = blinks.interval
    rate = f"{blinks.per_minute:.0f} per minute (95 % interval {low:.1f} to {high:.1f})"
    return f"{blinks.number} in {blinks.seconds:.0f} s: {rate}; no part of the score"
