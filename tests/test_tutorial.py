"""The tutorial is true: its cells run in order, and their outputs are those that the page shows but for the numbers."""

import faulthandler
import re
import runpy
import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT

TUTORIAL = runpy.run_path(str(ROOT / "docs" / "tutorial.py"))
PAGE = TUTORIAL["PAGE"].read_text("utf-8")


def shape(page: str) -> list[str]:
    """The page's words and lines without what another machine may find otherwise: numbers, verdicts, conclusions."""
    page = re.sub(r"\b(?:fake|real|uncertain)\b", "verdict", page)
    lines = [line for line in page.splitlines() if not line.startswith("- ")]
    return [" ".join(re.sub(r"[\d.,]+", "0", line).split()) for line in lines]


def test_every_cell_with_an_output_shows_one() -> None:
    cells = list(TUTORIAL["CELL"].finditer(PAGE))
    assert len(cells) == len(re.findall(r"^```(?:sh|python)$", PAGE, re.MULTILINE))
    outputs = [cell["output"] for cell in cells if cell["output"] is not None]
    assert len(outputs) >= 6
    assert all(output.strip() for output in outputs)


def test_a_changed_output_is_written_anew(tmp_path: Path) -> None:
    shell = "```sh\necho one two\n```\n\n```text\nold\n```\n"
    page = f"{shell}\n```python\nx = 3\n```\n\n```python\nprint(x)\n```\n\n```text\n```\n"
    expected = page.replace("old", "one two").replace("```text\n```", "```text\n3\n```")
    assert TUTORIAL["run_page"](page, tmp_path) == expected


@pytest.mark.slow
def test_the_tutorial_and_the_lines_of_the_readme_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faulthandler.cancel_dump_traceback_later()  # two trainings may take longer than what counts as a test that hangs
    assert shape(TUTORIAL["run_page"](PAGE, tmp_path)) == shape(PAGE)

    shutil.copy(tmp_path / "tutorial" / "inbox" / "two_people.mp4", tmp_path / "clip.mp4")
    readme = (ROOT / "README.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    TUTORIAL["run_page"](f"```python\n{code}```\n", tmp_path)
