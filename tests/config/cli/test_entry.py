"""Commands that are called as people call them, from the words to what they leave."""

import contextlib
import csv
import io
import json
import shutil
import sys
from pathlib import Path

import pytest

from dfd.__main__ import main
from tests.conftest import TINY_BACKBONE

TINY = [
    "--backbone",
    "timm",
    "--backbone.name",
    str(TINY_BACKBONE["name"]),
    "--no-pretrained",
    "--hidden-features",
    "16",
]


def run(folder: Path, *words: str) -> tuple[int, str]:
    said = io.StringIO()
    argv = sys.argv[:]
    sys.argv[:] = ["dfd", *words]
    try:
        with contextlib.chdir(folder), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            return main(), said.getvalue()
    except SystemExit as stop:
        return (stop.code if isinstance(stop.code, int) else 1), said.getvalue()
    finally:
        assert sys.argv == ["dfd", *words], "the process is left as it was"
        sys.argv[:] = argv


def test_several_videos_with_any_names_are_scored(tiny_videos: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    names = ["a (1), ${b}.mp4", "x=1.mp4", "my videos/[2] #é.mp4"]
    (tmp_path / "my videos").mkdir()
    for name in names:
        shutil.copy(tiny_videos.parent / "00.mp4", tmp_path / name)
    (tmp_path / "my videos" / "notes.txt").write_text("no video")
    given = [*names[:2], "my videos", "--checkpoint", str(tiny_checkpoint), "--face-detector", "fixed_box"]
    status, said = run(tmp_path, "predict", *given, "--output", "scores (1), ${c}", "--num-workers", "1", "--no-report")
    assert status == 0, said
    output = tmp_path / "scores (1), ${c}"
    with (output / "predictions.csv").open(newline="") as file:
        assert {row["path"]: row["status"] for row in csv.DictReader(file)} == dict.fromkeys(names, "ok")
    assert json.loads((output / "run.json").read_text())["input"] == "a (1), ${b}.mp4 and 2 more"
    assert (output / "not_videos.txt").read_text() == "my videos/notes.txt\n"


def test_a_training_without_logger_and_schedule_leaves_a_detector(tiny_store: Path, tmp_path: Path) -> None:
    words = ["logger=null", "--scheduler", "null", "--max-epochs", "1", "--clip-len", "4", "--num-workers", "0"]
    more = ["--trainer", "cpu", "--no-test", "--no-calibrate", "hydra.run.dir=run"]
    status, said = run(tmp_path, "train", str(tiny_store), *TINY, *words, *more)
    assert status == 0, said
    assert (tmp_path / "run" / "detector.safetensors").is_file()
    assert not (tmp_path / "run" / "metrics.csv").exists()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["predict", "clip", "--checkpoint", "starter", "--output", "clip"], 1, "give another"),
        (["train", "--experimental-rerun", "gone"], 2, "gone does not exist"),
        (["train", "-m", "seed=1,2", "optimizer.lrr=3"], 2, "did you mean optimizer.lr=3?"),
        (["predict", "clip"], 1, "checkpoint=starter is the small detector that comes with dfd"),
        (["predict", "clip", "--checkpoint", "starer"], 1, "did you mean checkpoint=starter?"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(words: list[str], status: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "clip").touch()
    got, text = run(tmp_path, *words)
    assert got == status, text
    assert said in text
    assert "Traceback" not in text
