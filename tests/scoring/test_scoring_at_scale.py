"""What a night's folder may do to a scoring run: bad files, many files, a decoder bomb, kill -9, hostile names."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from dfd.base.types import Status
from dfd.scoring.detector import Detector
from dfd.video.encode import write_video
from tests.commands.test_commands import run
from tests.conftest import ROOT, drawn_frames

FIXED = {"name": "fixed_box"}
OPTIONS = ["face_detector=fixed_box", "num_workers=1"]
HOSTILE = [
    "-rf.mp4",
    "--help.mp4",
    "new\nline.mp4",
    'quo"te,comma;semicolon.mp4',
    "<script>alert(1)</script>.mp4".replace("/", "\u2215"),
    "<img src=x onerror=alert(1)>.mp4",
    "=HYPERLINK(1).mp4",
    "ünïcödé 日本語 🎭.mp4",
    "rtl\u202egpj.mp4",
    "$(touch pwned).mp4",
    "`touch pwned`.mp4",
    "%s%n%x.mp4",
    "{{ 7*7 }}.mp4",
    "trailing space .mp4",
    "tab\there.mp4",
    "carriage\rreturn.mp4",
    "two..dots.mp4",
    "a" * 200 + ".mp4",
    "null\u0000".strip("\u0000") + ".mp4",
    os.fsdecode(b"not-utf8-\xff\xfe.mp4"),
]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small video that is quickly scored."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_video(path, drawn_frames(3, num_frames=6, side=48), fps=25)
    return path


@pytest.fixture(scope="module")
def detector(tiny_checkpoint: Path):
    with Detector.load(tiny_checkpoint, face_detector=FIXED, num_workers=2, device="cpu") as detector:
        yield detector


def copies(clip: Path, folder: Path, count: int) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number:03}.mp4" for number in range(count)]
    for path in paths:
        os.link(clip, path)
    return paths


def predict(*arguments: object) -> subprocess.Popen:
    command = [sys.executable, "predict.py", *map(str, arguments), *OPTIONS]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_two_hundred_files_of_which_twenty_are_bad_get_two_hundred_rows(
    detector: Detector, clip: Path, tmp_path: Path
) -> None:
    paths = copies(clip, tmp_path / "inbox", 180)
    whole = clip.read_bytes()
    for number in range(20):
        path = tmp_path / "inbox" / f"bad-{number:02}.mp4"
        path.write_bytes((b"", b"words, no video", whole[: len(whole) // 3], whole[200:])[number % 4])
        paths.append(path)
    scores = {score.path: score for score in detector.score_many(paths)}
    assert scores.keys() == {str(path) for path in paths}
    good = [score for path, score in scores.items() if "bad" not in Path(path).name]
    bad = [score for path, score in scores.items() if "bad" in Path(path).name]
    assert {score.status for score in good} == {Status.OK}
    assert {score.status for score in bad} == {Status.UNREADABLE}
    assert all(
        score.prob_fake is None and score.verdict is None and Path(score.path).name in score.message for score in bad
    )
    assert np.ptp([score.prob_fake for score in good]) < 1e-5


@pytest.mark.slow
def test_memory_does_not_grow_over_five_hundred_videos(detector: Detector, clip: Path, tmp_path: Path) -> None:
    paths = copies(clip, tmp_path / "inbox", 500)

    def resident() -> int:
        process = psutil.Process()
        return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)])

    seen = []
    for number, score in enumerate(detector.score_many(paths)):
        assert score.status is Status.OK
        if number in (99, 499):
            seen.append(resident())
    assert seen[1] < 1.05 * seen[0]


def test_a_decoder_bomb_is_refused_at_once_and_costs_no_memory(detector: Detector, clip: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.mp4"
    write_video(bomb, np.zeros((2, 4352, 4352, 3), np.uint8), fps=25)
    detector.score(clip)  # the workers run
    before = sum(child.memory_info().rss for child in psutil.Process().children(recursive=True))
    began = time.monotonic()
    score = detector.score(bomb)
    assert time.monotonic() - began < 10  # on a busy machine; benchmarks/ has the figure
    after = sum(child.memory_info().rss for child in psutil.Process().children(recursive=True))
    assert score.status is Status.TOO_LARGE
    assert "4352 x 4352" in score.message
    assert after - before < 200e6


def test_a_run_that_is_killed_goes_on_and_scores_nothing_twice(
    tiny_checkpoint: Path, clip: Path, tmp_path: Path
) -> None:
    copies(clip, tmp_path / "inbox", 40)
    arguments = [f"input={tmp_path}/inbox", f"checkpoint={tiny_checkpoint}", f"hydra.run.dir={tmp_path}/run"]
    output, lines = tmp_path / "out", tmp_path / "out" / "predictions.jsonl"
    process = predict(*arguments, f"output={output}", "report=false")
    try:
        end = time.monotonic() + 120
        while not lines.exists() or lines.read_bytes().count(b"\n") < 5:
            assert time.monotonic() < end, process.communicate()[0]
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    first = lines.read_bytes()
    num_first = first.count(b"\n")
    assert 5 <= num_first < 40
    done = run("predict", *arguments, f"output={output}", "report=false", *OPTIONS)
    assert f"{num_first} of 40 are already in" in done.stdout
    assert lines.read_bytes().startswith(first[: first.rindex(b"\n") + 1])
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert len(rows) == len({row["path"] for row in rows}) == 40
    table = pd.read_csv(output / "predictions.csv", keep_default_na=False)
    assert sorted(table["path"]) == sorted(row["path"] for row in rows)
    # Of copies of one file, before the kill and after it.
    assert len({row["prob_fake"] for row in rows}) == 1


def test_hostile_names_come_through_whole(tiny_checkpoint: Path, clip: Path, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for name in HOSTILE:
        shutil.copy(clip, inbox / name)
    output = tmp_path / "out"
    arguments = [f"input={inbox}", f"checkpoint={tiny_checkpoint}", f"hydra.run.dir={tmp_path}/run"]
    done = run("predict", *arguments, f"output={output}", *OPTIONS)
    (done.stdout + done.stderr).encode()  # it can be printed
    with (output / "predictions.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert {row["path"] for row in rows} == {str(inbox / name) for name in HOSTILE}
    assert {row["status"] for row in rows} == {"ok"}
    page = (output / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "\u202e" not in page, "a name must not turn the direction of the page around"
    below = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")}
    assert below == {"inbox", "out", "run"}
    assert not list(ROOT.glob("pwned"))
