"""Byte sequences that an encoder never writes: they are where a file has holes, or was overwritten."""

import re

_HOLE = bytes(32)
"""So many zeros in a row are in no arithmetic coder's output."""

_NEVER = (b"\0\0\0", b"\0\0\1", b"\0\0\2")
_TAIL = 64
# The end of a sequence or stream (H.264 units 10 and 11, HEVC's 36 and 37), which some muxers leave as it was before.
_ENDS = re.compile(rb"(?:\0*\0\0\x01(?:\x0a|\x0b|\x48\x01|\x4a\x01))*\0*\Z")


class PayloadCheck:
    """Looks at the packets of one stream for what cannot be in them.

    H.264 and HEVC keep the sequences 00 00 00 to 00 00 02 out of their units (H.264, 7.4.1; H.265, 7.4.2.1), so that a
    start code is nowhere else. In MP4 and Matroska each unit has its length before it, and may be followed by zeros.
    """

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self._is_hevc = codec == "hevc"
        self._has_no_holes = codec in ("vp8", "vp9")
        place = {"h264": 4, "hevc": 21}.get(codec)
        self._length_size: int | None = None  # None where start codes separate units (ISO/IEC 14496-15)
        if place is not None and extradata is not None and len(extradata) > place and extradata[0] == 1:
            self._length_size = (extradata[place] & 3) + 1

    @property
    def is_needed(self) -> bool:
        """False for streams that hold nothing to be told by."""
        return self._has_no_holes or self._length_size is not None

    def is_wrong(self, packet: bytes) -> bool:
        """True if no encoder can have written this."""
        if self._has_no_holes:
            return _HOLE in packet
        if self._length_size is None or packet.startswith(b"\0\0\0\1"):  # some write start codes for lengths after all
            return False
        at = 0
        while at + self._length_size < len(packet):
            stop = at + self._length_size + int.from_bytes(packet[at : at + self._length_size], "big")
            if stop > len(packet):
                return False  # the decoder says so
            unit = packet[at + self._length_size : stop]
            at = stop
            if not self._is_picture(unit):
                continue  # some encoders do not care about what they note beside the pictures
            if any(code in unit.rstrip(b"\0") for code in _NEVER) and any(
                code in unit[:-_TAIL] + _ENDS.sub(b"", unit[-_TAIL:]) for code in _NEVER
            ):
                return True
        return False

    def _is_picture(self, unit: bytes) -> bool:
        """True for a part of a picture (H.264, table 7-1; H.265, table 7-1)."""
        if not unit:
            return False
        return (unit[0] >> 1 & 63) < 32 if self._is_hevc else 1 <= unit[0] & 31 <= 5
