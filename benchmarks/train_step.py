"""A training step: as the original's public loop takes it, and as train.py does; and with cached features.

    python benchmarks/train_step.py [--compile] [--repeats 5] [--recipe starter]

ResNeXt50 and LSTM(2048), batches of 4 clips of 10 and of 20 frames at 112 px; with `--recipe starter`
EfficientNet-Lite0 on 32 single crops of 192 px. `published`: the plain layout and plain Adam. `ours`: channels last,
fused Adam, and freed memory is kept (dfd/base/machine.py). `cached`: so, too, and the head alone, on features
(backbone.freeze, data.cache_features). Each way has a process of its own; they take turns. `first step` is the time
until a way's first step is done, in wall seconds. The share is of the float32 matrix peak that was measured in the same
run, counting forward and backward as three times the forward's operations.
"""

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from statistics import median

import torch
from _measure import matrix_peak, parser, ratios, report, shown
from torch import Tensor
from torch.nn import functional as F

from dfd.base.machine import keep_freed_memory
from dfd.models.classifier import ClipClassifier, build_model

BATCH = 4
STARTER = "starter"
KEEP_MEMORY = ("ours", "cached", "ours, compiled")
"""Ways in which freed memory is kept, as by train.py."""
GFLOP_PER_FRAME, GFLOP_PER_LSTM_FRAME = 2.22, 0.067
"""Of the forward pass at 112 px: ResNeXt50, and the LSTM."""


def network(*, quick: bool, recipe: str = "") -> ClipClassifier:
    if recipe == STARTER:
        lite = {"_target_": "dfd.models.backbones.timm", "name": "tf_efficientnet_lite0", "pretrained": False}
        return build_model({"backbone": lite, "temporal": {"_target_": "dfd.models.temporal.mean"}})
    backbone = {"_target_": "dfd.models.backbones.resnext50", "pretrained": False}
    if quick:
        backbone = {"_target_": "dfd.models.backbones.timm", "name": "test_resnet", "pretrained": False}  # type: ignore[dict-item]
    temporal = {"_target_": "dfd.models.temporal.lstm", "hidden_features": 32 if quick else 2048}
    return build_model({"backbone": backbone, "temporal": temporal})


def step(logits: Callable[[], Tensor], parameters: Sequence[Tensor], *, fused: bool) -> Callable[[], None]:
    """One step on the same batch again and again."""
    optimizer = torch.optim.Adam(parameters, lr=1e-5, weight_decay=1e-3, fused=fused)

    def take() -> None:
        optimizer.zero_grad(set_to_none=True)
        logits_BK = logits()
        F.cross_entropy(logits_BK, torch.arange(len(logits_BK)) % 2).backward()
        optimizer.step()

    return take


def way(name: str, num_frames: int, *, quick: bool, recipe: str) -> Callable[[], None]:
    """A step of one of the ways, on the same batch."""
    side, batch = (112, BATCH) if recipe != STARTER else (64, 4) if quick else (192, 32)
    frames = torch.randint(0, 256, (batch, num_frames, 3, side, side), dtype=torch.uint8)
    model = network(quick=quick, recipe=recipe)

    def forward_published() -> Tensor:
        images_NCHW = (frames.flatten(0, 1).float() / 255 - model.mean) / model.std
        return model.head(model.backbone(images_NCHW).unflatten(0, (batch, num_frames)))

    if name == "published":
        model.backbone.to(memory_format=torch.contiguous_format)
        return step(forward_published, list(model.parameters()), fused=False)
    if name == "cached":
        features = torch.rand(batch, num_frames, model.backbone.num_features)
        head = [p for key, p in model.named_parameters() if not key.startswith("backbone.")]
        return step(lambda: model.head(features), head, fused=True)
    if name == "ours, compiled":
        model.backbone.compile()
    return step(lambda: model(frames), list(model.parameters()), fused=True)


def serve(name: str, num_frames: int, arguments: argparse.Namespace, pipe: Connection) -> None:
    """In a process of its own, since how memory is kept is the process's: a step for each message, its seconds back."""
    if name in KEEP_MEMORY:
        keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    take = way(name, num_frames, quick=arguments.quick, recipe=arguments.recipe)
    clock = time.perf_counter if arguments.threads > 1 else time.process_time
    began = time.perf_counter()
    take()
    pipe.send(time.perf_counter() - began)
    while pipe.recv():
        began = clock()
        take()
        pipe.send(clock() - began)


def measure(num_frames: int, arguments: argparse.Namespace) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of each way in each round, after two steps that do not count, and wall seconds of its first step."""
    ways = ["published", *KEEP_MEMORY] if arguments.compile else ["published", *KEEP_MEMORY[:-1]]
    context, pipes, processes = multiprocessing.get_context("spawn"), {}, []
    first: dict[str, float] = {}
    for name in ways:
        pipes[name], theirs = context.Pipe()
        given = (name, num_frames, arguments, theirs)
        processes.append(context.Process(target=serve, args=given, daemon=True))
        processes[-1].start()
        theirs.close()
        first[name] = pipes[name].recv()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(arguments.repeats + 1):
        for name, pipe in pipes.items():
            pipe.send(True)
            taken = pipe.recv()
            if number:
                seconds[name].append(taken)
    for pipe, process in zip(pipes.values(), processes, strict=True):
        pipe.send(False)
        process.join()
    return seconds, first


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--frames", default="10,20", help="per clip; comma-separated")
    options.add_argument("--recipe", choices=("original", STARTER), default="original")
    options.add_argument("--compile", action="store_true", help="also with torch.compile, which takes minutes first")
    arguments = options.parse_args()
    if arguments.quick:
        arguments.repeats = 1
    torch.set_num_threads(arguments.threads)
    os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"  # the first step is that of a first run
    peak = matrix_peak(side=256 if arguments.quick else 2048)
    is_original = arguments.recipe != STARTER
    frames = [1] if not is_original else [2] if arguments.quick else list(map(int, arguments.frames.split(",")))
    batch = BATCH if is_original else 4 if arguments.quick else 32
    rows, values = [], {}
    for num_frames in frames:
        seconds, first = measure(num_frames, arguments)
        values[str(num_frames)] = {"seconds": seconds, "first": first}
        work = 3 * BATCH * num_frames * (GFLOP_PER_FRAME + GFLOP_PER_LSTM_FRAME)
        for name, taken in seconds.items():
            share = (
                "–" if name == "cached" or arguments.quick or not is_original else f"{work / median(taken) / peak:.0%}"
            )
            speedup = shown(ratios(seconds["published"], taken))
            each = [str(num_frames), name, f"{batch / median(taken):.2f}", shown(taken), speedup, share]
            rows.append([*each, f"{first[name]:.1f}"])
    columns = ["frames", "way", "clips/s", "seconds", "times published", "share of the matrix peak", "first step, s"]
    title = f"A training step, batch of {batch} clips"
    name = "train_step" if is_original else f"train_step_{arguments.recipe}"
    report(arguments, name, title, columns, rows, values, matrix_peak_gflops=round(peak))


if __name__ == "__main__":
    main()
