"""Whatever a person types wrongly is answered by a sentence that names it, and by a form that is right."""

import contextlib
import importlib
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dfd.config.cli.catalogue import COMMANDS, UsageError
from dfd.config.cli.line import read_line
from dfd.config.folders import CONFIG_DIR, SWEEPS_DIR
from dfd.config.schemas import SCHEMAS
from tests.config.cli.wrong_lines import Wrong, wrong_lines

LINES = wrong_lines()
REFUSED = (AssertionError, pytest.fail.Exception, UsageError, HydraException, OmegaConfBaseException)
PROPOSAL = re.compile(r"(?P<how>did you mean|write) (?P<words>.+?)(?:\?|, or --help to see what it is)?$")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("lines")
    (made / "store").mkdir()
    for name in ("clip.mp4", "videos.csv"):
        (made / name).write_text("path,label\n")
    return made


def answer(command: str, words: tuple[str, ...]) -> tuple[int, str]:
    """Exit status and what is said, of a command in this process, through its door."""
    said, argv = io.StringIO(), sys.argv
    sys.argv = [f"{command}.py", *words]
    GlobalHydra.instance().clear()
    status = 0
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            importlib.import_module(COMMANDS[command].module).main()
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    finally:
        sys.argv = argv
    return status, said.getvalue()


def check_composes(command: str, words: list[str]) -> None:
    """Raises what the command would refuse the words with."""
    words = [word for word in words if word != "-m"]
    line = read_line(command, words, SCHEMAS[command])
    sweeps = [re.sub(r"=([^\[{'\"(]*?),.*", r"=\1", word) for word in line.overrides]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        OmegaConf.to_container(compose(command, [f"hydra.searchpath=[file://{SWEEPS_DIR}]", *sweeps]), resolve=False)


def judge(line: Wrong, status: int, said: str) -> None:
    """The oracle."""
    assert status in (1, 2), said
    assert "Traceback" not in said
    assert "Error executing" not in said
    refused = [text.removeprefix("error: ") for text in said.splitlines() if text.startswith("error: ")]
    assert len(refused) == 1, said
    (sentence,) = refused
    assert said.splitlines()[-1] == f"error: {sentence}", "nothing follows"
    assert line.names in sentence
    assert len(sentence.removeprefix(" ".join(line.words))) < 420, "one or two sentences"
    found = PROPOSAL.search(sentence)
    if line.meant and found is None and line.kind not in ("misspelt key", "misspelt option", "misspelt choice"):
        pytest.fail(f"nothing is proposed: {sentence}")
    if found is None:
        return
    proposed = shlex.split(found["words"])
    if found["how"] == "did you mean":
        assert line.meant is not None, f"it was not asked for: {sentence}"
        name = proposed[0].lstrip("+-").replace("-", "_")
        assert name == line.meant or name.startswith(f"{line.meant}=") or line.meant.endswith(f".{name}"), sentence
    replaced = {re.split("=", word.lstrip("+~-"), maxsplit=1)[0] for word in proposed}
    wrong = line.words[-2:] if line.words[-2:-1] and line.words[-2].startswith("--") else line.words[-1:]
    kept = [word for word in line.words if word not in wrong and word.partition("=")[0] not in replaced]
    if len(wrong) == 2 and len(proposed) == 1 and "=" not in proposed[0]:
        proposed.append(wrong[1])
    if line.kind in ("misspelt key", "misspelt option"):
        return  # the value is anything: what composes is the key, and the refusal has tried it
    check_composes(line.command, [*kept, *proposed])


def names(lines: list[Wrong]) -> list[str]:
    return [f"{number}-{line.command}" for number, line in enumerate(lines)]


def judged(kind: str, folder: Path, which: slice) -> None:
    problems = []
    with contextlib.chdir(folder):
        for line in LINES[kind][which]:
            try:
                judge(line, *answer(line.command, line.words))
            except REFUSED as error:  # every one of them is told
                said = f"{type(error).__name__}: {str(error)[:600]}"
                problems.append(f"{line.command} {shlex.join(line.words)}\n    {said}")
    assert not problems, f"{len(problems)} of {len(LINES[kind][which])}:\n" + "\n".join(problems)


def test_there_are_300_wrong_lines_and_20_of_each_kind() -> None:
    assert sum(map(len, LINES.values())) >= 300
    assert min(map(len, LINES.values())) >= 20, {kind: len(lines) for kind, lines in LINES.items()}


@pytest.mark.parametrize("kind", LINES)
def test_a_wrong_line_is_refused_in_a_sentence_with_a_form_that_is_right(kind: str, folder: Path) -> None:
    judged(kind, folder, slice(0, None, 4))


@pytest.mark.slow
@pytest.mark.parametrize("kind", LINES)
def test_every_wrong_line_is_refused_in_a_sentence_with_a_form_that_is_right(kind: str, folder: Path) -> None:
    judged(kind, folder, slice(None))


@pytest.mark.slow
@pytest.mark.parametrize("kind", LINES)
def test_wrong_lines_are_refused_by_processes_of_their_own(kind: str, folder: Path) -> None:
    for line in LINES[kind][1::7][:3]:
        command = [sys.executable, "-m", "dfd", line.command, *line.words]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        judge(line, done.returncode, done.stderr)
