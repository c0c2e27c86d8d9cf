"""Face tracks: their columns in compact arrays, which the processes of a loader share, and their landmarks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dfd.base.errors import StoreError
from dfd.base.types import FloatArray, Label
from dfd.data.clips.batches import TrackFacts
from dfd.data.store.folders import read_geometry, read_record
from dfd.faces.extract import ExtractionSettings


class _Tracks:
    """Columns of an index that are needed to read clips, as arrays.

    Every worker process holds them. Python objects would take five times the memory, and a forked worker would end up
    with its own copy, since each access writes an object's reference count.
    """

    def __init__(self, rows: pd.DataFrame, frame_files: Mapping[str, Path]) -> None:
        labels = {name: int(Label.parse(name)) for name in rows["label"].unique()}
        self.label = rows["label"].map(labels).to_numpy(np.int8)
        self.num_frames = rows["num_frames"].to_numpy(np.int32)
        self.fps = rows["fps"].to_numpy(np.float64)
        self.track = rows["track"].to_numpy(np.int32)
        self._path, self._video_id = _texts(rows["path"]), _texts(rows["video_id"])
        self._frames_file = _texts(rows["path"].map(lambda path: str(frame_files.get(path, ""))))
        self._dataset, self._datasets = _codes(rows["dataset"])
        self._method, self._methods = _codes(rows["method"])

    def __len__(self) -> int:
        return len(self.label)

    def path(self, position: int) -> str:
        """Path of the clip, relative to the store."""
        return _text(self._path[position])

    def frames_file(self, position: int) -> Path | None:
        """File of the clip's decoded frames, if they are kept."""
        name = _text(self._frames_file[position])
        return Path(name) if name else None

    def video_id(self, position: int) -> str:
        """Id of the track's video."""
        return _text(self._video_id[position])

    def facts(self, position: int) -> TrackFacts:
        """Facts that an item carries about its track."""
        return {
            "label": int(self.label[position]),
            "video_id": self.video_id(position),
            "track": int(self.track[position]),
            "dataset": self._datasets[self._dataset[position]],
            "method": self._methods[self._method[position]],
        }


def read_landmarks(clip: Path, indices: Sequence[int]) -> FloatArray:
    """Landmarks of the face in frames of a store's clip, (T, 5, 2), as fractions of the crop's side.

    Raises:
        StoreError: the clip's geometry or the record of its video is missing or damaged.
    """
    record = read_record(clip.parent)
    faces = record.settings.get("faces") if record else None
    if record is None or not isinstance(faces, dict) or not record.width or not record.height:
        raise StoreError(
            f"{clip.parent}: its record does not say how the faces were cropped, which blending needs; delete it and "
            "run the preprocessing again"
        )
    crop = ExtractionSettings.from_dict(faces).crop
    geometry = read_geometry(clip)
    if len(geometry.landmarks) <= max(indices):
        raise StoreError(
            f"{clip.with_suffix('.npy')}: it is shorter than the clip; delete {clip.parent} and run the preprocessing "
            "again"
        )
    points = np.empty((len(indices), 5, 2), np.float32)
    for i, index in enumerate(indices):
        box, landmarks = geometry.boxes_xyxy[index], geometry.landmarks[index]
        matrix = crop.matrix(box, landmarks, width=record.width, height=record.height)
        points[i] = (landmarks @ matrix[:, :2].T + matrix[:, 2]) / crop.size
    return points


def _texts(column: pd.Series) -> NDArray[np.bytes_]:
    return np.array([text.encode(errors="surrogateescape") for text in column.tolist()], np.bytes_)


def _text(value: bytes) -> str:
    return value.decode(errors="surrogateescape")


def _codes(column: pd.Series) -> tuple[NDArray[np.int32], list[str]]:
    codes, names = pd.factorize(column)
    return codes.astype(np.int32), names.tolist()
