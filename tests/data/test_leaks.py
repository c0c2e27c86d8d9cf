"""Copies in a store: one label, one side of the split, told by content and not by names."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from dfd.base.errors import ManifestError, SplitLeak
from dfd.base.files import file_sha256
from dfd.base.types import FrameArray, Label
from dfd.commands import audit
from dfd.data.clips.module import ClipDataModule
from dfd.data.prepare.store import plan_splits, prepare_store
from dfd.data.prepare.video import PreparationSettings
from dfd.data.sources.row import VideoRow
from dfd.data.store.folders import read_records, video_folder
from dfd.data.store.plan import read_splits, write_splits
from dfd.data.store.records import RECORD_NAME
from dfd.data.store.tables import build_index
from dfd.video.encode import write_video
from tests.data.films import FPS, film

SETTINGS = PreparationSettings(face_detector={"name": "fixed_box"})


def row(path: Path, label: str = "real", *source_ids: str, **fields: object) -> VideoRow:
    method = "swap" if label == "fake" else ""
    return replace(VideoRow(path, path.name, Label.parse(label), "drawn", method, source_ids), **fields)


def shot(path: Path, frames: FrameArray, *, crf: int = 18) -> Path:
    write_video(path, frames, fps=FPS, crf=crf)
    return path


def remuxed(path: Path, to: Path) -> Path:
    """The same stream in another container: other bytes, equal frames."""
    with av.open(str(path)) as source, av.open(str(to), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    return to


def prepare(rows: list[VideoRow], store: Path, **options: object) -> None:
    prepare_store(rows, store, SETTINGS, num_workers=1, **options)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only: four films, and of the first a byte copy, another container, and a trimmed, smaller re-encoding."""
    folder = tmp_path_factory.mktemp("films")
    for number in range(4):
        shot(folder / f"{number}.mp4", film(number, background=number))
    shutil.copy(folder / "0.mp4", folder / "bytes.mp4")
    remuxed(folder / "0.mp4", folder / "frames.mkv")
    smaller = [cv2.resize(frame, (96, 96), interpolation=cv2.INTER_AREA) for frame in film(0, num_frames=190)[40:]]
    shot(folder / "near.mp4", np.stack(smaller), crf=30)
    return folder


def rows_of(films: Path, *names: str) -> list[VideoRow]:
    """All real, and of one source each."""
    return [row(films / name) for name in names]


@pytest.fixture(scope="module")
def prepared(films: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[VideoRow]]:
    """A store of five videos, two of them near copies that share a source id; read only."""
    store = tmp_path_factory.mktemp("prepared") / "store"
    rows = [*rows_of(films, "1.mp4", "2.mp4", "3.mp4"), row(films / "0.mp4", "real", "a")]
    rows.append(row(films / "near.mp4", "fake", "a"))
    prepare(rows, store)
    return store, rows


@pytest.fixture
def store(prepared: tuple[Path, list[VideoRow]], tmp_path: Path) -> Path:
    return shutil.copytree(prepared[0], tmp_path / "store")


def set_sides(store: Path, rows: list[VideoRow], sides: str) -> None:
    names = {"r": "train", "v": "val", "t": "test"}
    write_splits(store, {r.video_id: names[side] for r, side in zip(rows, sides, strict=True)})
    build_index(store)


def without_content(store: Path) -> None:
    """Make of its records what an earlier dfd wrote."""
    for path in store.glob(f"*/*/{RECORD_NAME}"):
        value = json.loads(path.read_text())
        del value["sha256"], value["fingerprint"]
        for track in value["tracks"]:
            del track["sha256"]
        path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
    for name in ("index.csv", "videos.csv", "copies.csv"):
        (store / name).unlink()


def contents(store: Path) -> dict[str, bytes]:
    return {str(p.relative_to(store)): p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file()}


def test_a_record_has_the_hash_of_its_file_and_a_fingerprint(prepared: tuple[Path, list[VideoRow]]) -> None:
    store, rows = prepared
    for record in read_records(store):
        [path] = [r.path for r in rows if r.video_id == record.video_id]
        assert record.sha256 == file_sha256(path)
        assert record.fingerprint is not None
        assert len(record.fingerprint.vectors()) == 48


def test_equal_files_under_two_labels_are_refused_before_any_is_decoded(films: Path, tmp_path: Path) -> None:
    rows = [*rows_of(films, "0.mp4", "1.mp4"), row(films / "bytes.mp4", "fake")]
    with pytest.raises(ManifestError, match=r"0\.mp4 is real and .*bytes\.mp4 is fake, and both are the same file"):
        prepare(rows, tmp_path / "store")
    assert not list(tmp_path.rglob("*.mp4"))


def test_an_equal_file_of_an_earlier_run_under_another_label_is_refused(films: Path, store: Path) -> None:
    with pytest.raises(ManifestError, match=r"0\.mp4 \(in the store already, as drawn/0-.* is real and .*bytes\.mp4"):
        prepare([row(films / "bytes.mp4", "fake")], store)


def test_equal_frames_under_two_labels_are_refused_and_not_kept(films: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    rows = [*rows_of(films, "0.mp4", "1.mp4"), row(films / "frames.mkv", "fake")]
    with pytest.raises(ManifestError, match=r"'0\.mp4' .*real\) and 'frames\.mkv' .*fake\) show the same pictures"):
        prepare(rows, store)
    assert [record.name for record in read_records(store)] == ["1.mp4"]
    prepare(rows[:2], store)
    assert [record.name for record in read_records(store)] == ["0.mp4", "1.mp4"]


def test_equal_files_of_one_label_land_on_one_side(films: Path, tmp_path: Path) -> None:
    for seed in range(8):
        splits = plan_splits(
            tmp_path / f"{seed}",
            rows_of(films, "0.mp4", "bytes.mp4", "1.mp4", "2.mp4", "3.mp4"),
            fractions=(0.4, 0.3, 0.3),
            seed=seed,
        )
        ids = [r.video_id for r in rows_of(films, "0.mp4", "bytes.mp4")]
        assert splits[ids[0]] == splits[ids[1]]


def test_an_equal_file_that_comes_later_joins_the_side_of_the_first(films: Path, store: Path) -> None:
    [copy] = rows_of(films, "bytes.mp4")
    side = read_splits(store)[row(films / "0.mp4").video_id]
    for other in ("train", "val", "test"):
        here = store.with_name(other)
        shutil.copytree(store, here)
        splits = {video_id: other if split == side else split for video_id, split in read_splits(store).items()}
        write_splits(here, splits)
        assert plan_splits(here, [copy])[copy.video_id] == other


@pytest.mark.parametrize("mode", ["source", "official"])
def test_a_split_that_divides_equal_files_is_refused(films: Path, tmp_path: Path, mode: str) -> None:
    one, other, third = rows_of(films, "0.mp4", "bytes.mp4", "1.mp4")
    if mode == "source":
        rows = [replace(one, split="train"), replace(other, split="test"), third]
    else:
        sides = [(one, "train"), (other, "test"), (third, "train")]
        rows = [replace(r, extra={"official_split": side}) for r, side in sides]
    with pytest.raises(SplitLeak, match=r"equal content .*\n  '0\.mp4' is in train and 'bytes\.mp4' is in test"):
        plan_splits(tmp_path, rows, mode=mode)
    assert not list(tmp_path.iterdir())


def test_dealing_out_videos_without_regard_to_what_they_show_divides_equal_files(films: Path, tmp_path: Path) -> None:
    rows = rows_of(films, "0.mp4", "bytes.mp4", "1.mp4", "2.mp4", "3.mp4")
    sides = [plan_splits(tmp_path / f"{seed}", rows, mode="random_video", seed=seed) for seed in range(8)]
    assert any(splits[rows[0].video_id] != splits[rows[1].video_id] for splits in sides)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bytes.mp4", "are the same file, byte for byte"),
        ("frames.mkv", "show the same pictures, frame for frame"),
        ("near.mp4", "show nearly the same video, 1.6"),
    ],
)
def test_a_copy_in_another_split_fails_the_audit_and_the_training(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    rows = [row(films / "0.mp4"), row(films / "1.mp4", "fake"), row(films / "2.mp4"), row(films / name)]
    prepare(rows, tmp_path, mode="random_video")  # of which copies on two sides are expected
    (tmp_path / "split.json").unlink()
    set_sides(tmp_path, rows, "rrvt")
    assert audit.main([str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert "copies in two splits: 1" in printed.out
    assert "'0.mp4' (train, real) and" in printed.err
    assert words in printed.err
    with pytest.raises(SplitLeak, match=words):
        ClipDataModule(tmp_path).setup("fit")
    set_sides(tmp_path, rows, "rrvr")
    assert audit.main([str(tmp_path)]) == 0
    assert "copies on one side, or of one source: 1" in capsys.readouterr().out
    ClipDataModule(tmp_path).setup("fit")


def test_a_near_copy_that_shares_a_source_id_is_only_listed(
    prepared: tuple[Path, list[VideoRow]], store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_sides(store, prepared[1], "rvtrr")
    assert audit.main([str(store)]) == 0
    printed = capsys.readouterr().out
    assert "copies in two splits: none" in printed
    assert "'0.mp4' (train, real) and 'near.mp4' (train, fake) show nearly the same video" in printed


@pytest.mark.parametrize("mode", ["official", "random_video"])
def test_near_copies_that_a_mode_without_promise_divides_are_warned_of_and_fail_the_audit(
    films: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    sides = [
        ("0.mp4", "real", "train"),
        ("1.mp4", "fake", "train"),
        ("2.mp4", "real", "val"),
        ("near.mp4", "real", "test"),
    ]
    rows = [row(films / name, label, extra={"official_split": side}) for name, label, side in sides]
    prepare(rows, tmp_path, mode=mode)
    set_sides(tmp_path, rows, "rrvt")
    caplog.clear()
    ClipDataModule(tmp_path).setup("fit")
    assert (
        f"split={mode} has 1 pairs of copies in two splits, such as: '0.mp4' (train, real) and 'near.mp4'"
        in caplog.text
    )
    assert audit.main([str(tmp_path)]) == 1
    assert f"This overlap is what split={mode} brings" in capsys.readouterr().err


def test_dividing_anew_puts_near_copies_on_one_side_and_keeps_the_clips(films: Path, tmp_path: Path) -> None:
    rows = rows_of(films, "0.mp4", "1.mp4", "2.mp4", "near.mp4")
    plan_splits(tmp_path, rows)
    set_sides(tmp_path, rows, "rvtt")
    with pytest.raises(SplitLeak, match=r"delete splits\.csv and split\.json"):
        prepare(rows, tmp_path)
    clips = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mp4")}
    assert len(clips) == 4
    for name in ("splits.csv", "split.json"):
        (tmp_path / name).unlink()
    prepare(rows, tmp_path)
    splits = read_splits(tmp_path)
    assert splits[rows[0].video_id] == splits[rows[3].video_id]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mp4")} == clips


def test_a_store_of_an_earlier_dfd_trains_and_says_what_was_not_checked(
    store: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    without_content(store)
    build_index(store)
    assert audit.main([str(store)]) == 0
    printed = capsys.readouterr().out
    assert "not checked: 5 of 5 videos were prepared by an earlier dfd" in printed
    assert "run the same python -m dfd.preprocess again" in printed
    (store / "copies.csv").unlink()  # as it left its tables
    assert audit.main([str(store)]) == 0
    assert "not checked: 5 of 5 videos" in capsys.readouterr().out
    ClipDataModule(store).setup("fit")
    assert "5 of 5 videos were prepared by an earlier dfd" in caplog.text


def test_the_same_preprocessing_brings_an_earlier_store_up_to_date_and_keeps_its_clips(
    prepared: tuple[Path, list[VideoRow]], store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = contents(store)
    without_content(store)
    clips = {path: path.stat().st_mtime_ns for path in store.rglob("*.mp4")}
    with caplog.at_level(logging.INFO):
        prepare(prepared[1], store)
    assert "5 videos of an earlier dfd are read again for their fingerprints" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*.mp4")} == clips
    assert contents(store) == whole


def test_the_same_preprocessing_adds_hashes_of_clips_where_these_alone_are_wanting(
    prepared: tuple[Path, list[VideoRow]], store: Path
) -> None:
    [path] = store.glob(f"*/1-*/{RECORD_NAME}")
    whole = path.read_text()
    value = json.loads(whole)
    del value["tracks"][0]["sha256"]
    path.write_text(json.dumps(value))
    prepare(prepared[1], store)
    assert path.read_text() == whole


def test_an_earlier_video_whose_source_is_gone_keeps_its_clips_and_is_named(
    films: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("0.mp4", "1.mp4", "2.mp4"):
        shutil.copy(films / name, tmp_path / name)
    rows = rows_of(tmp_path, "0.mp4", "1.mp4", "2.mp4")
    store = tmp_path / "store"
    prepare(rows, store)
    without_content(store)
    (tmp_path / "0.mp4").write_bytes(bytes((tmp_path / "0.mp4").stat().st_size))  # damaged since
    prepare(rows[:2], store)
    assert "0.mp4: no fingerprint, so copies of it cannot be found" in caplog.text
    assert "2 of 3 videos were prepared by an earlier dfd" in caplog.text  # of one, the manifest says nothing now
    assert all((video_folder(store, r) / "0.mp4").is_file() for r in rows)
    audit.main([str(store)])
    assert "not checked: 2 of 3 videos" in capsys.readouterr().out


def test_a_photograph_of_two_people_is_on_one_side_and_never_of_two_labels(tmp_path: Path) -> None:
    settings = replace(SETTINGS, stills=True)
    for name, number in [("a.png", 0), ("b.png", 1), ("c.png", 2)]:
        cv2.imwrite(str(tmp_path / name), film(number, background=number, num_frames=1)[0])
    shutil.copy(tmp_path / "a.png", tmp_path / "d.png")
    cv2.imwrite(str(tmp_path / "e.bmp"), cv2.imread(str(tmp_path / "a.png")))  # other bytes, equal pixels
    rows = rows_of(tmp_path, "a.png", "b.png", "c.png", "d.png")
    store = tmp_path / "store"
    prepare_store(rows, store, settings, num_workers=1)
    splits = read_splits(store)
    assert splits[rows[0].video_id] == splits[rows[3].video_id]
    with pytest.raises(ManifestError, match=r"'a\.png' .* and 'e\.bmp' .* show the same pictures"):
        prepare_store([*rows, row(tmp_path / "e.bmp", "fake")], store, settings, num_workers=1)
