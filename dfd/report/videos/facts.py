"""Words on the appearances in a video, and on what its file states about itself."""

from collections.abc import Mapping

from dfd.base.types import Blinks, TrackScore
from dfd.report.page import wording
from dfd.video.file.formats import NO_SOUND

MAX_STATED = 200
"""Maximum length of what a file states about itself."""


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
    parts = [f"Appearance {track.track + 1}{f' ({when})' if when else ''}", detector]
    return ", ".join(part for part in parts if part)


def weak_words(track: TrackScore) -> str:
    """Sentence on an appearance that has no part in the video's score."""
    return f"It does not count for the whole video: {wording.visible(track.weak)}."


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
