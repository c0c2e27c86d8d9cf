"""The manifest: a CSV with one row per video, and the only way labelled videos enter dfd.

Columns: ``path``, ``label`` (real or fake) and, optionally, ``dataset``, ``method`` (empty for real), ``source_ids``
(one or more, separated by ``;``: the people or source videos it is made of) and ``split`` (train, val, test or empty).
A relative path starts at the manifest's folder; further columns are carried along.
"""

import codecs
import csv
import difflib
import hashlib
import io
import logging
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path, PurePosixPath

from dfd.data.kaggle import PATH_COLUMN, as_manifest, is_copys_table
from dfd.data.splits import SPLITS, check_given_splits
from dfd.errors import ManifestError
from dfd.files import partial_of
from dfd.names import file_named, is_known
from dfd.types import LABEL_NAMES, Label

COLUMNS = ("path", "label", "dataset", "method", "source_ids", "split")
REQUIRED = ("path", "label")
UNKNOWN = "unknown"
"""The dataset of a row that names none, and the method of a fake that names none."""

COPY_MARK = "\0copy"
"""A key of the cells of a row that :mod:`dfd.data.kaggle` translated; no column of a CSV has such a name."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VideoRow:
    """One labelled video.

    ``path`` is absolute; ``name`` is what the manifest says, with ``/`` between folders, and stays the same when the
    data set moves. ``source_ids`` is never empty: a video whose sources are not known is its own (its ``name``).
    ``split`` is empty if it is for :func:`dfd.data.splits.assign_splits` to choose. ``line`` is the row's line in the
    manifest, 0 if there is none.
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
        """A readable, unique name that is safe as a folder's: it holds only ``a-z A-Z 0-9 . _ -``.

        >>> VideoRow(Path("/d/fakes/01 é.mp4"), "fakes/01 é.mp4", Label.FAKE).video_id
        '01_e-6986a609'
        """
        # Two data sets in one store may both have a real/000.mp4: the data set is part of what is hashed.
        digest = hashlib.sha1(f"{self.dataset}\0{self.name}".encode("utf-8", "surrogateescape")).hexdigest()
        return f"{slug(PurePosixPath(self.name).stem)}-{digest[:8]}"


def slug(text: str, *, max_len: int = 48) -> str:
    """``text`` as a readable file name, for any ``text``; different texts may share one.

    >>> slug("Ünder/score: 1"), slug("-rf .."), slug("日本")
    ('Under_score_1', 'rf', 'x')
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "_", plain).strip("._- ")[:max_len].rstrip("._-") or "x"


def read_manifest(path: str | Path) -> list[VideoRow]:
    """The rows of a manifest, in its order. Every file is known to exist; none has been opened.

    Comma, semicolon or tab may separate the columns (spreadsheets write any of them); the text is UTF-8.

    Raises:
        ManifestError: naming every wrong row with its line, or what is wrong with the file as a whole.
        SplitLeak: rows that share a source id are given different splits.
    """
    path = Path(path).expanduser()
    text = _read_text(path)
    problems: dict[int, list[str]] = defaultdict(list)
    rows: list[VideoRow] = []
    missing: list[int] = []
    num_rows = 0
    folders = [path.parent]
    for line, cells in _cells(path, text):
        num_rows += 1
        if isinstance(cells, str):
            problems[line].append(cells)
            continue
        if COPY_MARK in cells:  # its names start at the folder that holds the table, or at the one above
            folders = [path.parent, path.parent.absolute().parent]
        row = _parse_row(cells, line, folders, problems[line])
        if row is not None:
            rows.append(row)
        elif any("no such file" in problem for problem in problems[line]):
            missing.append(line)
    if not num_rows:
        raise ManifestError(path, ["it has a header and no rows; write one row per video"])
    _find_duplicates(rows, problems)
    lines = [f"line {line}: {problem}" for line in sorted(problems) for problem in problems[line]]
    if lines:
        if len(missing) == num_rows > 1:
            folder = path.parent.absolute()
            lines.insert(0, f"none of its files exists: relative paths start at the manifest's folder, {folder}")
        raise ManifestError(path, lines)
    check_given_splits(rows)
    _warn_about_sources(path, rows)
    return rows


def write_manifest(path: str | Path, rows: Iterable[VideoRow]) -> None:
    """Write ``rows`` so that :func:`read_manifest` returns them again (their lines aside), replacing ``path`` at once.

    A row's ``name`` is written if it leads to its file from the manifest's folder, else its absolute path.

    Raises:
        ManifestError: a source id holds the separator ``;``, or a name cannot be written as UTF-8.
    """
    path = Path(path).expanduser()
    rows = list(rows)
    problems = [f"{row.name!r}: source id {i!r} holds ';'" for row in rows for i in row.source_ids if ";" in i]
    if problems:
        raise ManifestError(path, problems)
    extra = sorted({key for row in rows for key in row.extra})
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*COLUMNS, *extra])
    for row in rows:
        leads_there = os.path.abspath(path.parent / os.path.expanduser(row.name)) == os.path.abspath(row.path)
        writer.writerow(
            [
                row.name if leads_there else str(row.path),
                str(row.label),
                row.dataset,
                row.method,
                "" if row.source_ids == (row.name,) and leads_there else ";".join(row.source_ids),
                row.split,
                *(row.extra.get(key, "") for key in extra),
            ]
        )
    try:
        data = buffer.getvalue().encode("utf-8")
    except UnicodeEncodeError as error:
        bad = error.object[max(0, error.start - 40) : error.end]
        raise ManifestError(path, [f"{bad!r} is not UTF-8; rename the file"]) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    partial.write_bytes(data)
    os.replace(partial, path)


def _read_text(path: Path) -> str:
    """The manifest's text without a byte order mark.

    Raises:
        ManifestError: it is missing, a folder, empty or not UTF-8.
    """
    if path.is_dir():
        raise ManifestError(path, ["it is a folder; give the CSV file, or source=folder root=DIR for real/ and fake/"])
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ManifestError(path, [f"cannot be read: {error.strerror}"]) from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ManifestError(path, ["it is UTF-16; save it as 'CSV UTF-8'"])
    if data.startswith(b"PK\x03\x04"):
        raise ManifestError(path, ["it is a spreadsheet (xlsx) or a zip file; save it as 'CSV UTF-8'"])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ManifestError(path, [f"line {line}: not UTF-8; save it as 'CSV UTF-8'"]) from error
    if not text.strip():
        raise ManifestError(path, [f"it is empty; the first line is {','.join(COLUMNS)}"])
    return text


def _cells(path: Path, text: str) -> Iterator[tuple[int, dict[str, str] | str]]:
    """The first line of each row with its cells by column, or with what is wrong with its shape; blank rows left out.

    Raises:
        ManifestError: the header is wrong, or a quote never ends.
    """
    delimiter = _delimiter(text)
    # newline="" leaves line ends inside quotes alone, as the csv module asks.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    required: Sequence[str] = REQUIRED
    is_copys = False
    next_line = 1
    try:
        for row in reader:
            line, next_line = next_line, reader.line_num + 1
            if not any(cell.strip() for cell in row):
                continue
            if header is None:
                is_copys = is_copys_table(row)
                header = [cell.strip() for cell in row] if is_copys else _check_header(path, row)
                required = [name for name in header if name.lower() in (PATH_COLUMN, "label")] if is_copys else REQUIRED
            elif len(row) > len(header) and any(cell.strip() for cell in row[len(header) :]):
                yield (
                    line,
                    f"{len(row)} cells for {len(header)} columns; put quotes around a cell that holds {delimiter!r}",
                )
            elif len(row) < len(header) and len(row) < 1 + max(header.index(name) for name in required):
                yield line, f"{len(row)} of {len(header)} cells"
            else:
                cells = dict(zip(header, [*row, *[""] * (len(header) - len(row))], strict=False))
                yield line, {**as_manifest(cells), COPY_MARK: ""} if is_copys else cells
    except csv.Error as error:
        raise ManifestError(path, [f"line {next_line}: not CSV ({error}); is a quote never closed?"]) from error


def _delimiter(text: str) -> str:
    """Comma, semicolon or tab, by the header.

    >>> _delimiter("path;label"), _delimiter("path"), _delimiter('label,"a;b;c"')
    (';', ',', ',')
    """
    header = re.sub(r'"[^"]*"', "", text.lstrip().splitlines()[0])
    return max(",;\t", key=header.count) if any(mark in header for mark in ",;\t") else ","


def _check_header(path: Path, row: Sequence[str]) -> list[str]:
    names = [cell.strip() for cell in row]
    lower = [name.lower() for name in names]
    # A known column is known in any case; others keep theirs.
    header = [low if low in COLUMNS else name for low, name in zip(lower, names, strict=True)]
    problems = []
    for name in REQUIRED:
        if name not in header:
            close = difflib.get_close_matches(name, [other for other in lower if other not in COLUMNS], n=1)
            hint = f"; is it the column {close[0]!r}?" if close else ""
            problems.append(f"line 1: there is no column {name!r}{hint} (found: {', '.join(names)})")
    problems += [
        f"line 1: column {name!r} is there twice" for name in sorted(set(header)) if name and header.count(name) > 1
    ]
    # An unnamed column is carried under no name, unless it is the trailing comma that spreadsheets leave.
    if problems:
        raise ManifestError(path, problems)
    for name in header:
        close = [] if name in COLUMNS else difflib.get_close_matches(name.lower(), COLUMNS, n=1, cutoff=0.8)
        if close and close[0] not in header:
            logger.warning("%s: column %r is carried along; did you mean %r?", path, name, close[0])
    return header


def _parse_row(cells: Mapping[str, str], line: int, folders: Sequence[Path], problems: list[str]) -> VideoRow | None:
    """The row, or None after adding what is wrong with it to ``problems``."""
    found = _find_file(cells["path"], folders, problems)
    label: Label | None = None
    try:
        label = Label.parse(cells["label"])
    except ValueError:
        problems.append(_label_problem(cells["label"].strip()))
    dataset = _said(cells, "dataset") or UNKNOWN
    method = _said(cells, "method")
    if label is Label.REAL and method:
        problems.append(f"a real video has no method, and this has {method!r}; empty it, or is the label wrong?")
    if label is Label.FAKE and not method:
        method = UNKNOWN
    split = cells.get("split", "").strip().lower()
    if split and split not in SPLITS:
        meant = {"validation": "val", "valid": "val", "dev": "val", "training": "train", "testing": "test"}
        hint = f"; did you mean {meant[split]!r}?" if split in meant else ", or leave it empty"
        problems.append(f"split {split!r} is not one of {', '.join(SPLITS)}{hint}")
    if problems or found is None or label is None:
        return None
    path, name = found
    source_ids = tuple(dict.fromkeys(part.strip() for part in cells.get("source_ids", "").split(";") if is_known(part)))
    extra = {key: value for key, value in cells.items() if key and key not in (*COLUMNS, COPY_MARK)}
    return VideoRow(path, name, label, dataset, method, source_ids, split, extra, line)


def _said(cells: Mapping[str, str], column: str) -> str:
    """What a row says in a column; empty for what programs write where nothing is known."""
    cell = cells.get(column, "").strip()
    return cell if is_known(cell) else ""


def _label_problem(text: str) -> str:
    if not text:
        return "the label is empty; it is real or fake"
    try:
        float(text)
    except ValueError:
        close = difflib.get_close_matches(text.lower(), LABEL_NAMES, n=1)
        return f"label {text!r} is not real or fake" + (f"; did you mean {close[0]!r}?" if close else "")
    return f"label {text!r} is a number, and data sets disagree on which number is fake; write real or fake"


def _find_file(cell: str, folders: Sequence[Path], problems: list[str]) -> tuple[Path, str] | None:
    """Absolute path and name of the file that ``cell`` means, or None after adding to ``problems``."""
    if not cell.strip():
        problems.append("the path is empty")
        return None
    if "\0" in cell:
        problems.append(f"path {cell!r} holds a zero byte")
        return None
    # A file's name may begin or end with a blank, but a blank in a cell is mostly a slip.
    for folder, text in product(folders, dict.fromkeys((cell, cell.strip(), cell.strip().replace("\\", "/")))):
        path = folder.absolute() / os.path.expanduser(text)
        try:
            if path.is_file():
                return path, PurePosixPath(text).as_posix()
        except OSError as error:
            problems.append(f"path {text!r} cannot be looked up: {error.strerror}")
            return None
    for folder in folders:
        named = file_named(cell, folder.absolute())
        if named is not None:
            return named, PurePosixPath(cell.strip().replace("\\", "/")).as_posix()
    folder = folders[0]
    path = folder.absolute() / os.path.expanduser(cell.strip())
    if path.is_dir():
        problems.append(f"{cell.strip()!r} is a folder; a row is one video")
    else:
        hint = "; its type is not a regular file" if path.exists() else ""
        hint = hint or (f", nor {folders[1] / cell.strip()}" if len(folders) > 1 else "")
        problems.append(f"no such file: {path}{hint}")
    return None


def _find_duplicates(rows: Sequence[VideoRow], problems: dict[int, list[str]]) -> None:
    """One file in two rows, under any spelling or link, would count twice and could sit on two sides of a split."""
    first: dict[tuple[int, int], VideoRow] = {}
    for row in rows:
        stat = row.path.stat()
        other = first.setdefault((stat.st_dev, stat.st_ino), row)
        if other is row:
            continue
        spelling = "" if other.name == row.name else f" (there {other.name!r})"
        if other.label is not row.label:
            problems[row.line].append(
                f"{row.name!r} is {row.label} here and {other.label} on line {other.line}{spelling}; keep the right row"
            )
        else:
            problems[row.line].append(f"{row.name!r} is on line {other.line} already{spelling}; keep one row")


def _warn_about_sources(path: Path, rows: Sequence[VideoRow]) -> None:
    alone = [row for row in rows if row.source_ids == (row.name,)]  # also where it says nan, None, null or unknown
    if alone:
        logger.warning(
            "%s: %d of %d rows have no source_ids, so each of these videos is taken for its own source. If a person or "
            "source video is in several, it may be on both sides of the split, and the scores are then too good.",
            path,
            len(alone),
            len(rows),
        )
    spellings: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for source_id in row.source_ids:
            spellings[source_id.casefold()].add(source_id)
    alike = [sorted(ids) for ids in spellings.values() if len(ids) > 1]
    if alike:
        shown = "; ".join(" / ".join(map(repr, ids)) for ids in alike[:5])
        logger.warning("%s: %d source ids differ only in case and count as different: %s", path, len(alike), shown)
