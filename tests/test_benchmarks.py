"""That the benchmarks run: in their smallest sizes, on a CPU. What they measure is not looked at."""

import importlib
import json
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dfd.signals.rendering.quality import quality

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.mark.parametrize(
    ("name", "result", "named"),
    [
        pytest.param("gpu", "gpu-smoke", "bf16", marks=pytest.mark.slow),
        pytest.param("aggregations", "aggregations", "max_of_means", marks=pytest.mark.slow),
        pytest.param("train_step", "train_step", "cached", marks=pytest.mark.slow),
        pytest.param("ddp_step", "ddp_step", "exchange alone", marks=pytest.mark.slow),
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


def test_rows_of_a_benchmark_that_was_cut_short_are_kept_on_the_same_machine_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    gpu = importlib.import_module("gpu")
    part = tmp_path / "gpu.part.jsonl"
    gpu.Rows(part).add(("vit_l", "train", "bf16", "4"), {"seconds": 0.5, "peak_gb": None})
    with part.open("a") as file:
        file.write('{"what": ["vit_l", "tra')  # killed while it wrote
    again = gpu.Rows(part)
    assert again.done == {("vit_l", "train", "bf16", "4"): {"seconds": 0.5, "peak_gb": None}}
    monkeypatch.setattr(gpu, "machine", lambda: {"cpu": "another", "load_average": 1.0})
    assert not gpu.Rows(part).done


def test_operations_are_counted_as_they_are_known_of_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    gpu = importlib.import_module("gpu")
    # 10 frames: ResNeXt50 has 1.11 billion multiplications and additions at 112 px, the LSTM 33.6 million.
    assert gpu.gflop_per_clip(gpu.NETWORKS["resnext50"], tiny=False) == pytest.approx(10 * (2.22 + 0.067), rel=0.03)


def probe(shifts: dict[str, float], *, noise: float = 1.0) -> float:
    """AUC of the probe on drawn statistics, which a generator shifts by so much; 40 real and 40 fake crops for each."""
    module = runpy.run_path(str(FOLDER / "probe.py"))
    rng = np.random.default_rng(0)
    facts, values = [], []
    for method, shift in shifts.items():
        for number in range(40):
            for label in (0, 1):
                facts.append({"label": label, "method": method if label else "", "sources": {f"{method}{number}"}})
                values.append(rng.normal(0, noise, 3) + label * shift)
    auc, interval, number = module["probed"](np.array(values), facts)
    assert interval[0] <= auc <= interval[1]
    assert number >= len(facts) / 2
    return float(auc)


def test_the_probe_finds_what_all_generators_share_and_not_what_one_has_alone() -> None:
    assert probe({"a": 2.0, "b": 2.0, "c": 2.0}) > 0.9
    assert probe({"a": 0.0, "b": 0.0, "c": 0.0}) < 0.6
    assert probe({"a": 2.0, "b": -2.0, "c": 0.0}) < 0.6


def test_the_statistics_of_the_probe_tell_a_picture_that_was_encoded_or_enlarged() -> None:
    import cv2

    frame = np.random.default_rng(0).normal(128, 20, (96, 96, 3)).clip(0, 255).astype(np.uint8)
    _, encoded = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 20])
    jpeg = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    large = cv2.resize(frame[:48, :48], (96, 96), interpolation=cv2.INTER_LINEAR)
    plain, coded, enlarged = (quality(one[None]) for one in (frame, jpeg, large))
    assert coded["grid_8"] > plain["grid_8"] + 0.1
    assert enlarged["band_4"] < plain["band_4"] - 1
