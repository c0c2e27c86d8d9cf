"""Source ``celebdf``: Celeb-DF v1, v2 and Celeb-DF++.

Celeb-DF v1 and v2: Li et al., CVPR 2020, https://github.com/yuezunli/celeb-deepfakeforensics. Celeb-DF++: Li et al.,
2025, https://github.com/OUC-VAS/Celeb-DF-PP, with a folder of fakes for each method.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from dfd.base.errors import ManifestError
from dfd.base.types import Label
from dfd.data.sources.layout import CELEBDF_FOLDERS
from dfd.data.sources.listing import Draft, Listing, contents, read_text
from dfd.data.sources.row import VideoRow

DATASET = "celebdf"
TEST_LIST = "List_of_testing_videos.txt"
REAL, SYNTHESIS, YOUTUBE = CELEBDF_FOLDERS
LABELS = {REAL: Label.REAL, SYNTHESIS: Label.FAKE, YOUTUBE: Label.REAL}
LIST_LABELS = {"1": Label.REAL, "0": Label.FAKE}
"""Meaning of the numbers in the owners' list, where 1 is real."""

PATTERNS = {
    REAL: re.compile(r"(?P<target>id[0-9]+)_(?P<number>[0-9]+)\.mp4", re.IGNORECASE | re.ASCII),
    # The owners write: in aa_bb_cc.mp4, aa is the person in the original video and bb the one whose face is added.
    SYNTHESIS: re.compile(
        r"(?P<target>id[0-9]+)_(?P<donor>id[0-9]+)_(?P<number>[0-9]+)\.mp4", re.IGNORECASE | re.ASCII
    ),
    YOUTUBE: re.compile(r"(?P<number>[0-9]+)\.mp4", re.IGNORECASE | re.ASCII),
}
NESTED = re.compile(r"[^/]*[0-9]+[^/]*\.mp4", re.IGNORECASE | re.ASCII)
"""File name of a fake in Celeb-DF++; its meaning differs by method."""
EXAMPLES = {REAL: "id0_0000.mp4", SYNTHESIS: "id0_id1_0000.mp4", YOUTUBE: "00000.mp4"}


def celebdf(root: str | Path) -> Listing:
    """List the videos of Celeb-DF in ``root``: ``Celeb-real``, ``Celeb-synthesis`` and ``YouTube-real``.

    In Celeb-DF++, ``Celeb-synthesis/FaceSwap/SimSwap`` gives the method ``SimSwap`` and the ``extra["scenario"]``
    ``FaceSwap``; its people are those of Celeb-DF v2, under the same ids.
    The sources of a fake are the two people in its name; a video of ``YouTube-real`` is its own source, since its
    people are not named. ``extra["original"]`` is the name of the video a fake was made from, if that is present.
    ``extra["official_split"]`` is ``test`` for videos in ``List_of_testing_videos.txt`` and ``train`` for the rest;
    without the list there is none. Some people are on both sides of the list.

    Raises:
        ManifestError: ``root`` is not Celeb-DF, the list is damaged or contradicts a folder, or a file occurs twice.
    """
    draft = Draft(root, "celebdf")
    folders, files = contents(draft.root)
    present = [folder for folder in folders if folder.name in LABELS]
    if not present:
        raise draft.not_this("it is not Celeb-DF")
    draft.leave_out_folders((folder for folder in folders if folder.name not in LABELS), "not a part of Celeb-DF")
    draft.leave_out_files((path for path in files if path.name != TEST_LIST), "not a file of Celeb-DF")
    draft.warn_of("missing parts", (f"{name}/" for name in set(LABELS) - {folder.name for folder in present}))
    listed = _read_test_list(draft)  # names are compared in small letters: their case depends on the file system
    taken = set()
    for folder in sorted(present, key=lambda each: CELEBDF_FOLDERS.index(each.name)):
        label = LABELS[folder.name]
        for path, groups, method, extra in _videos(draft, folder):
            name = draft.name(path)
            key = name.lower()
            if listed is not None:
                extra["official_split"] = "test" if key in listed else "train"
            if label is Label.FAKE:
                extra |= draft.original(name, f"{REAL}/{groups.get('target')}_{groups['number']}.mp4".lower())
            people = [groups[role].lower() for role in ("target", "donor") if role in groups]
            sources = [f"{DATASET}:{person}" for person in people] or [f"{DATASET}:youtube:{groups['number']}"]
            # A name may state the same person twice; an id counts once.
            sources = list(dict.fromkeys(sources))
            if draft.add(VideoRow(path.absolute(), name, label, DATASET, method, tuple(sources), extra=extra), key):
                taken.add(key)
    reported = {item.name.lower() for item in draft.left_out}
    for key in sorted(set(listed or {}) - taken - reported):
        draft.leave_out((listed or {})[key], "missing_file", f"{TEST_LIST} lists it, but it is missing")
    return draft.finish()


def _videos(draft: Draft, folder: Path) -> Iterator[tuple[Path, dict[str, str], str, dict[str, str]]]:
    """Each video of a part, with the fields of its name, its method and extra columns."""
    nested = contents(folder)[0] if folder.name == SYNTHESIS else []
    if not nested:
        method = SYNTHESIS if folder.name == SYNTHESIS else ""
        for path, match in draft.videos(folder, PATTERNS[folder.name], EXAMPLES[folder.name]):
            yield path, match.groupdict(), method, {}
        return
    draft.leave_out_files(contents(folder)[1], f"{SYNTHESIS}/ holds folders")
    for scenario in nested:
        methods, beside = contents(scenario)
        draft.leave_out_files(beside, f"{scenario.name}/ holds folders")
        for each in methods:
            for path, _ in draft.videos(each, NESTED, "id0_id1_0000.mp4"):
                if groups := _of_nested(path.stem.lower()):
                    yield path, groups, each.name, {"scenario": scenario.name}
                else:
                    draft.leave_out_files([path], "not named like id0_id1_0000.mp4")


def _of_nested(stem: str) -> dict[str, str]:
    """People and video number in the name of a fake; empty if it has neither.

    >>> _of_nested("id0_id16_0003"), _of_nested("id3_0005_id7_0001")["donor"], _of_nested("00170_0")
    ({'number': '0003', 'target': 'id0', 'donor': 'id16'}, 'id7', {'number': '00170'})
    """
    people = dict(zip(("target", "donor"), dict.fromkeys(re.findall(r"id[0-9]+", stem)), strict=False))
    numbers = re.findall(r"(?<![a-z0-9])[0-9]{4,}", stem)
    return {"number": numbers[0] if numbers else "", **people} if numbers or people else {}


def _is_of(part: str, name: str) -> bool:
    is_nested = part == SYNTHESIS and "/" in name and NESTED.fullmatch(name.rpartition("/")[2])
    return bool(PATTERNS[part].fullmatch(name) or is_nested)


def _read_test_list(draft: Draft) -> dict[str, str] | None:
    """Test videos of the owners' list, by key; None without a list.

    Raises:
        ManifestError: a line is malformed, or its label is not that of the folder.
    """
    path = draft.root / TEST_LIST
    if not os.path.lexists(path):
        draft.warn(f"{TEST_LIST} is missing, so its official split is not known; it comes with the data set")
        return None
    listed: dict[str, str] = {}
    problems = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        sign, _, name = line.strip().partition(" ")
        name = name.strip().replace("\\", "/")
        part = name.partition("/")[0]
        if sign not in LIST_LABELS or part not in LABELS or not _is_of(part, name.partition("/")[2]):
            problems.append(
                f"line {number}: {line.strip()!r} is not of the form '1 {YOUTUBE}/00170.mp4' (1 real, 0 fake)"
            )
        elif LIST_LABELS[sign] is not LABELS[part]:
            problems.append(
                f"line {number}: {name} is {LIST_LABELS[sign]} ({sign}), and {part}/ holds {LABELS[part]} videos"
            )
        listed[name.lower()] = name
    if not listed:
        problems.append("it lists no video")
    if problems:
        raise ManifestError(path, problems)
    return listed
