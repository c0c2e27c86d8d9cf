"""``study=leave_one_method_out``: each method is measured by a detector that never saw it."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from dfd.base.errors import StoreError
from dfd.data.clips.module import ClipDataModule
from dfd.evaluation.suites import measures
from dfd.studies.held_out import row_of, table_name
from dfd.studies.needs import methods_of
from tests.commands.test_commands import run
from tests.studies.test_literature import QUICK, methods_store, rows_of

__all__ = ["methods_store"]


def test_a_method_is_measured_against_all_real_videos_and_a_data_set_by_itself(tmp_path: Path) -> None:
    lines = ["video_id,dataset,method,label,prob_fake", "a,x,,real,0.1", "b,y,,real,0.6", "c,x,swap,fake,0.7"]
    lines += ["d,x,swap,fake,0.5", "e,y,sync,fake,0.0", "f,y,swap,fake,"]
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "predictions.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "test" / "metrics.json").write_text('{"threshold": 0.5}')
    row = row_of("swap", tmp_path, measures)
    assert (row["num_real"], row["num_fake"], row["auc"]) == (2, 2, 0.75)
    row = row_of("y", tmp_path, measures, by="dataset")
    assert (row["dataset"], row["num_real"], row["num_fake"], row["auc"]) == ("y", 1, 1, 0.0)
    assert row_of("talk", tmp_path, measures)["note"] == "no fake video with a score"
    assert row_of("swap", None, measures)["note"] == "the training without it has no test"


def test_a_method_that_the_store_does_not_have_cannot_be_left_out(methods_store: Path, tmp_path: Path) -> None:
    words = ["-m", "study=leave_one_method_out", f"data.store={methods_store}", f"hydra.sweep.dir={tmp_path}"]
    done = run("train", *words, "data=clips", "hydra.sweeper.leave_out=[third]", check=False)
    assert done.returncode == 1
    assert "hydra.sweeper.leave_out names 'third'" in done.stderr + done.stdout


def test_a_store_whose_methods_are_on_one_side_each_measures_nothing(methods_store: Path, tmp_path: Path) -> None:
    store = shutil.copytree(methods_store, tmp_path / "store")
    index = pd.read_csv(store / "index.csv", dtype=str, keep_default_na=False)
    moved = (index["split"] == "test") & (index["label"] == "fake")
    index.assign(split=index["split"].mask(moved, "val")).to_csv(store / "index.csv", index=False)
    words = ["-m", "study=leave_one_method_out", f"data.store={store}", f"hydra.sweep.dir={tmp_path / 'study'}"]
    done = run("train", *words, "data=clips", check=False)
    assert done.returncode == 1
    assert "no method has fakes in both train and test" in done.stderr + done.stdout
    assert not (tmp_path / "study" / "0").exists()


@pytest.mark.parametrize("split", ["0/3", "1/3", "2/3", "random_video"])
def test_a_method_that_is_left_out_stays_out_however_the_store_is_divided(methods_store: Path, split: str) -> None:
    whole = ClipDataModule(methods_store, split=split, num_workers=0).index
    kept = max(whole.loc[whole["split"] == "train", "method"])
    data = ClipDataModule(methods_store, split=split, methods=[kept], num_workers=0).index
    assert set(data.loc[data["split"] != "test", "method"]) == {"", kept}
    left, all_of_it = (set(index.loc[index["split"] == "test", "video_id"]) for index in (data, whole))
    assert left == all_of_it


def test_the_methods_of_a_study_are_those_of_the_data_as_they_are_divided(methods_store: Path) -> None:
    node = {"_target_": "dfd.data.clips.module.ClipDataModule", "store": str(methods_store), "num_workers": 0}
    assert methods_of(node) == (["first", "second, renamed"], {"first", "second, renamed"})
    with pytest.raises(StoreError, match="of 1 methods \\(first\\)"):
        methods_of({**node, "methods": ["first"]})


def test_a_data_set_can_be_left_out_of_a_training_but_not_of_its_test(methods_store: Path, tmp_path: Path) -> None:
    data = ClipDataModule(methods_store, datasets=["tiny"])
    assert set(data.index["split"]) == {"train", "val", "test"}
    assert data.summary()["selection"]["datasets"] == ["tiny"]
    with pytest.raises(StoreError, match="names 'other', and the videos of the training split are of tiny"):
        _ = ClipDataModule(methods_store, datasets=["other"]).index
    words = ["-m", "study=leave_one_dataset_out", f"data.store={methods_store}", f"hydra.sweep.dir={tmp_path}"]
    done = run("train", *words, "data=clips", check=False)
    assert done.returncode == 1
    assert "is of the data set tiny alone" in done.stderr + done.stdout


@pytest.mark.slow
def test_no_detector_of_the_study_has_seen_the_method_that_it_is_measured_on(
    methods_store: Path, tmp_path: Path
) -> None:
    words = ["-m", "study=leave_one_method_out", "experiment=fingerprint", f"data.store={methods_store}", *QUICK]
    words += ["backbone.name=test_resnet", "backbone.input_size=32", f"hydra.sweep.dir={tmp_path}"]
    run("train", *words)
    rows = rows_of(tmp_path / table_name("method"))
    assert [row["method"] for row in rows] == ["first", "second, renamed"]
    for number, row in enumerate(rows):
        used = rows_of(tmp_path / str(number) / "videos.csv")
        assert row["method"] not in {video["method"] for video in used if video["split"] != "test"}
        in_test = [video for video in used if video["split"] == "test" and video["method"] == row["method"]]
        assert int(row["num_fake"] or 0) == len(in_test)
