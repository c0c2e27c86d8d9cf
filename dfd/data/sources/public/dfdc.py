"""Source ``dfdc``: Deepfake Detection Challenge data (Dolhansky et al., 2020), https://ai.meta.com/datasets/dfdc."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dfd.base.errors import ManifestError
from dfd.base.types import Label
from dfd.data.sources.declared import read_rows
from dfd.data.sources.layout import METADATA_NAME
from dfd.data.sources.listing import NUM_EXAMPLES, Draft, Listing, contents, read_json
from dfd.data.sources.row import UNKNOWN, VideoRow, slug

DATASET = "dfdc"
MAX_DEPTH = 2
"""Depth below the root at which a part may lie; Kaggle's archives unpack to dfdc_train_part_00/dfdc_train_part_0/."""

LABELS_NAME = "labels.csv"
"""Labels of the owners' test set; columns ``filename`` and ``label``."""
TEST_LABELS = {"0": Label.REAL, "1": Label.FAKE}

NAME = re.compile(r"[\w.-]+\.mp4", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Entry:
    """Entry of the video ``name`` in the ``metadata.json`` of ``part``; ``original`` is empty if it names none."""

    part: Path
    name: str
    label: Label
    original: str

    @property
    def is_test(self) -> bool:
        """Whether it is of the owners' test set, whose fakes name no original."""
        return _list_of(self.part).name == LABELS_NAME


def dfdc(root: str | Path, *, parts_apart: bool = False) -> Listing:
    """List the videos of DFDC in ``root``: a part (videos and ``metadata.json``), or a folder of parts.

    A fake shares its source id with its original, whichever part that lies in; ``extra["original"]`` is the original's
    name, if it is present. The face's donor, the method and the people shown are not published. People recur within a
    part. The owners' test set, a folder with ``labels.csv``, makes the official split: it is ``test``, and the parts
    are ``train``; its fakes name no original. Without it, there is no official split.

    Args:
        root: the data set's folder.
        parts_apart: give all videos of a part a common source id, so that a split keeps each part on one side.

    Raises:
        ManifestError: ``root`` is not DFDC, a ``metadata.json`` is damaged, labels conflict (all are named), or a file
            occurs twice.
    """
    draft = Draft(root, "dfdc")
    parts = list(_find_parts(draft.root))
    if not parts:
        raise draft.not_this(f"there is no {METADATA_NAME} or {LABELS_NAME}, which tells the labels")
    _leave_out_rest(draft, draft.root, parts)
    metadata = {part: _read_metadata(part) for part in parts}
    entries = _check(draft, [entry for part in parts for entry in metadata[part]])
    files = {part: _files(draft, part, metadata[part]) for part in parts}
    has_test = any(entry.is_test for part in parts for entry in metadata[part])
    # Real videos come first, since a fake names its original only if that was taken.
    for entry, path in sorted(_choose(draft, entries, files), key=lambda chosen: chosen[0].label):
        name = draft.name(path)
        extra = draft.original(name, entry.original.lower()) if entry.original else {}
        if has_test:
            extra["official_split"] = "test" if entry.is_test else "train"
        sources = [f"{DATASET}:{PurePosixPath((entry.original or entry.name).lower()).stem}"]
        if parts_apart:
            sources.append(f"{DATASET}:part:{slug(os.path.basename(os.path.abspath(entry.part)))}")
        method = UNKNOWN if entry.label is Label.FAKE else ""
        row = VideoRow(path.absolute(), name, entry.label, DATASET, method, tuple(sources), extra=extra)
        draft.add(row, entry.name.lower())
    listing = draft.finish()
    if not parts_apart:
        draft.warn(
            "people recur within a part of DFDC and are not named, so a person may be on both sides of the split, "
            "which makes scores too good; source.parts_apart=true keeps each part on one side"
        )
    return listing


def _find_parts(folder: Path, depth: int = 0) -> Iterator[Path]:
    folders, files = contents(folder)
    if any(path.name in (METADATA_NAME, LABELS_NAME) for path in files):
        yield folder
    if depth < MAX_DEPTH:
        for each in folders:
            yield from _find_parts(each, depth + 1)


def _leave_out_rest(draft: Draft, folder: Path, parts: Sequence[Path]) -> None:
    """Leave out files beside the parts, and folders without any part."""
    folders, files = contents(folder)
    if folder not in parts:
        draft.leave_out_files(files, f"in no folder with a {METADATA_NAME}")
    for each in folders:
        if any(each == part or each in part.parents for part in parts):
            _leave_out_rest(draft, each, parts)
        else:
            num_videos = sum(path.suffix.lower() == ".mp4" for path in contents(each)[1])
            draft.leave_out_folders([each], f"no {METADATA_NAME} tells the labels of its {num_videos} videos")


def _read_metadata(part: Path) -> list[Entry]:
    """Entries of a part's ``metadata.json``, or of the ``labels.csv`` of the owners' test set.

    Raises:
        ManifestError: the file is damaged or malformed.
    """
    path = _list_of(part)
    if path.name == LABELS_NAME:
        rows = read_rows(path, "filename", "label")
        wrong = [str(row) for row in rows if not NAME.fullmatch(row["filename"]) or row["label"] not in TEST_LABELS]
        if wrong or not rows:
            form = "rows are 'name.mp4,0' (real) or 'name.mp4,1' (fake)"
            raise ManifestError(path, [f"{form}, but these are not:", *wrong[:NUM_EXAMPLES]])
        return [Entry(part, row["filename"], TEST_LABELS[row["label"]], "") for row in rows]
    value = read_json(path)
    form = '{"name.mp4": {"label": "FAKE" or "REAL", "original": "other.mp4" or null}, ...}'
    if not isinstance(value, dict) or not value:
        raise ManifestError(path, [f"it is not of the form {form}"])
    wrong = [f"{name!r}: {fields!r}" for name, fields in value.items() if not _is_entry(name, fields)]
    if wrong:
        more = [f"and {len(wrong) - NUM_EXAMPLES} more"] if len(wrong) > NUM_EXAMPLES else []
        raise ManifestError(path, [f"these entries are not of the form {form}:", *wrong[:NUM_EXAMPLES], *more])
    return [
        Entry(part, name, Label.parse(fields["label"]), fields.get("original") or "") for name, fields in value.items()
    ]


def _is_entry(name: str, fields: Any) -> bool:
    if not isinstance(fields, dict) or fields.get("label") not in ("FAKE", "REAL"):
        return False
    original = fields.get("original") or ""
    return isinstance(original, str) and all(NAME.fullmatch(each) for each in (name, original or name))


def _check(draft: Draft, entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Group the entries by video and check that they agree.

    Raises:
        ManifestError: labels contradict each other; the message names every such video.
    """
    by_key: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_key[entry.name.lower()].append(entry)
    for entry in entries:
        name = draft.name(entry.part / entry.name)
        first = by_key[entry.name.lower()][0]
        if entry.label is Label.REAL and entry.original:
            draft.problems.append(f"{name} is REAL and has an original, {entry.original}")
        if entry.label is Label.FAKE and not entry.original and not entry.is_test:
            draft.problems.append(f"{name} is FAKE and has no original")
        if (entry.label, entry.original.lower()) != (first.label, first.original.lower()):
            draft.problems.append(f"{name} is {_said(entry)}, and {draft.name(first.part / first.name)} {_said(first)}")
        if any(other.label is Label.FAKE for other in by_key.get(entry.original.lower(), [])):
            draft.problems.append(f"{name} has an original that is FAKE itself, {entry.original}")
    if draft.problems:
        raise ManifestError(draft.root, [f"{METADATA_NAME}: {problem}" for problem in draft.problems])
    return by_key


def _list_of(part: Path) -> Path:
    """File that tells the labels of a part."""
    metadata = part / METADATA_NAME
    return metadata if metadata.is_file() else part / LABELS_NAME


def _said(entry: Entry) -> str:
    return f"{entry.label.name} (original: {entry.original or 'none'})"


def _files(draft: Draft, part: Path, entries: Sequence[Entry]) -> dict[str, Path]:
    """Files of a part that its metadata lists; others are left out."""
    listed = {entry.name.lower() for entry in entries}
    found: dict[str, Path] = {}
    for path in contents(part)[1]:
        key = path.name.lower()
        if key in found:
            draft.leave_out(draft.name(path), "duplicate", f"{found[key].name} is present as well")
        elif key in listed:
            found[key] = path
        elif path != _list_of(part):
            draft.leave_out_files([path], f"{draft.name(_list_of(part))} does not list it")
    return found


def _choose(
    draft: Draft, entries: Mapping[str, Sequence[Entry]], files: Mapping[Path, Mapping[str, Path]]
) -> Iterator[tuple[Entry, Path]]:
    """Yield each video once, from the first part that has its file; duplicates and missing files are left out."""
    for key, same in entries.items():
        there = next((entry for entry in same if key in files[entry.part]), None)
        for entry in same:
            name = draft.name(entry.part / entry.name)
            if there is None:
                listed_in = draft.name(_list_of(entry.part))
                draft.leave_out(name, "missing_file", f"{listed_in} lists it, but it is missing")
            elif entry is not there:
                draft.leave_out(name, "duplicate", f"the same video as {draft.name(files[there.part][key])}")
        if there is not None:
            yield there, files[there.part][key]
