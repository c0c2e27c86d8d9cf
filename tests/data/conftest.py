"""Small clip stores whose frames say what they are: a pixel of frame ``i`` of video ``k`` is (4 * i, 20 * k, 100)."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from dfd.base.files import file_sha256
from dfd.base.types import Label, Status
from dfd.data.sources.row import VideoRow
from dfd.data.store.folders import video_folder, write_geometry, write_record
from dfd.data.store.plan import write_splits
from dfd.data.store.records import TrackGeometry, TrackRecord, VideoRecord, row_fields
from dfd.data.store.tables import build_index

SIZE = 32
SETTINGS: dict[str, Any] = {
    "faces": {"crop_size": SIZE, "margin_fraction": 0.3},
    "face_detector": {"name": "fixed_box"},
    "num_frames": 150,
}


def write_clip(path: Path, number: int, num_frames: int, size: int = SIZE) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv444p"
        stream.options = {"crf": "1", "threads": "1"}
        for index in range(num_frames):
            pixel = np.array([4 * index, 20 * number, 100], np.uint8)
            frame = av.VideoFrame.from_ndarray(np.broadcast_to(pixel, (size, size, 3)).copy(), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def frame_numbers(frames: Any) -> list[int]:
    """Which frames of the video these (T, C, H, W) are."""
    return [round(float(frame[0].float().mean()) / 4) for frame in frames]


def make_row(number: int, **fields: Any) -> VideoRow:
    label = Label(number % 2)
    values = {
        "label": label,
        "dataset": "drawn",
        "method": "swap" if label is Label.FAKE else "",
        "source_ids": (f"person{number}",),
    }
    return VideoRow(Path(f"/videos/{number}.mp4"), f"{number}.mp4", **(values | fields))


def add_video(
    store: Path,
    row: VideoRow,
    number: int,
    *,
    num_frames: int = 30,
    num_tracks: int = 1,
    size: int = SIZE,
    settings: dict[str, Any] = SETTINGS,
) -> VideoRecord:
    folder = video_folder(store, row)
    folder.mkdir(parents=True, exist_ok=True)
    tracks = []
    for track in range(num_tracks):
        write_clip(folder / f"{track}.mp4", number, num_frames, size)
        geometry = TrackGeometry(np.ones((num_frames, 4), np.float32), np.ones((num_frames, 5, 2), np.float32))
        write_geometry(folder, track, geometry)
        sha256 = file_sha256(folder / f"{track}.mp4")
        tracks.append(TrackRecord(track, num_frames, 0, 25.0, size, track == 0, 4, 0.99, 80.0, sha256))
    record = VideoRecord(
        **row_fields(row), status=Status.OK, settings=settings, num_frames=num_frames, tracks=tuple(tracks)
    )
    write_record(store, record)
    return record


def failed_record(row: VideoRow, status: Status, message: str = "") -> VideoRecord:
    return VideoRecord(**row_fields(row), status=status, settings=SETTINGS, message=message)


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve videos of 30 frames with two faces each, 8 in train, 2 in val and 2 in test. Not to be changed."""
    store = tmp_path_factory.mktemp("stores") / "small"
    splits = {}
    for number in range(12):
        row = make_row(number)
        splits[row.video_id] = "train" if number < 8 else "val" if number < 10 else "test"
        add_video(store, row, number, num_tracks=2)
    write_splits(store, splits)
    build_index(store)
    return store
