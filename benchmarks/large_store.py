"""Does training start as fast, and stay as small, on a store of 100,000 clips as on one of 1,000?

    python benchmarks/large_store.py [--sizes 1000,10000,100000] [--repeats 3] [--folder DIR]

A few videos are drawn and prepared. Stores of each size are made of hard links to their clips, with a record for each
video, two videos to a person, and the index. Each measurement is a process of its own, as a training is: from building
the data module over the checks, the summary that the run's folder gets and the loader with one worker process to the
first batch (imports are not counted: they do not depend on the store); then clips per second of the loader alone. The
sizes take turns, and the table has medians with the lowest and highest.

Memory is what the process holds more than before it built the data module; of the worker, what is its own and not
shared with its parent (USS), after a whole epoch in which nothing is decoded: a worker that is forked shares its
parent's memory until it touches it, and merely looking at a Python object does.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATASET = "links"


def make_clips(folder: Path) -> Path:
    """A store of a few drawn videos, 112 px and 100 frames each."""
    from dfd.data.demo.videos import make_demo_videos
    from dfd.data.prepare.store import prepare_store
    from dfd.data.prepare.video import PreparationSettings
    from dfd.data.sources.manifest import read_manifest

    manifest = make_demo_videos(folder / "videos", num_people=4, videos_per_person=1, seconds=4.0)
    prepare_store(read_manifest(manifest), folder / "clips", PreparationSettings({"name": "fixed_box"}), num_workers=2)
    return folder / "clips"


def make_store(clips: Path, store: Path, size: int, *, link: bool = True) -> float:
    """A store of ``size`` videos, links to the few of ``clips`` or copies; returns the seconds that its index took."""
    from dfd.base.types import Label
    from dfd.data.store.folders import read_records, video_folder
    from dfd.data.store.plan import write_splits
    from dfd.data.store.records import RECORD_NAME
    from dfd.data.store.tables import build_index

    records = {label: [r for r in read_records(clips) if r.label is label] for label in Label}
    splits = {}
    for number in range(size):
        original = records[Label(number % 2)][number // 2 % len(records[Label.REAL])]
        person = number // 2
        record = replace(
            original,
            video_id=f"video-{number:07}",
            name=f"videos/{number:07}.mp4",
            dataset=DATASET,
            source_ids=(f"person{person:06}",),
            size_bytes=number + 1,
        )
        folder = video_folder(store, record)
        folder.mkdir(parents=True)
        for track in record.tracks:
            for name in (track.file, track.geometry_file):
                if link:
                    (folder / name).hardlink_to(video_folder(clips, original) / name)
                else:
                    shutil.copy(video_folder(clips, original) / name, folder / name)
        (folder / RECORD_NAME).write_text(record.to_json(), encoding="utf-8")  # not to the disk each: these may be lost
        splits[record.video_id] = (
            "train",
            "train",
            "train",
            "train",
            "train",
            "train",
            "train",
            "val",
            "test",
            "test",
        )[person % 10]
    write_splits(store, splits)
    began = time.perf_counter()
    build_index(store)
    return time.perf_counter() - began


def measure(store: Path, *, context: str, num_clips: int) -> dict[str, float]:
    """In a process of its own: seconds to the first batch, clips per second, MB."""
    import psutil
    import torch

    from dfd.data.clips import dataset as clips
    from dfd.data.clips.module import ClipDataModule

    torch.set_num_threads(1)
    process = psutil.Process()

    def loader_of() -> tuple[Any, Any]:
        data = ClipDataModule(
            store, clip_len=10, batch_size=4, num_workers=1, multiprocessing_context=context, pin_memory=False
        )
        data.setup("fit")
        data.summary()
        return data, data.train_dataloader()

    before = process.memory_info().rss
    began, began_computing = time.perf_counter(), time.process_time()
    data, loader = loader_of()
    ready, computed = time.perf_counter(), time.process_time() - began_computing
    batches = iter(loader)
    next(batches)
    first = time.perf_counter()
    found = {"computed": computed, "ready": ready - began, "first_batch": first - began}
    found["main_MB"] = (process.memory_info().rss - before) / 1e6
    seen, began = 0, time.perf_counter()
    while seen < num_clips:
        seen += len(next(batches)["label"])
    found["clips_per_second"] = seen / (time.perf_counter() - began)
    del batches, loader

    # A worker sees what its parent has replaced only if it is forked; a spawned one decodes, so it looks at few clips.
    black = torch.zeros(10, 112, 112, 3, dtype=torch.uint8).numpy()
    clips.read_frames = lambda clip, indices: black
    loader = data.train_dataloader()
    batches = iter(loader)
    next(batches)
    [worker] = [child for child in process.children() if "resource_tracker" not in " ".join(child.cmdline())]
    found["worker_first_MB"] = worker.memory_full_info().uss / 1e6
    for number, _ in enumerate(batches):
        if context != "fork" and number > num_clips // 4:
            break
        if number % 100 == 0:  # it ends with its last batch
            found["worker_MB"] = worker.memory_full_info().uss / 1e6
            found["worker_rss_MB"] = worker.memory_info().rss / 1e6
    return found


def table(results: dict[int, list[dict[str, float]]], index_seconds: dict[int, float]) -> str:
    """Markdown: a row for each size, and how many times the smallest's it is."""
    heads = {
        "computed": "checked, CPU s",
        "ready": "checked, s",
        "first_batch": "first batch, s",
        "main_MB": "main process, MB more",
        "worker_first_MB": "worker's own at first, MB",
        "worker_MB": "after an epoch, MB",
        "worker_rss_MB": "with what it shares, MB",
        "clips_per_second": "clips/s",
    }
    lines = [
        f"| clips | index made, s | {' | '.join(heads.values())} | first batch, times |",
        "|---" * (len(heads) + 3) + "|",
    ]
    smallest = min(results)
    for size, found in sorted(results.items()):
        cells = [spread([one[key] for one in found]) for key in heads]
        ratio = spread(
            [one["first_batch"] / base["first_batch"] for one, base in zip(found, results[smallest], strict=True)]
        )
        lines.append(f"| {size:,} | {index_seconds[size]:.1f} | {' | '.join(cells)} | {ratio} |")
    return "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    digits = 2 if max(values) < 10 else 1 if max(values) < 100 else 0
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--context", default="fork", choices=["fork", "spawn"], help="how workers are started")
    parser.add_argument("--clips", type=int, default=400, help="to count clips per second over")
    parser.add_argument("--folder", type=Path, help="keep the stores here, and use those that are there")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, context=options.context, num_clips=options.clips)))
        return
    sizes = [int(size) for size in options.sizes.split(",")]
    folder = options.folder or Path(tempfile.mkdtemp(prefix="dfd-large-store-"))
    try:
        if not (folder / "clips").is_dir():
            make_clips(folder)
        seconds_path = folder / "index_seconds.json"
        index_seconds = json.loads(seconds_path.read_text()) if seconds_path.is_file() else {}
        for size in sizes:
            if not (folder / str(size)).is_dir():
                index_seconds[str(size)] = make_store(folder / "clips", folder / str(size), size)
                seconds_path.write_text(json.dumps(index_seconds))
        results: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
        for _ in range(options.repeats):
            for size in sizes:
                command = [sys.executable, __file__, "--measure", str(folder / str(size)), "--context", options.context]
                done = subprocess.run(
                    [*command, "--clips", str(options.clips)], cwd=ROOT, check=True, capture_output=True, text=True
                )
                results[size].append(json.loads(done.stdout.splitlines()[-1]))
        print(table(results, {size: index_seconds[str(size)] for size in sizes}))
    finally:
        if not options.folder:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
