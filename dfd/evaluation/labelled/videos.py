"""Videos with known labels: of a clip store, or of a manifest without a store."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from dfd.base.errors import ConfigError, ManifestError, StoreError
from dfd.base.types import Label
from dfd.data.clips.dataset import eval_stride
from dfd.data.clips.module import ClipDataModule
from dfd.data.sources.manifest import _cells, _parse_row, _read_text
from dfd.data.sources.row import VideoRow
from dfd.data.splits.people import ALL, SPLITS
from dfd.data.store.folders import read_record, read_records
from dfd.data.store.plan import SplitPlan, read_split_plan
from dfd.data.store.records import RECORD_NAME, VIDEOS_NAME
from dfd.evaluation.labelled.measured import SEGMENTS, Window
from dfd.video.sampling import window_starts


def labels_of_store(store: Path, split: str) -> pd.DataFrame:
    """Labelled videos of a split, with or without a face.

    Columns: ``video_id, name, dataset, method, label`` (0 or 1), ``source_ids, split, fps`` (nan: unknown).

    Raises:
        StoreError: there is no such store, or no video in the split.
    """
    path = store / VIDEOS_NAME
    if not path.is_file():
        raise StoreError(f"{store}: it has no {VIDEOS_NAME}, so it is no finished clip store; run dfd preprocess")
    videos = pd.read_csv(path, dtype=str, keep_default_na=False)
    chosen = videos[videos["split"].isin(SPLITS if split == ALL else [split])]
    if chosen.empty:
        raise StoreError(f"{store}: no video in split {split!r}; choose another split")
    kept = chosen[["video_id", "name", "dataset", "method", "source_ids", "split"]]
    fps = pd.to_numeric(chosen["fps"], errors="coerce")
    return kept.assign(label=[int(Label.parse(name)) for name in chosen["label"]], fps=fps).reset_index(drop=True)


def split_mode(store: str | Path) -> str:
    """Mode by which a store was divided."""
    return (read_split_plan(store) or SplitPlan()).mode


def labels_of_manifest(path: Path, split: str) -> pd.DataFrame:
    """Labelled videos of a manifest, whose files need not exist, in the columns of :func:`labels_of_store`.

    Further columns of the manifest are kept. A manifest without splits is used whole, whatever ``split`` says.

    Raises:
        ManifestError: the manifest is invalid, or no row is in the split.
    """
    rows = read_labels(path)
    if any(row.split for row in rows) and split != ALL:
        rows = [row for row in rows if row.split == split]
        if not rows:
            raise ManifestError(path, [f"no row is in split {split!r}; give another split, or split=all"])
    known = [
        {
            **{"video_id": row.video_id, "name": row.name, "dataset": row.dataset, "method": row.method},
            **{"source_ids": ";".join(row.source_ids), "split": row.split, "label": int(row.label)},
            **{key: value for key, value in row.extra.items() if key not in ("windows", "prob_fake", "video_id")},
        }
        for row in rows
    ]
    table = pd.DataFrame(known)
    fps = pd.to_numeric(table["fps"], errors="coerce") if "fps" in table else float("nan")
    return table.assign(fps=fps)


def with_manifest_columns(table: pd.DataFrame, store: Path, names: Sequence[str]) -> pd.DataFrame:
    """The table with columns that the store kept from its manifest, such as ``skin_tone``.

    Raises:
        ConfigError: no video of the store has such a column.
    """
    names = [name for name in names if name not in table]
    if not names:
        return table
    extras = {record.video_id: record.extra for record in read_records(store)}
    there = sorted({key for extra in extras.values() for key in extra})
    for name in names:
        if name not in there:
            kept = f"it kept {', '.join(there)}" if there else "it kept none"
            raise ConfigError(
                f"{store}: no video has the manifest column {name!r} ({kept}); add it to the manifest and run dfd "
                "preprocess again with this store: the clips stay"
            )
        table = table.assign(**{name: [extras.get(video, {}).get(name, "") for video in table["video_id"]]})
    return table


def with_labels(table: pd.DataFrame, data: ClipDataModule, split: str, groups: Sequence[str] = ()) -> pd.DataFrame:
    """Add to the result of :func:`~dfd.evaluation.splits.scored_videos` what else can be measured.

    Adds ``source_ids``, ``split``, ``windows`` in place of ``window_probs``, the manifest columns ``groups``, and the
    labelled segments where the store's manifest had them.

    Raises:
        ConfigError: no video of the store has a column of ``groups``.
    """
    table = with_manifest_columns(table, data.store, groups)
    main = data.index[data.index["is_main"]].set_index("video_id")
    of_video = {name: table["video_id"].map(main[name]).fillna("") for name in ("source_ids", "split")}
    if split != ALL:
        of_video["split"] = pd.Series(split, index=table.index)
    with_times = not data.summary().get("blend") and has_segments(data.store)
    if with_times:
        table = with_manifest_columns(table, data.store, [SEGMENTS])
    probs = dict(zip(table["video_id"], table.pop("window_probs"), strict=True)) if "window_probs" in table else {}
    known = {video: tracks for video, tracks in probs.items() if isinstance(tracks, list)}
    if known:
        windows = timed_windows(data, split, known, with_times=with_times)
        of_video["windows"] = pd.Series([windows.get(video) for video in table["video_id"]], dtype=object)
    return table.assign(**of_video)


def has_segments(store: Path) -> bool:
    """Whether the store's manifest had a column of labelled segments; all its records have the same columns."""
    first = next(store.glob(f"*/*/{RECORD_NAME}"), None)
    record = None if first is None else read_record(first.parent)
    return record is not None and SEGMENTS in record.extra


def timed_windows(
    data: ClipDataModule, split: str, probs: Mapping[str, Sequence[Sequence[float]]], *, with_times: bool
) -> dict[str, list[Window]]:
    """Windows of each video, in seconds of the source where ``with_times``.

    Args:
        data: data module after set-up, whose evaluation loader gave the windows.
        split: the split that was scored.
        probs: probabilities of the windows of each track, by video, in the loader's order.
        with_times: whether to look up where in the video each track begins, in the records.
    """
    if not with_times:
        return {video: [(None, None, prob) for track in tracks for prob in track] for video, tracks in probs.items()}
    rows = data.index if data.tracks == "all" else data.index[data.index["is_main"]]
    rows = rows[rows["split"].isin(SPLITS if split == ALL else [split])]
    begins = {(one.video_id, t.track): t.start_frame for one in read_records(data.store) for t in one.tracks}
    stride = eval_stride(data.clip_stride)
    span = (data.clip_len - 1) * stride + 1
    found: dict[str, list[Window]] = {}
    waiting = {video: iter(tracks) for video, tracks in probs.items()}
    for video, track, num_frames, fps in zip(
        *(rows[c] for c in ("video_id", "track", "num_frames", "fps")), strict=True
    ):
        frames = {"clip_len": data.clip_len, "stride": stride, "num_windows": data.num_eval_clips}
        for start, prob in zip(window_starts(int(num_frames), **frames), next(waiting[video]), strict=True):
            first = begins.get((video, int(track)), 0) + start
            found.setdefault(video, []).append((first / fps, (first + span) / fps, prob))
    return found


def read_labels(path: Path) -> list[VideoRow]:
    """Rows of a manifest whose files need not exist, in order.

    Raises:
        ManifestError: the file or some rows are invalid, or a name is there twice; the message names every line.
    """
    path = path.expanduser()
    rows: dict[str, VideoRow] = {}
    problems: list[str] = []
    for line, cells in _cells(path, _read_text(path)):
        found: list[str] = [cells] if isinstance(cells, str) else []
        row = None if isinstance(cells, str) else _parse_row(cells, line, [], found)
        if row is not None and row.name in rows:
            found.append(f"{row.name!r} is on line {rows[row.name].line} already; keep one row")
        elif row is not None:
            rows[row.name] = row
        problems += [f"line {line}: {problem}" for problem in found]
    if problems or not rows:
        raise ManifestError(path, problems or ["it has a header and no rows; write one row per video"])
    return list(rows.values())
