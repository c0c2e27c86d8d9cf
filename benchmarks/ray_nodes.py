"""Scoring on a Ray cluster whose nodes are lost, stopped or late: what it costs, and whether a row differs.

    python benchmarks/ray_nodes.py VIDEO... [--number 48] [--nodes 3]

The nodes are Ray's own test cluster (ray.cluster_utils): each has a raylet, a store and two of Ray's cores, but they
share this machine, so seconds say what an event costs here and not how fast a cluster is. Every row is compared with
that of one machine without Ray: the same status, and a probability within 1e-5.

- `all nodes`: nothing happens.
- `a node lost`: one is killed when a quarter of the rows is there.
- `a node lost, a new one`: another joins ten seconds later.
- `a straggler`: all workers of a node are stopped for twenty seconds.
- `the command killed`: predict.py is killed with SIGKILL at a quarter of the rows, and run again.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from _measure import parser, report
from preprocess_floor import ROOT
from throughput import cuts, inbox_of

from dfd.base.types import VideoScore
from dfd.scoring.detector import Detector
from dfd.scoring.ray import RayEngine

OPTIONS: dict[str, Any] = {"heatmaps": False, "max_windows": 4}
STORE_BYTES = 150 * 2**20
STOPPED_SECONDS = 20.0
EVENTS = ("all nodes", "a node lost", "a node lost, a new one", "a straggler", "the command killed")

Rows = dict[str, tuple[str, float | None]]


def rows_of(scores: Sequence[VideoScore]) -> Rows:
    """Status and probability of each video, by its name."""
    return {Path(score.path).name: (str(score.status), score.prob_fake) for score in scores}


def differing(rows: Rows, expected: Rows) -> int:
    """Number of videos whose row is missing or another one."""
    return sum(
        name not in rows or rows[name][0] != status or abs((rows[name][1] or 0.0) - (prob or 0.0)) > 1e-5
        for name, (status, prob) in expected.items()
    )


@contextmanager
def cluster_of(number: int) -> Iterator[tuple[Any, list[Any]]]:
    """A head without cores, and so many nodes of two."""
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        cluster.add_node(num_cpus=0, object_store_memory=STORE_BYTES)
        yield cluster, [cluster.add_node(num_cpus=2, object_store_memory=STORE_BYTES) for _ in range(number)]
    finally:
        cluster.shutdown()


def workers_of(node: Any) -> list[psutil.Process]:
    """Processes below the raylet of a node."""
    raylet = node.all_processes["raylet"][0].process.pid
    return psutil.Process(raylet).children(recursive=True)


def happen(event: str, cluster: Any, nodes: Sequence[Any]) -> None:
    """What befalls the last of the nodes."""
    if "lost" in event:
        cluster.remove_node(nodes[-1], allow_graceful=False)
    if "new" in event:
        time.sleep(10)
        cluster.add_node(num_cpus=2, object_store_memory=STORE_BYTES)
    if event == "a straggler":
        stopped = workers_of(nodes[-1])
        for process in stopped:
            process.suspend()
        time.sleep(STOPPED_SECONDS)
        for process in stopped:
            process.resume()


def megabytes_of_a_node(nodes: Sequence[Any]) -> float:
    """Resident memory of the processes of the first node, with what they share counted for each of them."""
    total = 0
    for process in workers_of(nodes[0]):
        try:
            total += process.memory_full_info().pss
        except psutil.Error:  # just ended
            continue
    return total / 1e6


def scored(event: str, paths: Sequence[Path], number: int) -> dict[str, Any]:
    """The rows of a cluster to which ``event`` happens."""
    with cluster_of(number) as (cluster, nodes):
        began, scores, peak = time.perf_counter(), [], 0.0
        first = 0.0
        threads: list[threading.Thread] = []
        with RayEngine("starter", address=cluster.address, **OPTIONS) as engine:
            for score in engine.score_many(paths):
                scores.append(score)
                first = first or time.perf_counter() - began
                if len(scores) == len(paths) // 4:
                    peak = megabytes_of_a_node(nodes)
                    threads.append(threading.Thread(target=happen, args=(event, cluster, nodes)))
                    threads[-1].start()
        seconds = time.perf_counter() - began
        for thread in threads:
            thread.join()
    return {"rows": rows_of(scores), "first": first, "seconds": seconds, "megabytes": peak}


def killed_and_resumed(inbox: Path, folder: Path, number: int) -> dict[str, Any]:
    """The rows of predict.py on a cluster that is killed and run again."""
    output = folder / "killed"
    with cluster_of(number) as (cluster, _):
        command = [sys.executable, "predict.py", f"input={inbox}", "checkpoint=starter", f"output={output}"]
        command += ["engine=ray", f"ray.address={cluster.address}", "report=false", f"hydra.run.dir={folder}/run"]
        command += [f"{name}={str(value).lower()}" for name, value in OPTIONS.items()]
        began, lines = time.perf_counter(), output / "predictions.jsonl"
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        wanted = len(list(inbox.iterdir())) // 4
        kept = 0
        while process.poll() is None:
            kept = len(lines.read_text().splitlines()) if lines.exists() else 0
            if kept >= wanted:
                process.send_signal(signal.SIGKILL)
                process.wait()
            time.sleep(0.05)
        first = time.perf_counter() - began
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    found: Rows = {Path(row["path"]).name: (row["status"], row["prob_fake"]) for row in rows}
    return {"rows": found, "first": first, "seconds": seconds, "megabytes": 0.0, "kept": kept}


def main() -> None:
    options = parser(__doc__)
    options.set_defaults(repeats=1)
    options.add_argument("videos", nargs="+", type=Path)
    options.add_argument("--number", type=int, default=48)
    options.add_argument("--nodes", type=int, default=3)
    options.add_argument("--events", default=",".join(range_of(EVENTS)), help="numbers of the events, from 0")
    arguments: argparse.Namespace = options.parse_args()
    if arguments.quick:
        arguments.number, arguments.events = 8, "1"
    rows, values = [], {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        short = cuts(arguments.videos, folder, seconds=2.0, number=min(12, arguments.number))
        inbox = inbox_of(short, arguments.number, folder)
        paths = sorted(inbox.iterdir())
        began = time.perf_counter()
        with Detector.load("starter", device="cpu", **OPTIONS) as detector:
            expected = rows_of(list(detector.score_many(paths)))
        alone = time.perf_counter() - began
        rows.append(["one machine, without Ray", str(len(expected)), "", "", f"{alone:.0f}", ""])
        ways: dict[str, Callable[[], dict[str, Any]]] = {
            event: lambda event=event: scored(event, paths, arguments.nodes)  # type: ignore[misc]
            for event in EVENTS[:-1]
        }
        ways[EVENTS[-1]] = lambda: killed_and_resumed(inbox, folder, arguments.nodes)
        for event in (EVENTS[int(place)] for place in arguments.events.split(",")):
            found = ways[event]()
            others = differing(found["rows"], expected)
            values[event] = {**found, "differing": others}
            memory = f"{found['megabytes']:.0f}" if found["megabytes"] else ""
            told = f"{found['first']:.0f}"
            rows.append([event, str(len(found["rows"])), str(others), told, f"{found['seconds']:.0f}", memory])
            print(rows[-1], file=sys.stderr, flush=True)
            shutil.rmtree(folder / "killed", ignore_errors=True)
    columns = ["event", "rows", "missing or other than one machine's", "s to the first row, or to the kill", "s in all"]
    title = f"Scoring {arguments.number} videos of 2 s on {arguments.nodes} nodes of one machine"
    values["one machine"] = {"seconds": alone, "rows": expected}
    report(arguments, "ray_nodes", title, [*columns, "PSS of a node, MB"], rows, values)


def range_of(items: Sequence[str]) -> list[str]:
    """Their places, from 0, as text."""
    return [str(place) for place, _ in enumerate(items)]


if __name__ == "__main__":
    os.environ.setdefault("RAY_DEDUP_LOGS", "1")
    main()
