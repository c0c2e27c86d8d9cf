"""A training step of two processes that exchange gradients, against one process with the same work on one core.

    python benchmarks/ddp_step.py [--frames 10] [--repeats 3] [--steps 2]

ResNeXt50 and LSTM(2048), 4 clips of 112 px and one thread for each process, gloo over the loopback interface.
`one process` has the other core idle. `two, no exchange` is the floor: both cores share one memory. The others are
PyTorch's DistributedDataParallel: as it comes, with a static graph and gradients that lie in its buckets, and with
gradients that travel in 16 bits. In each round every way takes a step that does not count, and then ``--steps`` that
do; a step lasts until the slower process is done. Each process keeps to a core of its own, as PyTorch's launcher for
CPUs has it: left to itself, Linux runs both on one core for whole steps. `exchange alone` averages as many numbers as
there are gradients, with nothing beside it.
"""

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import torch
from _measure import parser, report, shown
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from train_step import BATCH, network

from dfd.base.machine import keep_freed_memory

ALONE, FLOOR, PLAIN, EXCHANGE = "one process", "two, no exchange", "DDP, its defaults", "exchange alone"
TUNED: dict[str, Any] = {"static_graph": True, "gradient_as_bucket_view": True}
WAYS: dict[str, dict[str, Any] | None] = {
    ALONE: None,
    FLOOR: None,
    PLAIN: {},
    "DDP, static graph and bucket views": TUNED,
    "the same, gradients in bfloat16": {**TUNED, "hook": bf16_compress_hook},
    EXCHANGE: None,
}


class Logits(nn.Module):
    """Network from uint8 clips to logits, as the training takes it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor) -> Tensor:
        logits: Tensor = self.model(frames)
        return logits


def serve(rank: int, store: str, arguments: argparse.Namespace, pipe: Connection) -> None:
    """In a process of its own: a way and a number of steps for each message, its seconds for each step back."""
    keep_freed_memory()
    torch.set_num_threads(1)
    if not arguments.unpinned:
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank]})
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=timedelta(seconds=600)
    )
    torch.manual_seed(rank)
    side = 32 if arguments.quick else 112
    frames = torch.randint(0, 256, (BATCH, arguments.frames, 3, side, side), dtype=torch.uint8)
    model = Logits(network(quick=arguments.quick))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5, fused=True)
    gradients = torch.zeros(sum(parameter.numel() for parameter in model.parameters()))

    def step(logits: Callable[[Tensor], Tensor]) -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(logits(frames), torch.arange(BATCH) % 2).backward()
        optimizer.step()

    while (name := pipe.recv()) is not None:
        options = WAYS[name]
        taken: list[tuple[float, float]] = []
        wrapped: nn.Module = model
        if options is not None:
            given = {key: value for key, value in options.items() if key != "hook"}
            wrapped = DistributedDataParallel(model, **given)
            if "hook" in options:
                wrapped.register_comm_hook(None, options["hook"])
        for number in range(0 if name == ALONE and rank else arguments.steps + 1):
            if name != ALONE:
                dist.barrier()
            began, worked = time.perf_counter(), time.process_time()
            if name == EXCHANGE:
                dist.all_reduce(gradients)
            else:
                step(wrapped)
            if number:
                taken.append((time.perf_counter() - began, time.process_time() - worked))
        optimizer.zero_grad(set_to_none=True)
        del wrapped  # takes its hooks off the network
        pipe.send((taken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, len(gradients)))
    dist.destroy_process_group()


def measure(
    arguments: argparse.Namespace,
) -> tuple[dict[str, list[float]], dict[str, list[float]], dict[str, float]]:
    """Wall seconds of each step of each way, CPU seconds of a process in them, and facts of the processes."""
    context, pipes, processes = multiprocessing.get_context("spawn"), [], []
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    cpu: dict[str, list[float]] = {name: [] for name in WAYS}
    peak, numbers = 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        for rank in range(2):
            ours, theirs = context.Pipe()
            given = (rank, str(Path(folder) / "store"), arguments, theirs)
            processes.append(context.Process(target=serve, args=given, daemon=True))
            processes[-1].start()
            pipes.append(ours)
        for _ in range(arguments.repeats):
            for name in WAYS:
                for pipe in pipes:
                    pipe.send(name)
                found = [pipe.recv() for pipe in pipes]
                each = [taken for taken, _, _ in found if taken]
                for both in zip(*each, strict=True):
                    seconds[name].append(max(wall for wall, _ in both))
                    cpu[name].append(sum(one for _, one in both) / len(both))
                peak, numbers = max(peak, *(one for _, one, _ in found)), found[0][2]
        for pipe in pipes:
            pipe.send(None)
        for process in processes:
            process.join()
    return seconds, cpu, {"peak MB of a process": round(peak), "MB of gradients": round(numbers * 4 / 1e6)}


def main() -> None:
    options = parser(__doc__)
    options.set_defaults(repeats=3)
    options.add_argument("--frames", type=int, default=10, help="per clip")
    options.add_argument("--steps", type=int, default=2, help="that count, of each way in each round")
    options.add_argument("--unpinned", action="store_true", help="leave the choice of cores to the system")
    arguments = options.parse_args()
    if arguments.quick:
        arguments.repeats, arguments.frames, arguments.steps = 1, 2, 1
    torch.set_num_threads(1)
    seconds, cpu, facts = measure(arguments)
    rows = []
    for name, taken in seconds.items():
        bases = [] if name == EXCHANGE else [(seconds, ALONE), (seconds, FLOOR), (cpu, FLOOR)]
        over = [f"{median(values[name]) / median(values[base]) - 1:+.1%}" for values, base in bases] or ["–"] * 3
        rows.append([name, shown(taken, 3), *over[:2], shown(cpu[name], 3), over[2]])
    columns = ["way", "s per step", "over one process", "over two without exchange"]
    columns += ["CPU s of a process", "over two without exchange"]
    values = {name: {"wall": seconds[name], "cpu": cpu[name]} for name in WAYS}
    title = "A training step of two processes"
    report(arguments, "ddp_step", title, columns, rows, values, clips_of_each=BATCH, frames=arguments.frames, **facts)


if __name__ == "__main__":
    main()
