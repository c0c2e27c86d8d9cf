"""What the benchmarks share: ways that take turns, their ratios, and a Markdown and a JSON file of them.

A machine is seldom quiet. Ways take turns (A, B, A, B, …), a ratio is taken within each round, and medians over the
rounds are reported with the lowest and highest. Seconds are of the CPU, of this process with its threads, where a way
runs in one process: waiting for a core that another program has is not counted.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"

NETWORK = {
    "backbone": {"_target_": "dfd.models.backbones.resnext50", "pretrained": False},
    "temporal": {"_target_": "dfd.models.temporal.lstm", "hidden_features": 2048},
}
"""That of the original study."""
SMALL_NETWORK = {
    "backbone": {"_target_": "dfd.models.backbones.timm", "name": "test_resnet", "pretrained": False},
    "temporal": {"_target_": "dfd.models.temporal.mean"},
}
"""With which the rest of the work shows, and what runs in no time."""


def parser(doc: str | None) -> argparse.ArgumentParser:
    """With the options that every benchmark has."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--repeats", type=int, default=5, help="rounds; medians are over them")
    made.add_argument("--threads", type=int, default=1, help="of torch; more than free cores make times meaningless")
    made.add_argument("--quick", action="store_true", help="smallest sizes and one round: does it run?")
    made.add_argument(
        "--results", type=Path, help="folder for the tables; else benchmarks/results, and with --quick none"
    )
    return made


def results_folder(arguments: argparse.Namespace) -> Path | None:
    """Where tables are left; None: nowhere. What ``--quick`` measures takes the place of no result."""
    folder: Path | None = arguments.results or (None if arguments.quick else RESULTS)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def machine() -> dict[str, Any]:
    """What the figures were measured on; no names of hosts or folders."""
    import torch

    facts: dict[str, Any] = {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 1),
    }
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name(0)
    return facts


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def take_turns(ways: Mapping[str, Callable[[], Any]], repeats: int, *, wall: bool = False) -> dict[str, list[float]]:
    """Seconds of each way in each round, after one round that does not count."""
    clock = time.perf_counter if wall else time.process_time
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(repeats + 1):
        for name, way in ways.items():
            began = clock()
            way()
            if number:
                seconds[name].append(clock() - began)
    return seconds


def ratios(slow: Sequence[float], fast: Sequence[float]) -> list[float]:
    """How many times longer ``slow`` took, round by round."""
    return [a / b for a, b in zip(slow, fast, strict=True)]


def shown(values: Sequence[float], digits: int = 2) -> str:
    """``median (lowest–highest)``."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def random_checkpoint(path: Path, model: Mapping[str, Any]) -> Path:
    """A detector of random weights: they take as much time and room as trained ones."""
    from dfd.models.classifier import build_model
    from dfd.models.files.card import DetectorCard
    from dfd.models.files.checkpoint import save_safetensors

    made = build_model(model)
    save_safetensors(path, made, DetectorCard(model=made.config, image_size=112, clip_len=10))
    return path


def drawn_video(path: Path, *, seconds: float, width: int, height: int) -> Path:
    """One drawn person: where no video is at hand."""
    import numpy as np

    from dfd.data.demo.scenes import Format, Scene
    from dfd.data.demo.videos import film, portrait_of

    form = Format(seconds=seconds, width=width, height=height)
    film(Scene.compose([portrait_of(0, 0, 0)], form, np.random.default_rng(0)), {path: {}})
    return path


def matrix_peak(repeats: int = 5, side: int = 2048) -> float:
    """GFLOP/s of a float32 matrix product with torch's threads: the floor for a network of mostly products."""
    import torch

    a, b = torch.rand(side, side), torch.rand(side, side)
    seconds = take_turns({"product": lambda: a @ b}, repeats, wall=torch.get_num_threads() > 1)["product"]
    return 2 * side**3 / min(seconds) / 1e9


def report(
    arguments: argparse.Namespace,
    name: str,
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    values: Any,
    **more: Any,
) -> None:
    """Print a table and leave it as ``NAME.md``, with all values as ``NAME.json``; see :func:`results_folder`."""
    facts = machine()
    lines = [f"# {title}", "", ", ".join(f"{key} {value}" for key, value in facts.items()), ""]
    lines += [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", *(f"{key}: {value}" for key, value in more.items())]
    text = "\n".join(lines).rstrip() + "\n"
    print(text)
    folder = results_folder(arguments)
    if folder is None:
        return
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    content = {"machine": facts, "repeats": arguments.repeats, "values": values, **more}
    (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
