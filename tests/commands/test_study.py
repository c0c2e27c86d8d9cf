"""A study from data sets as their owners ship them to a report, without hand work; and what a leak looks like."""

import csv
import json
from pathlib import Path

import pytest

from tests.commands.test_commands import TINY, run
from tests.conftest import drawn_frames
from tests.data.miniature import make_celebdf, make_dfdc, make_ffpp

FIXED_BOX = ["face_detector=fixed_box", "crop.size=64", "crop.margin_fraction=0.0", "num_workers=1"]
FRACTIONS = "split_fractions=[0.5,0.25,0.25]"


def film(path: Path, people: tuple[str, ...], fake: bool) -> None:
    from dfd.video.encode import write_video

    seed = sum(ord(letter) * 31**place for place, letter in enumerate(people[0])) % 2**32
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, drawn_frames(seed, fake=fake, num_frames=12), fps=25)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three miniature data sets, prepared as a user would."""
    folder = tmp_path_factory.mktemp("study")
    for source, make in {"ffpp": make_ffpp, "dfdc": make_dfdc, "celebdf": make_celebdf}.items():
        make(folder / source, film)
        run(
            *("dfd.preprocess", f"source={source}", f"root={folder}/{source}", f"store={folder}/store", FRACTIONS),
            *(*FIXED_BOX, f"hydra.run.dir={folder}/preprocess/{source}"),
        )
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_three_data_sets_become_one_store_in_which_nobody_is_on_two_sides(study: Path) -> None:
    videos = rows_of(study / "store" / "videos.csv")
    assert {row["dataset"] for row in videos} >= {"ffpp", "dfdc", "celebdf"}
    assert {row["status"] for row in videos} == {"ok"}
    sides: dict[str, set[str]] = {}
    for row in videos:
        for source_id in row["source_ids"].split(";"):
            sides.setdefault(source_id, set()).add(row["split"])
    assert all(len(side) == 1 for side in sides.values())


def test_a_mixed_study_is_trained_compared_and_reported(study: Path) -> None:
    without_head = [item for item in TINY if not item.startswith("temporal.")]
    mixed = [*without_head, "data=mixed"]
    mixed += [f"data.store={study}/store", "data.per_label={ffpp: 4, dfdc: 4, celebdf: 4}", "data.allow_fewer=true"]
    mixed += ["data.fractions=[0.5,0.25,0.25]", "data.augmentation=null", "trainer.max_epochs=1", "num_sample_clips=0"]
    for name, head in {"lstm": ["temporal.hidden_features=16"], "mean": ["temporal=mean"]}.items():
        run("train", *mixed, *head, f"hydra.run.dir={study}/runs/{name}")
        summary = json.loads((study / "runs" / name / "summary.json").read_text())
        for key in ("seed", "versions", "weights_sha256", "initial_weights", "frames_per_video"):
            assert summary[key] is not None
        assert len(summary["data"]["manifest_sha256"]) == 64
        used = rows_of(study / "runs" / name / "videos.csv")
        for split in ("train", "val", "test"):
            labels = [row["label"] for row in used if row["split"] == split]
            assert labels.count("real") == labels.count("fake") > 0
        tested = {row["video_id"] for row in rows_of(study / "runs" / name / "test" / "predictions.csv")}
        assert tested == {row["video_id"] for row in used if row["split"] == "test"}
    from dfd.commands.report import main

    assert main([str(study / "runs" / "lstm"), str(study / "runs" / "mean"), "--output", str(study / "report")]) == 0
    page = (study / "report" / "report.html").read_text()
    for text in ("test_resnet + lstm", "test_resnet + mean", "McNemar", "95 %"):
        assert text in page


def test_evaluation_on_the_store_of_training_takes_the_videos_of_training(study: Path, tmp_path: Path) -> None:
    run(
        *("train", *TINY, f"data.store={study}/store", "data.split=random_video", "data.split_seed=3"),
        *("trainer.max_epochs=1", f"hydra.run.dir={tmp_path}/run"),
    )
    done = run(
        *("dfd.evaluate", f"checkpoint={tmp_path}/run/detector.safetensors", f"data.store={study}/store"),
        *(f"output={tmp_path}/out", "data.num_workers=0", f"hydra.run.dir={tmp_path}/evaluate"),
    )
    assert "split=random_video" in done.stdout
    ours, theirs = (rows_of(tmp_path / name / "predictions.csv") for name in ("out", "run/test"))
    assert [row["video_id"] for row in ours] == [row["video_id"] for row in theirs]


def write_identity_videos(folder: Path, *, num_people: int = 24, videos_each: int = 4) -> Path:
    """Every person has a look of their own and one label for all of their videos; no video is forged."""
    from dfd.video.encode import write_video

    folder.mkdir(parents=True)
    lines = ["path,label,dataset,method,source_ids"]
    for person in range(num_people):
        look = drawn_frames(100 + person, num_frames=8 * videos_each)
        for take in range(videos_each):
            name = f"{person:02}_{take}.mp4"
            write_video(folder / name, look[8 * take : 8 * (take + 1)], fps=25)
            label = "fake,identity,coin" if person % 2 else "real,identity,"
            lines.append(f"{name},{label},person{person}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


@pytest.mark.slow
def test_the_leakage_experiment_scores_high_by_video_and_near_chance_by_person(tmp_path: Path) -> None:
    manifest = write_identity_videos(tmp_path / "videos")
    run(
        *("dfd.preprocess", f"manifest={manifest}", f"store={tmp_path}/store", "split_fractions=[0.5,0.17,0.33]"),
        *(*FIXED_BOX, "min_track_frames=4", f"hydra.run.dir={tmp_path}/preprocess"),
    )
    run(
        *("train", *TINY, "experiment=leakage", f"data.store={tmp_path}/store", "trainer.max_epochs=6"),
        *("optimizer.lr=3e-3", "data.augmentation=null", "num_sample_clips=0", f"hydra.sweep.dir={tmp_path}/leakage"),
    )
    auc = {}
    for job in ("0", "1"):
        summary = json.loads((tmp_path / "leakage" / job / "summary.json").read_text())
        metrics = json.loads((tmp_path / "leakage" / job / "test" / "metrics.json").read_text())
        auc[summary["data"]["split"]["mode"]] = metrics["overall"]["auc"]
    assert auc["random_video"] > 0.9
    assert auc["source"] < 0.75
    page = (tmp_path / "leakage" / "report" / "report.html").read_text()
    assert "random_video" in page
