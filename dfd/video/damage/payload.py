"""Byte sequences that an encoder never writes: signs of holes in a file, or of overwritten parts."""

import re

_HOLE = bytes(32)
"""An arithmetic coder never writes this many zeros in a row."""

_NEVER = (b"\0\0\0", b"\0\0\1", b"\0\0\2")
_TAIL = 64
# End of a sequence or stream (H.264 units 10 and 11, HEVC 36 and 37), which some muxers copy without changing it.
_ENDS = re.compile(rb"(?:\0*\0\0\x01(?:\x0a|\x0b|\x48\x01|\x4a\x01))*\0*\Z")


class PayloadCheck:
    """Looks in the packets of one stream for bytes that cannot occur there.

    H.264 and HEVC keep the sequences 00 00 00 to 00 00 02 out of their units (H.264, 7.4.1; H.265, 7.4.2.1), so that
    start codes are unambiguous. In MP4 and Matroska each unit follows its length, and may be padded with zeros.
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
        """Whether damage can be recognised in this stream at all."""
        return self._has_no_holes or self._length_size is not None

    def is_wrong(self, packet: bytes) -> bool:
        """Whether no encoder can have written this packet."""
        if self._has_no_holes:
            return _HOLE in packet
        if self._length_size is None or packet.startswith(b"\0\0\0\1"):  # some muxers write start codes regardless
            return False
        at = 0
        while at + self._length_size < len(packet):
            stop = at + self._length_size + int.from_bytes(packet[at : at + self._length_size], "big")
            if stop > len(packet):
                return False  # the decoder reports this
            unit = packet[at + self._length_size : stop]
            at = stop
            if not self._is_picture(unit):
                continue  # some encoders ignore the rule in units that hold no picture
            if any(code in unit.rstrip(b"\0") for code in _NEVER) and any(
                code in unit[:-_TAIL] + _ENDS.sub(b"", unit[-_TAIL:]) for code in _NEVER
            ):
                return True
        return False

    def _is_picture(self, unit: bytes) -> bool:
        """Whether the unit is part of a picture (H.264, table 7-1; H.265, table 7-1)."""
        if not unit:
            return False
        return (unit[0] >> 1 & 63) < 32 if self._is_hevc else 1 <= unit[0] & 31 <= 5
