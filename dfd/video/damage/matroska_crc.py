"""Checksums of Matroska files: FFmpeg writes one into each cluster of frames, but does not verify them.

Source: RFC 8794 (EBML), 11.3.1: a CRC-32 element comes first in its parent and covers everything after it.
"""

import os
import zlib
from pathlib import Path
from typing import BinaryIO

_EBML, _SEGMENT, _CRC = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\xbf\x84"
_AT_ONCE = 2**20
_MAX_ELEMENTS = 1_000_000


def num_wrong_checksums(path: Path) -> int:
    """Number of parts of a Matroska file that do not match their checksum; 0 without checksums or in other formats.

    Raises:
        OSError: when the file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(4) != _EBML:
            return 0
        length = _number(file)
        if length is None:
            return 0
        file.seek(length, os.SEEK_CUR)
        if file.read(4) != _SEGMENT or _number(file) is None:
            return 0
        wrong = 0
        for _ in range(_MAX_ELEMENTS):
            if not _identifier(file) or (length := _number(file)) is None:
                return wrong
            start = file.tell()
            if start + length > size:
                return wrong  # a truncated file is reported by the reader
            if length > 6 and file.read(2) == _CRC:
                wrong += int.from_bytes(file.read(4), "little") != _crc(file, length - 6)
            file.seek(start + length)
        return wrong


def _crc(file: BinaryIO, num_bytes: int) -> int:
    value = 0
    while num_bytes > 0 and (part := file.read(min(num_bytes, _AT_ONCE))):
        value = zlib.crc32(part, value)
        num_bytes -= len(part)
    return value


def _identifier(file: BinaryIO) -> bytes:
    first = file.read(1)
    if not first or first[0] < 0x10:
        return b""
    return first + file.read(8 - first[0].bit_length())


def _number(file: BinaryIO) -> int | None:
    """Length of an element; None at the end of the file, or for an element of unknown length (a live stream)."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    extra = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0x7F >> extra)]) + file.read(extra), "big")
    return None if value == (1 << 7 * (extra + 1)) - 1 else value
