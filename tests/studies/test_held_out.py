"""``study=leave_one_method_out``: each method is measured by a detector that never saw it."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from dfd.base.errors import StoreError
from dfd.data.clips.module import ClipDataModule
from dfd.evaluation.suites import measures
from dfd.studies.held_out import TABLE, row_of
from dfd.studies.needs import methods_of
from tests.commands.test_commands import run
from tests.studies.test_literature import QUICK, methods_store, rows_of

__all__ = ["methods_store"]


def test_a_method_is_measured_by_its_own_fakes_against_all_real_videos(tmp_path: Path) -> None:
    lines = ["video_id,method,label,prob_fake", "a,,real,0.1", "b,,real,0.6", "c,swap,fake,0.7", "d,swap,fake,0.5"]
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "predictions.csv").write_text("\n".join([*lines, "e,sync,fake,0.0", "f,swap,fake,"]) + "\n")
    (tmp_path / "test" / "metrics.json").write_text('{"threshold": 0.5}')
    row = row_of("swap", tmp_path, measures)
    assert (row["num_real"], row["num_fake"], row["auc"]) == (2, 2, 0.75)
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


@pytest.mark.slow
def test_no_detector_of_the_study_has_seen_the_method_that_it_is_measured_on(
    methods_store: Path, tmp_path: Path
) -> None:
    words = ["-m", "study=leave_one_method_out", "experiment=fingerprint", f"data.store={methods_store}", *QUICK]
    words += ["backbone.name=test_resnet", "backbone.input_size=32", f"hydra.sweep.dir={tmp_path}"]
    run("train", *words)
    rows = rows_of(tmp_path / TABLE)
    assert [row["method"] for row in rows] == ["first", "second, renamed"]
    for number, row in enumerate(rows):
        used = rows_of(tmp_path / str(number) / "videos.csv")
        assert row["method"] not in {video["method"] for video in used if video["split"] != "test"}
        in_test = [video for video in used if video["split"] == "test" and video["method"] == row["method"]]
        assert int(row["num_fake"] or 0) == len(in_test)
