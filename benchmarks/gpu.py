"""Training steps and inference on a GPU, in less than eight minutes; without one, a smoke run in tiny sizes.

    python benchmarks/gpu.py [--minutes 7] [--store DIR]

ResNeXt50 and Inception v3 with LSTM(2048), batches of 4 to 256 clips of 10 frames at 112 px, in float32, tf32 and bf16,
channels last, and bf16 with torch.compile. Clips per second, and the share of the card's matrix peak in the same
arithmetic, measured first. With `--store`, also how fast the loader reads clips, beside what the card would take.
What does not fit in memory is a row that says so; what there was no time for is missing, and the table names it.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from _measure import parser, report
from torch.nn import functional as F

from dfd.models.classifier import ClipClassifier, build_model

GFLOP_PER_FRAME = {"resnext50": 2.22, "inception_v3": 1.08}
GFLOP_PER_LSTM_FRAME = 0.067
NUM_FRAMES, SIDE = 10, 112


@dataclass(frozen=True)
class Mode:
    """How numbers are kept and multiplied."""

    name: str
    precision: str = "highest"
    bf16: bool = False
    compiled: bool = False


MODES = (
    Mode("float32"),
    Mode("tf32", "high"),
    Mode("bf16", bf16=True),
    Mode("bf16, compiled", bf16=True, compiled=True),
)


class Clock:
    """Seconds of repeated calls, the device's queue emptied before and after."""

    def __init__(self, device: torch.device, repeats: int, warm: int) -> None:
        self.device, self.repeats, self.warm = device, repeats, warm

    def __call__(self, way: Callable[[], Any]) -> float:
        seconds = []
        for number in range(self.repeats + self.warm):
            self._wait()
            began = time.perf_counter()
            way()
            self._wait()
            if number >= self.warm:
                seconds.append(time.perf_counter() - began)
        return median(seconds)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@contextlib.contextmanager
def arithmetic(mode: Mode, device: torch.device) -> Iterator[None]:
    """The precision of float32 products, and autocast, as the mode says."""
    before, before_cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision(mode.precision)
    torch.backends.cudnn.allow_tf32 = mode.precision == "high"
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=mode.bf16):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cudnn.allow_tf32 = before_cudnn


def peak(clock: Clock, device: torch.device, mode: Mode, side: int) -> float:
    """TFLOP/s of a matrix product."""
    kind = torch.bfloat16 if mode.bf16 else torch.float32
    a, b = (torch.rand(side, side, device=device, dtype=kind) for _ in range(2))
    with arithmetic(mode, device):
        return 2 * side**3 / clock(lambda: a @ b) / 1e12


def network(name: str, device: torch.device, *, tiny: bool) -> ClipClassifier:
    backbone: dict[str, Any] = {"_target_": f"dfd.models.backbones.{name}", "pretrained": False}
    if tiny:
        backbone |= {"_target_": "dfd.models.backbones.timm", "name": "test_resnet"}
    head = {"_target_": "dfd.models.temporal.lstm", "hidden_features": 16 if tiny else 2048}
    return build_model({"backbone": backbone, "temporal": head}).to(device)


def measure(
    clock: Clock, device: torch.device, name: str, mode: Mode, batch: int, *, train: bool, tiny: bool
) -> float | None:
    """Seconds of a training step or of inference; None if the device's memory does not suffice."""
    try:
        return clock(prepared(device, name, mode, batch, train=train, tiny=tiny))
    except torch.OutOfMemoryError:
        return None
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()


def prepared(device: torch.device, name: str, mode: Mode, batch: int, *, train: bool, tiny: bool) -> Callable[[], None]:
    """A training step, or inference, on clips that are on the device."""
    model = network(name, device, tiny=tiny).train(train)
    if mode.compiled:
        model.backbone.compile()
    num_frames, side = (2, 32) if tiny else (NUM_FRAMES, SIDE)
    frames = torch.randint(0, 256, (batch, num_frames, 3, side, side), dtype=torch.uint8, device=device)
    label = torch.arange(batch, device=device) % 2

    def score() -> None:
        with torch.inference_mode(), arithmetic(mode, device):
            model(frames)

    if not train:
        return score
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5, weight_decay=1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with arithmetic(mode, device):
            loss = F.cross_entropy(model(frames).float(), label)
        loss.backward()
        optimizer.step()

    return step


def loader_rate(store: Path, batch: int, num_batches: int) -> float:
    """Clips per second that the loader alone delivers, after its first batch."""
    from dfd.data.augment.transforms import clip_augmentation
    from dfd.data.clips.module import ClipDataModule

    data = ClipDataModule(store, clip_len=NUM_FRAMES, batch_size=batch, augmentation=clip_augmentation())
    data.setup("fit")
    count, began = 0, None
    while count < num_batches:
        for _ in data.train_dataloader():
            began = began or time.perf_counter()
            count += 1
            if count > num_batches:
                break
    assert began is not None
    return batch * (count - 1) / max(1e-9, time.perf_counter() - began)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--minutes", type=float, default=7.0, help="begin nothing new after these")
    options.add_argument("--batches", default="4,16,64,256")
    options.add_argument("--store", type=Path, help="a clip store, to measure the loader, too")
    arguments = options.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tiny = device.type == "cpu"
    if tiny or arguments.quick:
        arguments.repeats, arguments.batches = 1, "2"
    end = time.monotonic() + 60 * arguments.minutes
    clock = Clock(device, arguments.repeats, warm=0 if tiny else 3)
    modes = [mode for mode in MODES if not (tiny and mode.compiled)]
    peaks = {mode.name: peak(clock, device, mode, 128 if tiny else 8192) for mode in modes if not mode.compiled}
    rows, values, skipped = [], [], []
    # The least first: if the time is up, it is the costly compiled ones that are missing.
    for mode in modes:
        for name in GFLOP_PER_FRAME:
            for train in (True, False):
                for batch in map(int, arguments.batches.split(",")):
                    what = [name, "train" if train else "score", mode.name, str(batch)]
                    if time.monotonic() > end:
                        skipped.append(" ".join(what))
                        continue
                    seconds = measure(clock, device, name, mode, batch, train=train, tiny=tiny)
                    values.append(
                        {**dict(zip(("network", "what", "mode", "batch"), what, strict=True)), "seconds": seconds}
                    )
                    rows.append([*what, *row(seconds, name, batch, train, peaks[mode.name.partition(",")[0]], tiny)])
    more: dict[str, Any] = {"matrix_peak_tflops": {name: round(value, 2) for name, value in peaks.items()}}
    if arguments.store:
        batch = int(arguments.batches.split(",")[0])
        more["loader_clips_per_second"] = round(loader_rate(arguments.store, batch, 2 if tiny else 100))
    more["no_time_for"] = ", ".join(skipped) or "nothing"
    columns = ["network", "what", "mode", "batch", "clips/s", "share of the matrix peak"]
    title = (
        "A smoke run on a CPU, in tiny sizes: its figures mean nothing" if tiny else "Training and inference on a GPU"
    )
    report(arguments, "gpu-smoke" if tiny else "gpu", title, columns, rows, values, **more)


def row(seconds: float | None, name: str, batch: int, train: bool, peak_tflops: float, tiny: bool) -> list[str]:
    if seconds is None:
        return ["does not fit in memory", "–"]
    work = batch * NUM_FRAMES * (GFLOP_PER_FRAME[name] + GFLOP_PER_LSTM_FRAME) * (3 if train else 1)
    return [f"{batch / seconds:.1f}", "–" if tiny else f"{work / seconds / 1e3 / peak_tflops:.0%}"]


if __name__ == "__main__":
    main()
