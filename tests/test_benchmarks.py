"""That the benchmarks run: in their smallest sizes, on a CPU. What they measure is not looked at."""

import importlib
import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.mark.parametrize(
    ("name", "result", "named"),
    [
        ("gpu", "gpu-smoke", "bf16"),
        pytest.param("aggregations", "aggregations", "max_of_means", marks=pytest.mark.slow),
        pytest.param("train_step", "train_step", "cached", marks=pytest.mark.slow),
        pytest.param("scoring_stages", "scoring_stages", "floor", marks=pytest.mark.slow),
        pytest.param("large_networks", "large_networks", "tuned", marks=pytest.mark.slow),
        pytest.param("memory", "memory", "preprocess", marks=pytest.mark.slow),
    ],
)
def test_a_benchmark_runs_in_its_quick_mode_and_leaves_a_table_and_its_values(
    name: str, result: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--quick", "--results", str(tmp_path)])
    monkeypatch.syspath_prepend(FOLDER)
    threads = torch.get_num_threads()
    try:
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    finally:
        torch.set_num_threads(threads)
    table = (tmp_path / f"{result}.md").read_text()
    assert named in table
    content = json.loads((tmp_path / f"{result}.json").read_text())
    assert content["values"]
    assert content["machine"]["torch"] == torch.__version__
    assert "/" not in table.partition("|")[0], "a description of the machine names no folder"


def test_what_quick_measures_takes_the_place_of_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    measure = importlib.import_module("_measure")
    monkeypatch.setattr(measure, "RESULTS", tmp_path / "results")
    for options, expected in ([], ["x.json", "x.md"]), (["--quick"], []):
        arguments = measure.parser("").parse_args(options)
        measure.report(arguments, "x", "A title", ["way"], [["a"]], [1.0])
        assert sorted(file.name for file in tmp_path.glob("results/*")) == expected
        shutil.rmtree(tmp_path / "results", ignore_errors=True)
