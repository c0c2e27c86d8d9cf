"""A suite scores each part once, goes on where it stopped, and says what it does not know."""

import csv
import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dfd.base.errors import ConfigError
from dfd.data.augment.disturbances import DISTURBANCES, NUM_LEVELS, chosen
from dfd.data.blend.module import BlendDataModule
from dfd.data.clips.module import ClipDataModule
from dfd.evaluation import suites
from dfd.evaluation.cross_dataset import cross_dataset, named_stores
from dfd.evaluation.robustness import robustness
from dfd.evaluation.suites import ScoreFiles, measures
from dfd.figures.comparison import Dot, dots_with_intervals
from dfd.figures.robustness import robustness_curves, robustness_intervals
from dfd.report.evaluations.terminal import print_cross_dataset, print_robustness
from tests.commands.test_commands import run


@pytest.fixture
def data(tiny_store: Path) -> ClipDataModule:
    module = ClipDataModule(store=tiny_store, clip_len=4, batch_size=4, num_workers=0)
    module.setup("test")
    return module


def videos(dataset="mine", num_real=20, num_fake=20, method="swap", apart=0.3, seed=0) -> pd.DataFrame:
    label = np.repeat([0, 1], [num_real, num_fake])
    prob = np.random.default_rng(seed).uniform(0, 0.5, len(label)) + apart * label
    return pd.DataFrame(
        {
            "video_id": [f"{dataset}{method}{index}" for index in range(len(label))],
            "dataset": dataset,
            "method": np.where(label == 1, method, ""),
            "label": label,
            "prob_fake": prob,
        }
    )


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


class Scorer:
    """Scores what it is given the worse, the stronger the disturbance; and counts."""

    def __init__(self, data: ClipDataModule, *, stop_after: int | None = None) -> None:
        self.data, self.stop_after = data, stop_after
        self.asked: list[tuple[str, int]] = []

    def __call__(self, description: str) -> pd.DataFrame:
        if self.stop_after is not None and len(self.asked) == self.stop_after:
            raise KeyboardInterrupt
        disturb = self.data.disturb
        self.asked.append((disturb.name, disturb.level) if disturb else ("none", 0))
        return videos(apart=0.5 - 0.08 * (disturb.level if disturb else 0))


def robust(score: Scorer, folder: Path, **changed) -> list[dict]:
    options = {"disturbances": chosen(["blur", "jpeg"]), "threshold": 0.4, "detector": "tiny@0"}
    return robustness(score, score.data, "test", folder, **(options | changed))


def test_each_disturbance_is_scored_at_each_level_beside_the_split_as_it_is(data, tmp_path):
    score = Scorer(data)
    rows = robust(score, tmp_path)
    levels = [(name, level) for name in ("blur", "jpeg") for level in range(1, NUM_LEVELS + 1)]
    assert score.asked == [("none", 0), *levels]
    assert data.disturb is None
    written = rows_of(tmp_path / "robustness.csv")
    assert [(row["disturbance"], int(row["level"])) for row in written] == score.asked
    assert [row["strength"] for row in written[:3]] == ["", "0.5", "1.0"]
    assert float(written[3]["auc"]) == rows[3]["auc"]
    assert rows[0]["auc"] > rows[3]["auc"] > rows[5]["auc"]
    assert rows[3]["auc_low"] < rows[3]["auc"] < rows[3]["auc_high"]
    assert (rows[0]["num_real"], rows[0]["num_fake"], rows[0]["num_unscored"]) == (20, 20, 0)
    record = json.loads((tmp_path / "robustness.json").read_text())
    assert record["rows"] == rows
    assert (record["detector"], record["threshold"], record["split"]) == ("tiny@0", 0.4, "test")
    for name in ("robustness.png", "robustness_intervals.png", "disturbances.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_a_suite_that_is_stopped_keeps_its_rows_and_goes_on_with_what_is_missing(data, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        robust(Scorer(data, stop_after=4), tmp_path)
    assert data.disturb is None
    assert len(rows_of(tmp_path / "robustness.csv")) == 4
    again = Scorer(data)
    rows = robust(again, tmp_path)
    assert again.asked[0] == ("blur", 4)
    assert len(again.asked) == 7
    assert rows == robust(Scorer(data, stop_after=0), tmp_path)
    assert rows == robust(Scorer(data), tmp_path / "whole")


def test_more_disturbances_and_another_threshold_need_no_old_score_anew(data, tmp_path):
    robust(Scorer(data), tmp_path)
    again = Scorer(data)
    rows = robust(again, tmp_path, disturbances=chosen(["jpeg", "gamma"]), threshold=0.9)
    assert {name for name, _ in again.asked} == {"gamma"}
    assert rows[0]["recall"] < 0.5


def test_scores_of_another_evaluation_are_not_gone_on_with(data, tmp_path):
    robust(Scorer(data), tmp_path)
    with pytest.raises(ConfigError, match=r"detector was tiny@0 and is tiny@1\); give another output"):
        robust(Scorer(data), tmp_path, detector="tiny@1")
    with pytest.raises(ConfigError, match="temperature was None and is 2"):
        robust(Scorer(data), tmp_path, temperature=2.0)


def test_scores_of_blends_that_are_made_otherwise_are_not_gone_on_with(tiny_store, tmp_path):
    def blends(**settings: float) -> BlendDataModule:
        module = BlendDataModule(tiny_store, blend=settings, clip_len=4, num_workers=0)
        module.setup("test")
        return module

    robust(Scorer(blends()), tmp_path)
    again = Scorer(blends())
    robust(again, tmp_path)
    assert again.asked == []
    with pytest.raises(ConfigError, match=r"blend was .*'deform': 0\.06.* and is .*'deform': 0\.2"):
        robust(Scorer(blends(deform=0.2)), tmp_path)


def test_with_one_label_there_is_no_auc_and_it_is_said(data, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        rows = robustness(
            lambda _: videos(num_real=0),
            data,
            "test",
            tmp_path,
            disturbances=chosen(["blur"]),
            threshold=0.5,
            detector="tiny@0",
        )
    assert {row["auc"] for row in rows} == {None}
    assert rows[0]["note"] == "no real video with a score"
    assert rows_of(tmp_path / "robustness.csv")[0]["auc"] == ""
    assert "no real video with a score, so there is neither an AUC" in caplog.text
    assert not (tmp_path / "robustness.png").exists()
    print_robustness(rows)


def test_an_interval_without_width_is_not_shown():
    row = measures(videos(num_real=5, num_fake=5, apart=0.5).assign(prob_fake=[0.1] * 5 + [0.9] * 5), threshold=0.5)
    assert (row["auc"], row["auc_low"], row["auc_high"]) == (1.0, None, None)


def test_a_single_video_of_a_label_gives_no_interval():
    for counts in ({"num_fake": 1}, {"num_real": 1}):
        row = measures(videos(apart=0.1, **counts), threshold=0.3)
        assert 0 < row["auc"] < 1
        assert [row[f"{name}_{end}"] for name in suites.WITH_INTERVAL for end in ("low", "high")] == [None] * 4


def test_without_any_score_all_is_unknown():
    row = measures(videos().assign(prob_fake=float("nan")), threshold=0.5)
    assert (row["auc"], row["recall"], row["num_unscored"]) == (None, None, 40)
    assert row["note"] == "no real and no fake video with a score"


def test_scores_survive_their_file(tmp_path):
    table = videos().assign(video_id=[f"0{index}" for index in range(40)])
    table.loc[3, "prob_fake"] = float("nan")
    files = ScoreFiles(tmp_path, {})
    first = files.table("a/b", lambda: table)
    pd.testing.assert_frame_equal(first, table, check_dtype=False)
    pd.testing.assert_frame_equal(files.table("a/b", lambda: pytest.fail("scored again")), first)


def test_each_data_set_and_method_is_set_against_its_own_reals(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    tables = {
        "a": pd.concat(
            [
                videos("ffpp", 8, 5, "swap"),
                videos("ffpp", 0, 3, "a talking head of a very long name"),
                videos("dfdc", 4, 2, "x"),
            ],
            ignore_index=True,
        ),
        "b": videos("celebdf", 3, 9, "swap", seed=4),
        "c": videos("hdtf", 6, 0),
    }
    tables["a"].loc[tables["a"].index[0], "prob_fake"] = float("nan")
    known = dict.fromkeys(tables, data)
    rows = cross_dataset(
        lambda _, name: tables[name[-1]],
        known,
        "test",
        tmp_path,
        trained_on={"ffpp": 13},
        threshold=0.5,
        detector="tiny@0",
    )
    counts = {
        (row["store"], row["dataset"], row["method"]): (row["num_real"], row["num_fake"], row["in_training"])
        for row in rows
    }
    assert counts == {
        ("a", "dfdc", ""): (4, 2, "no"),
        ("a", "dfdc", "x"): (4, 2, "no"),
        ("a", "ffpp", ""): (8 - 1, 8, "yes"),
        ("a", "ffpp", "swap"): (7, 5, "yes"),
        ("a", "ffpp", "a talking head of a very long name"): (7, 3, "yes"),
        ("b", "celebdf", ""): (3, 9, "no"),
        ("b", "celebdf", "swap"): (3, 9, "no"),
        ("c", "hdtf", ""): (6, 0, "no"),
    }
    assert sum(row["num_unscored"] for row in rows if not row["method"]) == 1
    written = rows_of(tmp_path / "cross_dataset.csv")
    assert [row["dataset"] for row in written] == [row["dataset"] for row in rows]
    assert (written[-1]["auc"], written[-1]["note"]) == ("", "no fake video with a score")
    record = json.loads((tmp_path / "cross_dataset.json").read_text())
    whole = [row["auc"] for row in rows if not row["method"] and row["auc"] is not None]
    assert record["mean_auc"] == pytest.approx(np.mean(whole))
    assert len(whole) == 3
    assert (tmp_path / "cross_dataset.png").read_bytes().startswith(b"\x89PNG")
    print_cross_dataset(rows)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    (line,) = [line.split() for line in shown.splitlines() if line.strip().startswith("a: ffpp")]
    assert line[2:5] == ["yes", "7", "8"]
    assert len(line[-1]) == len("0.123")
    assert "b: celebdf" in shown
    assert "only one label has videos" in shown


def test_stores_are_named_by_their_folders_unless_they_are_named():
    assert named_stores({"a": "x/s", "b": "y/s"}) == {"a": "x/s", "b": "y/s"}
    for wrong, message in [(["x/s", "y/s"], "two folders have one name"), (None, "needs stores="), ("x", "needs")]:
        with pytest.raises(ConfigError, match=message):
            named_stores(wrong)


def test_the_command_disturbs_what_the_detector_sees(tiny_store, tiny_checkpoint, tmp_path):
    arguments = [f"checkpoint={tiny_checkpoint}", f"data.store={tiny_store}", "data.num_workers=0", "device=cpu"]
    arguments += ["suite=robustness", "disturbances=[gamma,h264]", f"hydra.run.dir={tmp_path}/run"]
    done = run("dfd.evaluate", *arguments, f"output={tmp_path}/out")
    assert "AUC at video level by level of strength, 2 real, 2 fake videos" in done.stdout
    scores = {path.stem: path.read_text() for path in (tmp_path / "out" / "scores").glob("*.csv")}
    assert len(scores) == 11
    assert len(set(scores.values())) == 11
    plain = run("dfd.evaluate", *arguments[:4], f"hydra.run.dir={tmp_path}/run", f"output={tmp_path}/plain")
    assert plain.returncode == 0
    expected = {row["video_id"]: row["prob_fake"] for row in rows_of(tmp_path / "plain" / "predictions.csv")}
    assert {row["video_id"]: row["prob_fake"] for row in rows_of(tmp_path / "out" / "scores" / "none.csv")} == expected
    again = run("dfd.evaluate", *arguments, f"output={tmp_path}/out")
    assert "scoring" not in again.stdout
    assert {path.stem: path.read_text() for path in (tmp_path / "out" / "scores").glob("*.csv")} == scores


def test_the_command_measures_several_stores(tiny_store, tiny_checkpoint, tmp_path):
    arguments = [f"checkpoint={tiny_checkpoint}", "data.num_workers=0", "device=cpu", "suite=cross_dataset"]
    arguments += [
        f"stores={{one: {tiny_store}, two: {tiny_store}}}",
        f"output={tmp_path}",
        f"hydra.run.dir={tmp_path}/r",
    ]
    done = run("dfd.evaluate", *arguments)
    assert "one: tiny" in done.stdout
    rows = rows_of(tmp_path / "cross_dataset.csv")
    assert [(row["store"], row["method"], row["num_real"], row["num_fake"]) for row in rows] == [
        ("one", "", "2", "2"),
        ("one", "flicker", "2", "2"),
        ("two", "", "2", "2"),
        ("two", "flicker", "2", "2"),
    ]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["suite=robust"], "suite=robust is not one of robustness, cross_dataset"),
        (["suite=robustness", "disturbances=[fog]"], "got fog"),
        (["suite=cross_dataset"], "needs stores="),
        (["stores=[a,b]"], "stores is only for suite=cross_dataset"),
        (["suite=cross_dataset", "stores=[a]", "disturbances=[blur]"], "disturbances is only for suite=robustness"),
    ],
)
def test_what_does_not_fit_is_a_sentence(wrong, message, tiny_store, tiny_checkpoint, tmp_path):
    arguments = [f"checkpoint={tiny_checkpoint}", f"data.store={tiny_store}", f"hydra.run.dir={tmp_path}"]
    done = run("dfd.evaluate", *arguments, *wrong, check=False)
    assert done.returncode == 1
    assert message in " ".join(done.stderr.split())


def test_a_line_is_drawn_for_each_disturbance_through_its_levels():
    base = (0.9, (0.85, 0.95))
    curves = {
        name: {level: (0.9 - 0.05 * level, (0.8 - 0.05 * level, 0.93 - 0.05 * level)) for level in range(6)}
        for name in DISTURBANCES
    }
    curves["jpeg"][4] = (None, None)
    figure = robustness_curves(base, curves, title="mine")
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert set(DISTURBANCES) < set(lines)
    assert list(lines["blur"].get_ydata()) == pytest.approx([0.9, 0.85, 0.8, 0.75, 0.7, 0.65])
    assert list(lines["jpeg"].get_xdata()) == [0, 1, 2, 3, 5]
    detail = robustness_intervals(base, curves, strengths={"blur": "sigma 1, 2"})
    assert [ax.get_title() for ax in detail.axes] == list(DISTURBANCES)


def test_a_dot_stands_at_its_value_and_what_is_unknown_has_none():
    dots = [
        Dot("a: ffpp", (0.8, (0.7, 0.9)), "5 real, 5 fake", is_known=True),
        Dot("swap", (None, None), "5 real, 0 fake", is_group=False),
    ]
    figure = dots_with_intervals(dots, quantity="AUC")
    ax = figure.axes[0]
    written = [text.get_text().strip() for text in ax.texts]
    assert written == ["0.800   5 real, 5 fake", "–   5 real, 0 fake"]
    assert ax.lines[0].get_xdata()[0] == 0.8
