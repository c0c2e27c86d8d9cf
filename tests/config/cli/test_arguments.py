"""The commands with a few arguments have the manners of the others."""

import contextlib
import importlib
import io
import re
from pathlib import Path

import pytest

from dfd.config.cli.catalogue import COMMANDS, Arguments

FEW = [name for name, command in COMMANDS.items() if not command.is_composed and name != "web"]


def answer(command: str, *words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = importlib.import_module(COMMANDS[command].module).main(list(words))
    except SystemExit as stop:
        status = stop.code
    return status or 0, out.getvalue(), err.getvalue()


def parser(**more: object) -> Arguments:
    made = Arguments("sheet", description="Draw.")
    made.add_argument("store", type=Path, **more)  # type: ignore[arg-type]
    made.add_argument("--max-tracks", type=int, default=80)
    return made


@pytest.mark.parametrize(
    "words",
    [["s", "--max-tracks", "3"], ["--max_tracks=3", "s"], ["max_tracks=3", "store=s"], ["--max-tracks=3", "--", "s"]],
)
def test_an_option_may_be_given_as_in_the_other_commands(words: list[str]) -> None:
    found = parser().parse_args(words)
    assert (found.store, found.max_tracks) == (Path("s"), 3)


def test_a_file_and_a_pattern_are_what_they_name(tmp_path: Path) -> None:
    for name in ("store=a", "b1", "b2"):
        (tmp_path / name).touch()
    with contextlib.chdir(tmp_path):
        assert parser().parse_args(["store=a"]).store == Path("store=a")
        assert parser(nargs="+").parse_args(["b*"]).store == [Path("b1"), Path("b2")]


@pytest.mark.parametrize("command", FEW)
def test_help_has_examples_and_the_options_that_are_completed(command: str) -> None:
    status, out, _ = answer(command, "--help")
    assert status == 0
    assert f"usage: dfd {command}" in out
    assert f"examples:\n  dfd {command} " in out
    assert all(option in out for option in COMMANDS[command].options)
    options = out.partition("options:")[2].partition("examples:")[0]
    assert set(re.findall(r"--[a-z-]+", options)) == {"--help", *COMMANDS[command].options}


@pytest.mark.parametrize(
    "command", [name for name in FEW if name not in ("adopt", "sources")]
)  # which list what there is
def test_nothing_given_is_a_sentence(command: str) -> None:
    status, _, err = answer(command)
    assert status == 2
    assert err.startswith("error: ")
    assert f"is missing; write dfd {command} " in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("report", "x", "--outptu", "y"), "error: --outptu: dfd report has no such option; did you mean --output?"),
        (("sheet", "x", "trakcs=main"), "did you mean --tracks?"),
        (
            ("sheet", "x", "--tracks", "mian"),
            "--tracks mian: it is one of main, all; did you mean --tracks main?",
        ),
        (("sheet", "x", "--frames", "many"), "error: --frames must be a whole number above 0, got many"),
        (("demo", "x", "--seed", "a"), "error: --seed invalid int value: 'a'"),
        (("audit", "a", "b"), "error: b: dfd audit has no such option"),
    ],
)
def test_what_is_not_understood_is_a_sentence(words: tuple[str, ...], said: str) -> None:
    status, _, err = answer(*words)
    assert status == 2
    assert said in err
    assert "usage" not in err


@pytest.mark.parametrize("command", ["report", "audit", "sheet"])
def test_a_folder_that_is_not_there_is_a_sentence(command: str, tmp_path: Path) -> None:
    status, _, err = answer(command, str(tmp_path / "gone"))
    assert status == 1
    assert err.startswith("error: ")
    assert "gone" in err
    assert "Traceback" not in err
