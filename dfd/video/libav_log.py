"""What FFmpeg says of a file while it reads it: some decoders tell of damage in no other way."""

import logging
from collections.abc import Iterable

import av
from av.logging import Capture

LogLine = tuple[int, str, str]
"""Level, name of the demuxer or decoder, text."""

_quiet = logging.CRITICAL + 1
# Said of sound files too, whatever the level says: of what the pictures do not depend on.
_HARMLESS = (
    "unable to decode APP fields",  # a camera's private note in a JPEG
    "Could not find ref with POC",  # leading pictures of an open group at the start: dropped, and so known as missing
    "Error constructing the frame RPS",  # the same
    "Unknown unit type",
    "co located POCs unavailable",  # direct prediction behind a cut, concealed without a loss in x264's own streams
    "SEI type",
    "AVC decoder configuration record",
    "Unsupported",
    "not supported",
)


def listening() -> Capture:
    """A context manager; its value is the list of :data:`LogLine` that FFmpeg writes in this thread meanwhile.

    FFmpeg is made to tell of errors, if it was not told by someone else what to tell; PyAV silences it by default.
    """
    if av.logging.get_level() is None:
        logging.getLogger("libav").setLevel(_quiet)  # nobody asked for what is not listened to
        # A line equal to the one before would be left out, were that one another file's.
        av.logging.set_skip_repeated(False)
        av.logging.set_level(av.logging.ERROR)
    return Capture(local=True)


def errors(lines: Iterable[LogLine], names: Iterable[str]) -> list[str]:
    """The errors among ``lines`` by one of these demuxers and decoders, without what is no damage."""
    wanted = set(names)
    return [
        text.strip()
        for level, name, text in lines
        if level <= av.logging.ERROR and name in wanted and not any(known in text for known in _HARMLESS)
    ]
