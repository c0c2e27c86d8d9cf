"""Scores on disk survive interruptions, odd names and missing values."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dfd.base.types import FileFacts, Label, Moment, Status, TrackScore, VideoScore, WindowScore
from dfd.predictions.pictures import evidence_place, read_boxes
from dfd.predictions.rows import PredictionsError, json_of, score_of
from dfd.predictions.writer import PredictionWriter
from dfd.scoring.aggregation import verdict


def score(path: str, prob: float | None = 0.25, model: str = "m@1") -> VideoScore:
    if prob is None:
        return VideoScore(path, Status.NO_FACE, model=model, message="no face")
    found = verdict(prob, threshold=0.5)
    return VideoScore(
        path,
        Status.OK,
        verdict=found,
        label=Label.parse(found),
        prob_fake=prob,
        confidence=max(prob, 1 - prob),
        num_faces=1,
        num_frames=10,
        num_windows=1,
        num_windows_possible=3,
        duration_seconds=1.2,
        seconds=0.1,
        model=model,
        file=FileFacts(1000, "ab" * 32, 640, 480, 25.0, "h264", 30),
        tracks=(TrackScore(0, prob, found, (WindowScore(0.0, 0.4, prob, (1.0, 2.0, 3.0, 4.0)),)),),
        thumbnail=np.full((18, 32, 3), 90, np.uint8),
        moments=(Moment(0, 0, 0.2, prob, np.full((16, 16, 3), 120, np.uint8), np.eye(16, dtype=np.float32)),),
    )


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    with PredictionWriter(tmp_path, model="m@1") as writer:
        writer.write(score("a.mp4", 0.75))
        writer.write(score("b.mp4", None))
    table = pd.read_csv(tmp_path / "predictions.csv", keep_default_na=False)
    assert list(table["status"]) == ["ok", "no_face"]
    assert list(table["label"]) == ["fake", ""]
    assert table["prob_fake"].tolist() == ["0.750000", ""]
    first = json.loads((tmp_path / "predictions.jsonl").read_text().splitlines()[0])
    assert first["tracks"][0]["windows"][0]["box"] == [1.0, 2.0, 3.0, 4.0]
    assert first["file"]["sha256"] == "ab" * 32
    assert first["tracks"][0]["verdict"] == first["verdict"] == table["verdict"][0] == "fake"
    moment = first["moments"][0]
    for name, size in ((first["thumbnail"], (32, 18)), (moment["crop"], (16, 16)), (moment["heatmap"], (16, 16))):
        with Image.open(tmp_path / name) as picture:
            assert picture.size == size


def test_a_score_comes_back_from_json_as_it_was(tmp_path: Path) -> None:
    for item in (score("a.mp4", 0.75), score("b.mp4", None)):
        assert score_of(json.loads(json.dumps(json_of(item)))) == item


def test_boxes_come_back_for_the_video_they_belong_to(tmp_path: Path) -> None:
    boxes = {2: (np.arange(3), np.ones((3, 4), np.float32)), 11: (np.array([7]), np.zeros((1, 4), np.float32))}
    with PredictionWriter(tmp_path, model="m@1") as writer:
        writer.write(replace(score("a.mp4"), boxes=boxes))
        writer.write(score("b.mp4"))
    found = read_boxes(tmp_path, "a.mp4")
    assert found is not None
    assert found.keys() == boxes.keys()
    for track, (frames, corners) in boxes.items():
        assert np.array_equal(found[track][0], frames)
        assert np.array_equal(found[track][1], corners)
    assert read_boxes(tmp_path, "b.mp4") is None


def test_boxes_that_are_damaged_or_a_bomb_are_a_sentence(tmp_path: Path) -> None:
    with PredictionWriter(tmp_path, model="m@1") as writer:
        writer.write(replace(score("a.mp4"), boxes={0: (np.arange(3), np.ones((3, 4), np.float32))}))
    (file,) = tmp_path.rglob("boxes.npz")
    whole = file.read_bytes()
    for content, reason in ((whole[:100], "not a zip file"), (b"", "not a zip file")):
        file.write_bytes(content)
        with pytest.raises(PredictionsError, match=rf"boxes\.npz: the boxes cannot be read .*{reason}"):
            read_boxes(tmp_path, "a.mp4")
    np.savez(file, **{"frames-0": np.arange(3)})
    with pytest.raises(PredictionsError, match="boxes-0"):
        read_boxes(tmp_path, "a.mp4")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("frames-0.npy", bytes(2**28 + 1))
    assert file.stat().st_size < 2**20
    with pytest.raises(PredictionsError, match="unpacked it has more than"):
        read_boxes(tmp_path, "a.mp4")


def test_a_file_that_was_changed_is_scored_again(tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes(b"one")
    status = video.stat()
    facts = FileFacts(status.st_size, "ab" * 32, modified_seconds=status.st_mtime)
    out = tmp_path / "out"
    with PredictionWriter(out, model="m@1") as writer:
        writer.write(replace(score(str(video)), file=facts))
        writer.write(score("gone.mp4"))
    with PredictionWriter(out, model="m@1") as writer:
        assert writer.done == {str(video), "gone.mp4"}
        assert writer.changed == set()
    video.write_bytes(b"other")
    with PredictionWriter(out, model="m@1", asked={"other.mp4"}) as writer:
        assert writer.done == {str(video), "gone.mp4"}, "this run would not score it again"
    with PredictionWriter(out, model="m@1", asked={str(video)}) as writer:
        assert writer.done == {"gone.mp4"}
        assert writer.changed == {str(video)}


def test_scoring_anew_leaves_nothing_of_the_scores_before(tmp_path: Path) -> None:
    with PredictionWriter(tmp_path, model="m@1") as writer:
        writer.write(score("a.mp4"))
        writer.write(score("b.mp4"))
    drawn = tmp_path / "annotated" / f"a-{evidence_place('a.mp4').rpartition('/')[2][:8]}.mp4"
    drawn.parent.mkdir()
    drawn.touch()
    (tmp_path / "mine.txt").touch()
    with PredictionWriter(tmp_path, model="m@1") as writer:
        writer.write(replace(score("a.mp4", 0.9), moments=()))
    assert not drawn.exists()
    assert [path.name for path in (tmp_path / evidence_place("a.mp4")).iterdir()] == ["thumbnail.jpg"]
    assert (tmp_path / evidence_place("b.mp4")).exists()
    with PredictionWriter(tmp_path, model="m@2", overwrite=True):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"predictions.csv", "predictions.jsonl", ".lock", "mine.txt"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"null", "schema version None"),
        (b'{"schema_version": 2}', "lacks path, status"),
        (b'{"path": "a', "is damaged"),
        (b"\xff\xfe", "is damaged"),
    ],
)
def test_a_damaged_line_is_named_and_only_the_last_may_be_cut(tmp_path: Path, line: bytes, said: str) -> None:
    with PredictionWriter(tmp_path, model="m@1") as writer:
        writer.write(score("a.mp4"))
    path = tmp_path / "predictions.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + line + b"\n" + whole)
    with pytest.raises(PredictionsError, match=f"line 2 {said}" if said[0] in "li" else f"line 2 has {said}"):
        PredictionWriter(tmp_path, model="m@1")


def test_an_output_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PredictionsError, match="cannot be written to"):
        PredictionWriter(tmp_path / "file" / "out", model="m@1")


def test_a_spreadsheet_runs_nothing(tmp_path: Path) -> None:
    with PredictionWriter(tmp_path, model="m@1") as writer:
        writer.write(replace(score("=HYPERLINK(1).mp4", None), message="=HYPERLINK(1).mp4: no face"))
    line = (tmp_path / "predictions.csv").read_text().splitlines()[1]
    assert line.startswith("./=HYPERLINK(1).mp4,")
    assert ",./=HYPERLINK(1).mp4: no face," in line
    with PredictionWriter(tmp_path, model="m@1") as writer:
        assert writer.done == {"=HYPERLINK(1).mp4"}


def test_scores_of_an_older_schema_are_not_added_to(tmp_path: Path) -> None:
    (tmp_path / "predictions.jsonl").write_text('{"path": "a.mp4", "schema_version": 1, "status": "ok"}\n')
    with pytest.raises(PredictionsError, match="schema version 1"):
        PredictionWriter(tmp_path, model="m@1")


@pytest.mark.parametrize(
    "name", ["-rf.mp4", "new\nline.mp4", 'quo"te,comma.mp4', "<b>ü.mp4", "=1+1.mp4", "b\udcff.mp4"]
)
def test_a_hostile_file_name_comes_back_as_it_was(tmp_path: Path, name: str) -> None:
    with PredictionWriter(tmp_path, model="m@1") as writer:
        writer.write(score(name))
    with PredictionWriter(tmp_path, model="m@1") as writer:
        assert writer.done == {name}


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_a_run_cut_in_the_middle_of_a_row_goes_on_without_losing_or_repeating_one(tmp_path: Path, cut: int) -> None:
    scores = [score(f"{i}.mp4", i / 10) for i in range(5)]
    whole = tmp_path / "whole"
    with PredictionWriter(whole, model="m@1") as writer:
        for item in scores:
            writer.write(item)
    broken = tmp_path / "broken"
    with PredictionWriter(broken, model="m@1") as writer:
        for item in scores[:3]:
            writer.write(item)
    for name in ("predictions.csv", "predictions.jsonl"):
        data = (broken / name).read_bytes()
        (broken / name).write_bytes(data[:-cut])
    with PredictionWriter(broken, model="m@1") as writer:
        for item in scores:
            if item.path not in writer.done:
                writer.write(item)
    assert (broken / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
    assert (broken / "predictions.jsonl").read_bytes() == (whole / "predictions.jsonl").read_bytes()


def test_scores_with_other_settings_are_never_mixed(tmp_path: Path) -> None:
    with PredictionWriter(tmp_path, model="m@1", settings={"max_windows": 4}) as writer:
        writer.write(score("a.mp4"))
    with pytest.raises(PredictionsError, match="max_windows"):
        PredictionWriter(tmp_path, model="m@1", settings={"max_windows": 16})


def test_two_runs_never_write_to_one_folder_at_once(tmp_path: Path) -> None:
    with (
        PredictionWriter(tmp_path, model="m@1"),
        pytest.raises(PredictionsError, match="another run is writing to it"),
    ):
        PredictionWriter(tmp_path, model="m@1")


def test_what_failed_for_a_reason_of_the_moment_is_tried_again(tmp_path: Path) -> None:
    with PredictionWriter(tmp_path, model="m@1") as writer:
        writer.write(score("a.mp4"))
        writer.write(VideoScore("b.mp4", Status.ERROR, model="m@1", message="the worker was killed"))
    with PredictionWriter(tmp_path, model="m@1") as writer:
        assert writer.done == {"a.mp4"}


def test_a_name_that_is_not_utf8_is_written_as_its_bytes(tmp_path: Path) -> None:
    with PredictionWriter(tmp_path, model="m@1") as writer:
        writer.write(score("b\udcff.mp4"))
    assert b"b\xff.mp4" in (tmp_path / "predictions.csv").read_bytes()


def test_scores_of_two_models_are_never_mixed(tmp_path: Path) -> None:
    with PredictionWriter(tmp_path, model="m@1") as writer:
        writer.write(score("a.mp4"))
    with pytest.raises(PredictionsError, match="another model"):
        PredictionWriter(tmp_path, model="m@2")
    with PredictionWriter(tmp_path, model="m@2", overwrite=True) as writer:
        assert writer.done == set()
