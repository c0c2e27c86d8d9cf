"""Check whether all pictures of a GIF were stored whole: FFmpeg draws damaged LZW data without an error.

Each picture must decode to exactly as many pixels as it has. A flipped bit changes a code, and with it the length of
the sequence for that code and for the codes derived from it. Source: GIF89a specification, sections 20 to 22 and
appendix F.
"""

from pathlib import Path

_MAX_BYTES = 16 * 2**20
"""Larger files are not checked: the check takes about half a second per MB."""
_TABLE = 4096


def num_wrong_pictures(path: Path) -> int:
    """Number of pictures with a wrong pixel count; 0 for other formats and for files above 16 MiB.

    Raises:
        OSError: when the file cannot be read.
    """
    with path.open("rb") as file:
        if file.read(6) not in (b"GIF87a", b"GIF89a") or path.stat().st_size > _MAX_BYTES:
            return 0
        data = file.read()
    at = 7 + _colours(data[4])
    wrong = 0
    while at < len(data):
        if data[at] == 0x2C:  # a picture
            head = data[at + 1 : at + 10]
            if len(head) < 9:
                return wrong
            num_pixels = int.from_bytes(head[4:6], "little") * int.from_bytes(head[6:8], "little")
            at += 10 + _colours(head[8])
            codes, at = _blocks(data, at + 1), at
            wrong += _num_pixels(codes[0], data[at] if at < len(data) else 0, num_pixels) != num_pixels
            at = codes[1]
        elif data[at] == 0x21:  # an extension
            at = _blocks(data, at + 2)[1]
        elif data[at] == 0x3B:  # the end
            return wrong
        else:
            return wrong + 1
    return wrong  # a truncated file is reported by the reader


def _colours(flags: int) -> int:
    """Size of a colour table in bytes."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _blocks(data: bytes, at: int) -> tuple[bytes, int]:
    """Content of the sub-blocks, and the position after them."""
    parts = []
    while at < len(data) and data[at]:
        parts.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    return b"".join(parts), at + 1


def _num_pixels(codes: bytes, min_bits: int, most: int) -> int:
    """Number of pixels that LZW codes decode to: counting stops above ``most``; -1 for an invalid code."""
    if not 1 <= min_bits <= 11:
        return -1
    clear, end = 1 << min_bits, (1 << min_bits) + 1
    lengths = [1] * clear + [0, 0]
    bits = min_bits + 1
    width = (1 << bits) - 1
    held = num_held = total = 0
    before = 0  # length of the previous code's sequence
    for byte in codes:
        held |= byte << num_held
        num_held += 8
        while num_held >= bits:
            code = held & width
            held >>= bits
            num_held -= bits
            if code == clear:
                del lengths[end + 1 :]
                bits = min_bits + 1
                width = (1 << bits) - 1
                before = 0
                continue
            if code == end:
                return total
            known = len(lengths)
            if code < known:
                length = lengths[code]
            elif code == known and before:
                length = before + 1
            else:
                return -1
            if before and known < _TABLE:
                lengths.append(before + 1)
                if known + 1 > width and bits < 12:
                    bits += 1
                    width = (1 << bits) - 1
            before = length
            total += length
            if total > most:
                return total
    return total
