"""Turn videos into a store of face-only clips: ``python -m dfd.preprocess``."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dfd.base.errors import ConfigError, StoreError
from dfd.base.progress import progress_bar
from dfd.base.types import Label
from dfd.base.words import did_you_mean
from dfd.config.build import build, options, part_name, target_name
from dfd.config.entry import parse_shard, refusing
from dfd.config.schemas import PreprocessConfig
from dfd.data.prepare.audio_only import DEFAULT_THRESHOLD, PairVerdict, compare_with_originals
from dfd.data.prepare.intake import take_in
from dfd.data.prepare.ray import RayPreparation
from dfd.data.prepare.store import Engine, plan_splits, prepare_store
from dfd.data.prepare.video import PreparationSettings
from dfd.data.sources import Listing
from dfd.data.sources.manifest import read_manifest
from dfd.data.sources.row import VideoRow
from dfd.data.splits.draw import check_per_label
from dfd.data.splits.people import SPLIT_MODES, SPLITS, UNUSED, check_fractions
from dfd.data.store.folders import discard_video, video_folder
from dfd.data.store.left_out import write_left_out
from dfd.data.store.records import LEFT_OUT_NAME, VideoRecord
from dfd.faces.extract import ExtractionSettings
from dfd.video.file.container import VideoLimits

logger = logging.getLogger(__name__)


def preprocess(config: PreprocessConfig) -> None:
    """Make or complete the clip store at ``config.store``."""
    shard = parse_shard(config.shard)

    if config.split not in SPLIT_MODES:
        raise ConfigError(f"split={config.split}: no such mode{did_you_mean(config.split, list(SPLIT_MODES))}")
    with refusing("preprocessing"):
        settings = settings_of(config)
        check_fractions(config.split_fractions)
        if config.per_label is not None:
            check_per_label(config.per_label)
        engine = engine_of(config)
    listing = list_videos(config)
    store = Path(config.store).expanduser()
    splits = plan_splits(
        store, listing.rows, mode=config.split, fractions=config.split_fractions, seed=config.split_seed
    )
    rows = choose_with_progress(listing, splits, store, config, shard)
    if not rows and shard == (0, 1):
        raise StoreError(f"{store}: none of {len(listing.rows)} videos is taken; {store}/left_out.csv says why")
    statuses = prepare_with_progress(rows, store, settings, config, engine)
    summarize(store)
    print(f"{sum(statuses.values())} videos done; the clip store is {store} (videos.csv: a row per video)")
    if rows and not (statuses["ok"] or statuses["partial"]):
        failed = statuses["error"] + statuses["timeout"]
        again = f" ({failed} failed for a reason of the moment: mend it, and run again)" if failed else ""
        raise StoreError(f"{store}: no video has a usable face; {store}/videos.csv says why for each{again}")
    data = "clips" if any(row.label is Label.FAKE for row in listing.rows) else "blend"
    print(f"next: python train.py data={data} data.store={store}")


def engine_of(config: PreprocessConfig) -> Engine | None:
    """Where the videos are prepared; None: in processes of this machine.

    Raises:
        ConfigError, ValueError: there is no such engine, or one of its options is refused.
    """
    if config.engine == "local":
        return None
    if config.engine == "ray":
        return RayPreparation(**asdict(config.ray), deadline_seconds=config.deadline_seconds)
    raise ConfigError(f"engine={config.engine} is not one of local, ray")


def list_videos(config: PreprocessConfig) -> Listing:
    """The videos of the manifest or of the data set below ``root``.

    Raises:
        ConfigError: neither or both are given.
        ManifestError: every wrong row, named with its line; or what is wrong with the data set.
    """
    if config.manifest and not config.source and not config.root:
        return Listing(read_manifest(config.manifest), [])
    if config.source and config.root and not config.manifest:
        listing: Listing = build(config.source)(config.root)
        return listing
    raise ConfigError("say what to prepare: manifest=FILE.csv, or source=NAME root=DIR (dfd sources lists them)")


def choose_with_progress(
    listing: Listing, splits: Mapping[str, str], store: Path, config: PreprocessConfig, shard: tuple[int, int]
) -> list[VideoRow]:
    """The videos to prepare; the others are counted by reason, and named in the store's ``left_out.csv``."""
    threshold = DEFAULT_THRESHOLD if config.audio_only.threshold is None else config.audio_only.threshold
    check_audio = config.audio_only.check
    if check_audio is None:
        check_audio = bool(config.source) and target_name(config.source) == "dfdc"
    with progress_bar() as bar:
        task = bar.add_task("comparing fakes with originals", total=None, note="", visible=False)

        def on_pair(verdict: PairVerdict) -> None:
            bar.update(task, advance=1)

        def compare(fakes: Sequence[VideoRow], originals: Mapping[str, Path]) -> list[PairVerdict]:
            bar.update(task, total=(bar.tasks[0].total or 0) + len(fakes), visible=True)
            cache = store / "audio_only.csv"
            return compare_with_originals(fakes, originals, cache, num_workers=config.num_workers, on_pair=on_pair)

        intake = take_in(
            listing.rows,
            splits,
            per_label=config.per_label,
            fractions=config.split_fractions,
            seed=config.split_seed,
            shard=shard,
            audio_only_threshold=threshold if check_audio else None,
            compare=compare,
        )
    left_out = [*listing.left_out, *intake.left_out]
    # Two data sets in one store may both have a notes.txt.
    origin = f"{target_name(config.source)}/" if config.source else ""
    named = [(origin + item.name, item.reason, item.detail) for item in left_out]
    write_left_out(store, named, taken=[origin + row.name for row in intake.rows])
    for row in intake.unaltered:
        discard_video(video_folder(store, row))  # an earlier run may have kept it
    words = "%s is kept, though it could not be compared with %s: %s"
    for verdict in intake.not_compared:
        logger.warning(words, verdict.name, verdict.original, verdict.message)
    for reason, number in Counter(item.reason for item in left_out).most_common():
        example = next(item for item in left_out if item.reason == reason)
        print(f"left out: {number} ({reason}), such as {example.name}: {example.detail}")
    if left_out:
        print(f"all of them are named in {store / LEFT_OUT_NAME}")
    return intake.rows


def settings_of(config: PreprocessConfig) -> PreparationSettings:
    """The part of the configuration that decides what the clips look like."""
    return PreparationSettings(
        face_detector={"name": part_name(config.face_detector, "dfd.faces.detect"), **options(config.face_detector)},
        faces=ExtractionSettings(crop=build(config.crop), **config.faces),
        **{name: getattr(config, name) for name in ("num_frames", "fps", "min_track_frames", "max_decode_side")},
        encode=config.encode,
        stills=config.stills or (bool(config.source) and target_name(config.source) == "stills"),
        limits=VideoLimits(**config.limits),
    )


def prepare_with_progress(
    rows: Sequence[VideoRow],
    store: Path,
    settings: PreparationSettings,
    config: PreprocessConfig,
    engine: Engine | None,
) -> Counter[str]:
    """:func:`dfd.data.prepare.store.prepare_store` under a progress bar; failures are printed as they come."""
    statuses: Counter[str] = Counter()
    with progress_bar() as bar:
        task = bar.add_task("preparing", total=len(rows), note="")

        def on_record(record: VideoRecord) -> None:
            statuses[str(record.status)] += 1
            if not record.status.has_faces:
                line = f"[yellow]{record.status}[/] {escape(record.message)}"
                bar.console.print(line, highlight=False, soft_wrap=True)
            note = ", ".join(f"{count} {status}" for status, count in statuses.most_common())
            bar.update(task, advance=1, note=note)

        return prepare_store(
            rows,
            store,
            settings,
            mode=config.split,
            fractions=config.split_fractions,
            seed=config.split_seed,
            num_workers=config.num_workers,
            deadline_seconds=config.deadline_seconds,
            engine=engine,
            retry_failed=config.retry_failed,
            on_record=on_record,
        )


def summarize(store: Path) -> None:
    """What the whole store holds now: videos by status, and clips by split and label."""
    videos = pd.read_csv(store / "videos.csv", dtype=str, keep_default_na=False)
    table = Table(title=f"{store}: {len(videos)} videos")
    splits = [split for split in (*SPLITS, UNUSED) if split in SPLITS or (videos["split"] == split).any()]
    for name in ("status", "real", "fake", *splits, "face tracks"):
        table.add_column(name, justify="left" if name == "status" else "right")
    for status, group in videos.groupby("status"):
        counts = [str((group["label"] == name).sum()) for name in ("real", "fake")]
        counts += [str((group["split"] == name).sum()) for name in splits]
        table.add_row(str(status), *counts, str(group["num_tracks"].astype(int).sum()))
    Console().print(table)
