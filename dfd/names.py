"""Files by the names that people and programs write down: quoted, with back-slashes, or composed in another way."""

import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

NOTHING_KNOWN = frozenset(("", "nan", "none", "null", "unknown"))
"""What programs write into a cell where nothing is known, in small letters."""


def is_known(cell: str) -> bool:
    """Whether a cell of a table says something.

    >>> is_known("p7"), is_known(" NaN "), is_known("None")
    (True, False, False)
    """
    return cell.strip().lower() not in NOTHING_KNOWN


def file_named(text: str, folder: Path) -> Path | None:
    """The file that ``text`` means, relative to ``folder``; None if there is none of that name.

    A name is first taken as it stands, for a file's name may hold any sign; then without blanks around it, without
    quotes, without a comment, and with ``/`` for back-slashes. Accents may be composed otherwise than on the disk.
    """
    for spelling in spellings(text):
        path = folder / os.path.expanduser(spelling)
        try:
            if path.is_file():
                return path
            if not spelling.isascii() and (path := _composed_otherwise(path)).is_file():
                return path
        except (OSError, ValueError):  # too long a name, a zero byte
            continue
    return None


def spellings(text: str) -> Iterator[str]:
    r"""What ``text`` may stand for, likeliest last.

    >>> list(spellings('"clips\\a.mp4"  # Anna'))[-1]
    'clips/a.mp4'
    """
    found = [text, text.strip()]
    plain = re.sub(r"(?<=\S)\s+#.*", "", text.strip())
    found += [plain, _unquoted(plain), _unquoted(plain).replace("\\", "/")]
    yield from (spelling for spelling in dict.fromkeys(found) if spelling)


def _unquoted(text: str) -> str:
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _composed_otherwise(path: Path) -> Path:
    """``path`` with each part as its folder spells it: an accent is one sign or two, by the system."""
    found = Path(path.anchor)
    for part in path.parts[1:] if path.anchor else path.parts:
        if not os.path.lexists(found / part) and not part.isascii():
            alike = unicodedata.normalize("NFC", part)
            try:
                names = os.listdir(found)
            except OSError:
                return path
            part = next((name for name in names if unicodedata.normalize("NFC", name) == alike), part)
        found /= part
    return found
