"""Folds of a cross-validation put together in a report."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from dfd.report.comparison.results import evaluate
from dfd.report.runs.write import write_report
from dfd.report.studies.pooled import folds_of
from dfd.runs.folder import read_run
from tests.report.test_report import make_run, predictions, rows_of, split

SHIFTS = (0.0, 0.3, -0.2)


def videos(fold: int) -> list[dict]:
    generator = np.random.default_rng(fold)
    labels = ["fake", "fake", "real", "real"] * 10
    probs = np.clip([0.5 + 0.1 * (one == "fake") + SHIFTS[fold] + generator.normal(0, 0.1) for one in labels], 0, 1)
    methods = ("swap", "reenactment") if fold else ("swap", "lips")
    return predictions(probs.round(4).tolist(), labels, first=100 * fold, methods=methods)


def make_fold(folder: Path, fold: int, trained: list[str], *, temperature: float | None = 1.5) -> Path:
    summary = split(f"{fold}/3")
    summary["data"]["splits"] = {"train": {"methods": dict.fromkeys(trained, 3)}}
    config = {"data.split": f"{fold}/3"}
    run = make_run(folder, test=videos(fold), config=config, summary=summary, threshold=0.5 + SHIFTS[fold])
    metrics = run / "test" / "metrics.json"
    metrics.write_text(json.dumps({**json.loads(metrics.read_text()), "temperature": temperature}))
    return run


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of three folds; only the first had not trained on `swap`, none on `lips`."""
    folder = tmp_path_factory.mktemp("folds")
    trained = (["reenactment"], ["swap", "reenactment"], ["swap", "reenactment"])
    runs = [make_fold(folder / str(fold), fold, names) for fold, names in enumerate(trained)]
    write_report(runs, folder / "out")
    return folder / "out"


def test_pooled_rows_are_scikit_learns_over_the_scores_and_over_the_ranks_of_all_folds(folds: Path) -> None:
    rows = {row["fold"]: row for row in rows_of(folds / "table_folds.csv")}
    assert list(rows) == ["0/3", "1/3", "2/3", "pooled, calibrated", "pooled, by rank"]
    table = pd.read_csv(folds / "pooled_predictions.csv")
    assert len(table) == table["video_id"].nunique() == 120
    is_fake = table["label"] == "fake"
    for name, column in (("pooled, calibrated", "prob_fake"), ("pooled, by rank", "rank")):
        assert rows[name]["real / fake"] == "60 / 60"
        assert rows[name]["AUC"].startswith(f"{roc_auc_score(is_fake, table[column]):.3f} (")
        assert rows[name]["AP"].startswith(f"{average_precision_score(is_fake, table[column]):.3f} (")
    ranks = table.groupby("fold")["prob_fake"].rank()
    assert np.allclose(table["rank"], (ranks - 0.5) / 40)


def test_pooled_verdicts_are_at_each_folds_own_threshold(folds: Path) -> None:
    rows = {row["fold"]: row for row in rows_of(folds / "table_folds.csv")}
    called = [row["prob_fake"] >= 0.5 + SHIFTS[fold] for fold in range(3) for row in videos(fold)]
    found = np.mean([is_called for is_called, row in zip(called, 3 * videos(0), strict=True) if row["label"] == "fake"])
    assert rows["pooled, calibrated"]["fakes found"].startswith(f"{found:.3f} (")


def test_a_method_is_new_only_if_no_fold_that_tested_it_had_trained_on_it(folds: Path) -> None:
    kinds = {row["data set / method"]: row["kind is"] for row in rows_of(folds / "table_fold_kinds.csv")}
    assert kinds == {"ffpp / lips": "new", "ffpp / reenactment": "trained on", "ffpp / swap": "some"}


def test_folds_are_no_choices_so_none_is_called_the_best(folds: Path) -> None:
    page = (folds / "report.md").read_text()
    assert "3 folds pooled reach an AUC of" in page
    assert "highest test" not in page
    assert "not tested on the same videos" not in page


def test_folds_that_are_not_all_calibrated_are_pooled_by_rank_alone_and_other_runs_are_not_pooled(
    tmp_path: Path,
) -> None:
    runs = [make_fold(tmp_path / str(fold), fold, ["swap"], temperature=(1.5, None, 1.5)[fold]) for fold in range(2)]
    write_report(runs, tmp_path / "out")
    pooled = [row["fold"] for row in rows_of(tmp_path / "out" / "table_folds.csv") if "pooled" in row["fold"]]
    assert pooled == ["pooled, by rank"]
    assert "2 of 3 folds" in (tmp_path / "out" / "report.md").read_text()
    twice = make_fold(tmp_path / "again", 0, ["swap"])
    results = evaluate([read_run(run) for run in (runs[0], twice)])
    assert folds_of(results) == [], "one video tested twice"
    assert folds_of(results[:1]) == []
