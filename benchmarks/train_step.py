"""A training step: as the original's public loop takes it, and as train.py does; and with cached features.

    python benchmarks/train_step.py [--compile] [--repeats 5]

ResNeXt50 and LSTM(2048), batches of 4 clips of 10 and of 20 frames at 112 px. `published`: the plain layout and plain
Adam. `ours`: channels last, fused Adam. `cached`: the head alone, on features (backbone.freeze, data.cache_features).
The share is of the float32 matrix peak that was measured in the same run, counting forward and backward as three times
the forward's operations.
"""

import argparse
from collections.abc import Callable
from statistics import median

import torch
from _measure import matrix_peak, parser, ratios, report, shown, take_turns
from torch import Tensor
from torch.nn import functional as F

from dfd.models.classifier import ClipClassifier, build_model

BATCH = 4
GFLOP_PER_FRAME, GFLOP_PER_LSTM_FRAME = 2.22, 0.067
"""Of the forward pass at 112 px: ResNeXt50, and the LSTM."""


def network(*, quick: bool) -> ClipClassifier:
    backbone = {"_target_": "dfd.models.backbones.resnext50", "pretrained": False}
    if quick:
        backbone = {"_target_": "dfd.models.backbones.timm", "name": "test_resnet", "pretrained": False}  # type: ignore[dict-item]
    temporal = {"_target_": "dfd.models.temporal.lstm", "hidden_features": 32 if quick else 2048}
    return build_model({"backbone": backbone, "temporal": temporal})


def step(logits: Callable[[], Tensor], parameters: list[Tensor], *, fused: bool) -> Callable[[], None]:
    """One step on the same batch again and again."""
    optimizer = torch.optim.Adam(parameters, lr=1e-5, weight_decay=1e-3, fused=fused)

    def take() -> None:
        optimizer.zero_grad(set_to_none=True)
        logits_BK = logits()
        F.cross_entropy(logits_BK, torch.arange(len(logits_BK)) % 2).backward()
        optimizer.step()

    return take


def measure(num_frames: int, arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of each way in each round."""
    frames = torch.randint(0, 256, (BATCH, num_frames, 3, 112, 112), dtype=torch.uint8)
    published, ours = network(quick=arguments.quick), network(quick=arguments.quick)
    published.backbone.to(memory_format=torch.contiguous_format)
    features = torch.rand(BATCH, num_frames, ours.backbone.num_features)
    head = [p for name, p in ours.named_parameters() if not name.startswith("backbone.")]

    def forward_published() -> Tensor:
        images_NCHW = (frames.flatten(0, 1).float() / 255 - published.mean) / published.std
        return published.head(published.backbone(images_NCHW).unflatten(0, (BATCH, num_frames)))

    ways = {
        "published": step(forward_published, list(published.parameters()), fused=False),
        "ours": step(lambda: ours(frames), list(ours.parameters()), fused=True),
        "cached": step(lambda: ours.head(features), head, fused=True),
    }
    if arguments.compile:
        compiled = network(quick=arguments.quick)
        compiled.backbone.compile()
        ways["ours, compiled"] = step(lambda: compiled(frames), list(compiled.parameters()), fused=True)
    return take_turns(ways, arguments.repeats, wall=arguments.threads > 1)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--frames", default="10,20", help="per clip; comma-separated")
    options.add_argument("--compile", action="store_true", help="also with torch.compile, which takes minutes first")
    arguments = options.parse_args()
    if arguments.quick:
        arguments.repeats = 1
    torch.set_num_threads(arguments.threads)
    peak = matrix_peak(side=256 if arguments.quick else 2048)
    rows, values = [], {}
    for num_frames in [2] if arguments.quick else map(int, arguments.frames.split(",")):
        seconds = values[str(num_frames)] = measure(num_frames, arguments)
        work = 3 * BATCH * num_frames * (GFLOP_PER_FRAME + GFLOP_PER_LSTM_FRAME)
        for name, taken in seconds.items():
            share = "–" if name == "cached" or arguments.quick else f"{work / median(taken) / peak:.0%}"
            speedup = shown(ratios(seconds["published"], taken))
            rows.append([str(num_frames), name, f"{BATCH / median(taken):.2f}", speedup, share])
    columns = ["frames", "way", "clips/s", "times published", "share of the matrix peak"]
    title = "A training step, batch of 4 clips"
    report(arguments, "train_step", title, columns, rows, values, matrix_peak_gflops=round(peak))


if __name__ == "__main__":
    main()
