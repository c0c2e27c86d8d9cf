"""Studies over the systems of the literature, and over the methods of a store's fakes."""

import csv
import json
from pathlib import Path

import pytest

from dfd.runs.records import JobRecord, Outcome
from tests.commands.test_commands import run
from tests.conftest import drawn_frames

QUICK = [
    *("data.num_workers=0", "trainer=cpu", "trainer.max_epochs=1", "backbone.pretrained=false", "num_sample_clips=0"),
    *("data.batch_size=4", "test_windows=1", "callbacks.progress_bar=null"),
]


@pytest.fixture(scope="module")
def methods_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve real videos and six fakes of each of two methods; every person stands alone."""
    from dfd.data.prepare.store import prepare_store
    from dfd.data.prepare.video import PreparationSettings
    from dfd.data.sources.manifest import read_manifest
    from dfd.faces.crop import Square
    from dfd.faces.extract import ExtractionSettings
    from dfd.video.encode import write_video

    folder = tmp_path_factory.mktemp("methods")
    lines = ["path,label,dataset,method,source_ids,split"]
    for index in range(24):
        fake = index % 2 == 1
        write_video(folder / f"{index:02}.mp4", drawn_frames(index, fake=fake, num_frames=12, side=64), fps=25)
        method = ("first" if index % 4 == 1 else "second, renamed") if fake else ""
        split = ("train", "train", "train", "val", "test", "test")[index // 4]
        lines.append(f'{index:02}.mp4,{"fake" if fake else "real"},tiny,"{method}",person{index},{split}')
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    settings = PreparationSettings({"name": "fixed_box"}, ExtractionSettings(crop=Square(size=32, margin_fraction=0.0)))
    prepare_store(read_manifest(folder / "manifest.csv"), folder / "store", settings, num_workers=1)
    return folder / "store"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_an_experiment_that_no_store_fits_is_left_out_with_the_reason(methods_store: Path, tmp_path: Path) -> None:
    words = ["-m", "study=literature", "data=clips", f"data.store={methods_store}", f"hydra.sweep.dir={tmp_path}"]
    done = run("train", *words, "experiment=guera_delp,sstnet")
    for name, crop in (("guera_delp", "whole_frame"), ("sstnet", "native")):
        assert f"{name} is left out: it needs crop={crop}, and the store has square" in done.stdout
        record = JobRecord.read(tmp_path / name)
        assert record is not None
        assert record.outcome is Outcome.LEFT_OUT
    rows = rows_of(tmp_path / "report" / "study.csv")
    assert {(row["experiment"], row["outcome"]) for row in rows} == {("guera_delp", "left_out"), ("sstnet", "left_out")}
    assert all("prepare the same videos with" in row["message"] for row in rows)


@pytest.mark.slow
def test_the_study_of_the_literature_trains_what_fits_and_reports_its_cost(methods_store: Path, tmp_path: Path) -> None:
    words = ["-m", "study=literature", "data=clips", f"data.store={methods_store}", f"hydra.sweep.dir={tmp_path}"]
    words += [*QUICK, "experiment=capsule,guera_delp", "++backbone.input_size=16"]
    done = run("train", *words)
    assert "guera_delp is left out" in done.stdout
    trained, left = rows_of(tmp_path / "report" / "study.csv")
    assert (trained["experiment"], trained["outcome"]) == ("capsule", "finished")
    assert int(trained["num_parameters"]) == 2_325_568 + 471_321
    assert float(trained["seconds_per_video"]) > 0
    assert (left["experiment"], left["outcome"]) == ("guera_delp", "left_out")
    assert "crop=whole_frame" in left["message"]
    assert "left out" in (tmp_path / "report" / "report.html").read_text()
    again = run("train", *words)
    assert "job 0 is finished already" in again.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["experiment=capsul,sstnet"], "experiment=capsul: there is no such experiment; did you mean 'capsule'"),
        (["experiment=capsule,capsule_v2", "temporal.hidden_features=3"], "no experiment of the study has"),
    ],
)
def test_a_study_of_the_literature_that_cannot_be_is_a_sentence(
    methods_store: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    given = ["-m", "study=literature", f"data.store={methods_store}", f"hydra.sweep.dir={tmp_path}", *words]
    done = run("train", *given, "data=clips", check=False)
    assert done.returncode == 1
    assert message in done.stderr + done.stdout


@pytest.mark.slow
def test_each_method_gets_a_detector_and_the_report_has_their_mean_and_vote(
    methods_store: Path, tmp_path: Path
) -> None:
    words = ["-m", "study=per_method", "experiment=pan_mobilenet", f"data.store={methods_store}", *QUICK]
    words += ["backbone.name=test_resnet", "backbone.input_size=32", f"hydra.sweep.dir={tmp_path}"]
    run("train", *words)
    for job, method in (("0", "first"), ("1", "second, renamed")):
        used = rows_of(tmp_path / job / "videos.csv")
        seen = {row["method"] for row in used if row["split"] != "test"} - {""}
        assert seen == {method}
        assert {row["method"] for row in used if row["split"] == "test"} == {"", "first", "second, renamed"}
    rows = {row["job"]: row for row in rows_of(tmp_path / "report" / "study.csv")}
    assert set(rows) == {"0", "1", "mean", "vote"}
    assert all(row["outcome"] == "finished" and row["test/auc"] for row in rows.values())
    for rule in ("mean", "vote"):
        assert (tmp_path / rule / "detector.2.safetensors").is_file()
        tested = json.loads((tmp_path / rule / "test" / "metrics.json").read_text())
        assert tested["overall"]["num_fake"] > 0
