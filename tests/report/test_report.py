"""The report on runs whose numbers are known."""

import csv
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from dfd.base.errors import ReportError
from dfd.commands.report import main
from dfd.evaluation.splits import write_results
from dfd.report.comparison.results import evaluate, leaks, overlap, series, varied_setting
from dfd.report.page.document import Table
from dfd.report.runs.write import write_report
from dfd.runs.folder import Run, find_runs, names, read_run
from dfd.runs.records import JobRecord, Outcome

ROOT = Path(__file__).resolve().parents[2]
# Table 4.1 of the original study, with FAKE as the positive class: TP, FN, FP, TN.
RESNEXT50 = (116, 8, 17, 93)
INCEPTION_V3 = (105, 1, 29, 99)


def counted(tp: int, fn: int, fp: int, tn: int) -> list[dict]:
    """Predictions that give these counts at 0.5; fakes come first, so that two tables of one size agree on labels."""
    probs = [0.9] * tp + [0.1] * fn + [0.8] * fp + [0.2] * tn
    labels = ["fake"] * (tp + fn) + ["real"] * (fp + tn)
    return predictions(probs, labels)


def predictions(probs, labels, *, first: int = 0, dataset="ffpp", methods=("deepfakes", "faceswap")) -> list[dict]:
    return [
        {
            "video_id": f"video-{first + index:04}",
            "dataset": dataset,
            "method": "" if label == "real" else methods[index % len(methods)],
            "label": label,
            "prob_fake": "" if prob is None else prob,
            "predicted": "" if prob is None else ("fake" if prob >= 0.5 else "real"),
            "num_windows": 1,
            "num_faces": 1,
        }
        for index, (prob, label) in enumerate(zip(probs, labels, strict=True))
    ]


def drawn(seed: int, *, num: int = 300, skill: float = 0.25) -> list[dict]:
    generator = np.random.default_rng(seed)
    fake = np.arange(num) % 2 == 0
    probs = np.clip(generator.normal(0.5 + skill * (fake - 0.5) * 2, 0.25), 0, 1).round(4)
    return predictions(probs.tolist(), ["fake" if is_fake else "real" for is_fake in fake])


def make_run(
    folder: Path,
    *,
    name: str | None = "resnext50 + lstm",
    test: list[dict] | None = None,
    config: dict | None = None,
    finished: bool = True,
    mode: str = "source",
    overlap: dict | None = None,
    summary: dict | None = None,
    threshold: float = 0.5,
    best_epoch: int = 2,
    num_epochs: int = 6,
) -> Path:
    """The files that train.py leaves, with the given numbers."""
    folder.mkdir(parents=True)
    nested = {
        "seed": 0,
        "backbone": {"_target_": "dfd.models.backbones.resnext50", "pretrained": True},
        "temporal": {"_target_": "dfd.models.temporal.lstm", "hidden_features": 2048},
        "data": {"store": "/somewhere/stores/mixed", "clip_len": 10, "split": None, "num_workers": 4},
        "callbacks": {"checkpoint": {"dirpath": str(folder), "monitor": "val/loss"}},
    }
    for key, value in (config or {}).items():
        *groups, last = key.split(".")
        node = nested
        for group in groups:
            node = node.setdefault(group, {})
        node[last] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(nested))
    lines = ["epoch,step,train/loss,train/accuracy,val/loss,val/accuracy"]
    for epoch in range(num_epochs):
        rest = 0.85**epoch
        lines.append(f"{epoch},{epoch * 10},,,{0.34 + 0.33 * rest + 0.003 * epoch:.4f},{0.9 - 0.33 * rest:.4f}")
        lines.append(f"{epoch},{epoch * 10},{0.05 + 0.63 * rest:.4f},{0.99 - 0.41 * rest:.4f},,")
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    if finished:
        counts = {"num_videos": 234, "labels": {"real": 110, "fake": 124}, "datasets": {}, "methods": {}}
        found = {
            "name": name,
            "best_checkpoint": "best.ckpt",
            "best_epoch": best_epoch,
            "num_epochs": num_epochs,
            "train": {"train/loss": 0.1408, "train/accuracy": 0.9839},
            "val": {"val/loss": 0.3592, "val/accuracy": 0.8932, "val/auc": 0.95},
            "test": {"test/accuracy": 0.88},
            "comparison_only": False,
            "num_parameters": 58_000_000,
            "weights_sha256": "ab" * 32,
            "initial_weights": {"pretrained": True, "weights": None, "sha256": "cd" * 32},
            "versions": {"dfd": "0.1.0", "torch": "2.15.0"},
            "seed": 0,
            "frames_per_video": {"prepared": 150, "in_clips_mean": 148.2, "per_training_sample": 10},
            "data": {
                "store": "mixed",
                "index_sha256": "ef" * 32,
                "manifest_sha256": "12" * 32,
                "clip_len": 10,
                "splits": {"train": counts, "val": counts, "test": counts},
                "split": {"mode": mode, "overlap": overlap or {}},
            },
        }
        (folder / "summary.json").write_text(json.dumps({**found, **(summary or {})}))
    if test is not None:
        (folder / "test").mkdir()
        with (folder / "test" / "predictions.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(test[0]))
            writer.writeheader()
            writer.writerows(test)
        (folder / "test" / "metrics.json").write_text(json.dumps({"threshold": threshold}))
    return folder


class Page(HTMLParser):
    """Text, tags and addresses of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.alts: list[str] = []
        self.words: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        self.addresses += [value for key in ("src", "href", "srcset", "data") if (value := values.get(key)) is not None]
        if tag == "img":
            self.alts.append(values.get("alt") or "")

    def handle_data(self, data):
        self.words.append(data)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """The report on two runs with the original study's corrected counts."""
    folder = tmp_path_factory.mktemp("two")
    first = make_run(folder / "resnext", test=counted(*RESNEXT50))
    fit = {
        "train": {"train/loss": 0.2301, "train/accuracy": 0.9529},
        "val": {"val/loss": 0.3029, "val/accuracy": 0.8718},
    }
    second = make_run(
        folder / "inception",
        name="inception_v3 + lstm",
        test=counted(*INCEPTION_V3),
        config={"backbone._target_": "dfd.models.backbones.inception_v3"},
        summary=fit,
    )
    write_report([first, second], folder / "report", title="Two models")
    return folder / "report"


def test_every_form_has_the_original_studys_table_of_training_and_validation(two):
    page, text = Page(two / "report.html").text, (two / "report.md").read_text()
    assert "resnext50 + lstm 0.984 0.141 0.893 0.359 3 of 6" in page
    assert "| inception_v3 + lstm | 0.953 | 0.230 | 0.872 | 0.303 | 3 of 6 |" in text
    table = rows_of(two / "table_training.csv")
    assert [row["training loss"] for row in table] == ["0.141", "0.230"]


def test_the_test_table_has_the_counts_of_the_confusion_matrices(two):
    row = rows_of(two / "runs.csv")[0]
    assert [int(row[f"test_{name}"]) for name in ("tp", "fn", "fp", "tn")] == list(RESNEXT50)
    assert float(row["test_precision"]) == 116 / 133
    assert float(row["test_recall"]) == 116 / 124
    assert float(row["test_accuracy_low"]) < 209 / 234 < float(row["test_accuracy_high"])
    shown = rows_of(two / "table_test.csv")[0]
    assert shown["videos"] == "234 (110 real, 124 fake)"
    assert shown["precision"].startswith("0.872 (")
    assert shown["recall"].startswith("0.935 (")
    assert shown["majority baseline"] == "0.530"
    page = Page(two / "report.html").text
    assert all(number in page for number in ("0.893", "0.872", "0.935", "0.903"))


def test_figures_lie_beside_the_page_and_inside_it(two):
    files = ["learning_curves_1", "learning_curves_2", "comparison", "confusion_matrices", "roc"]
    assert {path.stem for path in two.glob("*.png")} == set(files)
    page = Page(two / "report.html")
    assert page.tags.count("img") == len(files)
    assert all(len(alt) > 40 for alt in page.alts)
    text = (two / "report.md").read_text()
    assert all(f"({name}.png)" in text for name in files)


def test_the_page_needs_no_other_file_and_no_script(two):
    page = Page(two / "report.html")
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(page.tags)
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in page.addresses)
    source = re.sub(r"base64,[A-Za-z0-9+/=]+", "", (two / "report.html").read_text())
    assert not re.search(r"https?:|url\(|@import", source)


def test_a_report_shows_nothing_of_the_machine_it_was_made_on(two):
    for path in [*two.glob("*.csv"), two / "report.md", two / "report.html"]:
        assert str(two.parent) not in path.read_text(encoding="utf-8")
        assert "/somewhere" not in path.read_text(encoding="utf-8")


def test_the_comparison_of_two_models_is_mcnemars_over_the_common_videos(tmp_path):
    # 200 videos; only the first is right on 30 of them, only the second on 10: 2 * P(X <= 10 | 40, 1/2) = 0.0022.
    labels = ["fake"] * 100 + ["real"] * 100
    right = np.ones(200, dtype=bool)
    first, second = right.copy(), right.copy()
    second[:30] = False
    first[150:160] = False
    for name, correct in (("a", first), ("b", second)):
        probs = [0.9 if (label == "fake") == ok else 0.1 for label, ok in zip(labels, correct.tolist(), strict=True)]
        make_run(tmp_path / name, name=name, test=predictions(probs, labels))
    page = write_report([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    (row,) = rows_of(tmp_path / "out" / "table_mcnemar.csv")
    assert (row["b: only first right"], row["c: only second right"], row["p"]) == ("30", "10", "0.002")
    text = Page(page).text
    assert "a is right on 95.0 % and b on 85.0 %: more than chance would explain" in text
    assert "a has the highest test accuracy: 0.950" in text


def test_a_difference_that_may_be_chance_is_not_called_better(two):
    text = (two / "report.md").read_text()
    assert "which may be chance" in text
    assert "do not tell which of the two is better" in text


def test_runs_with_other_test_videos_are_compared_on_the_common_ones_and_it_says_so(tmp_path):
    labels = ["fake", "real"] * 100
    probs = [0.9, 0.1] * 100
    make_run(tmp_path / "a", name="a", test=predictions(probs, labels))
    make_run(tmp_path / "b", name="b", test=predictions(probs, labels, first=150))
    make_run(tmp_path / "c", name="c", test=predictions(probs, labels, first=900))
    text = Page(write_report([tmp_path / n for n in "abc"], tmp_path / "out")).text
    assert "200 (a), 200 (b) and 200 (c); 0 are common to all" in text
    rows = rows_of(tmp_path / "out" / "table_mcnemar.csv")
    common = {row["first"] + row["second"]: row["common videos"] for row in rows}
    assert common == {"ab": "50", "ac": "0", "bc": "0"}


def test_videos_that_two_runs_label_differently_are_left_out_and_named(tmp_path):
    make_run(tmp_path / "a", name="a", test=predictions([0.9, 0.1, 0.9], ["fake", "real", "real"]))
    make_run(tmp_path / "b", name="b", test=predictions([0.9, 0.1, 0.9], ["fake", "real", "fake"]))
    text = Page(write_report([tmp_path / "a", tmp_path / "b"], tmp_path / "out")).text
    assert "1 videos are real for a and fake for b" in text
    assert rows_of(tmp_path / "out" / "table_mcnemar.csv")[0]["common videos"] == "2"


def test_p_values_of_several_pairs_are_adjusted(tmp_path):
    for index in range(3):
        make_run(tmp_path / str(index), name=f"model {index}", test=drawn(index, skill=0.1 + 0.1 * index))
    write_report([tmp_path / str(index) for index in range(3)], tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "table_mcnemar.csv")
    assert len(rows) == 3
    numbers = [(float(row["p"].strip("< ")), float(row["p after Holm"].strip("< "))) for row in rows]
    assert all(after >= before for before, after in numbers)


def test_one_run_is_a_report_too(tmp_path):
    make_run(tmp_path / "run", test=counted(*RESNEXT50))
    text = Page(write_report([tmp_path / "run"], tmp_path / "out")).text
    assert "resnext50 + lstm reaches an accuracy of 0.893 (95 % interval" in text
    assert "always giving the more frequent answer would be right for 0.530" in text
    assert "McNemar" not in text
    assert not (tmp_path / "out" / "table_mcnemar.csv").exists()


def test_a_run_without_a_test_and_one_that_is_running_are_shown_with_dashes_and_named(tmp_path):
    make_run(tmp_path / "done", name="done", test=counted(*RESNEXT50))
    make_run(tmp_path / "untested", name="untested")
    make_run(tmp_path / "running", finished=False, config={"temporal._target_": "dfd.models.temporal.mean"})
    runs = [tmp_path / name for name in ("done", "untested", "running")]
    text = Page(write_report(runs, tmp_path / "out")).text
    assert "untested has no scores of test videos" in text
    assert "resnext50 + mean has no summary.json: it is still running or was stopped" in text
    rows = {row["model"]: row for row in rows_of(tmp_path / "out" / "table_training.csv")}
    assert rows["resnext50 + mean"]["validation loss"] == "–"
    assert rows["resnext50 + mean"]["epoch chosen"] == "– of 6"
    assert len(list((tmp_path / "out").glob("learning_curves_*.png"))) == 3


def test_a_run_of_an_older_version_has_what_it_has(tmp_path):
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps({"best_checkpoint": "best.ckpt", "val": {"val/loss": 0.5}}))
    write_report([folder], tmp_path / "out")
    (row,) = rows_of(tmp_path / "out" / "table_training.csv")
    assert (row["validation loss"], row["training loss"], row["epoch chosen"]) == ("0.500", "–", "– of –")


def test_a_run_without_a_config_differs_from_others_in_nothing_known(tmp_path):
    make_run(tmp_path / "a", name="a")
    make_run(tmp_path / "b", name="b")
    (tmp_path / "b" / "config.yaml").unlink()
    text = Page(write_report([tmp_path / "a", tmp_path / "b"], tmp_path / "out")).text
    assert "The runs' configs do not differ, as far as they are known." in text


def test_a_run_in_its_first_epoch_is_no_error(tmp_path):
    make_run(tmp_path / "run", finished=False)
    (tmp_path / "run" / "metrics.csv").write_text("")
    assert "still running" in Page(write_report([tmp_path / "run"], tmp_path / "out")).text


def test_the_runs_of_a_multirun_come_in_their_order_with_what_sets_them_apart(tmp_path):
    for job, clip_len in enumerate([10, 20, 40, 60, 80, 100, 120, 140, 160, 180, 200]):
        make_run(tmp_path / str(job), test=drawn(job), config={"data.clip_len": clip_len, "data.num_workers": job})
    (tmp_path / "multirun.yaml").write_text("hydra: {}\n")
    runs = find_runs([tmp_path])
    assert [run.name for run in runs] == [str(job) for job in range(11)]
    write_report(runs, tmp_path / "report")
    rows = rows_of(tmp_path / "report" / "table_settings.csv")
    assert list(rows[0]) == ["model", "data.clip_len"]
    assert rows[1] == {"model": "resnext50 + lstm (data.clip_len=20)", "data.clip_len": "20"}
    assert (tmp_path / "report" / "against_setting.png").exists()
    assert find_runs([tmp_path]) == runs, "the report is not a run"


def test_a_job_of_a_multirun_that_left_nothing_is_not_forgotten(tmp_path):
    make_run(tmp_path / "0", test=drawn(0))
    (tmp_path / "1" / ".hydra").mkdir(parents=True)
    text = Page(write_report(find_runs([tmp_path]), tmp_path / "report")).text
    assert "1 has no summary.json" in text


def test_folders_of_any_name_are_put_in_order(tmp_path):
    for name in ("10", "9", "b²", "b1", "\u0663"):
        make_run(tmp_path / name, finished=False)
    found = [run.name for run in find_runs([tmp_path])]
    assert len(found) == 5
    assert found.index("9") < found.index("10")


def test_a_run_given_twice_is_one_run(tmp_path):
    make_run(tmp_path / "0")
    make_run(tmp_path / "1")
    assert [run.name for run in find_runs([tmp_path / "1", tmp_path])] == ["1", "0"]


def test_names_say_what_sets_runs_apart_and_no_two_are_alike():
    def run(model, folder="x", **settings):
        named = {key.replace("__", "."): value for key, value in settings.items()}
        return Run(Path(folder), summary={"name": model}, settings=named)

    assert names([run("a", lr=1), run("b", lr=2)]) == ["a", "b"]
    assert names([run("a", lr=0.1, seed=0), run("a", lr=0.2, seed=0)]) == ["a (lr=0.1)", "a (lr=0.2)"]
    assert names([run("a", data__clip_len=10), run("a", data__clip_len=None)])[1] == "a (data.clip_len=null)"
    many = names([run("a", **dict.fromkeys("pqrst", index)) for index in range(2)])
    assert many == ["a (p=0, q=0, r=0, …)", "a (p=1, q=1, r=1, …)"]
    assert len(set(names([run("a", "m/0"), run("a", "m/1"), run("a", "n/1")]))) == 3
    assert len(set(names([run("a", "/k/m/0"), run("a", "/l/m/0")]))) == 2


def test_runs_of_a_study_over_experiments_are_named_by_these(tmp_path):
    for number, overrides in enumerate((["experiment=capsule"], ["experiment=meta", "seed=1"], ["seed=2"])):
        JobRecord(Outcome.FINISHED, overrides).write(tmp_path / str(number))
    capsule, meta, other = (replace(read_run(tmp_path / number), summary={"name": "a"}) for number in "012")
    assert names([capsule, meta]) == ["capsule", "meta"]
    assert names([capsule, replace(capsule, settings={"lr": 1})])[1].startswith("a")
    again = [replace(meta, settings={"seed": seed}) for seed in (1, 2)]
    assert names([capsule, *again]) == ["capsule", "meta (seed=1)", "meta (seed=2)"]
    assert all(name.startswith("a ") for name in names([capsule, other]))  # without an experiment, it is its model


def test_one_varied_number_is_found_and_a_seed_is_none():
    def runs(**columns):
        rows = zip(*columns.values(), strict=True)
        settings = [dict(zip(columns, row, strict=True)) for row in rows]
        return [Run(Path("x"), settings=one) for one in settings]

    assert varied_setting(runs(clip_len=[10, 20, 40], lr=[1, 1, 1])) == "clip_len"
    assert varied_setting(runs(clip_len=[10, 20, 20], lr=[1, 1, 1])) is None
    assert varied_setting(runs(clip_len=[10, 20, 40], lr=[1, 2, 3])) is None
    assert varied_setting(runs(seed=[0, 1, 2])) is None
    assert varied_setting(runs(split=["a", "b", "c"])) is None
    assert varied_setting(runs(clip_len=[10, 20, 40] * 2, head=["lstm"] * 3 + ["mean"] * 3)) == "clip_len"


def test_models_that_were_varied_alike_are_lines_of_one_figure(tmp_path):
    for head in ("lstm", "mean"):
        for clip_len in (10, 20, 40):
            config = {"data.clip_len": clip_len, "temporal._target_": f"dfd.models.temporal.{head}"}
            folder = tmp_path / f"{head}{clip_len}"
            make_run(folder, name=f"resnext50 + {head}", config=config, test=drawn(clip_len))
    results = evaluate([read_run(folder) for folder in find_runs([tmp_path])])
    assert varied_setting([result.run for result in results]) == "data.clip_len"
    lines = series(results, "data.clip_len")
    assert {name: len(group) for name, group in lines.items()} == {"resnext50 + lstm": 3, "resnext50 + mean": 3}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"overlap": {"train-test": {"num_source_ids": 3, "num_videos": 7}}, "mode": "official"},
            "7 of 234 videos of test show people or sources that are in train too (split: official), so the test",
        ),
        (
            {"overlap": {"train-val": {"num_source_ids": 3, "num_videos": 7}}},
            "so the validation results, which chose the epoch",
        ),
        ({"summary": {"comparison_only": True}}, "for comparison only"),
        ({"summary": {"data": {"is_demo": True}}}, "the drawn demonstration set"),
        ({"test": drawn(0, num=40)}, "fewer than 100 videos"),
        ({"test": predictions([0.9] * 120, ["fake"] * 120)}, "videos of one label only"),
        ({"test": predictions([None, 0.9, 0.1], ["fake", "fake", "real"])}, "1 of 3 test videos have no score"),
        ({"test": predictions([None, None], ["fake", "real"])}, "has no scores of test videos"),
        ({"test": drawn(3, skill=0.0)}, "not shown to be better than guessing"),
    ],
)
def test_what_weakens_a_result_is_said(tmp_path, options, sentence):
    make_run(tmp_path / "run", **{"test": counted(*RESNEXT50), **options})
    assert sentence in Page(write_report([tmp_path / "run"], tmp_path / "out")).text


def test_a_sound_run_has_nothing_to_be_careful_about(tmp_path):
    make_run(tmp_path / "run", test=counted(*RESNEXT50), overlap={"train-test": {"num_source_ids": 0, "num_videos": 0}})
    assert overlap(read_run(tmp_path / "run")) == {}
    assert "To be read with care" not in Page(write_report([tmp_path / "run"], tmp_path / "out")).text


def test_a_run_with_a_leaking_split_is_not_ranked_and_the_leak_is_tabulated(tmp_path):
    make_run(tmp_path / "0", test=drawn(0, skill=0.05))
    leak = {"train-test": {"num_source_ids": 40}}
    make_run(tmp_path / "1", test=drawn(1, skill=0.4), mode="random_video", overlap=leak)
    results = evaluate([read_run(tmp_path / name) for name in "01"])
    (found,) = leaks(results)
    expected = results[1].overall["auc"] - results[0].overall["auc"]
    assert found.gain("auc") == expected > 0.2
    text = Page(write_report([tmp_path / "0", tmp_path / "1"], tmp_path / "out")).text
    assert f"the difference of {expected:+.3f} (one training run each) is caused by the split" in text
    assert "Not ranked, for the reasons given below: resnext50 + lstm (data.split=random_video)" in text
    (row,) = rows_of(tmp_path / "out" / "table_leak.csv")
    assert row["AUC, split by source"].startswith(f"{results[0].overall['auc']:.3f} (")


def test_other_models_on_other_splits_are_no_leak(tmp_path):
    make_run(tmp_path / "0", test=drawn(0), config={"dropout": 0.1})
    make_run(tmp_path / "1", test=drawn(1), mode="random_video", config={"dropout": 0.4})
    assert leaks(evaluate([read_run(tmp_path / name) for name in "01"])) == []


def test_each_run_is_judged_at_its_own_threshold(tmp_path):
    make_run(tmp_path / "run", test=predictions([0.4, 0.2], ["fake", "real"]), threshold=0.3)
    (result,) = evaluate([read_run(tmp_path / "run")])
    assert (result.overall["tp"], result.overall["tn"]) == (1, 1)
    assert "from a probability of 0.3 on" in Page(write_report([tmp_path / "run"], tmp_path / "out")).text


def test_methods_and_data_sets_have_their_own_numbers(tmp_path):
    test = predictions([0.9, 0.2, 0.1, 0.3], ["fake", "fake", "real", "real"])
    test += predictions([0.9, 0.1], ["fake", "real"], first=50, dataset="dfdc", methods=("swap",))
    make_run(tmp_path / "run", test=test)
    write_report([tmp_path / "run"], tmp_path / "out")
    rows = {row["data set / method"]: row for row in rows_of(tmp_path / "out" / "table_groups.csv")}
    assert list(rows) == ["dfdc", "ffpp", "ffpp / deepfakes", "ffpp / faceswap"]
    assert rows["ffpp / faceswap"]["real / fake"] == "2 / 1"
    assert rows["ffpp / faceswap"]["resnext50 + lstm"].startswith("0.500")


def test_hostile_names_stay_text(tmp_path):
    name = '<script>alert("1")</script> | `x` $\\frac{$ <img src=x onerror=y>'
    test = drawn(0)
    for row in test:
        row["method"] = row["method"] and "<b>bold</b>|=cmd()"
    for job, clip_len in enumerate((10, 20, 40)):
        config = {"data.clip_len": clip_len, "data.note": "</style><script>2</script>" + str(job)}
        make_run(tmp_path / str(job), name=name, test=test, config=config)
    page = Page(write_report(find_runs([tmp_path]), tmp_path / "out", title="<script>3</script> & more"))
    assert not {"script", "b"} & set(page.tags)
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert '<script>alert("1")</script>' in page.text
    text = (tmp_path / "out" / "report.md").read_text()
    assert "<script" not in text
    head = next(line for line in text.splitlines() if line.startswith("| model |"))
    row = next(line for line in text.splitlines() if line.startswith("| &lt;script"))
    assert len(re.findall(r"(?<!\\)\|", head)) == len(re.findall(r"(?<!\\)\|", row))


def test_twelve_runs_with_long_names_are_drawn(tmp_path):
    for job in range(12):
        name = f"a_backbone_with_quite_a_long_name_{job} + transformer_over_time_with_many_layers"
        make_run(tmp_path / str(job), name=name, test=drawn(job, skill=0.02 * job))
    write_report(find_runs([tmp_path]), tmp_path / "report")
    rows = rows_of(tmp_path / "report" / "table_mcnemar.csv")
    assert len(rows) == 66
    p_values = [float(row["p"].strip("< ")) for row in rows]
    assert p_values == sorted(p_values)
    assert "The first 15 of 66 rows; all are in table_mcnemar.csv." in Page(tmp_path / "report" / "report.html").text


def test_a_second_report_leaves_nothing_of_the_first_and_touches_no_other_file(tmp_path):
    for job in range(3):
        make_run(tmp_path / str(job), test=drawn(job), config={"data.clip_len": 10 * job + 10})
    out = tmp_path / "report"
    write_report(find_runs([tmp_path]), out)
    (out / "notes.txt").write_text("mine")
    write_report([tmp_path / "0"], out)
    assert sorted(path.name for path in out.glob("*.png")) == [
        "comparison.png",
        "confusion_matrices.png",
        "learning_curves_1.png",
        "roc.png",
    ]
    assert not (out / "table_mcnemar.csv").exists()
    assert (out / "notes.txt").read_text() == "mine"
    assert not list(out.glob("*.partial"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("summary.json", "{"),
        ("summary.json", "[]"),
        ("config.yaml", "a: [1"),
        ("test/predictions.csv", "video_id,label\n1,fake\n"),
        ("test/predictions.csv", "video_id,dataset,method,label,prob_fake\n1,d,m,maybe,0.5\n"),
        ("test/predictions.csv", "video_id,dataset,method,label,prob_fake\n1,d,m,fake,1.5\n"),
        ("test/predictions.csv", "video_id,dataset,method,label,prob_fake\n1,d,m,fake,0.5\n1,d,m,fake,0.5\n"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, content, capsys):
    make_run(tmp_path / "run", test=counted(1, 1, 1, 1))
    (tmp_path / "run" / name).write_text(content)
    assert main([str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert name in error
    assert "Traceback" not in error


def test_a_folder_that_is_no_run_is_refused_with_what_to_give(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert str(tmp_path) in error
    assert "not the folder of a run" in error
    assert main([str(tmp_path / "missing")]) == 1
    assert "no such folder" in capsys.readouterr().err
    with pytest.raises(ReportError, match="no runs to compare"):
        write_report([], tmp_path / "out")


def test_the_command_writes_into_the_only_folder_and_says_where(tmp_path, capsys):
    make_run(tmp_path / "0", test=drawn(0))
    make_run(tmp_path / "1", test=drawn(1), config={"dropout": 0.1})
    assert main([str(tmp_path), "--title", "Dropout"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"{tmp_path / 'report' / 'report.html'}")
    assert "<h1>Dropout</h1>" in (tmp_path / "report" / "report.html").read_text()


def test_several_folders_are_reported_under_outputs_or_where_asked(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [str(make_run(tmp_path / name, name=name)) for name in "ab"]
    assert main(runs) == 0
    assert len(list((tmp_path / "outputs" / "report").glob("*/report.html"))) == 1
    assert main([*runs, "--output", "here"]) == 0
    assert (tmp_path / "here" / "report.html").is_file()


def test_help_says_what_to_give():
    command = [sys.executable, "-m", "dfd.report", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "DIR" in done.stdout
    assert "train.py" in done.stdout
    assert "predict.py" in done.stdout
    assert "examples:" in done.stdout


def test_help_does_not_wait_for_torch():
    code = "import sys, dfd.commands.report; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"


def test_an_output_that_cannot_be_written_is_named(tmp_path, capsys):
    make_run(tmp_path / "run")
    (tmp_path / "taken").write_text("")
    assert main([str(tmp_path / "run"), "--output", str(tmp_path / "taken")]) == 1
    assert "taken" in capsys.readouterr().err


def test_what_evaluation_writes_is_read_with_the_same_numbers(tmp_path):
    make_run(tmp_path / "run")
    table = pd.DataFrame(drawn(0, num=60)).drop(columns="predicted")
    table["label"] = (table["label"] == "fake").astype(int)
    table.loc[3, "prob_fake"] = float("nan")
    metrics = write_results(
        table, tmp_path / "run" / "test", threshold=0.4, facts={"split": "test"}, title="run on test"
    )
    (result,) = evaluate([read_run(tmp_path / "run")])
    assert result.threshold == 0.4
    assert result.overall == metrics["overall"]
    assert result.overall["num_unscored"] == 1


def test_a_table_whose_rows_do_not_fit_its_head_is_refused():
    with pytest.raises(ValueError, match="1 cells under 2 heads"):
        Table("t", "caption", ["a", "b"], [["x"]])


def data(**changes) -> dict:
    """``summary`` of a run whose data is like that of every other, but for ``changes``."""
    return {
        "data": {"store": "mixed", "index_sha256": "ef" * 32, "split": {"mode": "source", "overlap": {}}, **changes}
    }


def split(mode: str, **more) -> dict:
    return data(split={"mode": mode, "overlap": {}, **more})


def page_of(folder: Path, *names: str) -> str:
    return Page(write_report([folder / name for name in names], folder / "out")).text


def test_a_split_by_source_that_does_better_is_not_put_down_to_chance_when_the_intervals_lie_apart(tmp_path):
    make_run(tmp_path / "0", test=drawn(0, skill=0.4))
    make_run(tmp_path / "1", test=drawn(1, skill=0.05), mode="random_video")
    text = page_of(tmp_path, "0", "1")
    assert "has the unexpected sign: the intervals do not overlap" in text
    assert "the intervals overlap" not in text


def test_a_leak_whose_number_has_no_interval_is_told_all_the_same(tmp_path):
    make_run(tmp_path / "0", test=drawn(0, skill=0.05))
    make_run(tmp_path / "1", test=counted(100, 0, 0, 100), mode="random_video")
    text = page_of(tmp_path, "0", "1")
    assert "AUC 1.000 when videos are split one by one" in text
    assert "is caused by the split: the accuracies' intervals do not overlap" in text


def test_an_auc_wholly_below_one_half_is_called_worse_than_guessing(tmp_path):
    make_run(tmp_path / "run", test=drawn(0, skill=-0.25))
    text = page_of(tmp_path, "run")
    assert "resnext50 + lstm is worse than guessing: the AUC's interval lies below 0.5." in text
    assert "reaches down to" not in text


def test_a_constant_score_is_not_shown_to_be_better_than_guessing_though_it_has_no_interval(tmp_path):
    make_run(tmp_path / "run", test=predictions([0.9] * 60, ["fake", "real"] * 30))
    assert "is not shown to be better than guessing: the AUC is no higher than 0.5." in page_of(tmp_path, "run")


def test_where_no_source_ids_are_known_nobody_is_said_to_be_kept_apart(tmp_path):
    make_run(tmp_path / "0", test=drawn(0, skill=0.05), summary=split("source", num_shared_sources=0))
    make_run(tmp_path / "1", test=drawn(1, skill=0.4), summary=split("random_video", num_shared_sources=0))
    text = page_of(tmp_path, "0", "1")
    assert (
        "All runs used videos of which no two share a source id, so it is not known whether people are on one side"
        in text
    )
    assert "kept apart" not in text
    assert "is caused by the split" not in text
    assert "The videos of resnext50 + lstm have no known source ids" in text


@pytest.mark.parametrize("counted_sources", [{}, {"num_shared_sources": 12}], ids=["old run", "known"])
def test_source_ids_that_are_known_or_were_not_counted_give_no_such_warning(tmp_path, counted_sources):
    make_run(tmp_path / "0", test=drawn(0, skill=0.05), summary=split("source", **counted_sources))
    make_run(tmp_path / "1", test=drawn(1, skill=0.4), summary=split("random_video", **counted_sources))
    text = page_of(tmp_path, "0", "1")
    assert "no source ids" not in text
    assert "when people are kept apart" in text


def test_stores_of_one_name_with_other_clips_are_told_apart_and_make_no_leak(tmp_path):
    make_run(tmp_path / "0", test=drawn(0), summary=split("source"))
    other = data(index_sha256="ab" * 32, split={"mode": "random_video", "overlap": {}})
    make_run(tmp_path / "1", test=drawn(1), summary=other)
    results = evaluate([read_run(tmp_path / name) for name in "01"])
    assert leaks(results) == []
    write_report([tmp_path / "0", tmp_path / "1"], tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "table_settings.csv")
    assert [row["data.index"] for row in rows] == ["ef" * 6, "ab" * 6]
    for name in "01":
        (tmp_path / name / "config.yaml").unlink()
    assert leaks(evaluate([read_run(tmp_path / name) for name in "01"])) == []


def test_a_loss_that_went_to_infinity_is_unknown_and_the_report_is_written(tmp_path):
    make_run(tmp_path / "0", test=drawn(0))
    make_run(tmp_path / "1", test=drawn(1), config={"lr": 1.0}, summary={"train": {}})
    path = tmp_path / "1" / "metrics.csv"
    head, *_ = path.read_text().splitlines()
    path.write_text(
        f"{head}\n0,1,,,inf,0.5\n0,1,0.9,0.5,,\n1,2,,,nan,0.5\n1,2,inf,0.5,,\n2,3,,,0.7,0.5\n2,3,inf,0.5,,\n"
    )
    write_report([tmp_path / "0", tmp_path / "1"], tmp_path / "out")
    assert rows_of(tmp_path / "out" / "table_training.csv")[1]["training loss"] == "–"
    path.write_text(f"{head}\n0,1,,,inf,0.5\n0,1,inf,0.5,,\n")
    write_report([tmp_path / "1"], tmp_path / "out")


def test_a_folder_whose_name_is_no_text_is_reported(tmp_path, capsys):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/run\xff"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system holds text names only")
    folder.rmdir()
    make_run(folder, name=None, test=drawn(0), finished=False, config={"backbone": None, "temporal": None})
    assert main([str(folder)]) == 0
    assert "run\\udcff" in capsys.readouterr().out
    assert b"run\xff" in (folder / "report" / "table_models.csv").read_bytes()


@pytest.mark.parametrize("frozen", ["official", "random_video"])
def test_a_store_that_is_not_split_by_source_has_no_leak_table_and_it_says_why(tmp_path, frozen):
    make_run(tmp_path / "0", test=drawn(0), summary=split(frozen), config={"data.split": None})
    make_run(tmp_path / "1", test=drawn(1), summary=split("random_video"), config={"data.split": "random_video"})
    text = page_of(tmp_path, "0", "1")
    assert "The effect of a split by video cannot be measured" in text
    assert (
        "these were split by official" in text if frozen == "official" else "these were split by random_video" in text
    )
    assert "a store prepared with split=source" in text
    assert not (tmp_path / "out" / "table_leak.csv").exists()


def test_runs_on_one_split_are_told_nothing_of_leaks(two):
    assert "effect of a split" not in Page(two / "report.html").text


def test_an_accuracy_without_a_mistake_is_not_shown_as_certain(tmp_path):
    make_run(tmp_path / "run", test=counted(3, 0, 0, 3))
    text = page_of(tmp_path, "run")
    row = rows_of(tmp_path / "out" / "table_test.csv")[0]
    assert row["AUC"] == "1.000 (no interval)"
    # Clopper and Pearson, by hand: six of six right has the lower end 0.025 ** (1 / 6).
    assert row["accuracy"] == "1.000 (0.541–1.000)"
    assert "an accuracy of 1.000 (95 % interval 0.541 to 1.000)" in text
    assert "No interval: the number is the same in every resample" in text
    assert "1.000–1.000" not in text
    assert "1.000 to 1.000" not in text
    assert float(rows_of(tmp_path / "out" / "runs.csv")[0]["test_accuracy_low"]) == pytest.approx(0.025 ** (1 / 6))


def test_a_balanced_accuracy_of_calling_all_fake_has_no_interval(tmp_path):
    make_run(tmp_path / "run", test=predictions([0.9, 0.8] * 60, ["fake", "real", "real", "fake"] * 30))
    page_of(tmp_path, "run")
    row = rows_of(tmp_path / "out" / "table_test.csv")[0]
    assert row["balanced accuracy"] == "0.500 (no interval)"
    assert row["AUC"].startswith("0.500 (0.4")


def test_a_group_of_fewer_than_ten_real_or_fake_videos_has_no_interval(tmp_path):
    test = drawn(0, num=80, skill=0.1)
    test += predictions([0.9, 0.2, 0.3] * 9, ["fake", "fake", "real"] * 9, first=100, dataset="dfdc", methods=("swap",))
    make_run(tmp_path / "run", test=test)
    text = page_of(tmp_path, "run")
    rows = {row["data set / method"]: row["resnext50 + lstm"] for row in rows_of(tmp_path / "out" / "table_groups.csv")}
    assert rows["dfdc"].endswith("(no interval)")
    assert "–" in rows["ffpp"]
    assert "there are fewer than 10 real or fake videos" in text


def test_no_table_without_a_missing_interval_has_the_footnote(tmp_path):
    make_run(tmp_path / "run", test=drawn(0, skill=0.1))
    assert "no interval" not in page_of(tmp_path, "run").lower()


def test_several_leaks_of_one_model_are_told_apart(tmp_path):
    for index, clip_len in enumerate((10, 10, 40, 40)):
        mode = "random_video" if index % 2 else "source"
        config = {"data.clip_len": clip_len}
        make_run(tmp_path / str(index), test=drawn(index, skill=0.05 + 0.3 * (index % 2)), mode=mode, config=config)
    text = page_of(tmp_path, *"0123")
    for clip_len in (10, 40):
        assert f"resnext50 + lstm (data.clip_len={clip_len}): AUC" in text
    rows = rows_of(tmp_path / "out" / "table_leak.csv")
    assert [row["model"] for row in rows] == [f"resnext50 + lstm (data.clip_len={n})" for n in (10, 40)]


def test_the_note_on_training_numbers_does_not_claim_an_augmentation(two):
    assert "with dropout and any augmentation:" in Page(two / "report.html").text


def test_an_unfinished_run_of_a_timm_backbone_has_that_backbones_name(tmp_path):
    config = {"backbone._target_": "dfd.models.backbones.timm", "backbone.name": "efficientnet_b0"}
    make_run(tmp_path / "run", finished=False, config=config)
    assert read_run(tmp_path / "run").model == "efficientnet_b0 + lstm"


@pytest.mark.parametrize("content", ["\n", "  \n\n", "epoch,step\n"])
def test_a_metrics_file_without_a_number_is_that_of_a_run_in_its_first_epoch(tmp_path, content):
    make_run(tmp_path / "done", test=drawn(0))
    make_run(tmp_path / "run", finished=False)
    (tmp_path / "run" / "metrics.csv").write_text(content)
    assert "still running" in page_of(tmp_path, "done", "run")


WRONG = {
    **{key: 3 for key in ("frames_per_video", "train", "val", "versions", "initial_weights", "data", "name")},
    **{key: "seven" for key in ("best_epoch", "num_epochs", "num_parameters", "comparison_only", "test")},
    "weights_sha256": ["ab"],
}


@pytest.mark.parametrize("key", WRONG)
def test_a_value_of_the_wrong_kind_in_a_summary_is_unknown_and_the_file_is_named(tmp_path, key):
    path = make_run(tmp_path / "run") / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: WRONG[key]}))
    assert f"summary.json has {WRONG[key]!r} as {key}, which is not" in page_of(tmp_path, "run")


def test_numbers_that_are_none_are_unknown_and_their_file_is_named(tmp_path):
    make_run(tmp_path / "run", test=drawn(0), summary={"train": {"train/loss": "low", "train/accuracy": 0.9}})
    (tmp_path / "run" / "test" / "metrics.json").write_text('{"threshold": "half"}')
    text = page_of(tmp_path, "run")
    assert "summary.json has 'low' as train: train/loss, which is not a finite number" in text
    assert "test/metrics.json has 'half' as threshold, which is not a finite number" in text
    assert rows_of(tmp_path / "out" / "table_training.csv")[0]["training accuracy"] == "0.900"


def test_an_overlap_that_all_runs_have_is_said_once(tmp_path):
    for seed in range(3):
        leak = {"train-test": {"num_source_ids": 3, "num_videos": 7}}
        make_run(tmp_path / str(seed), test=drawn(seed), mode="random_video", overlap=leak, config={"seed": seed})
    text = page_of(tmp_path, "0", "1", "2")
    assert text.count("videos of test show people or sources that are in train too") == 1
    assert "All runs: " in text
