"""Tables of a report for a paper: LaTeX with booktabs."""

from collections.abc import Iterable
from pathlib import Path

from dfd.base.files import write_text
from dfd.report.page.document import Cell, Table

_MARKS = {
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    **{"–": "--", "≥": r"$\geq$", "≤": r"$\leq$", "±": r"$\pm$", "\u00a0": "~"},
}


def escaped(text: str) -> str:
    r"""Escape a text for LaTeX.

    >>> print(escaped("50 % of a_b – {c}"))
    50 \% of a\_b -- \{c\}
    """
    return "".join(_MARKS.get(character, character) for character in " ".join(text.split(" ")))


def latex_of(table: Table) -> str:
    r"""A ``table`` environment with all rows; intervals stand small beside their numbers.

    >>> print(latex_of(Table("t", "Test", ["model", "AUC"], [["a_b", Cell("0.912", "0.88–0.94")]])).splitlines()[-4])
    a\_b & 0.912 {\scriptsize [0.88--0.94]} \\
    """

    def cell(value: Cell | str) -> str:
        if isinstance(value, Cell) and value.detail:
            return rf"{escaped(value.text)} {{\scriptsize [{escaped(value.detail)}]}}"
        return escaped(str(value))

    columns = "l" * table.num_labels + "r" * (len(table.head) - table.num_labels)
    lines = [
        rf"\begin{{table}}\centering\caption{{{escaped(table.caption)}.}}\label{{tab:{table.name}}}",
        rf"\begin{{tabular}}{{{columns}}}\toprule",
        " & ".join(map(escaped, table.head)) + r" \\ \midrule",
        *(" & ".join(map(cell, row)) + r" \\" for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        *(rf"\par\footnotesize {escaped(note)}" for note in table.notes),
        r"\end{table}",
    ]
    return "\n".join(lines)


def write_latex(tables: Iterable[Table], path: Path) -> Path:
    """Write all tables to one file, for the ``input`` of a document that loads booktabs."""
    head = "% Needs \\usepackage{booktabs}. Intervals are of 95 %."
    return write_text(path, "\n\n".join([head, *map(latex_of, tables)]) + "\n", errors="replace")
