"""The clip store: records come back as written, damage counts as absence, tables depend on the records alone."""

import json
import logging
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dfd.base.errors import SplitLeak, StoreError
from dfd.base.types import Label, Status
from dfd.data.sources.row import VideoRow
from dfd.data.splits.assign import assign_splits
from dfd.data.store.folders import (
    clean_video_folder,
    discard_video,
    is_current,
    read_geometry,
    read_record,
    read_records,
    video_folder,
    write_geometry,
    write_record,
)
from dfd.data.store.left_out import write_left_out
from dfd.data.store.missing import missing_clips, unindexed_videos
from dfd.data.store.plan import known_videos, read_splits, write_splits
from dfd.data.store.records import (
    INDEX_NAME,
    LEFT_OUT_NAME,
    RECORD_NAME,
    TrackGeometry,
    TrackRecord,
    VideoRecord,
    row_fields,
    settings_hash,
)
from dfd.data.store.tables import INDEX_COLUMNS, build_index, index_videos, manifest_sha256, read_index
from tests.data.conftest import SETTINGS, add_video, failed_record, make_row


def failed(number: int, status: Status, message: str) -> VideoRecord:
    return failed_record(make_row(number), status, message)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    row = make_row(1, dataset="a/b ü", source_ids=("p\n1", "p2"), extra={"age": "31"})
    record = replace(
        add_video(tmp_path, row, 1, num_tracks=2), width=640, height=480, fps=29.97, codec="h264", duration_seconds=5.5
    )
    path = write_record(tmp_path, record)
    assert path == video_folder(tmp_path, row) / RECORD_NAME
    assert path.parent.parent.parent == tmp_path
    assert read_record(path.parent) == record
    assert path.read_text() == record.to_json()


def test_the_same_videos_make_the_same_store_in_any_order(tmp_path: Path) -> None:
    for name, order in {"one": [0, 1, 2, 3], "two": [3, 2, 1, 0]}.items():
        for number in order:
            add_video(tmp_path / name, make_row(number), number, num_frames=3)
        write_splits(tmp_path / name, {make_row(number).video_id: "train" for number in order})
        build_index(tmp_path / name)
        build_index(tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_status_must_fit_its_tracks() -> None:
    with pytest.raises(ValueError, match="status ok with 0 tracks"):
        failed(0, Status.OK, "")
    track = TrackRecord(0, 10, 0, 25.0, 32, False, 1, 0.9, 50.0)
    with pytest.raises(ValueError, match="exactly one track is the main one"):
        VideoRecord(**row_fields(make_row(0)), status=Status.OK, settings={}, tracks=(track,))


@pytest.mark.parametrize("damage", ["", "{}", "[]", "{", '{"schema_version": 99}', "null", "\0"])
def test_a_damaged_record_counts_as_absent_and_is_reported(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    record = failed(0, Status.NO_FACE, "none")
    path = write_record(tmp_path, record)
    path.write_text(damage)
    assert read_record(path.parent) is None
    assert str(path) in caplog.text
    assert read_records(tmp_path) == []


def test_a_record_that_was_cut_or_edited_counts_as_absent(tmp_path: Path) -> None:
    path = write_record(tmp_path, failed(0, Status.NO_FACE, "none"))
    text = path.read_text()
    value = json.loads(text)
    for change in ({"label": "maybe"}, {"status": "fine"}, {"settings": {}}, {"tracks": [{}]}):
        path.write_text(json.dumps(value | change))
        assert read_record(path.parent) is None, change
    path.write_text(text[:-20])
    assert read_record(path.parent) is None
    path.write_text(json.dumps(value | {"of_a_newer_version": 1}))
    assert read_record(path.parent) == failed(0, Status.NO_FACE, "none")


def test_settings_have_one_hash_whatever_their_order() -> None:
    assert settings_hash({"a": {"x": 1, "y": (2, 3)}, "b": 1}) == settings_hash({"b": 1, "a": {"y": [2, 3], "x": 1}})
    assert settings_hash({"a": 1}) != settings_hash({"a": 2})


def test_a_video_is_done_again_when_its_settings_source_or_clips_changed(tmp_path: Path) -> None:
    source = tmp_path / "v.mp4"
    source.write_bytes(b"12345")
    row = replace(make_row(0), path=source)
    record = replace(add_video(tmp_path / "s", row, 0, num_frames=2), size_bytes=5)
    digest = record.settings_hash
    assert is_current(tmp_path / "s", record, row, digest)
    assert not is_current(tmp_path / "s", record, row, settings_hash({"other": 1}))
    assert not is_current(tmp_path / "s", record, replace(row, dataset="renamed"), digest)
    source.write_bytes(b"123456")
    assert not is_current(tmp_path / "s", record, row, digest)
    source.write_bytes(b"12345")
    (video_folder(tmp_path / "s", row) / "0.mp4").unlink()
    assert not is_current(tmp_path / "s", record, row, digest)


def test_a_corrected_label_keeps_the_clips(tmp_path: Path) -> None:
    row = make_row(0)
    record = add_video(tmp_path, row, 0, num_frames=2)
    corrected = record.with_row(replace(row, label=Label.FAKE, method="swap"))
    write_record(tmp_path, corrected)
    assert build_index(tmp_path)["label"].tolist() == ["fake"]
    assert corrected.tracks == record.tracks


def test_cleaning_removes_what_an_interrupted_run_left_and_nothing_else(tmp_path: Path) -> None:
    row = make_row(0)
    add_video(tmp_path, row, 0, num_frames=2)
    folder = video_folder(tmp_path, row)
    kept = contents(folder) | {"note.txt": b"mine"}
    for name in ("1.mp4", "1.npy", "0.partial.mp4", "record.partial.json", "note.txt"):
        (folder / name).write_bytes(b"mine")
    clean_video_folder(folder)
    assert contents(folder) == kept
    discard_video(folder)
    assert list(contents(folder)) == ["note.txt"]
    clean_video_folder(tmp_path / "not there")


def test_boxes_and_landmarks_come_back_within_a_tenth_of_a_pixel(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    boxes = generator.uniform(-50, 4000, (150, 4)).astype(np.float32)
    landmarks = generator.uniform(-50, 4000, (150, 5, 2)).astype(np.float32)
    write_geometry(tmp_path, 3, TrackGeometry(boxes, landmarks))
    first = (tmp_path / "3.npy").read_bytes()
    geometry = read_geometry(tmp_path / "3.mp4")
    assert np.abs(geometry.boxes_xyxy - boxes).max() <= 0.051
    assert np.abs(geometry.landmarks - landmarks).max() <= 0.051
    assert len(first) < 9000
    write_geometry(tmp_path, 3, geometry)
    assert (tmp_path / "3.npy").read_bytes() == first


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"text"])
def test_damaged_geometry_is_named(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "0.npy").write_bytes(damage)
    with pytest.raises(StoreError, match=r"0\.npy"):
        read_geometry(tmp_path / "0.mp4")


def test_the_index_has_a_row_per_face_and_the_video_table_one_per_video(tmp_path: Path) -> None:
    odd = make_row(1, dataset="NA", method='null, "quoted"\nnew line', source_ids=("1", "None"))
    add_video(tmp_path, odd, 1, num_frames=4, num_tracks=2)
    add_video(tmp_path, make_row(0), 0, num_frames=3)
    write_record(tmp_path, failed(2, Status.NO_FACE, "no face"))
    write_splits(tmp_path, {odd.video_id: "test"})
    built = build_index(tmp_path)
    index = read_index(tmp_path)
    pd.testing.assert_frame_equal(index, built)
    assert list(index.columns) == list(INDEX_COLUMNS)
    assert len(index) == 3
    of_odd = index[index["video_id"] == odd.video_id]
    assert of_odd["track"].tolist() == [0, 1]
    assert of_odd["is_main"].tolist() == [True, False]
    assert set(of_odd["dataset"]) == {"NA"}
    assert set(of_odd["method"]) == {odd.method}
    assert set(of_odd["source_ids"]) == {"1;None"}
    assert set(of_odd["split"]) == {"test"}
    assert all((tmp_path / path).is_file() for path in index["path"])
    videos = pd.read_csv(tmp_path / "videos.csv", dtype=str, keep_default_na=False)
    assert sorted(zip(videos["status"], videos["num_tracks"], videos["message"], strict=True)) == [
        ("no_face", "0", "no face"),
        ("ok", "1", ""),
        ("ok", "2", ""),
    ]


def test_each_way_of_having_no_clips_is_told_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no such clip store; make it with: python -m dfd\.preprocess"):
        read_index(tmp_path / "none")
    with pytest.raises(StoreError, match=r"it has no index\.csv; make it with"):
        read_index(tmp_path)
    write_record(tmp_path, failed(0, Status.NO_FACE, "none"))
    with pytest.raises(StoreError, match="has not finished; run the same command again"):
        read_index(tmp_path)
    build_index(tmp_path)
    with pytest.raises(StoreError, match=r"no clip in it \(no_face 1\); videos.csv says why"):
        read_index(tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [("is_main", "main"), ("True", "yes"), (",real,", ",1,"), (",30,", ",x,"), (",train,", ",training,")],
)
def test_a_damaged_index_is_refused(small_store: Path, tmp_path: Path, old: str, new: str) -> None:
    text = (small_store / INDEX_NAME).read_text()
    assert old in text
    (tmp_path / INDEX_NAME).write_text(text.replace(old, new))
    with pytest.raises(StoreError, match=r"index\.csv: it (lacks|is damaged)"):
        read_index(tmp_path)


def test_missing_clips_are_found(small_store: Path, tmp_path: Path) -> None:
    index = read_index(small_store)
    assert missing_clips(small_store, index) == []
    assert missing_clips(tmp_path, index) == index["path"].tolist()


def test_looking_for_clips_ends_in_time_and_says_how_many_are_left(
    small_store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    index = read_index(small_store)
    with caplog.at_level(logging.INFO):
        assert missing_clips(small_store, index.assign(path="gone"), seconds=-1) == []
        assert "24 of 24 clips were not looked for" in caplog.text
        caplog.clear()
        missing_clips(small_store, index, seconds=100)
        assert not caplog.text


def test_videos_that_came_after_the_index_are_found_without_reading_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        add_video(tmp_path, make_row(number, dataset="a/b"), number, num_frames=2)
    build_index(tmp_path)
    assert unindexed_videos(tmp_path) == []
    new, in_hand = make_row(3, dataset="a/b"), make_row(4, dataset="a/b")
    add_video(tmp_path, new, 3, num_frames=2)
    video_folder(tmp_path, in_hand).mkdir()
    monkeypatch.setattr("dfd.data.store.folders.read_record", lambda folder: pytest.fail("a record was read"))
    assert unindexed_videos(tmp_path) == [video_folder("", new).as_posix()]
    assert unindexed_videos(tmp_path, seconds=-1) == []


def test_shards_that_end_together_write_the_tables_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one that read the records before the last was there might write its tables after the others'."""
    add_video(tmp_path, make_row(0), 0, num_frames=2)
    reading, go_on = threading.Event(), threading.Event()

    def slowly(store: Path) -> list[VideoRecord]:
        records = read_records(store)
        if not reading.is_set():
            reading.set()
            go_on.wait(20)
        return records

    monkeypatch.setattr("dfd.data.store.tables.read_records", slowly)
    first = threading.Thread(target=build_index, args=(tmp_path,))
    first.start()
    assert reading.wait(20)
    add_video(tmp_path, make_row(1), 1, num_frames=2)
    second = threading.Thread(target=build_index, args=(tmp_path,))
    second.start()
    second.join(0.5)  # were it not made to wait, it would be done by now, or else after the first
    go_on.set()
    first.join(20)
    second.join(20)
    assert len(read_index(tmp_path)) == 2


def test_the_frozen_splits_come_back(tmp_path: Path) -> None:
    assert read_splits(tmp_path) == {}
    write_splits(tmp_path, {"b": "test", "a": "train"})
    assert read_splits(tmp_path) == {"a": "train", "b": "test"}
    assert (tmp_path / "splits.csv").read_text() == "video_id,split\na,train\nb,test\n"


@pytest.mark.parametrize("text", ["", "id,split\n", "video_id,split\na,\n", "video_id,split\na,test\na,test\n"])
def test_a_damaged_split_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "splits.csv").write_text(text)
    with pytest.raises(StoreError, match=r"splits\.csv"):
        read_splits(tmp_path)


def test_a_store_that_grows_keeps_new_videos_of_known_people_on_their_side(tmp_path: Path) -> None:
    for number, split in enumerate(["train", "test"]):
        add_video(tmp_path, make_row(number), number, num_frames=2)
        write_splits(tmp_path, read_splits(tmp_path) | {make_row(number).video_id: split})
    new = make_row(3, source_ids=("person1",))
    splits = assign_splits([*known_videos(tmp_path, read_records(tmp_path)), new], frozen=read_splits(tmp_path))
    assert splits[new.video_id] == "test"
    bridge = make_row(5, source_ids=("person0", "person1"))
    with pytest.raises(SplitLeak):
        assign_splits([*known_videos(tmp_path, read_records(tmp_path)), bridge], frozen=read_splits(tmp_path))


def test_a_video_left_behind_under_another_data_set_is_pointed_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for dataset in ("old", "new"):
        record = add_video(tmp_path, make_row(0, dataset=dataset), 0, num_frames=2)
        write_record(tmp_path, replace(record, size_bytes=77))
    build_index(tmp_path)
    assert "more than once" in caplog.text


def test_the_videos_of_an_index_are_listed_once(small_store: Path) -> None:
    videos = index_videos(read_index(small_store))
    assert len(videos) == 12
    assert videos[0].source_ids[0].startswith("person")


def test_a_video_in_no_split_is_in_the_tables_as_such(tmp_path: Path) -> None:
    row = make_row(0)
    add_video(tmp_path, row, 0, num_frames=2)
    write_splits(tmp_path, {row.video_id: "unused"})
    assert read_splits(tmp_path) == {row.video_id: "unused"}
    build_index(tmp_path)
    assert read_index(tmp_path)["split"].tolist() == ["unused"]
    assert [video.split for video in known_videos(tmp_path, read_records(tmp_path))] == ["unused"]


def test_what_is_left_out_is_named_sorted_and_replaced_by_name(tmp_path: Path) -> None:
    write_left_out(tmp_path, [("b.mp4", "not_drawn", "x"), ("a,\n.mp4", "unknown_file", "")])
    write_left_out(tmp_path, [("c.mp4", "audio_only", "0.1"), ("b.mp4", "unused", "y")])
    table = pd.read_csv(tmp_path / LEFT_OUT_NAME, keep_default_na=False)
    assert table.to_numpy().tolist() == [
        ["a,\n.mp4", "unknown_file", ""],
        ["b.mp4", "unused", "y"],
        ["c.mp4", "audio_only", "0.1"],
    ]


def test_what_is_taken_now_is_no_longer_left_out(tmp_path: Path) -> None:
    write_left_out(tmp_path, [("a.mp4", "not_drawn", ""), ("b.mp4", "not_drawn", "")])
    write_left_out(tmp_path, [], taken=["a.mp4"])
    assert (tmp_path / LEFT_OUT_NAME).read_text() == "name,reason,detail\nb.mp4,not_drawn,\n"


@pytest.mark.parametrize("damage", ["", "name,why\na,b\n", "name,reason,detail\na,b\n"])
def test_a_damaged_list_of_what_is_left_out_is_named(tmp_path: Path, damage: str) -> None:
    (tmp_path / LEFT_OUT_NAME).write_text(damage)
    with pytest.raises(StoreError, match=r"left_out\.csv"):
        write_left_out(tmp_path, [])


def test_the_manifests_hash_tells_videos_and_what_they_are_and_not_how_they_were_prepared(tmp_path: Path) -> None:
    def digest(name: str, *rows: VideoRow, **settings: object) -> str:
        for row in rows:
            record = VideoRecord(**row_fields(row), status=Status.NO_FACE, settings=SETTINGS | settings, message=name)
            write_record(tmp_path / name, record)
        build_index(tmp_path / name)
        return manifest_sha256(tmp_path / name)

    one, two = make_row(0, source_ids=("a", "b")), make_row(1)
    first = digest("first", one, two)
    assert len(first) == 64
    assert digest("again", two, one, fps=30) == first
    others = [
        digest("fewer", one),
        digest("relabelled", one, replace(two, label=Label.REAL, method="")),
        digest("other people", replace(one, source_ids=("a", "c")), two),
    ]
    assert len({first, *others}) == 4
    with pytest.raises(StoreError, match=r"videos\.csv"):
        manifest_sha256(tmp_path / "nothing")
