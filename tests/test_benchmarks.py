"""That the benchmarks run: in their smallest sizes, on a CPU. What they measure is not looked at."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.mark.parametrize(
    ("name", "result", "named"),
    [("gpu", "gpu-smoke", "bf16"), ("train_step", "train_step", "cached")],
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
