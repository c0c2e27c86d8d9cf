"""FFmpeg's log while it reads a file: some decoders report damage in no other way."""

import logging
from collections.abc import Iterable

import av
from av.logging import Capture

LogLine = tuple[int, str, str]
"""Level, name of the demuxer or decoder, text."""

_quiet = logging.CRITICAL + 1
# Logged at error level, but without an effect on the pictures.
_HARMLESS = (
    "unable to decode APP fields",  # a camera's private note in a JPEG
    "Could not find ref with POC",  # leading pictures of an open group at the start: dropped, so counted as missing
    "Error constructing the frame RPS",  # the same
    "Unknown unit type",
    "co located POCs unavailable",  # direct prediction after a cut; concealed without loss in x264's own streams
    "SEI type",
    "AVC decoder configuration record",
    "Unsupported",
    "not supported",
)


def listening() -> Capture:
    """Context manager whose value is the list of :data:`LogLine` that FFmpeg writes in this thread meanwhile.

    Switches FFmpeg's error log on, which PyAV silences by default, unless a log level has been set already.
    """
    if av.logging.get_level() is None:
        logging.getLogger("libav").setLevel(_quiet)  # keep errors that no one captures out of the program's log
        # FFmpeg would drop a line that equals the previous one, even if that one was about another file.
        av.logging.set_skip_repeated(False)
        av.logging.set_level(av.logging.ERROR)
    return Capture(local=True)


def errors(lines: Iterable[LogLine], names: Iterable[str]) -> list[str]:
    """Errors among ``lines`` from the named demuxers and decoders, without messages that do not mean damage."""
    wanted = set(names)
    return [
        text.strip()
        for level, name, text in lines
        if level <= av.logging.ERROR and name in wanted and not any(known in text for known in _HARMLESS)
    ]
