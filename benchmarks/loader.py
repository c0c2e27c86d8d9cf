"""How many clips a second the loader's own work gives on one core, and what other formats of the store would give.

    python benchmarks/loader.py STORE [--clips 200] [--repeats 5]

Ten-frame clips of the store's training split, by random draws, in this process: what one worker of the loader does.
First the loader's ways, then ten frames alone as they could be stored and read: the store's H.264 by decord, by dfd's
reader (`data.reader=pyav`), by PyAV as its documentation shows it, and decoded without making RGB of it (the floor for
H.264 files); H.264 as x264 writes it by default;
JPEG of quality 95 without loss of chroma; and raw. `pixels` compares with the first of them. Other files are made in a
temporary folder; raw frames and features stay beside the store, as training leaves them, so what was read before is
read from memory and not from the disk.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Any

import av
import cv2
import numpy as np
import torch
from _measure import parser, ratios, report, shown, take_turns
from av.video.frame import VideoFrame
from torch.utils.data import Dataset

from dfd.base.types import FrameArray
from dfd.data.augment.transforms import clip_augmentation
from dfd.data.clips.arrays import read_entries
from dfd.data.clips.dataset import read_frames
from dfd.data.clips.features import FeatureDataset
from dfd.data.clips.module import ClipDataModule
from dfd.models.classifier import build_model
from dfd.video.encode import write_video

CLIP_LEN = 10
REFERENCE = "the store's H.264, decord"
Reading = Callable[[Path, Sequence[int]], Any]


with_dfd: Reading = partial(read_frames, reader="pyav")


def decoded(clip: Path, indices: Sequence[int]) -> list[VideoFrame]:
    """By PyAV in one thread, as they are in the file (Y, Cb, Cr), and no others but those that they are made from."""
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        assert stream.average_rate is not None
        assert stream.time_base is not None
        per_frame = 1 / (stream.average_rate * stream.time_base)
        start = round(indices[0] * per_frame)
        container.seek(start, stream=stream)
        frames = {}
        for packet in container.demux(stream):
            on_the_way = packet.pts is not None and packet.pts < start
            stream.codec_context.skip_frame = "NONREF" if on_the_way else "DEFAULT"
            frames |= {round((frame.pts or 0) / per_frame): frame for frame in stream.decode(packet)}
            if indices[-1] in frames:
                break
    return [frames[place] for place in indices]


def with_pyav(clip: Path, indices: Sequence[int]) -> FrameArray:
    """As its documentation shows it."""
    frames: FrameArray = np.stack([frame.to_ndarray(format="rgb24") for frame in decoded(clip, indices)])
    return frames


def write_as_x264(file: Path, frames: FrameArray) -> None:
    """With all that makes H.264 small."""
    write_video(file, frames, fps=25, fast_decode=False)


def write_jpegs(file: Path, frames: FrameArray) -> None:
    """One after the other in ``file``; where each begins in ``file.npy``."""
    options = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    encoded = [cv2.imencode(".jpg", frame[..., ::-1], options)[1].tobytes() for frame in frames]
    file.write_bytes(b"".join(encoded))
    np.save(file.with_suffix(".npy"), np.cumsum([0, *map(len, encoded)]))


def read_jpegs(file: Path, indices: Sequence[int]) -> FrameArray:
    """Of these frames, without reading the others."""
    begins = np.load(file.with_suffix(".npy"))
    pictures = np.memmap(file, np.uint8, "r")
    frames = [cv2.imdecode(pictures[begins[i] : begins[i + 1]], cv2.IMREAD_COLOR) for i in indices]
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) for frame in frames]).astype(np.uint8, copy=False)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("store", type=Path)
    options.add_argument("--clips", type=int, default=200)
    arguments = options.parse_args()
    if arguments.quick:
        arguments.repeats, arguments.clips = 1, 4
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)

    def data(**more: Any) -> ClipDataModule:
        return ClipDataModule(arguments.store, clip_len=CLIP_LEN, num_workers=0, **more)

    plain = data().dataset("train", training=True)
    augmented = data(augmentation=clip_augmentation()).dataset("train", training=True)
    with_frames = data()
    frames = with_frames.use_frames()
    frames.fill()
    kept = with_frames.dataset("train", training=True)
    with_frames.augmentation = clip_augmentation()
    kept_augmented = with_frames.dataset("train", training=True)
    backbone = {"_target_": "dfd.models.backbones.timm", "name": "test_resnet", "pretrained": False, "freeze": True}
    model = build_model({"backbone": backbone, "temporal": {"_target_": "dfd.models.temporal.mean"}})
    features = data().use_features(model)
    features.fill()
    items = [(number % len(plain), number) for number in range(arguments.clips)]
    choices = [plain.choose(item) for item in items]

    def load(dataset: Dataset[Any]) -> Callable[[], Any]:
        return lambda: [dataset[item] for item in items]

    with TemporaryDirectory() as folder:
        paths = list({choice.path for choice in choices})
        clips = {path: plain.store / path for path in paths}
        jpegs = {path: Path(folder) / f"{number}.jpgs" for number, path in enumerate(paths)}
        smaller = {path: Path(folder) / f"{number}.mp4" for number, path in enumerate(paths)}
        for path in paths:
            decoded_once = read_frames(clips[path], range(frames.num_frames[path]))
            write_jpegs(jpegs[path], decoded_once)
            write_as_x264(smaller[path], decoded_once)
        raw = {path: frames.files[path] for path in paths}
        stored: dict[str, tuple[dict[str, Path], Reading]] = {
            REFERENCE: (clips, read_frames),
            "the store's H.264, dfd": (clips, with_dfd),
            "the store's H.264, PyAV": (clips, with_pyav),
            "the store's H.264, not made RGB": (clips, decoded),
            "H.264 by x264's defaults, decord": (smaller, read_frames),
            "H.264 by x264's defaults, dfd": (smaller, with_dfd),
            "JPEG, OpenCV": (jpegs, read_jpegs),
            "raw, memory-mapped": (raw, read_entries),
        }

        def read(files: dict[str, Path], reading: Reading) -> Callable[[], Any]:
            return lambda: [reading(files[choice.path], choice.indices) for choice in choices]

        ways = {
            "clips": load(plain),
            "clips, augmented": load(augmented),
            "clips, reader=pyav": load(data(reader="pyav").dataset("train", training=True)),
            "clips, reader=pyav, augmented": load(
                data(reader="pyav", augmentation=clip_augmentation()).dataset("train", training=True)
            ),
            "clips, cache_frames": load(kept),
            "clips, cache_frames, augmented": load(kept_augmented),
            "cached features": load(FeatureDataset(plain, features)),
            **{name: read(*way) for name, way in stored.items()},
        }
        seconds = take_turns(ways, arguments.repeats)
        facts = {name: _facts(*way, frames.num_frames, choices[:20], clips) for name, way in stored.items()}
    rows = [
        [
            name,
            f"{arguments.clips / median(taken):.0f}",
            shown(ratios(seconds[REFERENCE], taken)),
            *facts.get(name, ("", "")),
        ]
        for name, taken in seconds.items()
    ]
    columns = ["way", "clips/s per core", "times " + REFERENCE, "kB per 150 frames", "pixels"]
    report(arguments, "loader", "The loader's work on one core", columns, rows, seconds, frames_per_clip=CLIP_LEN)


def _facts(
    files: dict[str, Path], reading: Reading, num_frames: dict[str, int], choices: Sequence[Any], clips: dict[str, Path]
) -> tuple[str, str]:
    size = mean(file.stat().st_size / num_frames[path] * 150 / 1000 for path, file in files.items())
    differences = [
        np.abs(read - read_frames(clips[choice.path], choice.indices).astype(np.int16)).max()
        for choice in choices
        if isinstance(read := reading(files[choice.path], choice.indices), np.ndarray)
    ]
    if not differences:
        return f"{size:.0f}", ""
    return f"{size:.0f}", {0: "the same", 1: "within 1 of 255"}.get(int(max(differences)), "others")


if __name__ == "__main__":
    main()
