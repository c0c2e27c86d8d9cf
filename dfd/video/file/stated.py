"""Statements of a file about its own making: encoder, program, time, camera, rotation, sound, Content Credentials.

Anyone can write anything into these places: they are facts about the file, not about what it shows. Each text is
shortened and freed of what would not be seen.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from itertools import islice
from pathlib import Path

from av.container import InputContainer
from av.error import FFmpegError
from PIL import ExifTags, Image

from dfd.base.errors import DfdError
from dfd.video.file.container import VideoInfo, video_stream
from dfd.video.file.credentials import read_credentials
from dfd.video.file.formats import NO_SOUND, codec_name
from dfd.video.file.opening import open_container

MAX_TEXT = 120
"""Longest statement that is kept, in characters."""
_EARLIEST_YEAR = 1990
"""Times before it are those of a clock that was never set: 1904 in QuickTime, 1970 in others."""

# By name: metadata keys of containers and streams, in lower case, the most telling first.
_KEYS: Mapping[str, tuple[str, ...]] = {
    "software": ("com.apple.quicktime.software", "software", "writing_app", "com.android.version"),
    "created": ("com.apple.quicktime.creationdate", "creation_time", "date_digitized", "date"),
    "make": ("com.apple.quicktime.make", "com.android.manufacturer", "make"),
    "model": ("com.apple.quicktime.model", "com.android.model", "model"),
}
_ENCODER_KEYS = ("encoder", "encoded_by")
# Encoders leave their name and version in the first frame: x264 and x265 in a message of their own (H.264, D.2.8).
_IN_FRAME = re.compile(rb"x26[45] (?:- core|\(build) ?\d+")


def stated_by_video(path: Path, info: VideoInfo) -> dict[str, str]:
    """Statements of a video by name; empty if it cannot be opened.

    ``encoder``, ``software``, ``created``, ``camera``, ``rotation``, ``sound`` (``none`` if there is none), and those
    of :func:`dfd.video.file.credentials.read_credentials`.
    """
    found: dict[str, str] = {}
    with suppress(DfdError, FFmpegError, OSError, ValueError), open_container(path) as container:
        found |= _of_container(path, container, info)
    with suppress(OSError):
        found |= read_credentials(path)
    return _shown(found)


def stated_by_still(path: Path) -> dict[str, str]:
    """Statements of a picture by name: ``software``, ``created``, ``camera``, ``rotation`` of its EXIF data."""
    found: dict[str, str] = {}
    # Pillow raises any of these for damaged EXIF data.
    with suppress(OSError, SyntaxError, ValueError, KeyError, TypeError, Image.DecompressionBombError):
        with Image.open(path) as picture:
            exif = picture.getexif()
            made = exif.get_ifd(ExifTags.IFD.Exif)
        values = {
            "software": exif.get(ExifTags.Base.Software),
            "created": made.get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime),
            "camera": _camera(str(exif.get(ExifTags.Base.Make) or ""), str(exif.get(ExifTags.Base.Model) or "")),
            "rotation": _EXIF_ROTATIONS.get(exif.get(ExifTags.Base.Orientation, 1)),
        }
        found |= {name: str(value) for name, value in values.items() if value}
    with suppress(OSError):
        found |= read_credentials(path)
    return _shown(found)


_EXIF_ROTATIONS = {
    2: "mirrored",
    3: "180 degrees",
    4: "180 degrees, mirrored",
    5: "90 degrees, mirrored",
    6: "90 degrees",
    7: "270 degrees, mirrored",
    8: "270 degrees",
}
"""What is done to the stored picture to show it, clockwise, by the value of EXIF's Orientation."""


def _of_container(path: Path, container: InputContainer, info: VideoInfo) -> dict[str, str]:
    stream = video_stream(path, container, info.stream)
    tags = [_lower(container.metadata), _lower(stream.metadata)]
    found = {name: text for name, keys in _KEYS.items() if (text := _first(tags, keys))}
    if not _is_plausible(found.get("created", "")):
        found.pop("created", None)
    if camera := _camera(found.pop("make", ""), found.pop("model", "")):
        found["camera"] = camera
    packets = islice(container.demux(stream), 3)
    written = next((match[0] for packet in packets if (match := _IN_FRAME.search(bytes(packet)[:4096]))), b"")
    encoders = [written.decode("ascii"), *(_first([one], _ENCODER_KEYS) for one in reversed(tags))]
    if encoder := ", ".join(dict.fromkeys(text for text in encoders if text)):
        found["encoder"] = encoder
    turned = [f"{info.rotation_degrees} degrees counterclockwise"] if info.rotation_degrees else []
    if turned := turned + ["mirrored"] * info.mirrored:
        found["rotation"] = ", ".join(turned)
    found["sound"] = "; ".join(_sound(container)) or NO_SOUND
    return found


def _sound(container: InputContainer) -> Iterator[str]:
    """Codec, channels and rate of each sound stream, of the first three."""
    for stream in container.streams.audio[:3]:
        parts = [codec_name(stream)]
        with suppress(ValueError, AttributeError):
            channels, rate = stream.codec_context.channels, stream.codec_context.sample_rate
            parts += [f"{channels} channel{'' if channels == 1 else 's'}"] if channels else []
            parts += [f"{rate} Hz"] if rate else []
        yield ", ".join(parts)


def _lower(tags: Mapping[str, str]) -> dict[str, str]:
    return {key.lower(): text for key, text in tags.items()}


def _first(tags: list[dict[str, str]], keys: tuple[str, ...]) -> str:
    """First text that is not empty: by key, and for each of them by place."""
    return next((text for key in keys for one in tags if (text := one.get(key, "").strip())), "")


def _camera(make: str, model: str) -> str:
    """Make and model, the make once.

    >>> _camera("Apple", "iPhone 12"), _camera("Canon", "Canon EOS 5D"), _camera("", "")
    ('Apple iPhone 12', 'Canon EOS 5D', '')
    """
    make, model = make.strip(), model.strip()
    return model if model.lower().startswith(make.lower()) else f"{make} {model}".strip()


def _is_plausible(text: str) -> bool:
    """Whether a time may be one at which something was recorded."""
    with suppress(ValueError):
        return datetime.fromisoformat(text).year >= _EARLIEST_YEAR
    match = re.match(r"\d{4}", text)
    return match is None or int(match[0]) >= _EARLIEST_YEAR


def _shown(found: Mapping[str, str]) -> dict[str, str]:
    return {name: shown for name, text in found.items() if (shown := bounded_text(text))}


def bounded_text(text: str) -> str:
    r"""A statement in one line of visible characters, at most ``MAX_TEXT`` of them.

    >>> bounded_text("Lavf\n58\x00\u202egpj"), len(bounded_text("x" * 1000))
    ('Lavf 58??gpj', 120)
    """
    line = " ".join(text[: 10 * MAX_TEXT].split())
    visible = "".join("?" if unicodedata.category(one) in _HIDDEN else one for one in line)
    return visible if len(visible) <= MAX_TEXT else visible[: MAX_TEXT - 1] + "…"


_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
