"""Preprocessing: every video ends as a record, and stopping it anywhere costs nothing but time."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from dfd.base.errors import NoFaceFound, UnreadableVideo
from dfd.base.types import Label, Status
from dfd.data.prepare.store import prepare_store
from dfd.data.prepare.video import PreparationSettings, prepare_video
from dfd.data.sources.manifest import read_manifest
from dfd.data.store.folders import read_geometry, read_records, video_folder
from dfd.data.store.tables import read_index
from dfd.faces.detect import build_detector
from dfd.video.decode import VideoReader
from dfd.video.encode import write_video
from tests.commands.test_commands import run
from tests.conftest import ROOT, drawn_frames

FIXED = {"name": "fixed_box"}  # a detector that needs no face: these tests are about the chain
SETTINGS = PreparationSettings(face_detector=FIXED, num_frames=12)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight good videos of eight people and two bad files; read only."""
    folder = tmp_path_factory.mktemp("videos")
    lines = ["path,label,source_ids"]
    for index in range(8):
        write_video(folder / f"{index}.mp4", drawn_frames(index), fps=25)
        lines.append(f"{index}.mp4,{'fake' if index % 2 else 'real'},person{index}")
    (folder / "text.mp4").write_text("this is no video")
    (folder / "empty.mp4").write_bytes(b"")
    lines += ["text.mp4,real,person8", "empty.mp4,fake,person9"]
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def corrected(manifest: Path) -> Path:
    """The same videos; one of them was of the other label."""
    path = manifest.with_name("corrected.csv")
    path.write_text(manifest.read_text().replace("0.mp4,real", "0.mp4,fake"))
    return path


@pytest.fixture(scope="module")
def prepared(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """The store that one run makes of them, read only, and what the run counted."""
    store = tmp_path_factory.mktemp("prepared") / "store"
    return store, prepare_store(read_manifest(manifest), store, SETTINGS, num_workers=2)


@pytest.fixture
def store(prepared: tuple[Path, dict[str, int]], tmp_path: Path) -> Path:
    """A copy of the prepared store."""
    return shutil.copytree(prepared[0], tmp_path / "store")


def contents(store: Path) -> dict[str, bytes]:
    return {str(p.relative_to(store)): p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file()}


def test_every_row_ends_as_a_record_and_every_good_one_as_clips(prepared: tuple[Path, dict[str, int]]) -> None:
    store, counts = prepared
    assert counts == {"ok": 8, "unreadable": 2}
    records = read_records(store)
    assert len(records) == 10
    assert all(record.message for record in records if record.status is not Status.OK)
    index = read_index(store)
    assert set(index["num_frames"]) == {12}
    with VideoReader(store / index["path"][0]) as reader:
        assert (reader.width, reader.height, reader.num_frames) == (112, 112, 12)


def test_the_clip_shows_what_the_box_holds(manifest: Path, tmp_path: Path) -> None:
    row = read_manifest(manifest)[0]
    record = prepare_video(row, tmp_path / "store", SETTINGS, build_detector("fixed_box"))
    folder = video_folder(tmp_path / "store", row)
    geometry = read_geometry(folder / record.tracks[0].file)
    assert geometry.boxes_xyxy.shape == (12, 4)
    with VideoReader(folder / record.tracks[0].file) as clip, VideoReader(row.path) as source:
        crops, frames = clip.frames(range(12)), source.frames(range(12))
    crop = SETTINGS.faces.crop.cut
    faces = zip(frames, geometry.boxes_xyxy, geometry.landmarks, strict=True)
    expected = np.stack([crop(frame, box, points) for frame, box, points in faces])
    assert np.abs(crops.astype(int) - expected.astype(int)).mean() < 4  # what encoding costs


def test_a_second_run_does_nothing_again(manifest: Path, store: Path) -> None:
    rows = read_manifest(manifest)
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*.mp4")}
    assert prepare_store(rows, store, SETTINGS, num_workers=2) == {"ok": 8, "unreadable": 2}
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*.mp4")} == before


def test_other_settings_are_done_again(manifest: Path, tmp_path: Path) -> None:
    store, rows = tmp_path / "store", read_manifest(manifest)[:2]
    prepare_store(rows, store, SETTINGS, num_workers=1)
    prepare_store(rows, store, PreparationSettings(face_detector=FIXED, num_frames=5), num_workers=1)
    assert set(read_index(store)["num_frames"]) == {5}


def test_a_corrected_label_reaches_the_index_without_decoding_again(corrected: Path, store: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*.mp4")}
    prepare_store(read_manifest(corrected), store, SETTINGS, num_workers=2)
    labels = {record.name: record.label for record in read_records(store)}
    assert labels["0.mp4"] is Label.FAKE
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*.mp4")} == before


def test_killed_while_it_corrects_a_label_it_leaves_no_index_of_the_old_one(
    corrected: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (store / "index.csv").exists()

    def killed(store: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dfd.data.prepare.store.build_index", killed)  # it does not come to that
    with pytest.raises(KeyboardInterrupt):
        prepare_store(read_manifest(corrected), store, SETTINGS, num_workers=2)
    assert not (store / "index.csv").exists()


def test_shards_together_make_the_store_of_one_run(
    prepared: tuple[Path, dict[str, int]], manifest: Path, tmp_path: Path
) -> None:
    rows = read_manifest(manifest)
    for index in range(3):
        prepare_store(rows, tmp_path / "three", SETTINGS, num_workers=1, shard=(index, 3))
    assert contents(tmp_path / "three") == contents(prepared[0])


def command_line(manifest: Path, store: Path) -> list[str]:
    given = [f"manifest={manifest}", "num_frames=12", "num_workers=1", "face_detector=fixed_box"]
    return [*given, f"store={store}", f"hydra.run.dir={store}-run"]


@pytest.fixture(scope="module")
def uninterrupted(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    store = tmp_path_factory.mktemp("uninterrupted") / "store"
    run("dfd.preprocess", *command_line(manifest, store))
    return contents(store)


@pytest.mark.parametrize("seconds_after_first_record", [0.0, 0.15])
def test_a_run_killed_at_any_moment_is_completed_to_the_same_store(
    uninterrupted: dict[str, bytes], manifest: Path, tmp_path: Path, seconds_after_first_record: float
) -> None:
    store = tmp_path / "killed"
    arguments = command_line(manifest, store)
    process = subprocess.Popen(
        [sys.executable, "-m", "dfd.preprocess", *arguments],
        **{"cwd": ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True},
    )
    while process.poll() is None and not list(store.glob("*/*/record.json")):
        time.sleep(0.005)
    time.sleep(seconds_after_first_record)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    run("dfd.preprocess", *arguments)
    found, whole = contents(store), uninterrupted
    assert sorted(found) == sorted(whole)
    assert [name for name in whole if found[name] != whole[name]] == []


def test_a_worker_that_dies_costs_its_video_for_now_and_no_other(manifest: Path, tmp_path: Path) -> None:
    store, rows = tmp_path / "store", read_manifest(manifest)[:3]
    settings = PreparationSettings(face_detector=FIXED, num_frames=12)
    prepare_store(rows[:2], store, settings, num_workers=1)
    # What the parent writes when a child is killed is tried again by the next run.
    from dfd.data.prepare import store as preparation
    from dfd.data.store.folders import write_record
    from dfd.process.failure import Failure

    killed = Failure(Status.ERROR, "the worker was killed (signal 9)")
    failed = preparation._record_of(killed, rows[2], store, settings, None)
    write_record(store, failed)
    assert prepare_store(rows, store, settings, num_workers=1) == {"ok": 3}


def test_the_commands_defaults_are_the_settings_defaults() -> None:
    """Else `train.py` on the demonstration set would prepare again what `dfd.preprocess` has prepared."""
    from hydra import compose, initialize_config_dir

    from dfd.commands.preprocess import settings_of
    from dfd.config.check import check
    from dfd.config.folders import CONFIG_DIR
    from dfd.config.schemas import PreprocessConfig

    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = check(compose("preprocess", ["store=s"]), PreprocessConfig)
    assert settings_of(config).as_dict() == PreparationSettings().as_dict()


def test_a_video_of_many_tracks_keeps_few_files_open(tmp_path: Path) -> None:
    """Shot after shot, each a track of its own."""
    shots = [drawn_frames(seed, num_frames=4) for seed in range(30)]
    write_video(tmp_path / "cuts.mp4", np.concatenate(shots), fps=25)
    (tmp_path / "manifest.csv").write_text("path,label\ncuts.mp4,real\n")
    row = read_manifest(tmp_path / "manifest.csv")[0]
    open_files = []

    class Watching:
        name, batch_size = "fixed_box", 1

        def __init__(self) -> None:
            self.inner = build_detector("fixed_box")

        def __call__(self, frames: np.ndarray) -> list:
            open_files.append(sum(".partial.mp4" in item.path for item in psutil.Process().open_files()))
            return self.inner(frames)

    settings = PreparationSettings(FIXED, num_frames=None, min_track_frames=1)
    record = prepare_video(row, tmp_path / "store", settings, Watching())
    assert len(record.tracks) >= 20
    assert max(open_files) <= 3


def test_nothing_is_left_behind_by_a_video_without_a_face(tmp_path: Path) -> None:
    write_video(tmp_path / "plain.mp4", np.full((20, 120, 160, 3), 90, np.uint8), fps=25)
    (tmp_path / "manifest.csv").write_text("path,label\nplain.mp4,real\n")
    row = read_manifest(tmp_path / "manifest.csv")[0]
    with pytest.raises(NoFaceFound, match=r"plain.mp4: no face in any of 20 frames"):
        prepare_video(row, tmp_path / "store", PreparationSettings(), build_detector("mtcnn"))
    assert [p for p in (tmp_path / "store").rglob("*") if p.is_file()] == []


def test_a_file_that_is_no_video_is_unreadable(manifest: Path, tmp_path: Path) -> None:
    row = next(row for row in read_manifest(manifest) if row.name == "text.mp4")
    with pytest.raises(UnreadableVideo, match=r"text\.mp4"):
        prepare_video(row, tmp_path / "store", SETTINGS, build_detector("fixed_box"))


def test_bad_rows_are_all_named_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    (tmp_path / "bad.csv").write_text("path,label\na.mp4,maybe\ngone.mp4,real\n")
    done = run(
        *("dfd.preprocess", f"manifest={tmp_path}/bad.csv", f"store={tmp_path}/store", f"hydra.run.dir={tmp_path}/run"),
        check=False,
    )
    assert done.returncode == 1
    assert "line 2" in done.stderr
    assert "line 3" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "store").exists()
