"""``python -m dfd.preprocess``: videos to a store of face-only clips. ``--help`` shows how."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from dfd.config import PreprocessConfig, check, entry_point, options, parse_shard, refusing, target_name
from dfd.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dfd.data.manifest import VideoRow
    from dfd.data.preparation import PreparationSettings
    from dfd.data.store import VideoRecord


@entry_point("preprocess")
def main(cfg: DictConfig) -> None:
    """Make or complete a clip store."""
    config = check(cfg, PreprocessConfig)
    shard = parse_shard(config.shard)

    from pathlib import Path

    from dfd.data.splits import check_fractions

    rows = read_rows(config)
    store = Path(config.store).expanduser()
    with refusing("preprocessing"):
        settings = settings_of(config)
        check_fractions(config.split.fractions)
    statuses = prepare_with_progress(rows, store, settings, config, shard)
    summarize(store)
    print(f"{sum(statuses.values())} videos done; the clip store is {store} (videos.csv: a row per video)")
    if not (statuses["ok"] or statuses["partial"]):
        raise StoreError(f"{store}: no video has a usable face; {store}/videos.csv says why for each")
    print(f"next: python train.py data=clips data.store={store}")


def read_rows(config: PreprocessConfig) -> list[VideoRow]:
    """The rows of the manifest or of the source's folder.

    Raises:
        ConfigError: neither or both are given, or the source is not known.
        ManifestError: every wrong row, named with its line.
    """
    from dfd.config import did_you_mean
    from dfd.data.manifest import read_manifest
    from dfd.data.sources import SOURCES

    if config.manifest and not config.source and not config.root:
        return read_manifest(config.manifest)
    if config.source and config.root and not config.manifest:
        if config.source not in SOURCES:
            raise ConfigError(f"source={config.source}: no such source{did_you_mean(config.source, list(SOURCES))}")
        return SOURCES[config.source](config.root)
    raise ConfigError("say what to prepare: manifest=FILE.csv, or source=folder root=DIR (real/ and fake/ in it)")


def settings_of(config: PreprocessConfig) -> PreparationSettings:
    """The part of the configuration that decides what the clips look like."""
    from dfd.data.preparation import PreparationSettings
    from dfd.faces.extract import ExtractionSettings
    from dfd.video.decode import VideoLimits

    return PreparationSettings(
        face_detector={"name": target_name(config.face_detector), **options(config.face_detector)},
        faces=ExtractionSettings(**config.faces),
        num_frames=config.num_frames,
        fps=config.fps,
        min_track_frames=config.min_track_frames,
        max_decode_side=config.max_decode_side,
        encode=config.encode,
        limits=VideoLimits(**config.limits),
    )


def prepare_with_progress(
    rows: Sequence[VideoRow],
    store: Path,
    settings: PreparationSettings,
    config: PreprocessConfig,
    shard: tuple[int, int],
) -> Counter[str]:
    """:func:`dfd.data.preparation.prepare_store` under a progress bar; failures are printed as they come."""
    from rich.markup import escape

    from dfd.data.preparation import prepare_store
    from dfd.progress import progress_bar

    statuses: Counter[str] = Counter()
    with progress_bar() as bar:
        task = bar.add_task("preparing", total=len(rows[shard[0] :: shard[1]]), note="")

        def on_record(record: VideoRecord) -> None:
            statuses[str(record.status)] += 1
            if not record.status.has_faces:
                bar.console.print(
                    f"[yellow]{record.status}[/] {escape(record.message)}", highlight=False, soft_wrap=True
                )
            note = ", ".join(f"{count} {status}" for status, count in statuses.most_common())
            bar.update(task, advance=1, note=note)

        return prepare_store(
            rows,
            store,
            settings,
            fractions=config.split.fractions,
            seed=config.split.seed,
            num_workers=config.num_workers,
            deadline_seconds=config.deadline_seconds,
            retry_failed=config.retry_failed,
            shard=shard,
            on_record=on_record,
        )


def summarize(store: Path) -> None:
    """What the whole store holds now: videos by status, and clips by split and label."""
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

    videos = pd.read_csv(store / "videos.csv", dtype=str, keep_default_na=False)
    table = Table(title=f"{store}: {len(videos)} videos")
    for name in ("status", "real", "fake", "train", "val", "test", "face tracks"):
        table.add_column(name, justify="left" if name == "status" else "right")
    for status, group in videos.groupby("status"):
        counts = [str((group["label"] == name).sum()) for name in ("real", "fake")]
        counts += [str((group["split"] == name).sum()) for name in ("train", "val", "test")]
        table.add_row(str(status), *counts, str(group["num_tracks"].astype(int).sum()))
    Console().print(table)


if __name__ == "__main__":
    main()
