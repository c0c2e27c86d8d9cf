"""Parts of a report, and its two output formats: a self-contained HTML page, and Markdown."""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined

from dfd.base.files import write_table, write_text
from dfd.report.page.wording import ORDER, SHAPES, clock, probability


@dataclass(frozen=True, slots=True)
class Cell:
    """A number as text, with its interval or share in smaller type."""

    text: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.text} ({self.detail})" if self.detail else self.text


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells, the first ``num_labels`` of which name the row; ``name`` is the name of the CSV file.

    The page shows only the first ``max_shown`` rows; the CSV file has all.

    Raises:
        ValueError: the lengths of a row and the head differ.
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
    """Whether labels are short, such as numbers, and need only a narrow column."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.head):
                raise ValueError(f"table {self.name}: {len(row)} cells under {len(self.head)} heads: {row}")

    def cells(self) -> list[list[Cell]]:
        """Rows that are shown, with every cell as a :class:`Cell`."""
        return [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in self.rows[: self.max_shown]]

    def all_notes(self) -> list[str]:
        """Notes, preceded by one about rows that are not shown."""
        if self.max_shown is None or len(self.rows) <= self.max_shown:
            return list(self.notes)
        return [f"The first {self.max_shown} of {len(self.rows)} rows; all are in {self.name}.csv.", *self.notes]


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG in the report's folder; ``alt`` is the alternative text."""

    kind: ClassVar[str] = "picture"
    path: Path
    caption: str
    alt: str
    narrow: bool = False
    """Whether the picture is readable at half the page's width."""

    def data_uri(self) -> str:
        """Data URI of the file, for a self-contained page."""
        return "data:image/png;base64," + base64.b64encode(self.path.read_bytes()).decode("ascii")


@dataclass(frozen=True, slots=True)
class Gallery:
    """Pictures of one kind, shown side by side if there is room."""

    kind: ClassVar[str] = "gallery"
    pictures: Sequence[Picture]


@dataclass(frozen=True, slots=True)
class Text:
    """One paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its blocks."""

    heading: str
    blocks: Sequence[Table | Picture | Gallery | Text]

    @property
    def anchor(self) -> str:
        """Fragment of links to the section."""
        return "-".join("".join(c if c.isalnum() else " " for c in self.heading.lower()).split())


@dataclass(frozen=True, slots=True)
class Document:
    """A report: title, summary, warnings, and sections; tables are numbered in order."""

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
        """Number of a table, counted from 1."""
        return [other.name for other in self.tables()].index(table.name) + 1


def rendered(template: str, **values: object) -> str:
    """Text of a template of this package; in HTML all values are escaped, and an unknown name is an error."""
    environment = Environment(
        loader=PackageLoader("dfd.report", "templates"),
        autoescape=template.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {"plain": _plain, "clock": partial(clock, decimals=1), "probability": probability}
    environment.globals |= {"shapes": SHAPES, "order": ORDER}
    return environment.get_template(template).render(**values)


def write_page(document: Document, folder: Path) -> Path:
    """Write ``report.html`` with embedded figures, to be mailed, and ``report.md``, which names the figures' files."""
    write_text(folder / "report.md", rendered("report.md.j2", document=document), errors="replace")
    return write_text(folder / "report.html", rendered("report.html.j2", document=document), errors="replace")


def write_csv(table: Table, folder: Path) -> Path:
    """Write a table to ``<name>.csv``, with the cells as shown on the page."""
    return write_table(folder / f"{table.name}.csv", ([str(cell) for cell in row] for row in table.rows), table.head)


def _plain(value: object) -> str:
    r"""Escape text for Markdown: no markup, tags, columns or line breaks.

    >>> print(_plain("a|b <i> *c*"))
    a\|b &lt;i&gt; \*c\*
    """
    text = " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for mark in "\\`*|[]#":
        text = text.replace(mark, "\\" + mark)
    return text
