"""Resumable preparation of many videos into one clip store."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from dfd.base.errors import ManifestError, SplitError
from dfd.base.machine import hold_to_one_core, limit_tasks, num_cores
from dfd.base.types import Status
from dfd.data.leaks.find import find_leaks
from dfd.data.leaks.joining import find_same_content
from dfd.data.prepare.video import DEADLINE_SECONDS, PreparationSettings, describe_video, prepare_video
from dfd.data.sources.row import VideoRow
from dfd.data.splits.assign import assign_splits
from dfd.data.splits.people import DEFAULT_FRACTIONS, RANDOM_VIDEO, SOURCE
from dfd.data.store import folders, records
from dfd.data.store.plan import SplitPlan, known_videos, read_split_plan, read_splits, write_split_plan, write_splits
from dfd.data.store.records import INDEX_NAME, PLAN_NAME, SPLITS_NAME, IndexVideo, VideoRecord
from dfd.data.store.tables import build_index, index_videos, is_incomplete
from dfd.faces.detect import build_detector
from dfd.process.failure import Failure
from dfd.process.pool import WorkerPool

# Temporary failures, such as a killed worker or a machine too busy for the deadline; they are tried again.
TRANSIENT = (Status.ERROR, Status.TIMEOUT, Status.MISSING)

logger = logging.getLogger(__name__)


Engine = Callable[[Sequence[VideoRow], Path, PreparationSettings], Iterator[tuple[VideoRow, VideoRecord | Failure]]]
"""Function that prepares videos into the store, wherever :func:`prepare_task` runs, and yields the result of each."""

_worker: dict[str, Any] = {}
"""Objects that a worker process builds once."""


def start_worker(store: Path, settings: PreparationSettings) -> None:
    """Initialise a worker process for :func:`prepare_task`."""
    hold_to_one_core()
    _worker["arguments"] = (store, settings, build_detector(**settings.face_detector))
    on_cpu = str(settings.face_detector.get("device", "cpu")) == "cpu"
    limit_tasks(settings.limits.task_bytes if on_cpu else None)


def prepare_task(row: VideoRow) -> VideoRecord:
    """Prepare one video in a worker process.

    Calls :func:`~dfd.data.prepare.video.prepare_video`, or :func:`~dfd.data.prepare.video.describe_video` if only the
    fingerprint is missing.
    """
    store, settings, detector = _worker["arguments"]
    folder = folders.video_folder(store, row)
    record = folders.read_record(folder)
    if (
        record
        and is_incomplete(record)
        and folders.is_current(store, record, row, records.settings_hash(settings.as_dict()))
    ):
        return describe_video(record.with_row(row), row, folder, settings)
    return prepare_video(row, store, settings, detector)


def prepare_here(
    rows: Sequence[VideoRow],
    store: Path,
    settings: PreparationSettings,
    *,
    num_workers: int | None,
    deadline_seconds: float,
) -> Iterator[tuple[VideoRow, VideoRecord | Failure]]:
    """Prepare videos on this machine with a pool of worker processes, by default one per core; an :data:`Engine`."""
    with WorkerPool(
        num_workers=min(num_workers or num_cores(), len(rows)),
        deadline_seconds=deadline_seconds,
        initializer=start_worker,
        initargs=(store, settings),
    ) as pool:
        yield from pool.map(prepare_task, rows)


def plan_splits(
    store: str | Path,
    rows: Sequence[VideoRow],
    *,
    mode: str = SOURCE,
    fractions: Sequence[float] = DEFAULT_FRACTIONS,
    seed: int = 0,
) -> dict[str, str]:
    """Freeze the split of every row in the store; returns the splits of all the store's videos by ``video_id``.

    ``rows`` may include videos that will not be prepared, so that later choices do not change any split. Frozen splits
    stay, and tie new rows to a side. The arguments are those of :func:`dfd.data.splits.assign.assign_splits`;
    ``extra["official_split"]`` of a row is the split given by the data set's owners.

    Videos with equal content count as one source, unless ``mode`` is random_video. So do near copies found by an
    earlier preparation, if nothing is frozen and ``mode`` is source.

    Raises:
        ManifestError: equal files have two labels.
        SplitLeak: the rows and the store's videos would put one person, or equal videos, on two sides.
        SplitError: the store was divided in another mode, or a data set has no official split.
    """
    store = Path(store)
    plan, earlier_plan = SplitPlan(mode, tuple(fractions), seed), read_split_plan(store)
    frozen = read_splits(store)
    earlier_mode = earlier_plan.mode if earlier_plan else SplitPlan().mode if frozen else mode
    if mode != earlier_mode:
        raise SplitError(
            f"{store}: its videos were divided with split={earlier_mode}, and this run asks for split={mode}; to "
            f"divide them again, delete {SPLITS_NAME} and {PLAN_NAME} there (the clips stay) and run this again"
        )
    # Videos of earlier manifests tie their people to a side; rows of this manifest replace their own records.
    ids = {row.video_id for row in rows}
    others = folders.read_records(store, but=ids)
    earlier = known_videos(store, others)
    same = find_same_content(store, rows, others)
    official = {video.video_id: video.official_split for video in earlier if video.official_split}
    official |= {row.video_id: row.extra["official_split"] for row in rows if row.extra.get("official_split")}
    names = {record.video_id: record.name for record in others} | {row.video_id: row.name for row in rows}
    videos: list[IndexVideo | VideoRow] = [*earlier, *rows]
    if mode != RANDOM_VIDEO:
        same.refuse_divided(store, {v.video_id: frozen.get(v.video_id) or v.split for v in videos}, names)
        ties = same.source_ids(names, with_near=mode == SplitPlan().mode and not frozen)
        videos = [replace(v, source_ids=(*v.source_ids, *ties.get(v.video_id, ()))) for v in videos]
    splits = assign_splits(videos, fractions=fractions, seed=seed, frozen=frozen, mode=mode, official=official)
    if mode != RANDOM_VIDEO:
        same.refuse_divided(store, splits, names)
    num_new = len(splits.keys() - frozen.keys())
    if earlier_plan and plan != earlier_plan:
        logger.warning(
            f"{store}: {len(frozen)} videos keep their splits, made by fractions {list(earlier_plan.fractions)} with "
            f"seed {earlier_plan.seed}; {num_new} new ones are placed by {list(plan.fractions)} with seed {seed}. To "
            f"divide all videos again, delete {SPLITS_NAME} and {PLAN_NAME} there (the clips stay) and run this again"
        )
    if num_new and plan != earlier_plan:
        # Written before the splits: splits without a plan would be taken for mode source.
        write_split_plan(store, plan)
    if num_new:
        write_splits(store, frozen | splits)
    return splits


def prepare_store(
    rows: Sequence[VideoRow],
    store: str | Path,
    settings: PreparationSettings,
    *,
    mode: str = SOURCE,
    fractions: Sequence[float] = DEFAULT_FRACTIONS,
    seed: int = 0,
    num_workers: int | None = None,
    deadline_seconds: float = DEADLINE_SECONDS,
    engine: Engine | None = None,
    retry_failed: bool = False,
    shard: tuple[int, int] = (0, 1),
    on_record: Callable[[VideoRecord], None] | None = None,
) -> Counter[str]:
    """Create or complete a clip store; returns the number of this shard's videos by status.

    Work that an earlier run committed with the same settings is kept. Temporary failures are tried again; unreadable
    videos and those without a face only with ``retry_failed``. ``on_record`` is called with each record as it is
    committed, kept records first. All ``rows`` are prepared, including those in no split. The default ``engine`` is
    :func:`prepare_here` with ``num_workers`` and ``deadline_seconds``.

    Raises:
        ManifestError, SplitLeak, SplitError: as in :func:`plan_splits`, and if copies found by decoding have two labels
            or are in two splits.
        DfdError: the engine cannot continue; finished work is kept.
    """
    store = Path(store)
    plan_splits(store, rows, mode=mode, fractions=fractions, seed=seed)
    waiting: list[VideoRow] = []
    undescribed: dict[str, VideoRecord] = {}
    counts: Counter[str] = Counter()

    def commit(record: VideoRecord) -> None:
        counts[str(record.status)] += 1
        if on_record:
            on_record(record)

    digest = records.settings_hash(settings.as_dict())
    for row in sorted(rows, key=lambda row: row.video_id)[shard[0] :: shard[1]]:
        record = folders.read_record(folders.video_folder(store, row))
        again = record is not None and (record.status in TRANSIENT or (retry_failed and not record.status.has_faces))
        if record is None or again or not folders.is_current(store, record, row, digest):
            waiting.append(row)
            continue
        current = record.with_row(row)
        if current != record:  # the manifest was corrected; the clips stay
            (store / INDEX_NAME).unlink(missing_ok=True)
            folders.write_record(store, current)
        folders.clean_video_folder(folders.video_folder(store, row))
        if is_incomplete(current):
            undescribed[row.video_id] = current
            waiting.append(row)
        else:
            commit(current)
    if undescribed:
        logger.info("%s: %d videos of an earlier dfd are read again for their fingerprints", store, len(undescribed))
    run = engine or partial(prepare_here, num_workers=num_workers, deadline_seconds=deadline_seconds)
    try:
        if waiting:
            (store / INDEX_NAME).unlink(missing_ok=True)  # until the end it would mix old and new videos
            for row, result in run(waiting, store, settings):
                record = _record_of(result, row, store, settings, undescribed.get(row.video_id))
                folders.write_record(store, record)
                commit(record)
    finally:
        index = build_index(store)
    _check_content(store, index_videos(index), rows, mode)
    return counts


def _check_content(store: Path, videos: Sequence[IndexVideo], rows: Sequence[VideoRow], mode: str) -> None:
    """Check for copies that only decoding reveals: equal frames and near copies.

    Raises:
        ManifestError: videos with equal frames have two labels; those among ``rows`` are removed from the store.
        SplitLeak: copies are in two splits, although ``mode`` rules that out.
    """
    findings = find_leaks(store, videos)
    if findings.contradictions:
        by_id = {row.video_id: row for row in rows}
        for finding in findings.contradictions:
            for video_id in {finding.copy.video_id, finding.copy.copy_id} & by_id.keys():
                folders.discard_video(folders.video_folder(store, by_id[video_id]))
        build_index(store)
        raise ManifestError(
            f"{store}: equal videos have two labels and are not kept; leave the wrong one of each pair out (if an "
            "earlier run prepared it, delete its folder in the store). If only the sound of a fake was altered, "
            "audio_only.check=true leaves it out",
            [str(finding) for finding in findings.contradictions],
        )
    if findings.caveat:
        logger.warning("%s: %s", store, findings.caveat)
    findings.check(store, mode)


def _record_of(
    result: VideoRecord | Failure,
    row: VideoRow,
    store: Path,
    settings: PreparationSettings,
    undescribed: VideoRecord | None,
) -> VideoRecord:
    if isinstance(result, VideoRecord):
        return result
    if undescribed is not None:
        # The clips are good; only reading the source again failed.
        logger.warning("%s: no fingerprint, so copies of it cannot be found (%s)", row.name, result.message)
        return undescribed
    folders.discard_video(folders.video_folder(store, row))
    return VideoRecord(
        **records.row_fields(row),
        status=result.status,
        settings=settings.as_dict(),
        message=result.message,
        size_bytes=folders.file_size(row.path),
    )
