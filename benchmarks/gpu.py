"""Training steps and inference on a GPU, in less than eight minutes; without one, a smoke run in tiny sizes.

    python benchmarks/gpu.py [--minutes 7] [--networks resnext50,vit_l] [--store DIR] [--video FILE]

ResNeXt50 and Inception v3 with LSTM(2048) on clips of 10 frames at 112 px, EfficientNet-B4 on single crops of 380 px
and ViT-L/14 on single crops of 224 px, batches of 4 to 256, in float32, tf32 and bf16, channels last, and bf16 with
torch.compile. Clips per second, peak memory, and the share of the card's matrix peak in the same arithmetic, which is
measured first. Operations are counted by torch, a training step as three forward passes.

Also the speed of decoding on the GPU (NVDEC, by PyAV and by torchcodec, where they reach it) beside one CPU thread, and
with `--store` how fast the loader reads clips, beside what the card would take.

Rows are kept as they are measured (gpu.part.jsonl beside the results), and a run that was cut short is continued by the
same command. A row without figures says why. What there was no time for is missing, and the table names it.
"""

import argparse
import contextlib
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import av
import torch
from _measure import drawn_video, machine, parser, report, results_folder
from av.codec.hwaccel import HWAccel
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from dfd.models.classifier import ClipClassifier, build_model

LONGEST_CALL = 8.0
"""Seconds; what is expected to take longer, by the next smaller batch, is not begun."""
LSTM = {"_target_": "dfd.models.temporal.lstm", "hidden_features": 2048}
MEAN = {"_target_": "dfd.models.temporal.mean"}
TINY_BACKBONE = {"_target_": "dfd.models.backbones.timm", "name": "test_resnet", "pretrained": False}


@dataclass(frozen=True)
class Network:
    """A network as detectors use it, and its clips."""

    backbone: Mapping[str, Any]
    temporal: Mapping[str, Any]
    num_frames: int
    side: int


NETWORKS = {
    "resnext50": Network({"_target_": "dfd.models.backbones.resnext50"}, LSTM, 10, 112),
    "vit_l": Network(
        {"_target_": "dfd.models.backbones.timm", "name": "vit_large_patch14_clip_quickgelu_224"}, MEAN, 1, 224
    ),
    "efficientnet_b4": Network({"_target_": "dfd.models.backbones.timm", "name": "tf_efficientnet_b4"}, MEAN, 1, 380),
    "inception_v3": Network({"_target_": "dfd.models.backbones.inception_v3"}, LSTM, 10, 112),
}


@dataclass(frozen=True)
class Mode:
    """How numbers are kept and multiplied."""

    name: str
    precision: str = "highest"
    bf16: bool = False
    compiled: bool = False

    @property
    def arithmetic(self) -> str:
        """Name of the mode with the same matrix peak."""
        return self.name.partition(",")[0]


MODES = (
    Mode("bf16", bf16=True),
    Mode("tf32", "high"),
    Mode("float32"),
    Mode("bf16, compiled", bf16=True, compiled=True),
)
"""Modes in the order in which they say most; compiling takes longest."""


class Clock:
    """Seconds of repeated calls, the device's queue emptied before and after; slow calls are repeated less."""

    def __init__(self, device: torch.device, repeats: int, warm: int) -> None:
        self.device, self.repeats, self.warm = device, repeats, warm

    def __call__(self, way: Callable[[], Any]) -> float:
        seconds: list[float] = []
        for number in range(self.repeats + self.warm):
            self._wait()
            began = time.perf_counter()
            way()
            self._wait()
            if number >= self.warm:
                seconds.append(time.perf_counter() - began)
                if sum(seconds) > 2:
                    break
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


def made(network: Network, device: torch.device, *, tiny: bool) -> ClipClassifier:
    """The network with random weights, channels last where it is convolutional, as dfd builds it."""
    backbone = TINY_BACKBONE if tiny else {**network.backbone, "pretrained": False}
    temporal = {**network.temporal, "hidden_features": 16} if tiny and network.temporal is LSTM else network.temporal
    return build_model({"backbone": backbone, "temporal": temporal}).to(device)


def clips(network: Network, batch: int, device: torch.device, *, tiny: bool) -> torch.Tensor:
    num_frames, side = (min(2, network.num_frames), 32) if tiny else (network.num_frames, network.side)
    return torch.randint(0, 256, (batch, num_frames, 3, side, side), dtype=torch.uint8, device=device)


def gflop_per_clip(network: Network, *, tiny: bool) -> float:
    """Operations of the convolutions and matrix products of a forward pass, as torch counts them."""
    device = torch.device("cpu")
    model = made(network, device, tiny=tiny).eval()
    frames = clips(network, 1, device, tiny=tiny)
    # Not inference_mode, in which composite operators would not be taken apart; LSTMs are counted by their weights.
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(frames)
    cells = [p.numel() for name, p in model.temporal.named_parameters() if "weight_" in name and p.ndim == 2]
    return (counter.get_total_flops() + 2 * frames.shape[1] * sum(cells)) / 1e9


def prepared(
    device: torch.device, network: Network, mode: Mode, batch: int, *, train: bool, tiny: bool
) -> Callable[[], None]:
    """A training step, or inference, on clips that are on the device."""
    model = made(network, device, tiny=tiny).train(train)
    if mode.compiled:
        model.backbone.compile()
    frames = clips(network, batch, device, tiny=tiny)
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


def measured(clock: Clock, make: Callable[[], Callable[[], None]]) -> dict[str, Any]:
    """Seconds of a call and the peak memory, or why there are none."""
    on_gpu = clock.device.type == "cuda"
    try:
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(clock.device)
        seconds = clock(make())
    except torch.OutOfMemoryError:
        return {"why": "does not fit in memory"}
    except RuntimeError as error:  # of a compiler or a kernel; the other rows are worth having
        return {"why": f"failed: {str(error).splitlines()[0][:80]}"}
    return {"seconds": seconds, "peak_gb": torch.cuda.max_memory_allocated(clock.device) / 1e9 if on_gpu else None}


class Rows:
    """What was measured, by what it is of; kept in a file as it comes, for a run that is cut short."""

    def __init__(self, part: Path | None) -> None:
        self.part, self.done = part, dict[tuple[str, ...], dict[str, Any]]()
        facts = {name: value for name, value in machine().items() if name != "load_average"}
        header = json.dumps(facts, sort_keys=True)
        lines = part.read_text().splitlines() if part is not None and part.exists() else []
        if lines[:1] == [header]:  # of another machine or torch: measured anew
            for line in lines[1:]:
                with contextlib.suppress(ValueError):  # the last line may be cut off
                    kept = json.loads(line)
                    self.done[tuple(kept.pop("what"))] = kept
        elif part is not None:
            part.write_text(header + "\n")

    def add(self, what: tuple[str, ...], found: Mapping[str, Any]) -> None:
        self.done[what] = dict(found)
        if self.part is not None:
            with self.part.open("a") as file:
                file.write(json.dumps({"what": what, **found}) + "\n")


def loader_rate(store: Path, batch: int, num_batches: int) -> float:
    """Clips per second that the loader alone delivers, after its first batch."""
    from dfd.data.augment.transforms import clip_augmentation
    from dfd.data.clips.module import ClipDataModule

    data = ClipDataModule(store, clip_len=10, batch_size=batch, augmentation=clip_augmentation())
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


def decoded_by_pyav(video: Path, *, gpu: bool) -> int:
    """Number of frames that PyAV decodes, on one CPU thread or on the GPU."""
    accelerator = HWAccel("cuda", allow_software_fallback=False) if gpu else None
    with av.open(str(video), hwaccel=accelerator) as container:
        container.streams.video[0].codec_context.thread_count = 1
        return sum(1 for _ in container.decode(video=0))


def decoded_by_torchcodec(video: Path) -> int:
    """Number of frames that torchcodec decodes on the GPU."""
    from torchcodec.decoders import VideoDecoder

    return sum(1 for _ in VideoDecoder(str(video), device="cuda"))


def decoding(video: Path, *, gpu: bool) -> dict[str, Any]:
    """Frames per second of each way to decode, or why there are none."""
    ways: dict[str, Callable[[], int]] = {"PyAV, one CPU thread": lambda: decoded_by_pyav(video, gpu=False)}
    if gpu:
        ways["PyAV, NVDEC"] = lambda: decoded_by_pyav(video, gpu=True)
        ways["torchcodec, NVDEC"] = lambda: decoded_by_torchcodec(video)
    rates: dict[str, Any] = {}
    for name, way in ways.items():
        try:
            way()  # the first one loads libraries and starts the decoder
            began = time.perf_counter()
            count = way()
            rates[name] = round(count / (time.perf_counter() - began))
        # A missing library or driver is a result.
        except (ImportError, RuntimeError, OSError, ValueError, av.FFmpegError) as error:
            rates[name] = f"not reached: {type(error).__name__}: {str(error)[:80]}"
    return rates


def plan(
    networks: Sequence[str], modes: Sequence[Mode], batches: Sequence[int]
) -> Iterator[tuple[str, bool, Mode, int]]:
    """Network, whether it trains, mode and batch, in the order in which they are measured."""
    for mode in modes:
        # Each shape is compiled by itself, so that is done for one batch.
        sizes = sorted(batches)[-2:-1] or batches if mode.compiled else sorted(batches)
        yield from ((name, train, mode, size) for name in networks for train in (True, False) for size in sizes)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--minutes", type=float, default=7.0, help="begin nothing new after these")
    options.add_argument("--batches", default="4,16,64,256")
    options.add_argument("--networks", default=",".join(NETWORKS))
    options.add_argument("--store", type=Path, help="a clip store, to measure the loader, too")
    options.add_argument("--video", type=Path, help="to measure decoding; else a drawn one of 1280 x 720")
    arguments = options.parse_args()
    names = arguments.networks.split(",")
    if unknown := set(names) - set(NETWORKS):
        raise SystemExit(f"--networks: {', '.join(sorted(unknown))} is not one of {', '.join(NETWORKS)}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tiny = device.type == "cpu"
    if tiny or arguments.quick:
        arguments.repeats, arguments.batches = 1, "2"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder, name = results_folder(arguments), "gpu-smoke" if tiny else "gpu"
    rows = Rows(folder / f"{name}.part.jsonl" if folder else None)
    clock = Clock(device, arguments.repeats, warm=0 if tiny else 2)
    modes = [mode for mode in MODES if not (tiny and mode.compiled)]
    more: dict[str, Any] = {}
    planned = list(plan(names, modes, [int(size) for size in arguments.batches.split(",")]))
    try:
        measure(arguments, planned, clock, rows, more, tiny=tiny)
    finally:
        missing = [" ".join(what) for what in map(key, planned) if what not in rows.done]
        tell(arguments, name, rows, more, missing, tiny=tiny)
    if rows.part is not None and not missing:
        rows.part.unlink(missing_ok=True)


def key(row: tuple[str, bool, Mode, int]) -> tuple[str, str, str, str]:
    """Words of a row's first columns."""
    name, train, mode, batch = row
    return name, "train" if train else "score", mode.name, str(batch)


def measure(
    arguments: argparse.Namespace,
    planned: Sequence[tuple[str, bool, Mode, int]],
    clock: Clock,
    rows: Rows,
    more: dict[str, Any],
    *,
    tiny: bool,
) -> None:
    """Measure what is not in ``rows`` yet, while there is time; everything found is added at once."""
    end, device = time.monotonic() + 60 * arguments.minutes, clock.device
    batches = sorted({batch for *_, batch in planned})
    for mode in dict.fromkeys(mode for _, _, mode, _ in planned):
        if not mode.compiled and ("peak", mode.name) not in rows.done:
            rows.add(("peak", mode.name), {"tflops": peak(clock, device, mode, 128 if tiny else 8192)})
    for name in dict.fromkeys(name for name, *_ in planned):
        if ("operations", name) not in rows.done:
            rows.add(("operations", name), {"gflop": gflop_per_clip(NETWORKS[name], tiny=tiny)})
    if ("decoding",) not in rows.done:
        with tempfile.TemporaryDirectory() as folder:
            size = {"seconds": 1, "width": 240, "height": 160} if tiny else {"seconds": 8, "width": 1280, "height": 720}
            video = arguments.video or drawn_video(Path(folder) / "drawn.mp4", **size)  # type: ignore[arg-type]
            rows.add(("decoding",), decoding(video, gpu=not tiny))
    if arguments.store:
        more["loader_clips_per_second"] = round(loader_rate(arguments.store, batches[0], 2 if tiny else 100))
    for row in planned:
        name, train, mode, batch = row
        what = key(row)
        if what in rows.done:
            continue
        if time.monotonic() > end:
            return
        smaller = [rows.done.get((*what[:3], str(size)), {}) for size in batches if size < batch]
        if any("why" in row for row in smaller):
            found: dict[str, Any] = {"why": "a smaller batch gave nothing"}
        elif smaller and smaller[-1].get("seconds", 0.0) * batch / max(b for b in batches if b < batch) > LONGEST_CALL:
            found = {"why": f"expected above {LONGEST_CALL:g} s a call"}
        else:
            options = {"train": train, "tiny": tiny}
            found = measured(clock, partial(prepared, device, NETWORKS[name], mode, batch, **options))
        rows.add(what, found)


def tell(
    arguments: argparse.Namespace, name: str, rows: Rows, more: dict[str, Any], missing: Sequence[str], *, tiny: bool
) -> None:
    """Write the table of what there is."""
    shown, values = [], []
    for what, found in rows.done.items():
        if len(what) != 4:
            continue
        values.append({**dict(zip(("network", "what", "mode", "batch"), what, strict=True)), **found})
        if "seconds" not in found:
            shown.append([*what, found["why"], "–", "–", "–"])
            continue
        rate = int(what[3]) / found["seconds"]
        tflops = rate * rows.done["operations", what[0]]["gflop"] * (3 if what[1] == "train" else 1) / 1e3
        share = tflops / rows.done["peak", what[2].partition(",")[0]]["tflops"]
        memory = "–" if found["peak_gb"] is None else f"{found['peak_gb']:.1f}"
        shown.append([*what, f"{rate:.1f}", memory, f"{tflops:.3g}", "–" if tiny else f"{share:.0%}"])
    peaks = {what[1]: round(found["tflops"], 2) for what, found in rows.done.items() if what[0] == "peak"}
    more["matrix_peak_tflops"] = peaks
    more["gflop_per_clip"] = {what[1]: round(f["gflop"], 3) for what, f in rows.done.items() if what[0] == "operations"}
    more["decoded_frames_per_second"] = rows.done.get(("decoding",), {})
    more["no_time_for"] = ", ".join(missing) or "nothing"
    columns = ["network", "what", "mode", "batch", "clips/s", "peak GB", "TFLOP/s", "share of the matrix peak"]
    smoke = "A smoke run on a CPU, in tiny sizes: its figures mean nothing"
    report(arguments, name, smoke if tiny else "Training and inference on a GPU", columns, shown, values, **more)


if __name__ == "__main__":
    main()
