"""Joining of videos with the same content before the split, so that they get one label and one side.

Equal files are found without decoding; only files of the same size are read. Copies found by an earlier preparation are
in the store's table of copies.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dfd.base.errors import ManifestError, SplitLeak
from dfd.base.files import file_sha256
from dfd.base.types import Label
from dfd.data.copies.compare import NEAR, PICTURES
from dfd.data.sources.row import VideoRow
from dfd.data.splits.people import SPLITS, _listed
from dfd.data.store.folders import file_size, read_record, video_folder
from dfd.data.store.records import PLAN_NAME, SPLITS_NAME, VideoRecord
from dfd.data.store.tables import read_copies

_hash = lru_cache(maxsize=None)(lambda path, size, modified: file_sha256(path))
"""Cached hash of a file, as planning and preparing both need it. Size and time detect a file that was replaced."""


@dataclass(frozen=True, slots=True)
class SameContent:
    """Groups of videos with equal content, and pairs of near copies (used for new splits), by id."""

    equal: list[list[str]]
    near: list[tuple[str, str]]

    def source_ids(self, names: Mapping[str, str], *, with_near: bool) -> dict[str, tuple[str, ...]]:
        """Additional source ids that tie each video to its copies, so that a split keeps them together."""
        added: dict[str, tuple[str, ...]] = {}
        for group in [*self.equal, *(self.near if with_near else [])]:
            for video_id in group:
                added[video_id] = (*added.get(video_id, ()), f"the content of {names[group[0]]}")
        return added

    def refuse_divided(self, store: Path, sides: Mapping[str, str], names: Mapping[str, str]) -> None:
        """Refuse ``sides`` (the split of each video, or "") that separate equal videos.

        Raises:
            SplitLeak: equal videos are separated; the message names them and says what to do.
        """
        divided = []
        for group in self.equal:
            first: dict[str, str] = {}
            for video_id in group:
                first.setdefault(sides.get(video_id, ""), video_id)
            places = [f"{names[first[split]]!r} is in {split}" for split in SPLITS if split in first]
            if len(places) > 1:
                divided.append(" and ".join(places))
        if divided:
            headline = (
                f"{store}: videos of equal content are in two splits; leave one of them out, or, if their splits were "
                f"not given but drawn before, delete {SPLITS_NAME} and {PLAN_NAME} there (the clips stay) and run this "
                "again"
            )
            raise SplitLeak(_listed(headline, sorted(divided)))


def find_same_content(store: Path, rows: Sequence[VideoRow], earlier: Sequence[VideoRecord]) -> SameContent:
    """Find videos with the same content among the rows and the ``earlier`` records of other videos in the store.

    Raises:
        ManifestError: equal files have two labels.
    """
    equal = _equal_files(rows, earlier)
    known = {record.video_id for record in earlier} | {row.video_id for row in rows}
    by_id = {row.video_id: row for row in rows}
    near = []
    for copy in read_copies(store):
        pair = (copy.video_id, copy.copy_id)
        # A file may have been replaced since the table was written.
        if set(pair) <= known and all(_is_as_prepared(store, by_id.get(video_id)) for video_id in pair):
            if copy.kind == NEAR:
                near.append(pair)
            elif copy.kind == PICTURES:
                equal.append([*pair])
    return SameContent(equal, near)


def _equal_files(rows: Iterable[VideoRow], earlier: Iterable[VideoRecord]) -> list[list[str]]:
    """Groups of ids of videos whose files are equal, except empty files, which are not videos.

    Raises:
        ManifestError: equal files have two labels; the message names all of them.
    """
    by_size: dict[int, list[VideoRow | VideoRecord]] = defaultdict(list)
    for record in earlier:
        by_size[record.size_bytes].append(record)
    for row in rows:
        by_size[file_size(row.path)].append(row)
    groups: dict[str, list[VideoRow | VideoRecord]] = defaultdict(list)
    for size, videos in by_size.items():
        if size and len(videos) > 1 and any(isinstance(video, VideoRow) for video in videos):
            for video in videos:
                digest = video.sha256 if isinstance(video, VideoRecord) else _file_hash(video.path)
                if digest:
                    groups[digest].append(video)
    problems = []
    for videos in groups.values():
        first: dict[Label, VideoRow | VideoRecord] = {}
        for video in videos:
            first.setdefault(video.label, video)
        if len(first) > 1:
            real, fake = _place(first[Label.REAL]), _place(first[Label.FAKE])
            problems.append(f"{real} is real and {fake} is fake, and both are the same file, byte for byte")
    if problems:
        raise ManifestError("equal videos under two labels; leave the wrong one of each pair out", sorted(problems))
    return [[video.video_id for video in videos] for videos in groups.values() if len(videos) > 1]


def _file_hash(path: Path) -> str:
    """Hash of a file; empty if it cannot be read, which the preparation will report."""
    try:
        status = path.stat()
        return _hash(path, status.st_size, status.st_mtime_ns)
    except OSError:
        return ""


def _is_as_prepared(store: Path, row: VideoRow | None) -> bool:
    if row is None:
        return True
    record = read_record(video_folder(store, row))
    return record is not None and record.size_bytes == file_size(row.path)


def _place(video: VideoRow | VideoRecord) -> str:
    if isinstance(video, VideoRow):
        return str(video.path)
    return f"{video.name} (in the store already, as {video_folder('', video)})"
