"""Reads the boxes of an MP4 or QuickTime file before FFmpeg trusts them: sample counts and encryption.

Source: ISO/IEC 14496-12 (boxes, sample tables), ISO/IEC 23001-7 (common encryption).
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_PARENTS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl"})
# Tables and the bytes per entry; the number of entries follows version and flags.
_TABLES = {b"stts": 8, b"ctts": 8, b"stss": 4, b"stsc": 12, b"stco": 4, b"co64": 8}
_MAX_BOXES = 10_000
_MAX_DEPTH = 8


@dataclass(frozen=True, slots=True)
class BoxFacts:
    """Facts from the boxes: ``problem``, a claim that cannot be true, and ``encryption``, its scheme; None if none."""

    problem: str | None = None
    encryption: str | None = None


def read_boxes(path: Path) -> BoxFacts:
    """Facts of an MP4 or QuickTime file, empty for other formats; reads a few kilobytes, whatever the file claims.

    Raises:
        OSError: when the file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(8)[4:] not in (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip"):
            return BoxFacts()
        encryption = None
        for kind, start, end in _boxes(file, 0, size):
            file.seek(start)
            if kind in _TABLES:
                count = int.from_bytes(file.read(8)[4:], "big")
                if count * _TABLES[kind] > end - start:
                    return BoxFacts(f"its {kind.decode()} table claims {count} entries and has no room for them")
            elif kind == b"stsz":
                _, each, count = (int.from_bytes(file.read(4), "big") for _ in range(3))
                # Samples of equal size are stored as a count only; a truncated file may hold few of them.
                if count > 16 * size if each else count * 4 > end - start:
                    return BoxFacts(f"it claims {count} samples, more than fit in a file of {size} bytes")
            elif kind == b"stsd":
                entry = file.read(4096)
                if b"encv" in entry[:256]:
                    place = entry.find(b"schm")
                    scheme = entry[place + 8 : place + 12] if place >= 0 else b""
                    encryption = scheme.decode("ascii", "replace") if scheme.isalnum() else "scheme unknown"
        return BoxFacts(encryption=encryption)


def _boxes(file: BinaryIO, start: int, end: int, depth: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of the content of the boxes in ``[start, end)``, including those in known parents."""
    for _ in range(_MAX_BOXES):
        if end - start < 8:
            return
        file.seek(start)
        head = file.read(16)
        length, kind, content = int.from_bytes(head[:4], "big"), head[4:8], start + 8
        if length == 1:
            length, content = int.from_bytes(head[8:16], "big"), start + 16
        stop = end if length == 0 else start + length
        if stop < content or stop > end:
            return  # truncated, or not a box: FFmpeg finds out what can be read
        if kind in _PARENTS and depth < _MAX_DEPTH:
            yield from _boxes(file, content, stop, depth + 1)
        else:
            yield kind, content, stop
        start = stop
