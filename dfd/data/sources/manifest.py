"""Reading and writing of manifests: CSV files with one row per labelled video.

Columns: ``path`` (a video, or a folder of its frames), ``label`` (real or fake) and, optionally, ``dataset``,
``method``, ``source_ids`` (the people or source videos it is made from, separated by ``;``) and ``split`` (train, val,
test or empty). A relative path starts at the manifest's folder; further columns are kept.
"""

import codecs
import csv
import difflib
import io
import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path, PurePosixPath

from dfd.base.errors import ManifestError
from dfd.base.files import file_named, is_known, write_table
from dfd.base.types import LABEL_NAMES, Label
from dfd.data.sources.public.kaggle import PATH_COLUMN, as_manifest, is_copys_table
from dfd.data.sources.row import UNKNOWN, VideoRow
from dfd.data.splits.known import check_given_splits
from dfd.data.splits.people import SPLITS
from dfd.video.still import pictures_of

COLUMNS = ("path", "label", "dataset", "method", "source_ids", "split")
REQUIRED = ("path", "label")

COPY_MARK = "\0copy"
"""Key that marks a row converted by :mod:`dfd.data.sources.public.kaggle`; no CSV column can have such a name."""

logger = logging.getLogger(__name__)


def read_manifest(path: str | Path) -> list[VideoRow]:
    """Read the rows of a manifest in order; checks that every file exists but opens none.

    Columns may be separated by comma, semicolon or tab, as spreadsheets write them; the text is UTF-8.

    Raises:
        ManifestError: the file or some rows are invalid; the message names every such row with its line.
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
        if COPY_MARK in cells:  # its paths are relative to the table's folder or to the one above
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
    """Write ``rows`` atomically so that :func:`read_manifest` returns them again, except for their lines.

    A row's ``name`` is written if it leads to the file from the manifest's folder, otherwise the absolute path.

    Raises:
        ManifestError: a source id contains the separator ``;``, or a name cannot be written as UTF-8.
    """
    path = Path(path).expanduser()
    rows = list(rows)
    problems = [f"{row.name!r}: source id {i!r} holds ';'" for row in rows for i in row.source_ids if ";" in i]
    if problems:
        raise ManifestError(path, problems)
    extra = sorted({key for row in rows for key in row.extra})
    table = []
    for row in rows:
        leads_there = os.path.abspath(path.parent / os.path.expanduser(row.name)) == os.path.abspath(row.path)
        is_alone = row.source_ids == (row.name,) and leads_there
        place, source_ids = row.name if leads_there else str(row.path), "" if is_alone else ";".join(row.source_ids)
        own = [place, str(row.label), row.dataset, row.method, source_ids, row.split]
        table.append([*own, *(row.extra.get(key, "") for key in extra)])
    try:
        write_table(path, table, [*COLUMNS, *extra], line_end="\n", errors="strict")
    except UnicodeEncodeError as error:
        bad = error.object[max(0, error.start - 40) : error.end]
        raise ManifestError(path, [f"{bad!r} is not UTF-8; rename the file"]) from error


def _read_text(path: Path) -> str:
    """Text of the manifest without a byte order mark.

    Raises:
        ManifestError: the file is missing, a folder, empty or not UTF-8.
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
    """First line of each non-blank row, with its cells by column or a sentence that says why it is malformed.

    Raises:
        ManifestError: the header is wrong, or a quote is never closed.
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
    """Separator of the columns (comma, semicolon or tab), according to the header.

    >>> _delimiter("path;label"), _delimiter("path"), _delimiter('label,"a;b;c"')
    (';', ',', ',')
    """
    header = re.sub(r'"[^"]*"', "", text.lstrip().splitlines()[0])
    return max(",;\t", key=header.count) if any(mark in header for mark in ",;\t") else ","


def _check_header(path: Path, row: Sequence[str]) -> list[str]:
    names = [cell.strip() for cell in row]
    lower = [name.lower() for name in names]
    # Known columns are recognised in any case; others keep their spelling.
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
    if problems:
        raise ManifestError(path, problems)
    for name in header:
        close = [] if name in COLUMNS else difflib.get_close_matches(name.lower(), COLUMNS, n=1, cutoff=0.8)
        if close and close[0] not in header:
            logger.warning("%s: column %r is kept but not used; did you mean %r?", path, name, close[0])
    return header


def _parse_row(cells: Mapping[str, str], line: int, folders: Sequence[Path], problems: list[str]) -> VideoRow | None:
    """Parse a row; returns None after adding its errors to ``problems``."""
    found = _find_file(cells["path"], folders, problems)
    label: Label | None = None
    try:
        label = Label.parse(cells["label"])
    except ValueError:
        problems.append(_label_problem(cells["label"].strip()))
    dataset = _said(cells, "dataset") or UNKNOWN
    method = _said(cells, "method")
    if label is Label.REAL and method:
        problems.append(f"a real video has no method, but this one has {method!r}; empty it, or correct the label")
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
    """Value of a row in a column; empty for placeholders of unknown values."""
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
    """Absolute path and name of the file given in ``cell``, or None after adding to ``problems``."""
    if not cell.strip():
        problems.append("the path is empty")
        return None
    if "\0" in cell:
        problems.append(f"path {cell!r} holds a zero byte")
        return None
    # A file name may begin or end with a blank, but in a cell that is usually a mistake.
    for folder, text in product(folders, dict.fromkeys((cell, cell.strip(), cell.strip().replace("\\", "/")))):
        path = folder.absolute() / os.path.expanduser(text)
        try:
            if path.is_file() or pictures_of(path):
                return path, PurePosixPath(text).as_posix()
        except OSError as error:
            problems.append(f"path {text!r} cannot be looked up: {error.strerror}")
            return None
    for folder in folders:
        named = file_named(cell, folder.absolute())
        if named is not None:
            return named, PurePosixPath(cell.strip().replace("\\", "/")).as_posix()
    folder = folders[0]
    if (path := folder.absolute() / os.path.expanduser(cell.strip())).is_dir():
        problems.append(f"{cell.strip()!r} is a folder without pictures; a row is a video, or a folder of its frames")
    else:
        hint = "; its type is not a regular file" if path.exists() else ""
        hint = hint or (f", nor {folders[1] / cell.strip()}" if len(folders) > 1 else "")
        problems.append(f"no such file: {path}{hint}")
    return None


def _find_duplicates(rows: Sequence[VideoRow], problems: dict[int, list[str]]) -> None:
    """Find files in two rows, under any spelling or link: they would count twice, perhaps on two sides of a split."""
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
            f"{path}: {len(alone)} of {len(rows)} rows have no source_ids, so each of these videos counts as its own "
            "source. If a person or source video is in several, it may be on both sides of the split, which makes "
            "scores too good."
        )
    spellings: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for source_id in row.source_ids:
            spellings[source_id.casefold()].add(source_id)
    alike = [sorted(ids) for ids in spellings.values() if len(ids) > 1]
    if alike:
        shown = "; ".join(" / ".join(map(repr, ids)) for ids in alike[:5])
        logger.warning("%s: %d source ids differ only in case and count as different: %s", path, len(alike), shown)
