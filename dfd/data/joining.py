"""Videos of the same content, before they are divided: one label, and one side of the split.

Equal files are found before anything is decoded: only files of the same size are read. What is known from an earlier
preparation is in the store's table of copies.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dfd.data.copies import NEAR, PICTURES
from dfd.data.manifest import VideoRow
from dfd.data.splits import MAX_NAMED, SPLITS
from dfd.data.store import PLAN_NAME, SPLITS_NAME, VideoRecord, file_size, read_copies, read_record, video_folder
from dfd.errors import ManifestError, SplitLeak
from dfd.types import Label
from dfd.weights import file_sha256

_hash = lru_cache(maxsize=None)(lambda path, size, modified: file_sha256(path))
"""By size and time too: planning and preparing both ask, and a file may be replaced between two runs of a process."""


@dataclass(frozen=True, slots=True)
class SameContent:
    """Groups of videos with equal content, by id; and pairs of near copies, for a division that is made anew."""

    equal: list[list[str]]
    near: list[tuple[str, str]]

    def source_ids(self, names: Mapping[str, str], *, with_near: bool) -> dict[str, tuple[str, ...]]:
        """What ties each such video to its copies, to be added to its source ids: a division keeps these together."""
        added: dict[str, tuple[str, ...]] = {}
        for group in [*self.equal, *(self.near if with_near else [])]:
            for video_id in group:
                added[video_id] = (*added.get(video_id, ()), f"the content of {names[group[0]]}")
        return added

    def refuse_divided(self, store: Path, sides: Mapping[str, str], names: Mapping[str, str]) -> None:
        """Refuse ``sides``, a split for each video or "", that divide equal videos.

        Raises:
            SplitLeak: naming the videos and what to do.
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
            more = [f"and {len(divided) - MAX_NAMED} more"] if len(divided) > MAX_NAMED else []
            headline = (
                f"{store}: videos of equal content are in two splits; leave one of them out, or, if their splits were "
                f"not given but drawn before, delete {SPLITS_NAME} and {PLAN_NAME} there (the clips stay) and run this "
                "again"
            )
            raise SplitLeak("\n  ".join([f"{headline}:", *sorted(divided)[:MAX_NAMED], *more]))


def find_same_content(store: Path, rows: Sequence[VideoRow], earlier: Sequence[VideoRecord]) -> SameContent:
    """Which of the rows, and of the ``earlier`` records of other videos in the store, have the same content.

    Raises:
        ManifestError: equal files have two labels.
    """
    equal = _equal_files(rows, earlier)
    known = {record.video_id for record in earlier} | {row.video_id for row in rows}
    by_id = {row.video_id: row for row in rows}
    near = []
    for copy in read_copies(store):
        pair = (copy.video_id, copy.copy_id)
        # A file may have been replaced since.
        if set(pair) <= known and all(_is_as_prepared(store, by_id.get(video_id)) for video_id in pair):
            if copy.kind == NEAR:
                near.append(pair)
            elif copy.kind == PICTURES:
                equal.append([*pair])
    return SameContent(equal, near)


def _equal_files(rows: Iterable[VideoRow], earlier: Iterable[VideoRecord]) -> list[list[str]]:
    """Ids of videos whose files are equal; empty files, which are no videos, apart.

    Raises:
        ManifestError: naming all that have two labels.
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
    """Empty if it cannot be read: the preparation will say so."""
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
