"""Do shards (litdata, webdataset) read faster than the clip store's plain files?

    uv run --with litdata==0.2.76 --with webdataset==1.0.2 python benchmarks/shards.py [--latency 20 --workers 1,8]

A store of real files (no links: the disk's cache is not to help one of them) is packed into shards of 64 MB by each
library. Each measurement is a process of its own: training's loader (batches of 4 clips of 10 frames, decoded by the
store's own reader) to its first batch, clips per second after it, and what the worker holds that is its own. They
take turns; medians with the lowest and highest.

With ``--latency`` every opening of a file below the folder, and every look at one, waits so many milliseconds: as a
mounted object store does, whose bandwidth is not limited here. It is done below all three alike, by a few lines of C
that stand before libc's functions (needs cc).

"Mixing" is how many of the shards are met in 64 clips in a row, of as many as a perfect shuffle would meet.
"""

import argparse
import importlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

ROOT = Path(__file__).resolve().parents[1]
SHARD_BYTES = 64_000_000
CLIP_LEN, BATCH_SIZE, BUFFER = 10, 4, 1000

SLOW_C = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
static void wait_for(const char *path) {
  const char *under = getenv("SLOW_UNDER"), *ms = getenv("SLOW_MS");
  if (under && ms && path && !strncmp(path, under, strlen(under))) usleep(1000 * atoi(ms));
}
static int mode_of(int flags, va_list rest) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, int) : 0; }
#define OPEN(name) int name(const char *path, int flags, ...) { \
  va_list rest; va_start(rest, flags); int mode = mode_of(flags, rest); va_end(rest); wait_for(path); \
  return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name))(path, flags, mode); }
#define OPENAT(name) int name(int at, const char *path, int flags, ...) { \
  va_list rest; va_start(rest, flags); int mode = mode_of(flags, rest); va_end(rest); wait_for(path); \
  return ((int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, #name))(at, path, flags, mode); }
#define FOPEN(name) FILE *name(const char *path, const char *mode) { wait_for(path); \
  return ((FILE *(*)(const char *, const char *))dlsym(RTLD_NEXT, #name))(path, mode); }
#define STAT(name, type) int name(const char *path, struct type *found) { wait_for(path); \
  return ((int (*)(const char *, struct type *))dlsym(RTLD_NEXT, #name))(path, found); }
OPEN(open) OPEN(open64) OPENAT(openat) OPENAT(openat64) FOPEN(fopen) FOPEN(fopen64)
STAT(stat, stat) STAT(stat64, stat64) STAT(lstat, stat) STAT(lstat64, stat64)
"""


def decode(video: bytes, seed: int) -> Tensor:
    """Ten frames of a clip from memory, beginning anywhere: as :func:`dfd.data.clips.dataset.read_frames` does from a
    file.
    """
    from dfd.data.clips.reader import load_decord
    from dfd.video.sampling import clip_frame_indices, random_start

    reader = load_decord().VideoReader(io.BytesIO(video), num_threads=1, fault_tol=1e-9)
    generator = torch.Generator().manual_seed(seed)
    draw = lambda most: int(torch.randint(most, (), generator=generator))  # noqa: E731
    start = random_start(len(reader), clip_len=CLIP_LEN, stride=1, draw=draw)
    frames = reader.get_batch(clip_frame_indices(len(reader), clip_len=CLIP_LEN, stride=1, start=start)).asnumpy()
    return torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous()


def index_of(store: Path) -> Any:
    from dfd.data.store.tables import read_index

    index = read_index(store)
    return index[(index["split"] == "train") & index["is_main"]].reset_index(drop=True)


def item_of(item: dict[str, Any]) -> dict[str, Any]:
    """From what is in a shard to the item of a batch. ``number`` is its place in the store."""
    number = int(item["number"])
    frames = torch.zeros(0) if item.get("skip") else decode(item["mp4"], number)
    return {"frames": frames, "label": int(item["label"]), "number": number}


def without_decoding(item: dict[str, Any]) -> dict[str, Any]:
    return item_of({**item, "skip": True})


def plain(folder: Path, num_workers: int, *, decoding: bool) -> Any:
    from dfd.data.clips import dataset as clips
    from dfd.data.clips.module import ClipDataModule

    if not decoding:
        black = np.zeros((CLIP_LEN, 1, 1, 3), np.uint8)
        clips.read_frames = lambda clip, indices: black
    data = ClipDataModule(
        folder / "store", clip_len=CLIP_LEN, batch_size=BATCH_SIZE, num_workers=num_workers, pin_memory=False
    )
    data.setup("fit")
    return data.train_dataloader()


def webdataset(folder: Path, num_workers: int, *, decoding: bool) -> Any:
    import webdataset as wds

    # A worker takes whole shards, and never more workers than shards.
    shards = sorted(str(path) for path in (folder / "webdataset").glob("*.tar"))
    dataset = wds.WebDataset(shards, shardshuffle=len(shards), detshuffle=True, seed=0, empty_check=False)
    dataset = dataset.shuffle(BUFFER).map(lambda one: {"mp4": one["mp4"], **json.loads(one["json"])})
    dataset = dataset.map(item_of if decoding else without_decoding)
    return DataLoader(dataset, batch_size=BATCH_SIZE, num_workers=num_workers)


def litdata(folder: Path, num_workers: int, *, decoding: bool) -> Any:
    from litdata import StreamingDataLoader, StreamingDataset

    dataset = StreamingDataset(
        str(folder / "litdata"), shuffle=True, seed=0, transform=item_of if decoding else without_decoding
    )
    return StreamingDataLoader(dataset, batch_size=BATCH_SIZE, num_workers=num_workers, shuffle=True)


LOADERS = {"plain": plain, "webdataset": webdataset, "litdata": litdata}


def pack(folder: Path) -> None:
    import webdataset as wds
    from litdata import optimize

    index = index_of(folder / "store")
    (folder / "webdataset").mkdir()
    with wds.ShardWriter(
        str(folder / "webdataset" / "%05d.tar"), maxsize=SHARD_BYTES, maxcount=10**9, verbose=0
    ) as out:
        for number, row in index.iterrows():
            facts = json.dumps({"label": int(row["label"] == "fake"), "number": number}).encode()
            out.write({"__key__": f"{number:07}", "mp4": (folder / "store" / row["path"]).read_bytes(), "json": facts})
    rows = [
        (number, str(folder / "store" / path), int(label == "fake"))
        for number, (path, label) in enumerate(zip(index["path"], index["label"], strict=True))
    ]
    optimize(shard_item, rows, str(folder / "litdata"), chunk_bytes=SHARD_BYTES, num_workers=1, keep_data_ordered=True)


def shard_item(row: tuple[int, str, int]) -> dict[str, Any]:
    number, path, label = row
    return {"mp4": Path(path).read_bytes(), "label": label, "number": number}


def measure(name: str, folder: Path, num_workers: int, num_clips: int) -> dict[str, float]:
    import psutil

    for module in ("dfd.data.clips.module", "decord", *([name] if name != "plain" else [])):  # these are not counted
        importlib.import_module(module)
    torch.set_num_threads(1)
    began = time.perf_counter()
    batches = iter(LOADERS[name](folder, num_workers, decoding=True))
    next(batches)
    found = {"first_batch": time.perf_counter() - began}
    for _ in range(25):  # what was fetched ahead does not count
        next(batches)
    seen, began = 0, time.perf_counter()
    while seen < num_clips:
        seen += len(next(batches)["label"])
    found["clips_per_second"] = seen / (time.perf_counter() - began)
    workers = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    found["worker_MB"] = max(child.memory_full_info().uss / 1e6 for child in workers)
    return found


def mixing(name: str, folder: Path) -> float:
    """See above, over an epoch in which nothing is decoded."""
    index = index_of(folder / "store")
    sizes = [(folder / "store" / path).stat().st_size for path in index["path"]]
    shard_of = np.cumsum(sizes) // SHARD_BYTES
    if name == "plain":
        place = {video: number for number, video in enumerate(index["video_id"])}
        order = [place[video] for batch in plain(folder, 1, decoding=False) for video in batch["video_id"]]
    else:
        order = [int(number) for batch in LOADERS[name](folder, 1, decoding=False) for number in batch["number"]]
    assert sorted(order) == sorted(set(order))
    assert len(order) > 0.99 * len(index), (len(order), len(index))

    def met(numbers: Any) -> float:
        parts = np.array_split(shard_of[numbers], len(numbers) // 64)
        return mean(len(set(part.tolist())) for part in parts)

    return met(np.array(order)) / met(np.random.default_rng(0).permutation(len(index)))


def slow_environment(folder: Path, milliseconds: int) -> dict[str, str]:
    source = folder / "slow.c"
    source.write_text(SLOW_C)
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", "-o", str(folder.parent / "slow.so"), str(source), "-ldl"], check=True
    )
    return {"LD_PRELOAD": str(folder.parent / "slow.so"), "SLOW_UNDER": f"{folder}/", "SLOW_MS": str(milliseconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=8000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--latency", type=int, default=0, help="milliseconds that each opening of a file waits")
    parser.add_argument("--workers", default="1", help="comma-separated numbers of worker processes")
    parser.add_argument("--count", type=int, default=600, help="clips to measure clips per second over")
    parser.add_argument("--folder", type=Path, help="keep everything here, and use what is there")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, num_workers = options.measure
        found = (
            {"mixing": mixing(name, options.folder)}
            if num_workers == "mixing"
            else measure(name, options.folder, int(num_workers), options.count)
        )
        print(json.dumps(found))
        return
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from large_store import make_clips, make_store, spread

    base = options.folder or Path(tempfile.mkdtemp(prefix="dfd-shards-"))
    folder = base / "data"
    try:
        if not (folder / "litdata").is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            make_store(make_clips(base), folder / "store", options.clips, link=False)
            pack(folder)
        slow = slow_environment(folder, options.latency) if options.latency else {}
        cases = [(int(num_workers), name) for num_workers in options.workers.split(",") for name in LOADERS]
        results: dict[tuple[int, str], list[dict[str, float]]] = {case: [] for case in cases}
        for _ in range(options.repeats):
            for num_workers, name in cases:
                command = [sys.executable, __file__, "--folder", str(folder), "--count", str(options.count)]
                done = subprocess.run(
                    [*command, "--measure", name, str(num_workers)],
                    env={**os.environ, **slow},
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                results[num_workers, name].append(json.loads(done.stdout.splitlines()[-1]))
        for name in LOADERS if not slow else ():
            command = [sys.executable, __file__, "--folder", str(folder), "--measure", name, "mixing"]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            print(f"mixing of {name}: {json.loads(done.stdout.splitlines()[-1])['mixing']:.2f}")
        print(f"\neach opening waits {options.latency} ms\n")
        print("| workers | read by | first batch, s | clips/s | of the plain files' | worker's own, MB |")
        print("|---" * 6 + "|")
        for (num_workers, name), found in results.items():
            plain_files = results[num_workers, "plain"]
            ratio = [a["clips_per_second"] / b["clips_per_second"] for a, b in zip(found, plain_files, strict=True)]
            cells = [spread([one[key] for one in found]) for key in ("first_batch", "clips_per_second")]
            cells += [spread(ratio), spread([one["worker_MB"] for one in found])]
            print(f"| {num_workers} | {name} | {' | '.join(cells)} |")
    finally:
        if not options.folder:
            shutil.rmtree(base)


if __name__ == "__main__":
    main()
