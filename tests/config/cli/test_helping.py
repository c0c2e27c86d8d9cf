"""Help pages say every option in words, and cost nothing but reading."""

import contextlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dfd.__main__ import main
from dfd.config.cli.catalogue import COMMANDS
from dfd.config.cli.declared import Declared, Option
from dfd.config.cli.helping import page
from dfd.config.cli.line import read_line
from dfd.config.cli.places import Line, dashed

COMPOSED = [name for name, command in COMMANDS.items() if command.is_composed]
EVERY_CHOICE = [
    (command, name, choice)
    for command in COMPOSED
    for name, group in Declared(command).groups.items()
    for choice in group.choices
]


def without_words(options: list[Option]) -> list[str]:
    return [option.key for option in options if not option.about]


@pytest.mark.parametrize("command", COMPOSED)
def test_every_option_of_a_command_has_words_and_is_on_its_page(command: str) -> None:
    declared = Declared(command)
    text = page(command, Line())
    assert not without_words(declared.options())
    for option in declared.options():
        name = dashed(option.key)
        assert re.search(rf"^  --(\[no-\])?{re.escape(name)}\b", text, re.M), name
    for group in declared.groups.values():
        assert group.about
        assert group.section
        for choice in group.choices:
            assert re.search(rf"^      {choice}\b", text, re.M), choice


@pytest.mark.parametrize(("command", "group", "choice"), EVERY_CHOICE)
def test_every_choice_and_its_options_have_words(command: str, group: str, choice: str) -> None:
    declared = Declared(command)
    assert declared.groups[group].choices[choice]
    assert not without_words(declared.options({group: choice}))


@pytest.mark.parametrize("command", COMPOSED)
def test_a_page_has_three_examples_that_are_understood(command: str, tmp_path: Path) -> None:
    lines = page(command, Line()).split("\n")
    start = lines.index("Examples:") + 1
    examples = lines[start : lines.index("", start)]
    assert len(examples) == 3
    (tmp_path / "stores" / "mine").mkdir(parents=True)
    for example in examples:
        dfd, named, *words = shlex.split(example, comments=True)
        assert (dfd, named in (command, "preprocess")) == ("dfd", True)
        with contextlib.chdir(tmp_path):
            assert read_line(named, words).overrides


def test_the_options_of_what_was_chosen_are_shown() -> None:
    text = page("train", read_line("train", ["--backbone", "timm", "data=blend", "--help"]))
    assert "Options of backbone=timm:" in text
    assert "--backbone.input-size" in text
    assert "--data.blend.feather" in text


@pytest.mark.parametrize("columns", [80, 200])
def test_a_page_fits_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for command in COMPOSED:
        lines = [line for line in page(command, Line()).split("\n") if not line.startswith(("  dfd", "usage"))]
        assert max(map(len, lines)) <= columns


def test_the_first_page_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["--help"]) == 0
    text = capsys.readouterr().out
    assert [name for name in COMMANDS if not re.search(rf"^  {name} ", text, re.M)] == []


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("predct", "did you mean dfd predict?"),
        ("trian", "did you mean dfd train?"),
        ("--hlep", "did you mean dfd --help?"),
        (__file__, "write dfd predict"),
        ("frobnicate", "the commands are predict, "),
    ],
)
def test_a_misspelt_command_is_told_the_right_one(word: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {word}: there is no such command")
    assert said in error


@pytest.mark.parametrize(
    "words", [["--help"], ["predict", "--help"], ["train", "--help"], ["--complete", "zsh", "dfd "]]
)
def test_help_and_completion_import_nothing_that_is_slow(words: list[str]) -> None:
    slow = ["torch", "lightning", "pandas", "cv2", "numpy", "hydra", "omegaconf"]
    code = (
        "import json, sys\nfrom dfd.__main__ import main\n"
        f"status = main({words})\n"
        f"print(json.dumps([status, [m for m in {slow} if m in sys.modules]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [0, []]
