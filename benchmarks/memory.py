"""Peak memory of scoring, preparing and training, all processes included: does it grow with length or number?

    python benchmarks/memory.py [VIDEO] [--only predict] [--lengths 10,600] [--numbers 1,20,100] [--clips 20,60,180]

Each command runs as a user would run it, in processes of its own. VIDEO shows a face and lasts some ten seconds; longer
ones repeat its packets, many are copies of it. Without it, one of 1920 x 1080 is drawn. Networks are ResNeXt50 with
LSTM(2048), of random weights, which take as much room as trained ones; many videos are scored with the starter,
four clips of each and without heat maps.

Memory is resident memory in MB (10^6 bytes), read every 100 ms or, where reading takes long, less often so that a core
has four fifths of its time for other things: the main process and the largest of its workers (on Linux each by its own
high-water mark, which misses nothing), the sum over all processes, which counts the libraries that they share once for
each, and on Linux a sum in which they count once, and what forked processes share, too.
The floor of the main process is what `import torch` leaves, and the weights as often as they must be there: once to
score, four times to train (gradients and two averages of Adam's), and then what a batch keeps for the backward pass.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import psutil
from _measure import (
    NETWORK,
    SMALL_NETWORK,
    drawn_video,
    machine,
    parser,
    random_checkpoint,
    report,
    results_folder,
    shown,
)
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from torch import Tensor

    from dfd.models.classifier import ClipClassifier

ROOT = Path(__file__).resolve().parents[1]
SAMPLE_SECONDS = 0.1
MANY_FRAMES = (30, 90)
"""Seconds of the videos of which every frame is looked at: it takes long."""


@dataclass(frozen=True, slots=True)
class Peak:
    """Of one command, in MB, and how many seconds it took. ``worker`` is 0 if there is none."""

    main: float
    worker: float
    summed: float
    shared_once: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Run:
    """A command to measure: ``number`` of what grows along its curve, and what its main process cannot do without."""

    curve: str
    number: int
    grows: str
    command: Sequence[str]
    floor: float
    made_by_it: Sequence[Path] = field(default=())
    """Removed before each repetition: it would go on with them."""


def repeat(source: Path, target: Path, minutes: float) -> None:
    """Write the video stream of ``source`` again and again until it lasts ``minutes``."""
    offset = 0
    with av.open(str(target), "w") as out:
        stream = None
        while stream is None or float(offset * stream.time_base) < minutes * 60:
            with av.open(str(source)) as container:
                video = container.streams.video[0]
                stream = stream or out.add_stream_from_template(video)
                last = 0
                for packet in container.demux(video):
                    if packet.dts is None:
                        continue
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    last = max(last, packet.pts + (packet.duration or 1))
                    packet.time_base, packet.stream = video.time_base, stream
                    out.mux(packet)
                offset = last


def peak_of(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Peak:
    """Run a command of Python's and watch it and its descendants.

    Raises:
        SystemExit: it failed; with what it said.
    """
    began, marks, summed, shared_once = time.perf_counter(), {}, 0, 0
    with tempfile.TemporaryFile() as said:
        process = psutil.Popen(
            [sys.executable, *command], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=said
        )
        while process.poll() is None:
            looked, sizes = time.perf_counter(), []
            for one in _tree(process):
                try:
                    size = Size.of(one)
                except (psutil.Error, OSError):  # just ended
                    continue
                if size.resident:  # one that has ended and waits to be asked how has nothing
                    sizes.append(size)
                    marks[one.pid] = size.mark  # the last one counts: between fork and exec it is the parent's
            summed = max(summed, sum(size.resident for size in sizes))
            once = sum(size.own for size in sizes) + max((size.of_files for size in sizes), default=0)
            shared_once = max(shared_once, once)
            time.sleep(max(SAMPLE_SECONDS, 4 * (time.perf_counter() - looked)))
        seconds = time.perf_counter() - began
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{' '.join(command)}\n{said.read().decode(errors='replace')}")
    main = marks.pop(process.pid, 0)
    return Peak(main / 1e6, max(marks.values(), default=0) / 1e6, summed / 1e6, shared_once / 1e6, seconds)


@dataclass(frozen=True, slots=True)
class Size:
    """Of one process, in bytes.

    ``mark`` is the most that it was resident with. ``own`` is what is not of files, divided by the number of processes
    that share it: those forked from one. ``of_files`` are libraries for the most part; their proportional set would
    depend on what else runs on the machine.
    """

    resident: int
    mark: int
    own: int
    of_files: int

    @classmethod
    def of(cls, process: psutil.Process) -> "Size":
        """Raises:
        OSError, psutil.Error: the process has ended.
        """
        folder = Path(f"/proc/{process.pid}")
        if not (folder / "smaps_rollup").exists():  # not Linux
            resident = process.memory_info().rss
            return cls(resident, resident, 0, 0)
        status, rollup = _fields(folder / "status"), _fields(folder / "smaps_rollup")
        own = rollup.get("Pss_Anon", 0) + rollup.get("Pss_Shmem", 0)
        return cls(status.get("VmRSS", 0), status.get("VmHWM", 0), own, status.get("RssFile", 0))


def _fields(file: Path) -> dict[str, int]:
    """What a file of /proc gives in kB, in bytes."""
    lines = (line.split() for line in file.read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[-1] == "kB"}


def _tree(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def kept_for_backward(network: "ClipClassifier") -> float:
    """MB that the forward pass of 4 clips of 10 frames keeps until the backward pass, beside the weights."""
    import torch

    kept: dict[int, int] = {}

    def keep(tensor: "Tensor") -> "Tensor":
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = network.train()(torch.randint(0, 256, (4, 10, 3, 112, 112), dtype=torch.uint8))
    for tensor in network.parameters():
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    del logits  # until here all of it was there, so that no two had one address
    return sum(kept.values()) / 1e6


class Bench:
    """Makes what the commands need, when they need it, and says which commands there are."""

    CURVES = (
        "predict, torch",
        "predict, onnx, exporting",
        "predict, onnx",
        "predict, starter, every window",
        "predict, starter, many, torch",
        "predict, starter, onnx, exporting",
        "predict, starter, many, onnx",
        "preprocess, 150 frames",
        "preprocess, every frame",
        "preprocess, 50 frames",
        "train",
        "train, cache_frames",
        "train, cache_features",
    )

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self.quick: bool = arguments.quick
        self.lengths, self.numbers, self.clips = (
            [int(number) for number in text.split(",")]
            for text in (arguments.lengths, arguments.numbers, arguments.clips)
        )
        self.folder = folder
        self.network = SMALL_NETWORK if self.quick else NETWORK
        self.environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
        if arguments.video is not None:
            self.video = arguments.video.resolve()
        else:
            width, height = (320, 240) if self.quick else (1920, 1080)
            self.video = drawn_video(folder / "drawn.mp4", seconds=1.0, width=width, height=height)
        self.imported = self.backbone = self.weights = self.kept = 0.0

    def floors(self) -> dict[str, float]:
        """MB of what no run can do without."""
        from dfd.models.classifier import build_model

        network = build_model(self.network)
        self.imported = peak_of(["-c", "import torch"]).main
        self.weights = sum(tensor.nbytes for tensor in network.parameters()) / 1e6
        self.backbone = sum(tensor.nbytes for tensor in network.backbone.parameters()) / 1e6
        self.kept = kept_for_backward(network)
        return {
            "import torch": self.imported,
            "weights": self.weights,
            "weights, gradients and two averages of Adam's": 4 * self.weights,
            "kept by a batch for the backward pass": self.kept,
            "the same of the head, and the backbone": self.backbone + 4 * (self.weights - self.backbone),
        }

    def runs(self) -> Iterator[Run]:
        """In the order in which they can share what they make."""
        yield from self._scoring()
        yield from self._preparing()
        yield from self._training()

    def _scoring(self) -> Iterator[Run]:
        checkpoint = random_checkpoint(self.folder / "random.safetensors", self.network)
        output, exports = self.folder / "scores", self.folder / "cache"

        def run(curve: str, number: int, source: Path, *options: str, exporting: bool = False) -> Run:
            starter = "starter" in curve
            given = [f"input={source}", f"checkpoint={'starter' if starter else checkpoint}", f"output={output}"]
            command = ["predict.py", *given, *options, f"hydra.run.dir={self.folder}/run"]
            grows = "videos" if source.is_dir() else "seconds"
            floor = self.imported + (0 if starter else self.weights)  # the starter's weights are 14 MB
            return Run(curve, number, grows, command, floor, [output, *([exports] if exporting else [])])

        shortest = self.lengths[0]
        short = ["max_windows=4", "heatmaps=false"]  # of each of many videos, so that they are done in minutes
        for runtime in ["torch"] if self.quick else ["torch", "onnx"]:
            option = f"runtime={runtime}"
            if runtime == "onnx":
                yield run("predict, onnx, exporting", shortest, self._long(shortest), option, exporting=True)
            for seconds in self.lengths:
                yield run(f"predict, {runtime}", seconds, self._long(seconds), option)
            if runtime == "onnx":
                once = self._many(self.numbers[0])
                yield run("predict, starter, onnx, exporting", self.numbers[0], once, *short, option)
            for number in self.numbers:
                yield run(f"predict, starter, many, {runtime}", number, self._many(number), option, *short)
        for seconds in () if self.quick else MANY_FRAMES:
            yield run(
                "predict, starter, every window", seconds, self._long(seconds), "max_windows=null", "runtime=torch"
            )

    def _preparing(self) -> Iterator[Run]:
        store = self.folder / "prepared"

        def run(curve: str, number: int, grows: str, videos: Iterable[Path], *options: str) -> Run:
            manifest = self.folder / f"{number}-{grows}.csv"
            manifest.write_text("\n".join(["path,label", *(f"{video},real" for video in videos)]) + "\n")
            command = ["-m", "dfd.preprocess", f"manifest={manifest}", f"store={store}", *options]
            # Its workers need torch, it itself does not.
            return Run(curve, number, grows, [*command, f"hydra.run.dir={self.folder}/run"], 0.0, [store])

        for seconds in self.lengths:
            yield run("preprocess, 150 frames", seconds, "seconds", [self._long(seconds)])
        for seconds in () if self.quick else MANY_FRAMES:
            yield run("preprocess, every frame", seconds, "seconds", [self._long(seconds)], "num_frames=null")
        for number in self.numbers:
            videos = sorted(self._many(number).iterdir())
            yield run("preprocess, 50 frames", number, "videos", videos, "num_frames=50")

    def _training(self) -> Iterator[Run]:
        network = ["backbone=resnext50", "temporal=lstm", "temporal.hidden_features=2048"]
        if self.quick:
            network = ["backbone=timm", "backbone.name=test_resnet", "temporal=mean"]
        command = ["train.py", "data=clips", *network, "backbone.pretrained=false", "trainer=cpu"]
        command += ["trainer.max_epochs=1", "test_windows=1"]
        all_learn = self.imported + 4 * self.weights + self.kept
        head_learns = self.imported + self.backbone + 4 * (self.weights - self.backbone)
        ways: dict[str, tuple[float, list[str]]] = {"train": (all_learn, [])}
        if not self.quick:
            ways["train, cache_frames"] = all_learn, ["data.cache_frames=true"]
            ways["train, cache_features"] = head_learns, ["backbone.freeze=true", "data.cache_features=true"]
        output = self.folder / "trained"
        for way, (floor, options) in ways.items():
            for number in self.clips:
                store = self._store(number)
                given = [*command, *options, f"data.store={store}", f"hydra.run.dir={output}"]
                kept = [store.with_name(f"{store.name}.{what}") for what in ("frames", "features")]
                yield Run(way, number, "clips", given, floor, [output, *kept])

    def _long(self, seconds: int) -> Path:
        target = self.folder / f"{seconds}s{self.video.suffix}"
        if not target.exists():
            repeat(self.video, target, seconds / 60)
        return target

    def _many(self, number: int) -> Path:
        """A folder of so many copies of the shortest video; links to one would be one to the preprocessing."""
        inbox, short = self.folder / f"inbox-{number}", self._long(self.lengths[0])
        inbox.mkdir(exist_ok=True)
        for index in range(number):
            shutil.copyfile(short, inbox / f"{index:05}{short.suffix}")
        return inbox

    def _store(self, number: int) -> Path:
        """Of so many videos of drawn people, 20 frames each, half of them fake."""
        from dfd.data.demo.videos import make_demo_videos
        from dfd.data.prepare.store import prepare_store
        from dfd.data.prepare.video import PreparationSettings
        from dfd.data.sources.manifest import read_manifest

        store = self.folder / f"store-{number}"
        if not store.exists():
            people = max(self.clips) // 2
            manifest = make_demo_videos(self.folder / "people", num_people=people, videos_per_person=1, seconds=0.8)
            prepare_store(read_manifest(manifest)[:number], store, PreparationSettings({"name": "fixed_box"}))
        return store


def measured(run: Run, bench: Bench, repeats: int) -> dict[str, Any]:
    """The values of a curve's point. Every repetition starts from nothing."""
    peaks = []
    for _ in range(repeats):
        for path in run.made_by_it:
            shutil.rmtree(path, ignore_errors=True)
        peaks.append(peak_of(run.command, bench.environment))
        print(f"{run.curve}, {run.number} {run.grows}: {peaks[-1]}", file=sys.stderr, flush=True)
    return {
        "curve": run.curve,
        "number": run.number,
        "grows": run.grows,
        "floor": run.floor,
        "peaks": [asdict(peak) for peak in peaks],
    }


def kept_values(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Of the curves that ``--only`` leaves out, what was measured before on a machine like this."""
    folder = results_folder(arguments)
    file = folder / "memory.json" if folder else None
    if not arguments.only or file is None or not file.exists():
        return []
    content, now = json.loads(file.read_text()), machine()
    if any(content["machine"][fact] != now[fact] for fact in ("cpu", "cores", "torch", "python")):
        return []
    return [value for value in content["values"]["runs"] if not value["curve"].startswith(arguments.only)]


def middle(value: Mapping[str, Any], figure: str) -> float:
    """The median over the repetitions."""
    return statistics.median(peak[figure] for peak in value["peaks"])


def rows_of(values: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A row for each point, with how many times it is the first of its curve."""
    first: dict[str, float] = {}
    rows = []
    for value in values:
        smallest = first.setdefault(value["curve"], middle(value, "shared_once"))
        times = middle(value, "shared_once") / smallest
        figures = ["main", "worker", "summed", "shared_once"]
        main, *others = (_shown([peak[figure] for peak in value["peaks"]]) for figure in figures)
        floor = f"{value['floor']:.0f}" if value["floor"] else ""
        size = f"{value['number']} {value['grows']}"
        rows.append([value["curve"], size, main, floor, *others, f"{times:.2f}", f"{middle(value, 'seconds'):.0f}"])
    return rows


def _shown(megabytes: Sequence[float]) -> str:
    return shown(megabytes, 0) if len(megabytes) > 1 else f"{megabytes[0]:.0f}"


def plot(values: Sequence[Mapping[str, Any]], target: Path) -> None:
    """All processes, what they share counted once, against what grows."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    grown = list(dict.fromkeys(value["grows"] for value in values))
    names = {"seconds": "seconds of a video", "videos": "videos", "clips": "clips of a store to train on"}
    for axes, grows in zip(figure.subplots(1, len(grown), squeeze=False)[0], grown, strict=True):
        curves: dict[str, dict[int, float]] = {}
        for value in values:
            if value["grows"] == grows:
                curves.setdefault(value["curve"], {})[value["number"]] = middle(value, "shared_once")
        for curve, points in curves.items():
            axes.plot(list(points), list(points.values()), "o-", label=curve)
        ticks = sorted({number for points in curves.values() for number in points})
        axes.set(xscale="log", xlabel=names[grows], xticks=ticks)
        axes.set_xticks([], minor=True)
        axes.set_xticklabels([str(tick) for tick in ticks])
        axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    figure.axes[0].set_ylabel("peak memory, MB")
    figure.savefig(target, dpi=110)


def main() -> None:
    options = parser(__doc__)
    options.set_defaults(repeats=1)
    options.add_argument("video", type=Path, nargs="?")
    options.add_argument("--only", default="", help="measure only curves whose name begins so, and keep the others'")
    options.add_argument("--lengths", default="10,600", help="seconds of a video")
    options.add_argument("--numbers", default="1,20,100", help="of videos")
    options.add_argument("--clips", default="20,60,180", help="of a store to train on")
    arguments = options.parse_args()
    if arguments.quick:
        arguments.repeats, arguments.lengths, arguments.numbers, arguments.clips = 1, "1", "2", "12"
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(arguments, Path(name))
        floors = bench.floors()
        found = [
            measured(run, bench, arguments.repeats) for run in bench.runs() if run.curve.startswith(arguments.only)
        ]
    order = list(bench.CURVES)
    values = sorted([*kept_values(arguments), *found], key=lambda value: order.index(value["curve"]))
    if (target := results_folder(arguments)) and values:
        plot(values, target / "memory.png")
    columns = ["command", "size", "main process", "its floor", "largest worker", "all, summed", "all, shared once"]
    report(
        arguments,
        "memory",
        "Peak memory, MB",
        [*columns, "times the smallest", "seconds"],
        rows_of(values),
        {"floors": floors, "runs": values},
        **{f"floor: {what}": f"{megabytes:.0f}" for what, megabytes in floors.items()},
    )


if __name__ == "__main__":
    main()
