"""Scores of any detector are put beside the right videos, and measured like our own; what does not fit is said."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from dfd.base.errors import ConfigError, ManifestError
from dfd.commands.evaluate import evaluate
from dfd.config.schemas import EvaluateConfig
from dfd.evaluation.labelled.measured import Options, compared, measured, seen_kinds, trained_methods
from dfd.evaluation.labelled.protocols import checked_protocol
from dfd.evaluation.labelled.scores import match, read_scores
from dfd.evaluation.labelled.videos import labels_of_manifest, labels_of_store


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Labels of 24 videos that are not on this machine."""
    rows = ["path,label,dataset,method,source_ids,split,sex,fake_segments,fps"]
    for index in range(24):
        fake, split = index % 2, "train" if index >= 20 else "test"
        kind = "fake,lab,swap" if fake else "real,lab,"
        name = f"{'fake' if fake else 'real'}/{index:03}.mp4"
        segment = "0:02-0:04" if fake else ""
        rows.append(f"{name},{kind},p{index // 2},{split},{'fm'[index % 4 // 2]},{segment},10")
    return written(tmp_path / "labels.csv", *rows)


def labelled(labels: Path, split: str = "test") -> pd.DataFrame:
    return labels_of_manifest(labels, split)


def matched(labels: Path, tmp_path: Path, *lines: str):
    path = written(tmp_path / "theirs.csv", *lines)
    return match(read_scores(path), labelled(labels), path)


def test_labels_without_a_store_need_no_video_files(labels: Path) -> None:
    assert (len(labelled(labels)), len(labelled(labels, "all"))) == (20, 24)
    with pytest.raises(ManifestError, match="no row is in split 'val'"):
        labelled(labels, "val")


def test_a_name_that_is_twice_in_the_labels_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "labels.csv", "path,label", "a.mp4,real", "a.mp4,fake")
    with pytest.raises(ManifestError, match=r"line 3: 'a.mp4' is on line 2 already"):
        labels_of_manifest(path, "test")


@pytest.mark.parametrize(
    "name", ["real/000.mp4", "/data/lab/real/000.mp4", r"C:\lab\real\000.mp4", "real/000", "000.mp4", "./real/000.mp4"]
)
def test_a_path_fits_the_video_that_it_ends_with(labels: Path, tmp_path: Path, name: str) -> None:
    found = matched(labels, tmp_path, "path,score", f"{name},0.25")
    assert found.table.set_index("name")["prob_fake"].dropna().to_dict() == {"real/000.mp4": 0.25}


def test_names_that_fit_nothing_or_several_are_said_and_get_no_score(tmp_path: Path) -> None:
    known = written(tmp_path / "labels.csv", "path,label", "real/1.mp4,real", "fake/1.mp4,fake", "real/2.mp4,real")
    path = written(tmp_path / "s.csv", "path,score", "1.mp4,0.5", "fake/2.mp4,0.5", "x/real/2.mp4,0.5", "no.mp4,0.1")
    found = match(read_scores(path), labels_of_manifest(known, "all"), path)
    assert found.table["prob_fake"].notna().tolist() == [False, False, True]
    assert (found.ambiguous, found.unknown) == (("1.mp4",), ("fake/2.mp4", "no.mp4"))
    assert found.sentences(path) == [
        "s.csv: 2 of 3 labelled videos have no score there",
        "s.csv: left out 2 names of no labelled video: fake/2.mp4, no.mp4",
        "s.csv: left out 1 name that fit several labelled videos: 1.mp4",
    ]


def test_a_videos_score_is_the_mean_over_its_frames(labels: Path, tmp_path: Path) -> None:
    lines = ["real/000.mp4,0,0.2", "real/000.mp4,5,0.4", "fake/001.mp4,0,nan", "fake/003.mp4,0,0.9"]
    table = matched(labels, tmp_path, "path,frame,score", *lines).table.set_index("name")
    assert table["prob_fake"].dropna().to_dict() == pytest.approx({"real/000.mp4": 0.3, "fake/003.mp4": 0.9})
    assert table.loc["real/000.mp4", "windows"] == [(0.0, 0.5, 0.2), (0.5, 1.0, 0.4)]


@pytest.mark.parametrize(
    ("header", "cell", "expected"),
    [("filename,label", "0.7", 0.7), ("video_id\tprob_fake", "0.7", 0.7), ("PATH;Logit", "0", 0.5)],
)
def test_public_formats_are_read(tmp_path: Path, header: str, cell: str, expected: float) -> None:
    """A submission to Kaggle's DFDC, what dfd evaluate writes, and log-odds of a spreadsheet."""
    mark = next(mark for mark in ",;\t" if mark in header)
    path = written(tmp_path / "s.csv", header, f"a.mp4{mark}{cell}")
    assert [row.prob_fake for row in read_scores(path)] == [expected]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("path,mark", "a.mp4,0.5"), "no column names the score"),
        (("score", "0.5"), "no column names the video"),
        (("path,score", "a.mp4,3.2"), "line 2: score 3.2 is not in 0..1; give the probability of fake, or name the"),
        (("path,score", "a.mp4,high"), "line 2: score 'high' is no number"),
        (("path,score",), "no row"),
    ],
)
def test_wrong_scores_are_refused_with_their_line(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_scores(written(tmp_path / "s.csv", *lines))


def test_a_video_that_is_scored_twice_is_refused(labels: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"lines 2 and 3 both score real/000\.mp4; keep one"):
        matched(labels, tmp_path, "path,score", "real/000.mp4,0.5", "000.mp4,0.5")
    with pytest.raises(ConfigError, match=r"none of its 1 names, such as z\.mp4, is that of a labelled video"):
        matched(labels, tmp_path, "path,score", "z.mp4,0.5")


def test_a_method_of_the_training_is_seen_in_any_data_set_and_an_unnamed_one_is_never_known() -> None:
    methods = trained_methods({"splits": {"train": {"methods": {"swap": 3, "unknown": 2}}}})
    rows = [("a", "swap", 1), ("b", "swap", 1), ("b", "talk", 1), ("b", "unknown", 1), ("b", "", 0)]
    table = pd.DataFrame(rows, columns=["dataset", "method", "label"])
    assert seen_kinds(table, methods) == {"a/swap": True, "b/swap": True, "b/talk": False, "b/unknown": None}
    assert set(seen_kinds(table, trained_methods({})).values()) == {None}
    both = trained_methods(*({"splits": {"train": {"methods": {name: 1}}}} for name in ("swap", "talk")))
    assert both == {"swap", "talk"}
    assert trained_methods({"splits": {"train": {"methods": {"swap": 1}}}}, {}) is None


def test_two_detectors_are_compared_on_the_videos_that_both_scored() -> None:
    generator = np.random.default_rng(0)
    label = np.arange(200) % 2
    good, poor = (np.clip(0.5 + gap * (label - 0.5) + generator.normal(0, 0.2, 200), 0, 1) for gap in (0.6, 0.2))
    one, other = (pd.DataFrame({"video_id": range(200), "label": label, "prob_fake": p}) for p in (good, poor))
    other.loc[:19, "prob_fake"] = float("nan")
    found = compared(one, other, thresholds=(0.5, 0.5))
    assert found["num_real"] + found["num_fake"] == 180
    expected = [reference.roc_auc_score(label[20:], p[20:]) for p in (good, poor)]
    assert [found["auc_first"], found["auc_second"]] == pytest.approx(expected)
    assert 0 < found["interval"][0] < found["difference"] < found["interval"][1]
    assert found["p_value"] < 0.01


def test_the_metrics_of_frames_equal_scikit_learns_with_each_videos_label(labels: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    names = labelled(labels)["name"]
    scores = [(name, 2 * frame, generator.uniform(0.2 * ("fake" in name), 1)) for name in names for frame in range(3)]
    lines = [f"{name},{frame},{score}" for name, frame, score in scores]
    table = matched(labels, tmp_path, "path,frame,score", *lines).table
    found = measured(table, Options(0.5, is_frame=True))["frames"]
    label = ["fake" in name for name, _, _ in scores]
    assert found["auc"] == pytest.approx(reference.roc_auc_score(label, [score for *_, score in scores]))
    assert found["ap"] == pytest.approx(reference.average_precision_score(label, [score for *_, score in scores]))
    assert (found["num_real"], found["num_fake"], found["unit"]) == (30, 30, "frame")


def test_a_group_that_no_label_has_is_refused_with_what_there_is(labels: Path, tmp_path: Path) -> None:
    table = matched(labels, tmp_path, "path,score", "real/000.mp4,0.5").table
    with pytest.raises(
        ConfigError, match=r"groups names 'skin_tone', which is no column of the labels; they have.*sex"
    ):
        measured(table, Options(0.5, groups=["skin_tone"]))


def test_a_real_video_with_fake_segments_is_refused(labels: Path, tmp_path: Path) -> None:
    table = matched(labels, tmp_path, "path,frame,score", "real/000.mp4,0,0.5", "real/000.mp4,1,0.5").table
    with pytest.raises(ConfigError, match="a real video has no fake segments"):
        measured(table.assign(fake_segments="0-1"), Options(0.5))


def config(tmp_path: Path, **options) -> EvaluateConfig:
    known = {name: None for name in EvaluateConfig.__dataclass_fields__}
    known |= {"checkpoint": "", "data": {"store": ""}, "split": "test", "device": "cpu", "prevalence": 0.02}
    return EvaluateConfig(**{**known, "output": str(tmp_path / "out"), **options})


def test_a_third_partys_scores_become_one_report_without_store_and_checkpoint(labels: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    names = list(labelled(labels)["name"])
    frames = [f"{n},{10 * t},{generator.uniform(0.3 * ('fake' in n), 1):.4f}" for n in names for t in range(6)]
    written(tmp_path / "frames.csv", "path,frame,score", *frames)
    written(tmp_path / "videos.csv", "filename,label", *(f"{n},{generator.uniform():.4f}" for n in names), "no.mp4,0.5")
    scores = [str(tmp_path / "frames.csv"), str(tmp_path / "videos.csv")]
    evaluate(config(tmp_path, scores=scores, manifest=str(labels), groups=["sex"]))
    out = tmp_path / "out"
    page = (out / "report.html").read_text()
    for part in ("Operating points", "real per fake", "Frame level beside", "By kind of fake", "Within one source"):
        assert part in page
    for part in (
        "By sex",
        "Where in the video",
        "Detectors on the same videos",
        "left out 1 name of no labelled video",
    ):
        assert part in page
    assert (out / "tables.tex").read_text().count(r"\begin{table}") == len([*out.glob("table_*.csv")])
    assert (out / "roc.pdf").read_bytes().startswith(b"%PDF")
    metrics = json.loads((out / "frames" / "metrics.json").read_text())
    assert metrics["segments"]["num_segments"] == 10
    assert metrics["prevalence"] == 0.02
    with (out / "frames" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert reference.roc_auc_score([r["label"] == "fake" for r in rows], [float(r["prob_fake"]) for r in rows]) == (
        pytest.approx(metrics["overall"]["auc"])
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"manifest": "x.csv"}, "manifest holds the labels of scores=FILE alone"),
        ({"scores": "x.csv", "suite": "robustness"}, "no part in suite=robustness"),
        ({"scores": "x.csv", "split": "some"}, "split=some is not one of train, val, test, all"),
        ({"scores": "x.csv", "prevalence": 1.0}, "prevalence must be above 0 and below 1"),
        ({"scores": ["a/x.csv", "b/x.csv"], "manifest": "LABELS"}, "two files have one name"),
    ],
)
def test_options_that_do_not_fit_are_refused(labels: Path, tmp_path: Path, options: dict, message: str) -> None:
    options = {name: str(labels) if value == "LABELS" else value for name, value in options.items()}
    with pytest.raises(ConfigError, match=message):
        evaluate(config(tmp_path, **options))


def test_our_detector_and_anothers_scores_are_measured_on_the_same_videos(
    tiny_store: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    videos = labels_of_store(tiny_store, "all")
    theirs = written(
        tmp_path / "theirs.csv", "path,score", *(f"{name},0.{i % 9}1" for i, name in enumerate(videos["name"]))
    )
    data = {
        **{"_target_": "dfd.data.clips.module.ClipDataModule", "store": str(tiny_store), "num_workers": 0},
        **{"num_eval_clips": 2, "batch_size": 8},
    }
    options = {"checkpoint": str(tiny_checkpoint), "scores": str(theirs), "data": data, "split": "all"}
    evaluate(config(tmp_path, **options))
    out = tmp_path / "out"
    ours, other = (json.loads((path / "metrics.json").read_text()) for path in (out, out / "theirs"))
    assert ours["overall"]["num_real"] == other["overall"]["num_real"] == 10
    assert set(ours["splits"]) == {"train", "val", "test"}
    assert (ours["frames"]["unit"], ours["frames"]["num_real"]) == ("window", 20)
    assert "Detectors on the same videos" in (out / "report.html").read_text()
    assert "split" in (out / "predictions.csv").read_text().splitlines()[0]


def of_protocol(*fakes: str, real: int = 140, of_each: int = 140) -> pd.DataFrame:
    rows = [("ffpp", 0, "")] * real + [("ffpp", 1, method) for method in fakes for _ in range(of_each)]
    return pd.DataFrame(rows, columns=["dataset", "label", "method"]).assign(prob_fake=0.5)


def test_a_protocol_is_kept_only_by_all_its_videos_and_no_others() -> None:
    methods = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
    facts, said = checked_protocol("ffpp", of_protocol(*methods), split_mode="official")
    assert (facts["is_complete"], said) == (True, [])
    _, (said,) = checked_protocol("ffpp", of_protocol(*methods, "FaceShifter", real=139), split_mode=None)
    assert said == (
        "protocol ffpp: 139 of 140 real videos are here; fakes of FaceShifter are no part of it; the figures are not "
        "those of the protocol"
    )


def test_a_protocol_on_another_split_or_data_set_is_refused() -> None:
    with pytest.raises(ConfigError, match="protocol=ffpp: this store was divided by split=source"):
        checked_protocol("ffpp", of_protocol("Deepfakes"), split_mode="source")
    with pytest.raises(ConfigError, match="protocol=dfdc: no video is of the data set 'dfdc'; there are ffpp"):
        checked_protocol("dfdc", of_protocol("Deepfakes"), split_mode=None)
    with pytest.raises(ConfigError, match="protocol=celebdff: did you mean celebdf"):
        checked_protocol("celebdff", of_protocol("Deepfakes"), split_mode=None)
