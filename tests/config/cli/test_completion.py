"""What a shell offers after ``dfd``."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dfd.__main__ import main
from dfd.config.cli.completion import SHELLS, candidates, script


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("dfd pr", ["predict", "preprocess"]),
        ("dfd --v", ["--version"]),
        ("dfd predict --max-w", ["--max-windows"]),
        ("dfd predict --no-rep", ["--no-report"]),
        ("dfd predict --face-detector y", ["yunet"]),
        ("dfd predict face_detector=y", ["face_detector=yunet"]),
        ("dfd predict annotate=", ["annotate=true", "annotate=false"]),
        ("dfd train backbone=timm --backbone.n", ["--backbone.name"]),
        ("dfd train backbone=timm backbone.n", ["backbone.name="]),
        ("dfd train data/aug", ["data/augmentation="]),
        ("dfd train --cfg ", ["job", "hydra", "all"]),
        ("dfd train --multi", ["--multirun"]),
        ("dfd sheet --tr", ["--tracks"]),
        ("dfd predict -- --max-w", []),
        ("dfd predict 'my vid", []),
        ("dfd nonsense --", []),
    ],
)
def test_words_are_completed(typed: str, offered: list[str]) -> None:
    assert candidates("zsh", typed) == offered


def test_all_commands_and_choices_are_offered() -> None:
    assert {"predict", "train", "web", "demo"} <= set(candidates("bash", "dfd "))
    assert set(candidates("bash", "dfd train backbone=")) >= {"resnext50", "timm"}, "bash has the word's part after ="


def in_bash(typed: str, folder: Path) -> list[str]:
    """What bash itself completes the line to."""
    lines = [
        script("bash"),
        f"COMP_LINE={typed!r} COMP_POINT=${{#COMP_LINE}} COMP_WORDS=({typed}) COMP_CWORD=1",
        '_dfd 2>/dev/null; printf "%s\\n" "${COMPREPLY[@]}"',
    ]
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", "\n".join(lines)], capture_output=True, text=True, check=True, env={**os.environ, "PATH": path}
    )
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes(tmp_path: Path) -> None:
    command = tmp_path / "dfd"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dfd "$@"\n')
    command.chmod(0o755)
    assert in_bash("dfd eval", tmp_path) == ["evaluate"]
    assert in_bash("dfd train backbone=resn", tmp_path) == ["resnext50"]
    assert in_bash("dfd predict --max-wi", tmp_path) == ["--max-windows"]


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_its_lines_and_reads_them(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--completion", shell]) == 0
    lines = capsys.readouterr().out
    assert "dfd --complete" in lines
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=lines, text=True, check=True)


def test_a_shell_that_is_not_known_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--completion", "tcsh"]) == 2
    assert "one of bash, zsh, fish" in capsys.readouterr().err
