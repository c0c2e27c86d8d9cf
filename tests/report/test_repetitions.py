"""Runs that differ only in their seed: one row with mean, deviation and count, and tests that pair the seeds."""

import csv
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest
from scipy.stats import ttest_rel

from dfd.metrics.significance import mcnemar
from dfd.report.comparison.pairs import compare, pair_runs, sign_flip_p
from dfd.report.comparison.repetitions import configurations
from dfd.report.comparison.results import evaluate
from dfd.report.runs.write import write_report, write_study_report
from dfd.report.studies.study import read_study
from dfd.runs.folder import find_runs, read_run
from dfd.runs.records import JobRecord, Outcome, StudyRecord
from tests.report.test_report import Page, drawn, make_run, predictions, rows_of


def run_of(folder: Path, head: str, seed: int, *, auc: float = 0.8, **options) -> Path:
    """A run of a model with a seed, and what it reached on the validation split."""
    summary = {
        "seed": seed,
        "val": {"val/loss": 0.4, "val/accuracy": 0.8, "val/auc": auc},
        **options.pop("summary", {}),
    }
    config = {"seed": seed, "data.seed": seed, "temporal._target_": f"dfd.models.temporal.{head}"}
    config |= options.pop("config", {})
    return make_run(folder, name=f"resnext50 + {head}", summary=summary, config=config, **options)


def study_of(folder: Path, jobs: list[tuple[str, int, float | None, Outcome]], *, swept=("seed", "temporal")) -> Path:
    """A multirun over heads and seeds: (head, seed, validation AUC, outcome) of each job."""
    StudyRecord("heads", "heads", "val/auc", list(swept)).write(folder)
    for number, (head, seed, auc, outcome) in enumerate(jobs):
        message = "diverged: the loss was not a number at step 7" if outcome is Outcome.FAILED else ""
        finished = outcome is Outcome.FINISHED
        test = drawn(number, num=40) if finished else None
        run_of(folder / str(number), head, seed, auc=auc or 0.0, finished=finished, test=test)
        record = JobRecord(outcome, [f"seed={seed}", f"temporal={head}"], seconds=5.0, value=auc, message=message)
        record.write(folder / str(number))
    return folder


def study_rows(folder: Path) -> list[dict[str, str]]:
    return rows_of(folder / "report" / "study.csv")


def text_of(folder: Path) -> str:
    return Page(write_study_report(folder)).text


DONE, FAILED = Outcome.FINISHED, Outcome.FAILED


def test_runs_that_differ_in_their_seed_only_are_one_row_with_mean_deviation_and_count(tmp_path):
    for head, skill in {"lstm": 0.2, "mean": 0.1}.items():
        for seed in range(3):
            fit = {"train": {"train/loss": 0.1 * seed, "train/accuracy": 0.9}}
            run_of(tmp_path / f"{head}{seed}", head, seed, test=drawn(seed, num=60, skill=skill), summary=fit)
    runs = find_runs([tmp_path])
    text = Page(write_report(runs, tmp_path / "out")).text
    aucs = [result.overall["auc"] for result in evaluate([read_run(tmp_path / f"lstm{seed}") for seed in range(3)])]
    rows = rows_of(tmp_path / "out" / "table_test.csv")
    assert [(row["model"], row["seeds"]) for row in rows] == [("resnext50 + lstm", "3"), ("resnext50 + mean", "3")]
    assert rows[0]["AUC"] == f"{mean(aucs):.3f} (± {stdev(aucs):.3f})"
    assert rows_of(tmp_path / "out" / "table_training.csv")[0]["training loss"] == "0.100 (± 0.100)"
    exact = rows_of(tmp_path / "out" / "configurations.csv")[0]
    assert float(exact["test_auc_mean"]) == pytest.approx(mean(aucs))
    assert float(exact["test_auc_std"]) == pytest.approx(stdev(aucs))
    assert exact["test_auc_n"] == exact["num_seeds"] == "3"
    assert len(rows_of(tmp_path / "out" / "runs.csv")) == 6
    assert {path.name for path in (tmp_path / "out").glob("learning_curves_*")} == {
        "learning_curves_1.png",
        "learning_curves_2.png",
    }
    assert (
        f"resnext50 + lstm has the highest mean test AUC: {mean(aucs):.3f} (± {stdev(aucs):.3f} over 3 seeds)" in text
    )
    assert "seed" not in rows_of(tmp_path / "out" / "table_settings.csv")[0]


def test_runs_of_one_seed_have_intervals_as_ever_and_no_column_of_seeds(tmp_path):
    for head in ("lstm", "mean"):
        run_of(tmp_path / head, head, 0, test=drawn(1, num=60, skill=0.1))
    write_report(find_runs([tmp_path]), tmp_path / "out")
    assert "seeds" not in rows_of(tmp_path / "out" / "table_test.csv")[0]
    assert "–" in rows_of(tmp_path / "out" / "table_test.csv")[0]["AUC"]
    assert not (tmp_path / "out" / "configurations.csv").exists()
    assert not (tmp_path / "out" / "table_seeds.csv").exists()


def test_the_best_of_a_study_is_by_the_mean_and_not_by_the_luckiest_seed(tmp_path):
    jobs = [("mean", 0, 0.99, DONE), ("mean", 1, 0.60, DONE), ("mean", 2, 0.60, DONE)]
    jobs += [("gru", 0, 0.80, DONE), ("gru", 1, 0.82, DONE), ("gru", 2, 0.84, DONE)]
    text = text_of(study_of(tmp_path, jobs))
    assert "Best of the study: temporal=gru, with val/auc 0.820 ± 0.020 over 3 seeds" in text
    first, second = study_rows(tmp_path)
    assert (first["temporal"], first["job"], first["num_seeds"], first["val/auc_n"]) == ("gru", "3 4 5", "3", "3")
    assert float(first["val/auc"]) == pytest.approx(0.82)
    assert float(second["val/auc_std"]) == pytest.approx(stdev([0.99, 0.6, 0.6]))
    assert "seed" not in first
    assert len(rows_of(tmp_path / "report" / "study_jobs.csv")) == 6


def test_the_detector_to_take_is_that_of_the_middle_seed_and_the_report_says_which(tmp_path):
    jobs = [("gru", 0, 0.90, DONE), ("gru", 1, 0.70, DONE), ("gru", 2, 0.80, DONE), ("mean", 0, 0.1, DONE)]
    text = text_of(study_of(tmp_path, jobs))
    assert "Its detector to use is 2/detector.safetensors (seed=2): the median of its seeds" in text
    marked = [row["run"] for row in rows_of(tmp_path / "report" / "table_models.csv") if row["run"].endswith("*")]
    assert marked == [f"{tmp_path.name}/2 *"]


def test_a_configuration_of_which_a_seed_diverged_is_shown_with_fewer_seeds_and_does_not_win(tmp_path):
    jobs = [("gru", 0, 0.99, DONE), ("gru", 1, 0.98, DONE), ("gru", 2, None, FAILED)]
    jobs += [("mean", seed, 0.80, DONE) for seed in range(3)]
    text = text_of(study_of(tmp_path, jobs))
    assert "Best of the study: temporal=mean, with val/auc 0.800 ± 0.000 over 3 seeds" in text
    assert "temporal=gru has a better val/auc, 0.985 ± 0.007 over 2 seeds, but is not chosen" in text
    best, other = study_rows(tmp_path)
    assert (best["temporal"], other["temporal"]) == ("mean", "gru")
    assert other["outcome"] == "2 finished, 1 failed"
    assert (other["num_seeds"], other["val/auc_n"]) == ("3", "2")
    assert other["message"] == "seed=2: diverged: the loss was not a number at step 7"
    tested = {row["model"]: row["seeds"] for row in rows_of(tmp_path / "report" / "table_test.csv")}
    assert tested == {"resnext50 + gru": "2 of 3", "resnext50 + mean": "3"}
    assert "resnext50 + gru: 1 of its 3 seeds failed" in text
    assert "resnext50 + gru (seed=2) failed and is not counted: diverged: the loss was not a number" in text
    assert "temporal=gru, seed=2: diverged: the loss was not a number at step 7" in text
    assert "All runs that did not fail were tested on fewer than 100 videos" in text
    assert "Not ranked, for the reasons given below: resnext50 + gru" in text


def test_without_a_configuration_whose_seeds_all_ended_none_is_the_best(tmp_path):
    jobs = [("gru", 0, 0.9, DONE), ("gru", 1, None, FAILED), ("mean", 0, 0.8, DONE), ("mean", 1, None, Outcome.STOPPED)]
    text = text_of(study_of(tmp_path, jobs))
    assert "Best of the study" not in text
    assert (
        "No configuration of the study has a val/auc of all its seeds, so none is the best: temporal=gru: 0.900" in text
    )


def test_a_run_that_an_older_version_let_finish_without_a_loss_is_failed_and_never_the_best(tmp_path):
    StudyRecord("lr", "lr", "val/auc", ["optimizer.lr"]).write(tmp_path)
    for job, (value, val) in enumerate([(0.667, {"val/auc": 0.667}), (0.6, {"val/auc": 0.6, "val/loss": 0.5})]):
        test = drawn(job, num=40)
        make_run(tmp_path / str(job), summary={"val": val}, config={"optimizer.lr": 10.0**job}, test=test)
        JobRecord(DONE, [f"optimizer.lr={10.0**job}"], value=value).write(tmp_path / str(job))
    text = text_of(tmp_path)
    assert "Best of the study: lr=10, with val/auc 0.600" in text
    assert [(row["job"], row["outcome"]) for row in study_rows(tmp_path)] == [("1", "finished"), ("0", "failed")]
    assert study_rows(tmp_path)[1]["message"].startswith("diverged")
    assert study_rows(tmp_path)[1]["val/auc"] == ""


def test_a_failed_run_is_named_with_its_reason_in_a_report_on_runs_and_its_scores_count_for_nothing(tmp_path):
    run_of(tmp_path / "a", "lstm", 0, test=drawn(0, num=40))
    run_of(tmp_path / "b", "mean", 0, test=drawn(1, num=40))
    JobRecord(FAILED, message="diverged: loss nan at step 3").write(tmp_path / "b")
    text = Page(write_report([tmp_path / "a", tmp_path / "b"], tmp_path / "out")).text
    assert "resnext50 + mean failed and is not counted: diverged: loss nan at step 3" in text
    assert [row["model"] for row in rows_of(tmp_path / "out" / "table_test.csv")] == ["resnext50 + lstm"]
    assert rows_of(tmp_path / "out" / "runs.csv")[1]["failure"] == "diverged: loss nan at step 3"


def test_what_is_true_of_all_seeds_is_said_of_their_configuration(tmp_path):
    for head, num in {"lstm": 40, "mean": 120}.items():
        for seed in range(2):
            run_of(tmp_path / f"{head}{seed}", head, seed, test=drawn(seed, num=num))
    text = Page(write_report(find_runs([tmp_path]), tmp_path / "out")).text
    assert "resnext50 + lstm were tested on fewer than 100 videos" in text


def test_the_training_of_a_failed_seed_is_in_no_mean(tmp_path):
    for seed in range(3):
        fit = {"train": {"train/loss": 0.1 + seed, "train/accuracy": 0.9}}
        run_of(tmp_path / str(seed), "lstm", seed, summary=fit, test=drawn(seed, num=20))
    JobRecord(FAILED, message="diverged").write(tmp_path / "2")
    write_report(find_runs([tmp_path]), tmp_path / "out")
    (row,) = rows_of(tmp_path / "out" / "table_training.csv")
    assert (row["seeds"], row["training loss"]) == ("2 of 3", "0.600 (± 0.707)")
    assert row["epoch chosen"] == "3, 3 of 6"


def test_a_study_of_nothing_but_seeds_is_one_row(tmp_path):
    jobs = [("gru", seed, 0.7 + seed / 10, DONE) for seed in range(3)]
    text = text_of(study_of(tmp_path, jobs, swept=["seed"]))
    (row,) = study_rows(tmp_path)
    assert row["job"] == "0 1 2"
    assert "all seeds, with val/auc 0.800 ± 0.100 over 3 seeds" in text
    assert "McNemar" not in text
    assert not (tmp_path / "report" / "metric_by_parameter.png").exists()


def test_different_numbers_of_seeds_are_said(tmp_path):
    jobs = [("gru", 0, 0.9, DONE), ("mean", 0, 0.8, DONE), ("mean", 1, 0.8, DONE)]
    assert "The configurations have from 1 to 2 seeds." in text_of(study_of(tmp_path, jobs))


def test_the_same_seed_twice_is_no_repetition_and_another_split_is_another_configuration(tmp_path):
    run_of(tmp_path / "a", "lstm", 0)
    run_of(tmp_path / "b", "lstm", 0)
    run_of(tmp_path / "c", "lstm", 1)
    run_of(tmp_path / "d", "lstm", 2, config={"data.split_seed": 5})
    found = configurations(evaluate([read_run(tmp_path / name) for name in "abcd"]))
    assert [[result.run.folder.name for result in one.results] for one in found] == [["a", "c"], ["b"], ["d"]]
    assert len({one.name for one in found}) == 3


def judged(right: np.ndarray) -> list[dict]:
    """Predictions that are right on these videos, of which every other is fake."""
    labels = ["fake" if index % 2 else "real" for index in range(len(right))]
    probs = [0.9 if (label == "fake") == bool(ok) else 0.1 for label, ok in zip(labels, right, strict=True)]
    return predictions(probs, labels)


def test_configurations_are_tested_seed_by_seed_and_a_video_counts_once(tmp_path):
    generator = np.random.default_rng(0)
    right = {head: generator.random((3, 60)) < share for head, share in {"lstm": 0.9, "mean": 0.6}.items()}
    for head, seeds in right.items():
        for seed, row in enumerate(seeds):
            run_of(tmp_path / f"{head}{seed}", head, seed, test=judged(row))
    (pair,) = compare(configurations(evaluate([read_run(run) for run in find_runs([tmp_path])])))
    only_first = int((right["lstm"] & ~right["mean"]).sum())
    only_second = int((right["mean"] & ~right["lstm"]).sum())
    assert (pair.test.b, pair.test.c, pair.num_seeds, pair.num_common) == (only_first, only_second, 3, 60)
    gains = (right["lstm"].astype(int) - right["mean"].astype(int)).sum(axis=0)
    assert pair.test.p_value == pytest.approx(sign_flip_p(gains))
    expected = ttest_rel(right["lstm"].mean(axis=1), right["mean"].mean(axis=1)).pvalue
    assert pair.differences["accuracy"].p_value == pytest.approx(expected)
    assert pair.differences["accuracy"].spread.count == 3


def test_three_seeds_that_judge_alike_prove_no_more_than_one(tmp_path):
    right = {"lstm": np.ones(60, bool), "mean": np.arange(60) >= 6}
    for head, row in right.items():
        for seed in range(3):
            run_of(tmp_path / f"{head}{seed}", head, seed, test=judged(row))
    (pair,) = compare(configurations(evaluate([read_run(run) for run in find_runs([tmp_path])])))
    assert (pair.test.b, pair.test.c) == (18, 0)
    assert pair.test.p_value == pytest.approx(mcnemar(right["lstm"], right["mean"]).p_value)
    assert pair.differences["accuracy"].p_value is None


def test_only_seeds_that_both_have_are_paired(tmp_path):
    for head, seeds in {"lstm": (0, 1, 2), "mean": (1, 2, 5), "gru": (7,)}.items():
        for seed in seeds:
            run_of(tmp_path / f"{head}{seed}", head, seed, test=drawn(seed, num=20))
    gru, lstm, average = configurations(evaluate([read_run(run) for run in find_runs([tmp_path])]))
    paired = [(a.run.folder.name, b.run.folder.name) for a, b in pair_runs(lstm, average)]
    assert paired == [("lstm1", "mean1"), ("lstm2", "mean2")]
    assert pair_runs(gru, lstm) == []
    write_report(find_runs([tmp_path]), tmp_path / "out")
    rows = {(row["first"], row["second"]): row for row in rows_of(tmp_path / "out" / "table_mcnemar.csv")}
    assert rows["resnext50 + gru", "resnext50 + lstm"]["seeds of both"] == "0"


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (5, 3), (30, 10), (200, 170)])
def test_the_test_over_seeds_is_mcnemars_if_there_is_one(counts):
    b, c = counts
    first = np.array([1] * b + [0] * c + [1] * 50)
    second = np.array([0] * b + [1] * c + [1] * 50)
    assert sign_flip_p(first - second) == pytest.approx(mcnemar(first, second).p_value)


def test_the_test_over_seeds_is_the_share_of_all_signs_that_go_as_far():
    gains = np.array([3, -1, 2, 2, 0, 1])
    signs = np.array(np.meshgrid(*[[-1, 1]] * len(gains))).reshape(len(gains), -1)
    sums = (signs * np.abs(gains)[:, None]).sum(axis=0)
    assert sign_flip_p(gains) == pytest.approx(np.mean(np.abs(sums) >= abs(gains.sum())))


def test_a_varied_number_is_an_axis_and_its_seeds_are_one_point(tmp_path):
    for clip_len in (10, 20, 40):
        for seed in range(2):
            config = {"data.clip_len": clip_len}
            run_of(tmp_path / f"{clip_len}-{seed}", "lstm", seed, config=config, test=drawn(seed + clip_len, num=40))
    text = (write_report(find_runs([tmp_path]), tmp_path / "out").with_suffix(".md")).read_text()
    assert (tmp_path / "out" / "against_setting.png").exists()
    assert "Test accuracy and AUC against data.clip_len. Whiskers: one standard deviation over the seeds" in text
    assert text.count("resnext50 + lstm at 10:") == 1
    with (tmp_path / "out" / "table_settings.csv").open(newline="") as file:
        assert [row["data.clip_len"] for row in csv.DictReader(file)] == ["10", "20", "40"]


def test_a_study_that_repeats_nothing_is_read_as_it_was(tmp_path):
    study = read_study(study_of(tmp_path, [("gru", 0, 0.7, DONE), ("mean", 0, 0.8, DONE)], swept=["temporal"]))
    assert study is not None
    assert not study.is_repeated
    assert [row["job"] for row in study.records()] == ["1", "0"]
    assert "num_seeds" not in study.records()[0]
