"""Display of names, times, sizes and verdicts on pages, safe for any file name."""

import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import takewhile
from pathlib import PurePath

from dfd.base.types import Alike, Status, Verdict
from dfd.models.files.caveat import training_words as known_training

DASH = "–"
NO_BREAK = "\u00a0"
"""Space at which lines do not break."""
SHAPES = {"fake": "▲", "uncertain": "◆", "real": "●", "none": "○"}
"""Shape of each verdict, shown beside its word and colour; ``none`` means that there is no verdict."""
SAID = {**{str(verdict): verdict.words for verdict in Verdict}, "none": "no verdict"}
"""Words in which each verdict is told."""
ORDER = {"fake": 3, "uncertain": 2, "real": 1, "none": 0}
STATUS_WORDS = {
    Status.OK: "scored",
    Status.PARTIAL: "scored in part",
    Status.NO_FACE: "no face found",
    Status.MISSING: "no such file",
    Status.UNREADABLE: "cannot be read",
    Status.TOO_LARGE: "too large",
    Status.TIMEOUT: "took too long",
    Status.ERROR: "failed",
}
# Invisible but legitimate: used between letters of some scripts, and within emoji.
JOINERS = "\u200c\u200d"
HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def visible(text: str) -> str:
    r"""Escape characters that would hide or move other text: line ends, direction marks, undecodable bytes.

    >>> print(visible("a\nb\u202efdp.mp4"), visible("b\udcff.mp4"), visible("Ü 東京.mp4"))
    a\nb\u202efdp.mp4 b\xff.mp4 Ü 東京.mp4
    """
    return "".join(map(_visible_character, text))


def _visible_character(character: str) -> str:
    if character in JOINERS or unicodedata.category(character) not in HIDDEN_CATEGORIES:
        return character
    if "\udc80" <= character <= "\udcff":  # Python's representation of a file name's byte that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def names_below_common_folder(paths: Sequence[str]) -> list[str]:
    """Paths relative to their deepest common folder, which reveal nothing about the machine.

    >>> names_below_common_folder(["/home/ann/inbox/a.mp4", "/home/ann/inbox/b/a.mp4"])
    ['a.mp4', 'b/a.mp4']
    >>> names_below_common_folder(["inbox/a.mp4"])
    ['a.mp4']
    """
    parts = [PurePath(path).parts or (path,) for path in paths]
    levels = zip(*(one[:-1] for one in parts), strict=False)
    common = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, levels))
    return ["/".join(one[common:]).replace("//", "/") for one in parts]


def clock(seconds: float, *, decimals: int = 0) -> str:
    """Format a time in a video as [hours:]minutes:seconds, truncated to ``decimals``.

    >>> clock(75), clock(75.26, decimals=1), clock(3675), clock(0.97)
    ('1:15', '1:15.2', '1:01:15', '0:00')
    """
    scale = 10**decimals
    units = int(max(seconds, 0.0) * scale + 1e-6)  # 0.3 * 10 is a little less than 3
    whole, rest = divmod(units, scale)
    hours, minutes = divmod(whole // 60, 60)
    shown = f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
    return f"{shown}.{rest:0{decimals}}" if decimals else shown


def minute(text: str) -> str:
    """Day and minute of a time in ISO 8601, with its zone; another text as it is."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return visible(text)
    zone = when.strftime("%Z") or "local time"
    return f"{when.day} {when:%B %Y, %H:%M} {zone}"


def probability(value: float | None) -> str:
    """Format a probability to three places, never as 0 or 1.

    >>> [probability(value).replace(NO_BREAK, " ") for value in (0.93149, 0.99996, 0.00001, None)]
    ['0.931', '> 0.999', '< 0.001', '–']
    """
    if value is None:
        return DASH
    if value > 0.9995:
        return f">{NO_BREAK}0.999"
    return f"<{NO_BREAK}0.001" if value < 0.0005 else f"{value:.3f}"


def file_size(num_bytes: int) -> str:
    """Format a file size in decimal units, with the exact number of bytes.

    >>> file_size(999), file_size(1234567)
    ('999 bytes', '1.2 MB (1,234,567 bytes)')
    """
    if num_bytes < 1000:
        return f"{num_bytes} bytes"
    units = ("kB", "MB", "GB", "TB")
    power = next((power for power, _ in enumerate(units, start=1) if num_bytes < 999.95 * 1000**power), len(units))
    return f"{num_bytes / 1000**power:.1f} {units[power - 1]} ({num_bytes:,} bytes)"


def counted(number: int, noun: str) -> str:
    """Format a number with its noun.

    >>> counted(1, "video"), counted(1200, "video")
    ('1 video', '1,200 videos')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def shortened(text: str, length: int) -> str:
    """Shorten a text to at most ``length`` characters.

    >>> shortened("no face in any frame", 8)
    'no face…'
    """
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def percent(part: float, whole: float) -> str:
    """Format a share in percent; 0 and 100 % mean exactly none and all.

    >>> [percent(part, 1000).replace(NO_BREAK, " ") for part in (0, 1, 333, 999, 1000)]
    ['0 %', 'under 1 %', '33 %', 'over 99 %', '100 %']
    """
    share = 100 * part / whole
    if 0 < share < 1:
        return f"under 1{NO_BREAK}%"
    return f"over 99{NO_BREAK}%" if 99 < share < 100 else f"{share:.0f}{NO_BREAK}%"


def training_words(data: object) -> str:
    """Describe the videos that a detector was trained on, from its card.

    >>> labels = {"real": 70, "fake": 140}
    >>> train = {"num_videos": 210, "labels": labels, "datasets": {"ffpp": 210}, "methods": {"FaceSwap": 140}}
    >>> training_words({"splits": {"train": train}})
    '210 videos (70 real, 140 fake) of ffpp; forgeries: FaceSwap'
    """
    is_demo = isinstance(data, Mapping) and bool(data.get("is_demo"))
    words = known_training(data)
    if not words:
        return "drawn demonstration videos" if is_demo else "not known"
    return visible(("drawn demonstration videos: " if is_demo else "") + words)


def alike_words(alike: Alike) -> str:
    """Sentences on how often a video with such a score was fake among videos with a known label.

    >>> found = Alike(0.712, 0.834, 3, 17, 0.5, 0.85, (0.64, 0.948), 2, 40)
    >>> alike_words(found).replace(NO_BREAK, " ").partition(". ")[0]
    'Of the 20 videos with a known label and the nearest scores (0.712 to 0.834), 17 were fake'
    """
    number = alike.num_real + alike.num_fake
    low, high = (percent(end, 1) for end in alike.interval)
    return (
        f"Of the {number} videos with a known label and the nearest scores ({probability(alike.lowest)} to "
        f"{probability(alike.highest)}), {alike.num_fake} were fake. If {percent(alike.prevalence, 1)} of all videos "
        f"are fake, {percent(alike.share_fake, 1)} of the videos with such a score are (95{NO_BREAK}% interval {low} "
        f"to {high}). {alike.num_real_as_high} of the {alike.num_real_known} real videos scored as high or higher. "
        "This holds for videos like those that the detector was calibrated on."
    )
