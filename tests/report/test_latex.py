"""Tables for papers: every cell survives LaTeX's special characters."""

from pathlib import Path

import pytest

from dfd.report.page.document import Cell, Table
from dfd.report.page.latex import latex_of, write_latex

ROWS = [["x_1 {#}", Cell("0.912", "0.88–0.94")], ["~^\\", "–"]]
TABLE = Table("table_x", "By kind_of 100 %", ["a & b", "AUC"], ROWS, ["A 5 % note."])


@pytest.mark.parametrize(
    "part",
    [
        r"\caption{By kind\_of 100 \%.}\label{tab:table_x}",
        r"\begin{tabular}{lr}\toprule",
        r"a \& b & AUC \\ \midrule",
        r"x\_1 \{\#\} & 0.912 {\scriptsize [0.88--0.94]} \\",
        r"\textasciitilde{}\textasciicircum{}\textbackslash{} & -- \\",
        r"\par\footnotesize A 5 \% note.",
    ],
)
def test_a_table_is_written_with_what_latex_would_misread_escaped(part: str) -> None:
    assert part in latex_of(TABLE).splitlines() or part in latex_of(TABLE)


def test_all_tables_are_in_one_file(tmp_path: Path) -> None:
    text = write_latex([TABLE, TABLE], tmp_path / "tables.tex").read_text()
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    assert "booktabs" in text
