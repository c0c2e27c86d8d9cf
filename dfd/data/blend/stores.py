"""Pseudo-fakes as a store: the fakes that ``data=blend`` makes, written as clips beside their reals.

Every experiment on labelled clips can then be tried without a set of fakes: ``method`` says the family, and a fake has
the split and the sources of its real video, so no person is on two sides. Real and fake clips are encoded alike, once
more than the store that they come from.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dfd.base.errors import StoreError
from dfd.base.files import commit, file_sha256, partial_of
from dfd.base.machine import hold_to_one_core, num_cores
from dfd.base.types import FloatArray, FrameArray, Label, Status
from dfd.data.blend.families import FAMILIES, Blends
from dfd.data.blend.geometry import moving_still
from dfd.data.clips.dataset import CLIP_LEN, read_whole
from dfd.data.clips.tracks import read_landmarks
from dfd.data.copies.content import FrameWatcher
from dfd.data.sources.row import VideoRow
from dfd.data.splits.people import SPLITS
from dfd.data.store.folders import (
    discard_video,
    read_geometry,
    read_record,
    read_records,
    video_folder,
    write_geometry,
    write_record,
)
from dfd.data.store.plan import SplitPlan, read_split_plan, read_splits, write_split_plan, write_splits
from dfd.data.store.records import INDEX_NAME, TrackGeometry, TrackRecord, VideoRecord
from dfd.data.store.tables import build_index
from dfd.faces.extract import ExtractionSettings
from dfd.process.failure import Failure
from dfd.process.pool import WorkerPool
from dfd.video.encode import VideoWriter

DEADLINE_SECONDS = 600.0
"""The most that the fakes of one video may take."""
BLENDS_KEY = "blends"
"""Key of the settings of fakes in the settings of a record; see :func:`dfd.data.clips.index.summary_of`."""


@dataclass(frozen=True, slots=True)
class BlendStoreSettings:
    """Settings of a store of pseudo-fakes.

    Args:
        families: names in :data:`dfd.data.blend.families.FAMILIES`; each makes one fake of every real video.
        blends: settings of the families.
        num_frames: first frames of each clip that are used; None: all.
        still_frames: frames of the clip that a photograph becomes.
        seed: seed of the draws, which otherwise depend only on the video and the family.

    Raises:
        ValueError: a value is out of range; the message names it.
    """

    families: tuple[str, ...]
    blends: Blends
    num_frames: int | None = None
    still_frames: int = CLIP_LEN
    seed: int = 0

    def __post_init__(self) -> None:
        if unknown := [name for name in self.families if name not in FAMILIES]:
            raise ValueError(f"families: there is no {unknown[0]!r}, only {', '.join(FAMILIES)}")
        if not self.families or len(set(self.families)) < len(self.families):
            raise ValueError(f"families must be different names, got {', '.join(self.families) or 'none'}")
        for name, value in {"num_frames": self.num_frames, "still_frames": self.still_frames}.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values with all settings of the families, for the records and their hash."""
        own = {name: asdict(self.blends.settings[name]) for name in self.families}
        return {"families": own, **{name: getattr(self, name) for name in ("num_frames", "still_frames", "seed")}}


def write_blends(
    store: str | Path,
    output: str | Path,
    settings: BlendStoreSettings,
    *,
    num_workers: int | None = None,
    on_video: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, int]:
    """Create or complete a store with the real videos of another one and fakes made from them.

    Only the main face of each video is used. What an earlier run committed with the same settings and clips is kept.

    Args:
        store: store with real videos; its fakes are left aside.
        output: folder of the new store.
        settings: which fakes are made, and how.
        num_workers: number of processes; None for one per core.
        on_video: called with the number of finished real videos and that of all.

    Returns:
        Number of videos of the new store by method; real ones under ``""``.

    Raises:
        StoreError: there is nothing to make fakes from, the output holds something else, or a clip cannot be read;
            finished work is kept.
    """
    store, output = Path(store), Path(output)
    splits = read_splits(store)
    records = [r for r in read_records(store) if r.label is Label.REAL and r.status.has_faces]
    records = [record for record in records if splits.get(record.video_id) in SPLITS]
    if not records:
        raise StoreError(f"{store}: it holds no real video with a face and a split to make fakes from")
    _refuse_other(store, output, records, settings)
    output.mkdir(parents=True, exist_ok=True)
    write_split_plan(output, read_split_plan(store) or SplitPlan())
    rows: dict[str, list[VideoRecord | VideoRow]]
    rows = {record.video_id: [record, *(_fake_of(record, name) for name in settings.families)] for record in records}
    write_splits(output, {one.video_id: splits[source] for source, made in rows.items() for one in made})
    waiting = [record for record in records if not _is_done(store, output, rows[record.video_id], settings)]
    on_video(len(records) - len(waiting), len(records))
    failures = []
    try:
        if waiting:
            (output / INDEX_NAME).unlink(missing_ok=True)  # until the end it would not name all videos
            workers = min(num_workers or num_cores(), len(waiting))
            with WorkerPool(
                num_workers=workers,
                deadline_seconds=DEADLINE_SECONDS,
                initializer=_start_worker,
                initargs=(store, output, settings),
            ) as pool:
                results = pool.map(_blend_task, [record.video_id for record in waiting])
                for number, (_, made) in enumerate(results, len(records) - len(waiting) + 1):
                    if isinstance(made, Failure):
                        failures.append(made.message)
                    else:
                        for record in made:
                            write_record(output, record)
                    on_video(number, len(records))
    finally:
        build_index(output)
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise StoreError(
            f"{output}: fakes of {len(failures)} videos are missing: {failures[0]}{more}; what is done stays"
        )
    return dict.fromkeys(("", *(FAMILIES[name].method for name in settings.families)), len(records))


def _refuse_other(store: Path, output: Path, records: Iterable[VideoRecord], settings: BlendStoreSettings) -> None:
    """Raise a StoreError for an output that is the store itself, or that holds videos made in another way."""
    if output.resolve() == store.resolve():
        raise StoreError(f"{output}: the fakes need a store of their own; give another output")
    digests = {replace(record, settings=_settings_of(record, settings)).settings_hash for record in records}
    if others := [record for record in read_records(output) if record.settings_hash not in digests]:
        raise StoreError(
            f"{output}: it holds {len(others)} videos that were made in another way, such as {others[0].name!r}; give "
            "another output, or the settings that it was made with"
        )


def _settings_of(record: VideoRecord, settings: BlendStoreSettings) -> dict[str, Any]:
    return {**record.settings, BLENDS_KEY: settings.as_dict()}


def _fake_of(record: VideoRecord, family: str) -> VideoRow:
    """Row of the fake that a family makes from a real video; not a file that is there."""
    method = FAMILIES[family].method
    name = f"{record.name}+{method}"
    return VideoRow(Path(name), name, Label.FAKE, record.dataset, method, record.source_ids, extra=record.extra)


def _is_done(store: Path, output: Path, rows: Sequence[VideoRecord | VideoRow], settings: BlendStoreSettings) -> bool:
    """Whether the real clip and the fakes are there, made with these settings from the clip that is there now."""
    source = rows[0]
    assert isinstance(source, VideoRecord)
    wanted = replace(source, settings=_settings_of(source, settings)).settings_hash
    for row in rows:
        folder = video_folder(output, row)
        record = read_record(folder)
        if record is None or record.settings_hash != wanted or record.sha256 != _source_sha256(source, row):
            return False
        if not all((folder / name).is_file() for track in record.tracks for name in (track.file, track.geometry_file)):
            return False
    return True


def _source_sha256(source: VideoRecord, row: VideoRecord | VideoRow) -> str:
    """Hash of what a clip is made from: that of the source's main clip, which differs between methods."""
    track = _main(source)
    return f"{zlib.crc32(row.method.encode()):08x}{track.sha256[8:]}" if track.sha256 else ""


def _main(record: VideoRecord) -> TrackRecord:
    return next(track for track in record.tracks if track.is_main)


_worker: dict[str, Any] = {}
"""Arguments of a worker process."""


def _start_worker(store: Path, output: Path, settings: BlendStoreSettings) -> None:
    hold_to_one_core()
    _worker["arguments"] = (store, output, settings, {r.video_id: r for r in read_records(store)})


def _blend_task(video_id: str) -> list[VideoRecord]:
    """Write the clips of one real video and its fakes, in a worker process; the caller commits the records."""
    store, output, settings, records = _worker["arguments"]
    return blend_video(store, output, records[video_id], settings)


def blend_video(store: Path, output: Path, record: VideoRecord, settings: BlendStoreSettings) -> list[VideoRecord]:
    """Write the real clip and a fake of each family; returns their records, which are not written yet.

    The real clip is that of the first family's pair, which is as often an altered view as what the fakes are blended
    into.

    Raises:
        StoreError: the clip or its geometry cannot be read.
    """
    track = _main(record)
    clip = video_folder(store, record) / track.file
    num_frames = min(track.num_frames, settings.num_frames or track.num_frames)
    frames = read_whole(clip, track.num_frames)[:num_frames]
    geometry = read_geometry(clip)
    geometry = TrackGeometry(geometry.boxes_xyxy[:num_frames], geometry.landmarks[:num_frames])
    landmarks = read_landmarks(clip, range(num_frames)) * frames.shape[1]
    if track.num_frames == 1:
        rng = np.random.default_rng(_seed(record, "still", settings))
        frames, landmarks = moving_still(frames[0], landmarks[0], settings.still_frames, rng)
        geometry = _moved(record, geometry, landmarks)
    made: list[VideoRecord] = []
    for family in settings.families:
        rng = np.random.default_rng(_seed(record, family, settings))
        pair = settings.blends.make(family, frames, landmarks, rng)
        if not made:
            made.append(_written(output, record, record, pair.real, geometry, settings))
        made.append(_written(output, _fake_of(record, family), record, pair.fake, geometry, settings))
    return made


def _seed(record: VideoRecord, what: str, settings: BlendStoreSettings) -> int:
    return zlib.crc32(f"{record.video_id}/{what}/{settings.seed}".encode())


def _moved(record: VideoRecord, geometry: TrackGeometry, landmarks: FloatArray) -> TrackGeometry:
    """Geometry of a moved photograph: its box, and the landmarks in pixels of the photograph as it would have to be.

    A crop that is aligned by the landmarks themselves would be another one with moved landmarks, and keeps them.
    """
    crop = ExtractionSettings.from_dict(record.settings["faces"]).crop
    size: Mapping[str, int] = {"width": record.width or crop.size, "height": record.height or crop.size}
    box, points = geometry.boxes_xyxy[0], geometry.landmarks[0]
    matrix = crop.matrix(box, points, **size)
    back = np.linalg.inv(matrix[:, :2])
    moved = (landmarks - matrix[:, 2]) @ back.T
    if not np.allclose(crop.matrix(box, moved[0], **size), matrix):
        moved = np.repeat(points[None], len(landmarks), axis=0)
    return TrackGeometry(np.repeat(box[None], len(landmarks), axis=0), moved.astype(np.float32))


def _written(
    output: Path,
    row: VideoRecord | VideoRow,
    source: VideoRecord,
    frames: FrameArray,
    geometry: TrackGeometry,
    settings: BlendStoreSettings,
) -> VideoRecord:
    """Write a clip and its geometry; returns the record that commits them."""
    folder, main = video_folder(output, row), _main(source)
    discard_video(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "0.mp4"
    partial = partial_of(path)
    watcher = FrameWatcher(main.fps)
    encode: Mapping[str, Any] = source.settings.get("encode", {})
    with VideoWriter(partial, width=frames.shape[2], height=frames.shape[1], fps=main.fps, **encode) as writer:
        for _, shown in watcher.watch([(0, frames)]):
            writer.write(shown)
    commit(partial, path)
    write_geometry(folder, 0, geometry)
    track = replace(main, track=0, num_frames=len(frames), sha256=file_sha256(path))
    return replace(
        source,
        **{name: getattr(row, name) for name in ("video_id", "name", "label", "method")},
        status=Status.OK,
        message="",
        settings=_settings_of(source, settings),
        num_frames=len(frames),
        tracks=(track,),
        sha256=_source_sha256(source, row),
        fingerprint=watcher.fingerprint(),
    )
