"""What a report is made of, and its two forms: one HTML page that needs no other file, and Markdown."""

import base64
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined

from dfd.files import partial_of


@dataclass(frozen=True, slots=True)
class Cell:
    """A number as text, with its interval or share in smaller letters."""

    text: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.text} ({self.detail})" if self.detail else self.text


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells, of which the first ``num_labels`` name the row. ``name`` is that of its CSV file.

    Of a long table only the first ``max_shown`` rows are on the page; the CSV file has all.

    Raises:
        ValueError: a row is not as long as the head.
    """

    kind: ClassVar[str] = "table"
    name: str
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    notes: Sequence[str] = ()
    max_shown: int | None = None
    num_labels: int = 1
    has_short_labels: bool = False
    """Such as numbers: their column is no wider than they are."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.head):
                raise ValueError(f"table {self.name}: {len(row)} cells under {len(self.head)} heads: {row}")

    def cells(self) -> list[list[Cell]]:
        """The rows that are shown, every cell a :class:`Cell`."""
        return [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in self.rows[: self.max_shown]]

    def all_notes(self) -> list[str]:
        """With one that says which rows are not shown."""
        if self.max_shown is None or len(self.rows) <= self.max_shown:
            return list(self.notes)
        return [f"The first {self.max_shown} of {len(self.rows)} rows; all are in {self.name}.csv.", *self.notes]


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG in the report's folder. ``alt`` says what there is to see to who cannot."""

    kind: ClassVar[str] = "picture"
    path: Path
    caption: str
    alt: str
    narrow: bool = False
    """It reads well at half the page's width."""

    def data_uri(self) -> str:
        """The file itself, for a page of one file."""
        return "data:image/png;base64," + base64.b64encode(self.path.read_bytes()).decode("ascii")


@dataclass(frozen=True, slots=True)
class Gallery:
    """Pictures of one kind, beside each other where there is room."""

    kind: ClassVar[str] = "gallery"
    pictures: Sequence[Picture]


@dataclass(frozen=True, slots=True)
class Text:
    """One paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it."""

    heading: str
    blocks: Sequence[Table | Picture | Gallery | Text]

    @property
    def anchor(self) -> str:
        """What a link to it ends with."""
        return "-".join("".join(c if c.isalnum() else " " for c in self.heading.lower()).split())


@dataclass(frozen=True, slots=True)
class Document:
    """A report: what was compared, what came out, what to be careful about, and the sections that show it.

    Tables are numbered in their order.
    """

    title: str
    subtitle: str
    summary: Sequence[str]
    warnings: Sequence[str]
    sections: Sequence[Section] = field(default=())

    def tables(self) -> Iterator[Table]:
        """All tables, in order."""
        for section in self.sections:
            yield from (block for block in section.blocks if isinstance(block, Table))

    def number(self, table: Table) -> int:
        """Counted from 1."""
        return [other.name for other in self.tables()].index(table.name) + 1


def write_html(document: Document, path: Path) -> Path:
    """One file with the figures inside: it can be mailed."""
    environment = Environment(
        loader=PackageLoader("dfd", "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return _write(path, environment.get_template("report.html.j2").render(document=document))


def write_markdown(document: Document, path: Path) -> Path:
    """The figures stay the files beside it."""
    environment = Environment(
        loader=PackageLoader("dfd", "templates"), autoescape=False, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["plain"] = _plain
    return _write(path, environment.get_template("report.md.j2").render(document=document))


def write_csv(table: Table, folder: Path) -> Path:
    """``<name>.csv``, with the cells as they are shown."""
    path = folder / f"{table.name}.csv"
    partial = partial_of(path)
    # As every other table of this project: the name of a file keeps its bytes, whatever they are.
    with partial.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(table.head)
        writer.writerows([str(cell) for cell in row] for row in table.rows)
    return partial.replace(path)


def _plain(value: object) -> str:
    r"""Text that Markdown shows as it is: no markup, no tags, no new column, no new line.

    >>> print(_plain("a|b <i> *c*"))
    a\|b &lt;i&gt; \*c\*
    """
    text = " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for mark in "\\`*|[]#":
        text = text.replace(mark, "\\" + mark)
    return text


def _write(path: Path, text: str) -> Path:
    partial = partial_of(path)
    # What a file's name may hold and UTF-8 may not is shown as a question mark.
    partial.write_text(text, encoding="utf-8", errors="replace")
    return partial.replace(path)
