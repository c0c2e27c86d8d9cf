"""Row of a manifest: one labelled video."""

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from dfd.base.types import Label

UNKNOWN = "unknown"
"""Data set of a row without one, and method of a fake without one."""


@dataclass(frozen=True, slots=True)
class VideoRow:
    """One labelled video.

    ``path`` is absolute; ``name`` is the path in the manifest, with ``/`` between folders, and stays the same when the
    data set moves. ``source_ids`` is never empty: a video with unknown sources is its own source (its ``name``).
    ``split`` is empty if :func:`dfd.data.splits.assign.assign_splits` is to choose it. ``line`` is the row's line in
    the manifest, or 0.
    """

    path: Path
    name: str
    label: Label
    dataset: str = UNKNOWN
    method: str = ""
    source_ids: tuple[str, ...] = ()
    split: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)
    line: int = 0

    def __post_init__(self) -> None:
        if not self.source_ids:
            object.__setattr__(self, "source_ids", (self.name,))

    @property
    def video_id(self) -> str:
        """Readable, unique name that is safe for a folder; contains only ``a-z A-Z 0-9 . _ -``.

        >>> VideoRow(Path("/d/fakes/01 é.mp4"), "fakes/01 é.mp4", Label.FAKE).video_id
        '01_e-6986a609'
        """
        # Hashed with the data set, since two data sets in one store may both have a real/000.mp4.
        digest = hashlib.sha1(f"{self.dataset}\0{self.name}".encode("utf-8", "surrogateescape")).hexdigest()
        return f"{slug(PurePosixPath(self.name).stem)}-{digest[:8]}"


def slug(text: str, *, max_len: int = 48) -> str:
    """Readable file name for any ``text``; different texts may share one.

    >>> slug("Ünder/score: 1"), slug("-rf .."), slug("日本")
    ('Under_score_1', 'rf', 'x')
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "_", plain).strip("._- ")[:max_len].rstrip("._-") or "x"
