"""``study=leave_one_method_out``: each method is measured by a detector that never saw it."""

from pathlib import Path

import pytest

from dfd.evaluation.suites import measures
from dfd.studies.held_out import TABLE, row_of
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
