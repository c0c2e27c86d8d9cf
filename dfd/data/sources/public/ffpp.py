"""Source ``ffpp``: FaceForensics++ (Rössler et al., ICCV 2019) and Google's DeepFakeDetection, which comes with it.

The folders are those made by the download script of https://github.com/ondyari/FaceForensics; its ``dataset/splits``
holds the official lists.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dfd.base.errors import ConfigError, ManifestError
from dfd.base.types import Label
from dfd.base.words import nearest
from dfd.data.sources.layout import FFPP_COPY_ORIGINALS, FFPP_FOLDERS, is_ffpp_copy
from dfd.data.sources.listing import Draft, Listing, contents, read_json
from dfd.data.sources.public.copies import is_ffpp_mixed, list_ffpp_mixed
from dfd.data.sources.row import VideoRow
from dfd.data.splits.people import SPLITS

FFPP, DFD = "ffpp", "dfd"
ORIGINALS, MANIPULATED = FFPP_FOLDERS
COMPRESSIONS = {"raw": ("raw", "c0"), "c23": ("c23",), "c40": ("c40",)}
"""Folder names of each compression; ``c0`` is the old name of ``raw``."""

LIST_PLACES = (".", "splits", "dataset/splits")
LIST_NAMES = tuple(f"{split}.json" for split in SPLITS)
COPY_COMPRESSION = "c23"
OTHER_FOLDERS = {*FFPP_FOLDERS, "downloaded_videos", "downloaded_videos_info", "splits", "dataset"}
"""Folders that the owners' script and repository put into the root."""


@dataclass(frozen=True, slots=True)
class Part:
    """Videos of one folder; ``method`` is empty for originals, ``pattern`` and ``example`` describe file names."""

    folder: str
    dataset: str
    method: str
    pattern: re.Pattern[str]
    example: str


def _part(folder: str, dataset: str, pattern: str, example: str) -> Part:
    method = folder.partition("/")[2] if folder.startswith(MANIPULATED) else ""
    return Part(folder, dataset, method, re.compile(rf"{pattern}\.mp4", re.IGNORECASE | re.ASCII), example)


# A fake is named after the altered video (the target), followed by the one whose face or motion is used (the donor).
PARTS = (
    _part(f"{ORIGINALS}/youtube", FFPP, "(?P<target>[0-9]{3})", "000.mp4"),
    _part(f"{ORIGINALS}/actors", DFD, r"(?P<target>[0-9]{2})__(?P<scene>\w+)", "01__exit_phone_room.mp4"),
    *(
        _part(f"{MANIPULATED}/{method}", FFPP, "(?P<target>[0-9]{3})_(?P<donor>[0-9]{3})", "000_003.mp4")
        for method in ("Deepfakes", "Face2Face", "FaceSwap", "FaceShifter", "NeuralTextures")
    ),
    _part(
        f"{MANIPULATED}/DeepFakeDetection",
        DFD,
        r"(?P<target>[0-9]{2})_(?P<donor>[0-9]{2})__(?P<scene>\w+)__(?P<code>[A-Z0-9]+)",
        "01_02__exit_phone_room__YVGY8LOK.mp4",
    ),
)
METHODS = tuple(part.method for part in PARTS if part.method)


def facts_of_copy(name: str) -> tuple[str, str, tuple[str, ...]] | None:
    """Data set, method and source ids of a video in the copy on Kaggle; None if the name is not of FaceForensics++.

    >>> facts_of_copy("DeepFakeDetection/01_02__exit_phone_room__YVGY8LOK.mp4")
    ('dfd', 'DeepFakeDetection', ('dfd:01', 'dfd:02'))
    >>> facts_of_copy("original/000.mp4")
    ('ffpp', '', ('ffpp:000',))
    """
    path = PurePosixPath(name.replace("\\", "/"))
    for part in PARTS:
        match = part.pattern.fullmatch(path.name)
        if match and path.parent.name.lower() == _copy_folder(part):
            return part.dataset, part.method, _sources(part, match)
    return None


def _copy_folder(part: Part) -> str:
    """Lower-case folder name in the copy on Kaggle, which lacks the actors of DeepFakeDetection."""
    return part.method.lower() or (FFPP_COPY_ORIGINALS if part.dataset == FFPP else "")


def _sources(part: Part, match: re.Match[str]) -> tuple[str, ...]:
    groups = match.groupdict()
    people = [groups[role].lower() for role in ("target", "donor") if role in groups]
    return tuple(dict.fromkeys(f"{part.dataset}:{person}" for person in people))


def ffpp(root: str | Path, *, compression: str = "c23", methods: Sequence[str] | None = None) -> Listing:
    """List the videos of FaceForensics++ in ``root``, which holds ``original_sequences`` and ``manipulated_sequences``.

    Copies on Kaggle are read, too: ``original``, ``Deepfakes``, ... in the root (c23 only), or ``real`` and ``fake``.
    Only ``videos`` folders are read, not masks, models or extracted images. The sources of a fake are the two videos
    (in DeepFakeDetection: the two actors) in its name. DeepFakeDetection and its actors form the data set ``dfd``, the
    rest is ``ffpp``. ``extra["original"]`` is the name of the video a fake was made from, if that is present.
    ``extra["official_split"]`` comes from ``train.json``, ``val.json`` and ``test.json`` in the root, in ``splits`` or
    in ``dataset/splits``; they do not cover ``dfd``.

    Args:
        root: the data set's folder.
        compression: ``raw``, ``c23`` or ``c40``.
        methods: fakes to take, with the originals of their data set; None takes everything.

    Raises:
        ConfigError: the compression or a method is unknown.
        ManifestError: ``root`` is not FaceForensics++ or has no videos of this compression, a requested method is
            missing, the lists are damaged or contradictory, or a file occurs twice.
    """
    draft = Draft(root, "ffpp")
    wanted = _wanted(compression, methods)
    if is_ffpp_mixed(draft.root):
        return list_ffpp_mixed(draft, _read_official(draft))
    find = _find_copy if is_copy(draft.root) else _find
    found = find(draft, wanted, compression, asked=methods is not None)
    official = _read_official(draft)
    unlisted = []
    taken: set[tuple[str, ...]] = set()
    for part, folder in found:
        for path, match in draft.videos(folder, part.pattern, part.example):
            groups = {role: text.lower() for role, text in match.groupdict().items()}
            name = draft.name(path)
            people, scene = ([groups[r] for r in ("target", r) if r in groups] for r in ("donor", "scene"))
            key = (part.dataset, "__".join(scene))
            extra = draft.original(name, key) if part.method else {}
            if official is not None and part.dataset == FFPP:
                if split := official.get(frozenset(people)):
                    extra["official_split"] = split
                else:
                    unlisted.append(name)
            sources = _sources(part, match)
            label = Label.FAKE if part.method else Label.REAL
            row = VideoRow(path.absolute(), name, label, part.dataset, part.method, sources, extra=extra)
            if draft.add(row, key):
                taken.add((part.folder, *people))
    listed = {key for part, _ in found if part.dataset == FFPP for key in _expected(part, official or {})}
    missing = (f"{folder.rpartition('/')[2]}/{'_'.join(ids)}.mp4" for folder, *ids in listed - taken)
    draft.warn_of("videos of the official lists that are not here", missing)
    draft.warn_of("videos outside the official lists, so without an official split", unlisted)
    return draft.finish()


def _wanted(compression: str, methods: Sequence[str] | None) -> list[Part]:
    """Parts to look for.

    Raises:
        ConfigError: the compression or a method is unknown.
    """
    if compression not in COMPRESSIONS:
        raise ConfigError(
            f"source.compression={compression}: no such compression; it is one of {', '.join(COMPRESSIONS)}"
        )
    if methods is None:
        return list(PARTS)
    methods = [methods] if isinstance(methods, str) else list(methods)
    problems = [f"{method!r}{_did_you_mean(method)}" for method in methods if method not in METHODS]
    if problems or not methods:
        what = f"no such method: {'; '.join(problems)}" if problems else "it is empty; null takes all methods"
        raise ConfigError(f"source.methods: {what} (FaceForensics++ has {', '.join(METHODS)})")
    datasets = {part.dataset for part in PARTS if part.method in methods}
    return [part for part in PARTS if part.method in methods or (not part.method and part.dataset in datasets)]


def _did_you_mean(word: str) -> str:
    meant = nearest(word.lower(), map(str.lower, METHODS), close=0.6)
    return f", did you mean {next(each for each in METHODS if each.lower() == meant)}?" if meant else ""


def _look_around(draft: Draft) -> None:
    """Leave out files and folders beside the known ones.

    Raises:
        ManifestError: both main folders are missing.
    """
    folders, files = contents(draft.root)
    if not {folder.name for folder in folders} & set(FFPP_FOLDERS):
        raise draft.not_this("it is not FaceForensics++")
    draft.leave_out_folders((each for each in folders if each.name not in OTHER_FOLDERS), "not of FaceForensics++")
    draft.leave_out_files((path for path in files if path.name not in LIST_NAMES), "not a file of FaceForensics++")
    known = {part.folder for part in PARTS}
    for main in (folder for folder in folders if folder.name in FFPP_FOLDERS):
        inner, files = contents(main)
        draft.leave_out_files(files, f"{main.name}/ holds folders")
        for folder in inner:
            if draft.name(folder) not in known:
                hint = _did_you_mean(folder.name) if main.name == MANIPULATED else ""
                draft.leave_out_folders([folder], f"not a part of FaceForensics++{hint}")


def _find(draft: Draft, wanted: Sequence[Part], compression: str, *, asked: bool) -> list[tuple[Part, Path]]:
    """Find the ``videos`` folder of each wanted part, and log which parts are missing.

    Raises:
        ManifestError: a method requested by name is missing, or nothing has this compression.
    """
    _look_around(draft)
    found: list[tuple[Part, Path]] = []
    absent: list[Part] = []
    lacking: dict[str, str] = {}
    for part in wanted:
        base = draft.root / part.folder
        if not base.is_dir():
            absent.append(part)
            continue
        folders, files = contents(base)
        draft.leave_out_files(files, f"{part.folder}/ holds folders")
        videos = _videos_folder(base, compression)
        if videos is not None:
            draft.leave_out_files(contents(videos.parent)[1], f"videos lie in {draft.name(videos)}/")
            found.append((part, videos))
            continue
        others = [each for each in COMPRESSIONS if _videos_folder(base, each)]
        if others:
            instead = f"only {', '.join(others)}; source.compression={others[0]} takes that"
        else:
            instead = f"it holds {', '.join(f'{folder.name}/' for folder in folders) or 'nothing'}"
        lacking[part.folder] = f"{part.folder} has no {compression}/videos/: {instead}"
    asked_for = [part.folder for part in wanted if part.method] if asked else []
    problems = [f"{part.folder} was requested but is missing" for part in absent if part.folder in asked_for]
    problems += [text for folder, text in lacking.items() if folder in asked_for or not found]
    if problems:
        raise ManifestError(draft.root, problems)
    # DeepFakeDetection is a data set of its own, so missing it altogether is not worth a warning.
    has_dfd = asked or any(part.dataset == DFD and part not in absent for part in wanted)
    draft.warn_of("missing parts", (f"{part.folder}/" for part in absent if part.dataset == FFPP or has_dfd))
    draft.warn_of("parts left out", lacking.values())
    return found


def is_copy(root: Path) -> bool:
    """Whether ``root`` has the layout of the copy on Kaggle."""
    names = {folder.name for folder in contents(root)[0]}
    return not names & set(FFPP_FOLDERS) and is_ffpp_copy(names)


def _find_copy(draft: Draft, wanted: Sequence[Part], compression: str, *, asked: bool) -> list[tuple[Part, Path]]:
    """Find the parts in the copy on Kaggle, as :func:`_find` does in the original layout.

    Raises:
        ManifestError: the copy lacks the requested compression or a requested method.
    """
    if compression != COPY_COMPRESSION:
        raise ManifestError(
            draft.root, [f"this copy holds only {COPY_COMPRESSION}; give source.compression={COPY_COMPRESSION}"]
        )
    folders, files = contents(draft.root)
    by_name = {folder.name.lower(): folder for folder in folders}
    known = {_copy_folder(part) for part in PARTS} | {"csv", *OTHER_FOLDERS}
    draft.leave_out_folders((each for name, each in by_name.items() if name not in known), "not of FaceForensics++")
    draft.leave_out_files((path for path in files if path.name not in LIST_NAMES), "not a file of FaceForensics++")
    found = [(part, by_name[_copy_folder(part)]) for part in wanted if _copy_folder(part) in by_name]
    absent = [part for part in wanted if _copy_folder(part) and _copy_folder(part) not in by_name]
    problems = [f"{part.method} was requested but is missing" for part in absent if asked and part.method]
    if problems:
        raise ManifestError(draft.root, problems)
    draft.warn_of("missing parts", (f"{part.method or FFPP_COPY_ORIGINALS}/" for part in absent))
    return found


def _videos_folder(base: Path, compression: str) -> Path | None:
    folders = (base / name / "videos" for name in COMPRESSIONS[compression])
    return next((folder for folder in folders if folder.is_dir()), None)


def _expected(part: Part, official: Mapping[frozenset[str], str]) -> Iterator[tuple[str, ...]]:
    """Videos of ``part`` in the official lists: its folder and the ids of each video, the target first."""
    for ids in map(tuple, official):
        if part.method and len(ids) == 2:
            yield from ((part.folder, *ids), (part.folder, *ids[::-1]))
        elif not part.method and len(ids) == 1:
            yield (part.folder, *ids)


def _read_official(draft: Draft) -> dict[frozenset[str], str] | None:
    """Split of each video ({"071"}) and of each pair ({"071", "054"}); None without lists.

    Raises:
        ManifestError: entries are not pairs of ids, or lists contradict each other; the message names each such entry.
    """
    lists = [path for place in LIST_PLACES for name in LIST_NAMES if (path := draft.root / place / name).is_file()]
    if not lists:
        draft.warn(
            f"{', '.join(LIST_NAMES)} are missing, so the official split is not known; they are in dataset/splits of "
            "github.com/ondyari/FaceForensics"
        )
        return None
    draft.warn_of("missing official lists", set(LIST_NAMES) - {path.name for path in lists})
    splits: dict[frozenset[str], str] = {}
    origin: dict[frozenset[str], str] = {}
    for path in lists:
        name, split = draft.name(path), path.stem
        for number, pair in enumerate(_entries(path), start=1):
            if not _is_pair(pair):
                draft.problems.append(f'{name}: entry {number} is {pair!r}, not a pair of ids such as ["071", "054"]')
                continue
            for key in (frozenset(pair), *(frozenset([each]) for each in pair)):
                if splits.setdefault(key, split) != split:
                    both = f"{name} and in {origin[key]}"
                    draft.problems.append(f"{' with '.join(sorted(key))} is in {both}; keep the owners' lists")
                origin.setdefault(key, name)
    if draft.problems:
        raise ManifestError(draft.root, draft.problems)
    return splits


def _entries(path: Path) -> list[Any]:
    value = read_json(path)
    if not isinstance(value, list) or not value:
        form = '[["071", "054"], ...]'
        raise ManifestError(path, [f"it is not a list of pairs of ids, {form}; if it is another data set's, move it"])
    return value


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == len(set(map(str, value))) == 2
        and all(isinstance(each, str) and re.fullmatch("[0-9]{3}", each) for each in value)
    )
