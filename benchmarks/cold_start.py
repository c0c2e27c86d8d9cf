"""Time of ``dfd predict VIDEO`` from nothing to its report, and what heat maps add to it.

    python benchmarks/cold_start.py VIDEO [--before CHECKOUT] [--checkpoints starter,resnext50] [--repeats 5]

The checkouts of ``--before`` and of this file take turns, each with heat maps and pictures (``all``) and without
(``score``: ``heatmaps=false moments_per_face=0``). Every run is a process of its own on a pseudo-terminal, in which the
first character that a person sees is timed. ``resnext50`` is the network of the original study with random weights.
CPU seconds are those of all processes. Wall times mean something on a quiet machine only; the load is in the results.
Python's bytecode is kept beforehand, as after every installation; dfd's cache is empty, so torch computes and no export
for onnxruntime that an earlier run has left behind.
"""

import json
import os
import pty
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from _measure import NETWORK, parser, random_checkpoint, ratios, report, shown
from memory import ROOT

WAYS = {"all": [], "score": ["heatmaps=false", "moments_per_face=0"]}
SECONDS_OF_A_SAMPLE = 0.25


def seen(command: Sequence[str], checkout: Path, environment: dict[str, str], *, weigh: bool) -> dict[str, float]:
    """Seconds until the first character and the end, CPU seconds, and MB with shared pages counted once.

    Memory is read only where ``weigh`` is set: reading it takes time from the run.
    """
    ours, theirs = pty.openpty()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began, first, peak, looked = time.perf_counter(), 0.0, 0.0, 0.0
    process = subprocess.Popen(command, cwd=checkout, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    while True:
        ready, _, _ = select.select([ours], [], [], 0.02)
        if ready:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if part and not first:
                first = time.perf_counter() - began
            said += part
            if not part:
                break
        if weigh and time.perf_counter() - looked > SECONDS_OF_A_SAMPLE:
            peak = max(peak, shared_once(process.pid))
            looked = time.perf_counter()
    process.wait()
    wall = time.perf_counter() - began
    os.close(ours)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\n{said.decode(errors='replace')}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "first": first, "cpu": cpu, "megabytes": peak}


def shared_once(pid: int) -> float:
    """MB of a process and its descendants, shared pages counted once."""
    total = 0
    try:
        for one in (process := psutil.Process(pid), *process.children(recursive=True)):
            total += one.memory_full_info().pss
    except (psutil.Error, OSError):  # one has just ended
        return 0.0
    return total / 1e6


def main() -> None:
    options = parser(__doc__)
    options.add_argument("video", type=Path)
    options.add_argument("--before", type=Path, help="another checkout, to compare with")
    options.add_argument("--checkpoints", default="starter,resnext50", help="comma-separated; files, too")
    options.add_argument("--name", default="cold_start", help="of the files of results")
    options.add_argument("--options", nargs="*", default=[], help="of dfd predict, such as runtime=torch")
    arguments = options.parse_args()
    if arguments.quick:
        arguments.repeats = 1
    video = arguments.video.resolve()
    checkouts = {"before": arguments.before.resolve()} if arguments.before else {}
    checkouts["today"] = ROOT
    rows, values = [], {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environment.setdefault("PYTHONPYCACHEPREFIX", str(folder / "bytecode"))
        environment["XDG_CACHE_HOME"] = str(folder / "cache")
        for given in arguments.checkpoints.split(","):
            checkpoint = given
            if given == "resnext50":
                checkpoint = str(random_checkpoint(folder / "resnext50.safetensors", NETWORK))
            runs: dict[str, list[dict[str, Any]]] = {}
            for number in range(arguments.repeats + 1):  # the first one fills caches, and memory is read in it
                for way, more in WAYS.items():
                    for checkout, place in checkouts.items():
                        output = folder / f"scores-{checkout}-{way}"
                        command = [sys.executable, "-m", "dfd", "predict", str(video), f"checkpoint={checkpoint}"]
                        command += [f"output={output}", "overwrite=true", f"hydra.run.dir={folder / 'run'}", *more]
                        run = seen([*command, *arguments.options], place, environment, weigh=not number)
                        run["score"] = json.loads((output / "predictions.jsonl").read_text().splitlines()[0])
                        runs.setdefault(f"{checkout}, {way}", []).append(run)
            values[given] = {
                way: [
                    {k: v for k, v in run.items() if k != "score"} | {"seconds": run["score"]["seconds"]}
                    for run in each
                ]
                for way, each in runs.items()
            }
            rows += table(given, runs, list(checkouts))
    columns = ["detector", "checkout", "wall s", "times before", "first character", "CPU s", "peak MB, shared once"]
    columns += ["wall s, score only", "heat maps and pictures add", "largest difference of a score"]
    title = "From the command to the verdict"
    report(arguments, arguments.name, title, columns, rows, values, options=" ".join(arguments.options) or "none")


def table(detector: str, runs: dict[str, list[dict[str, Any]]], checkouts: Sequence[str]) -> list[list[str]]:
    """A row for each checkout; the first round does not count."""
    rows = []
    for checkout in checkouts:
        each, plain = runs[f"{checkout}, all"], runs[f"{checkout}, score"]
        walls, plain_walls = ([run["wall"] for run in found[1:]] for found in (each, plain))
        first_walls = [run["wall"] for run in runs[f"{checkouts[0]}, all"][1:]]
        added = [f"{100 * (value - 1):.0f}" for value in median_of_three(ratios(walls, plain_walls))]
        rows.append(
            [
                detector,
                checkout,
                shown(walls),
                shown(ratios(walls, first_walls)),
                shown([run["first"] for run in each[1:]]),
                shown([run["cpu"] for run in each[1:]]),
                f"{each[0]['megabytes']:.0f}",
                shown(plain_walls),
                f"{added[1]} % ({added[0]}–{added[2]})",
                f"{largest_difference(runs[f'{checkouts[0]}, all'][-1]['score'], each[-1]['score']):.1e}",
            ]
        )
    return rows


def median_of_three(found: Sequence[float]) -> tuple[float, float, float]:
    """Lowest, median and highest."""
    ordered = sorted(found)
    return ordered[0], ordered[len(ordered) // 2], ordered[-1]


def largest_difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Largest difference between the probabilities of two scores' windows."""
    probs = [
        [window["prob_fake"] for track in score["tracks"] for window in track["windows"]] for score in (one, other)
    ]
    if len(probs[0]) != len(probs[1]):
        raise SystemExit("the two scores have different windows")
    return max(abs(a - b) for a, b in zip(*probs, strict=True))


if __name__ == "__main__":
    main()
