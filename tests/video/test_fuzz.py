"""Damage done to sound videos, and what is said of it. The oracle is the sound video, not what FFmpeg marks."""

import collections
from pathlib import Path

import numpy as np
import psutil
import pytest

from dfd.base.errors import UnreadableVideo, VideoTooLarge
from dfd.base.types import Status
from dfd.faces.crop import Square
from dfd.faces.extract import ExtractionSettings
from dfd.faces.found import WindowsEnd, WindowSettings
from dfd.process.failure import Failure
from dfd.scoring.look.workers import numbered_windows_task, start_worker, worker_pool
from dfd.video.decode import VideoReader
from tests.video.mutations import DAMAGES, KINDS, damaged, make, visible_difference

VISIBLE = 10.0
SEEDS = range(3)
# Damage that no decoder of FFmpeg tells of, as the files hold nothing to tell it by: entropy coding without redundancy
# in files without checksums. So many of a kind's files may be shown wrong and called ok; all others may not.
SILENT = {"hevc.mp4": 10, "vp8.webm": 11, "mjpeg.avi": 7}


def frames_of(path: Path) -> tuple[dict[int, np.ndarray], str | None]:
    """The frames by their time in milliseconds, and what is said of them."""
    found = {}
    with VideoReader(path) as reader:
        for start, frames in reader.chunks():
            for index, frame in enumerate(frames, start):
                found[round(1000 * reader.timestamps([index])[0])] = frame
        return found, reader.partial


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_no_frame_that_visibly_differs_is_shown_without_a_word(tmp_path: Path, name: str) -> None:
    sound = make(tmp_path, name)
    originals, partial = frames_of(sound)
    assert partial is None, "a sound file is not called damaged"
    data = sound.read_bytes()
    file = tmp_path / f"damaged_{name}"
    silent = []
    for kind in DAMAGES:
        for seed in SEEDS:
            file.write_bytes(damaged(data, kind, f"{name} {kind} {seed}"))
            try:
                found, partial = frames_of(file)
            except (UnreadableVideo, VideoTooLarge):
                continue
            if partial is None:
                worst = max(
                    min((visible_difference(frame, other) for other in _near(originals, time)), default=255.0)
                    for time, frame in found.items()
                )
                if worst > VISIBLE:
                    silent.append((kind, seed, round(worst)))
    assert len(silent) <= SILENT.get(name, 1), silent


def _near(originals: dict[int, np.ndarray], time: int) -> list[np.ndarray]:
    """The original's frame at this time, give or take what a container rounds; all where it has none there."""
    exact = [frame for at, frame in originals.items() if abs(at - time) <= 2]
    return exact or list(originals.values())


@pytest.mark.slow
def test_every_damaged_file_gets_a_row_within_bounds(tmp_path: Path) -> None:
    paths = []
    for name in KINDS:
        sound = make(tmp_path, name)
        data = sound.read_bytes()
        for kind in DAMAGES:
            paths.append(tmp_path / f"{kind}_{name}")
            paths[-1].write_bytes(damaged(data, kind, f"row {name} {kind}"))
        paths.append(sound)
    ends: collections.Counter[Path] = collections.Counter()
    statuses: collections.Counter[Status] = collections.Counter()
    peak = 0
    settings = WindowSettings(clip_len=2)
    with worker_pool(2, deadline_seconds=60, stall_seconds=30, batch_size=8, detector="fixed_box") as pool:
        pool.prepare(start_worker, {"name": "fixed_box"}, ExtractionSettings(crop=Square(size=64)), settings)
        for (_, path), item in pool.stream(numbered_windows_task, enumerate(paths)):
            peak = max(
                [peak, *(child.memory_info().rss for child in psutil.Process().children() if child.is_running())]
            )
            if isinstance(item, Failure):
                ends[path] += 1
                statuses[item.status] += 1
            elif isinstance(item, WindowsEnd):
                ends[path] += 1
                if path.name in KINDS:
                    assert item.partial is None, f"{path.name} is sound: {item.partial}"
    assert ends == collections.Counter(paths)
    assert set(statuses) <= {Status.UNREADABLE, Status.TOO_LARGE, Status.NO_FACE}, statuses
    assert peak < 700 * 2**20
