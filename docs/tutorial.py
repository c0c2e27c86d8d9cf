"""Runs the tutorial: every shell command and Python cell of tutorial.md in order, as a notebook would.

``python docs/tutorial.py`` writes the outputs of a new run into the page.
"""

import contextlib
import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).with_name("tutorial.md")
CELL = re.compile(r"```(?P<kind>sh|python)\n(?P<code>.*?)```\n(?:\n```text\n(?P<output>.*?)```\n)?", re.DOTALL)


def run_page(page: str, folder: Path) -> str:
    """The page with the outputs of its cells as they are when run in ``folder``.

    Raises:
        subprocess.CalledProcessError: a shell command failed; its errors were printed.
    """
    names: dict[str, object] = {"__name__": "tutorial"}

    def run(match: re.Match[str]) -> str:
        if match["kind"] == "sh":
            command = ["bash", "-euo", "pipefail", "-c", runnable(match["code"])]
            output = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout
        else:
            with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as written:
                exec(compile(match["code"], PAGE.name, "exec"), names)
            output = written.getvalue()
        output = "\n".join(line.rstrip() for line in output.strip("\n").splitlines())
        cell = f"```{match['kind']}\n{match['code']}```\n"
        return cell if match["output"] is None else f"{cell}\n```text\n{output}\n```\n"

    return CELL.sub(run, page)


def runnable(code: str) -> str:
    """Shell code in which ``dfd`` is the command of this environment."""
    return re.sub(r"^dfd\b", str(Path(sys.executable).with_name("dfd")), code, flags=re.MULTILINE)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        PAGE.write_text(run_page(PAGE.read_text("utf-8"), Path(made)), "utf-8")
