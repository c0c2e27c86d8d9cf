"""A full disk or a read-only folder gives a sentence, finished work is kept, and the run can be continued."""

import errno
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dfd.base.errors import disk_sentence
from dfd.base.types import Status, VideoScore
from dfd.config.places import run_folder
from dfd.predictions.rows import read_scores
from dfd.predictions.writer import PredictionWriter
from tests.commands.test_commands import run
from tests.conftest import ROOT


def limited(*arguments: str, largest_file: int, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command that may write no larger file: to it, a disk that is full at that point."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},  # what is cut there stays cut
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file)),
        check=False,
    )


def test_a_disk_that_fills_up_is_a_sentence_and_the_run_goes_on_where_it_was(
    tiny_checkpoint: Path, tiny_videos: Path, tmp_path: Path
) -> None:
    for number in range(6):
        (tmp_path / "inbox").mkdir(exist_ok=True)
        shutil.copy(tiny_videos.parent / "00.mp4", tmp_path / "inbox" / f"{number}.mp4")
    output = tmp_path / "out"
    arguments = [f"input={tmp_path}/inbox", f"checkpoint={tiny_checkpoint}", f"output={output}", "num_workers=1"]
    arguments += ["face_detector=fixed_box", "device=cpu", "runtime=torch", "heatmaps=false"]
    working = tmp_path / "working"
    working.mkdir()
    done = limited(str(ROOT / "predict.py"), *arguments, largest_file=4000, cwd=working)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "HYDRA_FULL_ERROR" not in done.stderr
    assert "error: File too large; finished work is kept: fix the cause, and repeat the same command" in done.stderr
    num_kept = len(read_scores(output))
    assert num_kept < 6
    assert list(working.iterdir()) == []  # what a command writes is in the folder that it was given
    again = run("predict", *arguments)
    assert num_kept == 0 or f"{num_kept} of 6 are already in" in again.stdout
    assert len({value["prob_fake"] for value in read_scores(output).values()}) == 1
    assert len(read_scores(output)) == 6


def test_a_writer_whose_disk_is_full_says_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write_two() -> None:
        with PredictionWriter(tmp_path, model="m@1") as writer:
            writer.write(VideoScore("a.mp4", Status.NO_FACE, model="m@1"))
            monkeypatch.setattr("dfd.predictions.writer.row_of", full)
            writer.write(VideoScore("b.mp4", Status.NO_FACE, model="m@1"))

    with pytest.raises(OSError, match="No space"):
        write_two()
    monkeypatch.undo()
    with PredictionWriter(tmp_path, model="m@1") as writer:  # the lock was given back
        assert "a.mp4" in writer.done


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "out: No space left on device; finished work is kept: make room"),
        (errno.EROFS, "out: Read-only file system; give a folder that can be written to"),
        (errno.EACCES, "out: Permission denied; give a folder that can be written to"),
        (errno.EIO, "out: Input/output error; finished work is kept"),
        (errno.ECHILD, None),
    ],
)
def test_what_a_disk_refuses_is_told_with_the_remedy(number: int, said: str | None) -> None:
    sentence = disk_sentence(OSError(number, os.strerror(number), "out"))
    assert (sentence is None) == (said is None)
    assert said is None or (sentence or "").startswith(said)


def test_an_error_of_hydras_own_folder_is_a_sentence(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run(
        *("predict", f"input={ROOT}/docs", f"checkpoint={tiny_checkpoint}", f"hydra.run.dir={tmp_path}/file/run"),
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path}/file/run: Not a directory")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("output", "where", "may_write", "folder"),
    [
        ("scores", "always", True, "scores"),
        ("scores", "always", False, "scores"),
        (None, "always", True, "outputs/predict/"),
        ("stores/mine", "beside", True, "outputs/predict/"),
        ("stores/mine", "beside", False, "stores/mine/.predict"),
        ("shared/ours.onnx", "beside", False, "shared/.predict"),
        ("???", "always", True, "outputs/predict/"),
    ],
)
def test_a_run_writes_where_it_was_told_to_write(
    output: str | None, where: str, may_write: bool, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: may_write)
    config = OmegaConf.create({"output": output, "dir": f"${{dfd.run_folder:predict,output,{where}}}"})
    assert config.dir.startswith(folder)
    assert run_folder("predict", "output", where, _root_=config) == config.dir
