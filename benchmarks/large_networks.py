"""Large published networks on a CPU: each way to compute a crop, and a video from a cold start, with its memory.

    python benchmarks/large_networks.py [--networks gend-clip-l14,dfdc-b7] [--threads 2] [--video FILE]

Weights are random, of the true shape: neither time nor memory depends on them. `plain` is float32 torch as the authors
run it, one crop at a time. Ratios are to it, within one round; `--blocks 4` keeps so many blocks of a transformer:
the ratios hardly change, and it takes a sixth of the time. With `--video`, the command `dfd predict` scores it from
nothing: wall time, CPU time, and the peak memory of all processes, shared pages counted once.
"""

import argparse
import copy
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import _threads_sleep  # noqa: F401 - before torch
import numpy as np
import torch
from _measure import parser, ratios, report, shown, take_turns
from memory import peak_of
from torch import Tensor

from dfd.commands.adopt.detector import card_of, write_detector
from dfd.models.classifier import ClipClassifier, build_model
from dfd.models.files.card import DetectorCard
from dfd.models.published.entry import Published
from dfd.models.published.names import members
from dfd.models.published.table import published
from dfd.scoring.runtimes.exporting import checked_onnx
from dfd.scoring.runtimes.packing import is_mostly_linear
from dfd.scoring.runtimes.reduced import has_int8
from dfd.scoring.runtimes.runtime import OnnxRuntime, TorchRuntime

NETWORKS = "gend-clip-l14,gend-pe-l,gend-dinov3-l,dfdc-b7"
PLAIN = "plain, one crop at a time"


def card(entry: Published) -> DetectorCard:
    return card_of(entry, {file.name: "0" * 64 for file in entry.files})


def shortened(entry: Published, blocks: int | None) -> ClipClassifier:
    """The network with random weights, a transformer with its first ``blocks`` blocks."""
    torch.manual_seed(0)
    model = build_model(entry.model).eval()
    layers = getattr(model.backbone.network, "blocks", None)
    if blocks is not None and "vit" in str(entry.model["backbone"]["name"]):
        assert layers is not None
        del layers[blocks:]
    return model


def ways_of(entry: Published, arguments: argparse.Namespace) -> dict[str, Callable[[], list[float]]]:
    """Each way to compute the probabilities of some crops."""
    model = shortened(entry, arguments.blocks)
    crops = torch.randint(0, 256, (arguments.crops, 1, 3, *[entry.input["size"]] * 2), dtype=torch.uint8)
    plain_model = copy.deepcopy(model)
    plain_model.backbone.to(memory_format=torch.contiguous_format)
    facts = card(entry)
    tuned = TorchRuntime(copy.deepcopy(model), facts, "cpu")
    tuned.tune()
    bf16 = TorchRuntime(copy.deepcopy(model), facts, "cpu", precision="bf16")
    packed16 = TorchRuntime(copy.deepcopy(model), facts, "cpu", precision="bf16")
    packed16.tune()
    plain = TorchRuntime(plain_model, facts, "cpu")

    def in_batches(way: Callable[[Tensor], list[float]], size: int) -> Callable[[], list[float]]:
        return lambda: [prob for part in crops.split(size) for prob in way(part)]

    def two_at_once() -> list[float]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(threads) as pool:
                return [prob for probs in pool.map(plain.prob_fake, crops.split(1)) for prob in probs]
        finally:
            torch.set_num_threads(threads)

    ways = {
        PLAIN: in_batches(plain.prob_fake, 1),
        f"plain, {arguments.crops} at a time": in_batches(plain.prob_fake, arguments.crops),
        "plain, a crop on each core": two_at_once,
        "tuned, one at a time": in_batches(tuned.prob_fake, 1),
        "tuned, two at a time (dfd predict)": in_batches(tuned.prob_fake, 2),
        f"tuned, {arguments.crops} at a time": in_batches(tuned.prob_fake, arguments.crops),
        "bf16 by autocast alone, two at a time": in_batches(bf16.prob_fake, 2),
        "precision=bf16, two at a time": in_batches(packed16.prob_fake, 2),
    }
    if has_int8() and is_mostly_linear(model.backbone):
        int8 = TorchRuntime(model, facts, "cpu", precision="int8")
        ways["precision=int8, two at a time"] = in_batches(int8.prob_fake, 2)
    if arguments.onnx:
        session = OnnxRuntime(checked_onnx(plain_model, facts)[0], facts)
        ways["onnxruntime, one at a time"] = in_batches(session.prob_fake, 1)
        ways["onnxruntime, two at a time"] = in_batches(session.prob_fake, 2)
    if arguments.compile:
        compiled = copy.deepcopy(plain_model)
        compiled.backbone.network = torch.compile(plain_model.backbone.network)
        ways["torch.compile, two at a time"] = in_batches(TorchRuntime(compiled, facts, "cpu").prob_fake, 2)
    return ways


def of_a_network(name: str, arguments: argparse.Namespace) -> tuple[list[list[str]], dict[str, Any]]:
    ways = ways_of(published(name), arguments)
    expected = np.array(ways[PLAIN]())
    cpu: dict[str, list[float]] = {}
    wall = take_turns(
        {way: timed(run, cpu.setdefault(way, [])) for way, run in ways.items()}, arguments.repeats, wall=True
    )
    rows, values = [], {}
    for way, run in ways.items():
        difference = float(np.abs(np.array(run()) - expected).max())
        spent = cpu[way][1 : arguments.repeats + 1]  # the first round does not count
        seconds = [value / arguments.crops for value in wall[way]]
        gain, gain_wall = ratios(cpu[PLAIN][1 : arguments.repeats + 1], spent), ratios(wall[PLAIN], wall[way])
        each = [value / arguments.crops for value in spent]
        rows.append([name, way, shown(each), shown(gain), shown(seconds), shown(gain_wall), f"{difference:.1e}"])
        values[way] = {"cpu": each, "wall": seconds, "difference": difference}
    return rows, values


def timed(run: Callable[[], Any], seconds: list[float]) -> Callable[[], None]:
    """The same, noting its CPU seconds."""

    def way() -> None:
        before = time.process_time()
        run()
        seconds.append(time.process_time() - before)

    return way


def save_random(entry: Published, folder: Path) -> Path:
    """The detector of this name with random weights, as ``dfd adopt`` writes it."""
    first = folder / f"{entry.name}.safetensors"
    for number, path in enumerate(members(first, len(entry.files) if entry.is_ensemble else 1)):
        torch.manual_seed(number)
        write_detector(path, build_model(entry.model).state_dict(), card(entry))
    return first


def of_a_video(name: str, arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Wall seconds, CPU seconds and GB of ``dfd predict`` from nothing to its report."""
    checkpoint = folder / f"{name}.safetensors"
    if not checkpoint.exists():
        save_random(published(name), folder)
    command = ["-m", "dfd", "predict", str(arguments.video.resolve()), f"checkpoint={checkpoint}"]
    command += [f"output={folder / 'scores'}", "overwrite=true", f"hydra.run.dir={folder / 'run'}", *arguments.options]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = peak_of(command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall seconds": peak.seconds, "CPU seconds": spent, "peak GB": peak.shared_once / 1e3}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--networks", default=NETWORKS)
    options.add_argument("--crops", type=int, default=4, help="of each round")
    options.add_argument("--blocks", type=int, help="of a transformer; else all")
    options.add_argument("--onnx", action="store_true", help="also onnxruntime; its export takes a minute")
    options.add_argument("--compile", action="store_true", help="also torch.compile")
    options.add_argument("--video", type=Path, help="measure dfd predict on it, instead of the ways to compute a crop")
    options.add_argument("--options", nargs="*", default=[], help="of dfd predict, such as heatmaps=false")
    arguments = options.parse_args()
    names = arguments.networks.split(",")
    if arguments.quick:
        arguments.repeats, arguments.crops, arguments.blocks, names = 1, 2, 1, ["gend-clip-l14"]
    torch.set_num_threads(arguments.threads)
    if arguments.video is not None:
        videos(names, arguments)
        return
    rows: list[list[str]] = []
    values: dict[str, Any] = {}
    for name in names:
        found, values[name] = of_a_network(name, arguments)
        rows += found
    columns = ["network", "way", "CPU s per crop", "times plain", "wall s per crop", "times plain", "difference"]
    facts = {"crops": arguments.crops, "blocks": arguments.blocks or "all"}
    report(arguments, "large_networks", "Large networks: seconds per crop", columns, rows, values, **facts)


def videos(names: Sequence[str], arguments: argparse.Namespace) -> None:
    """The table of whole commands."""
    rows, values = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            runs = [of_a_video(name, arguments, Path(folder)) for _ in range(arguments.repeats)]
            values[name] = runs
            rows.append([name, *(shown([run[what] for run in runs]) for what in runs[0])])
            for path in Path(folder).glob(f"{name}*"):
                path.unlink()
    columns = ["network", "wall seconds", "CPU seconds", "peak GB of all processes"]
    report(arguments, "large_networks_video", "A video from a cold start", columns, rows, values)


if __name__ == "__main__":
    main()
