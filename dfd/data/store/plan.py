"""The split plan of a store."""

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from dfd.base.errors import StoreError
from dfd.base.files import write_text
from dfd.base.untrusted import decode, read_json
from dfd.data.splits.people import DEFAULT_FRACTIONS, SOURCE, SPLIT_MODES, SPLITS, UNUSED, check_fractions
from dfd.data.store.files import _write_table
from dfd.data.store.records import PLAN_NAME, SPLITS_NAME, IndexVideo, VideoRecord


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """How a store's videos were divided; see :func:`dfd.data.splits.assign.assign_splits`.

    Raises:
        ValueError: there is no such mode, or the fractions are none.
    """

    mode: str = SOURCE
    fractions: tuple[float, ...] = DEFAULT_FRACTIONS
    seed: int = 0

    def __post_init__(self) -> None:
        if self.mode not in SPLIT_MODES:
            raise ValueError(f"mode must be one of {', '.join(SPLIT_MODES)}, got {self.mode!r}")
        object.__setattr__(self, "fractions", tuple(float(fraction) for fraction in self.fractions))
        check_fractions(self.fractions)


def read_splits(store: str | Path) -> dict[str, str]:
    """The frozen assignment, ``video_id`` -> split; empty if there is none yet.

    Raises:
        StoreError: the file is not what :func:`write_splits` writes.
    """
    path = Path(store) / SPLITS_NAME
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != ["video_id", "split"]:
                raise StoreError(f"{path}: its columns are {reader.fieldnames}, not video_id and split")
            splits: dict[str, str] = {}
            for row in reader:
                if row["split"] not in (*SPLITS, UNUSED) or row["video_id"] in splits:
                    problem = "is there twice" if row["video_id"] in splits else f"has split {row['split']!r}"
                    raise StoreError(f"{path}: line {reader.line_num}: {row['video_id']!r} {problem}")
                splits[row["video_id"]] = row["split"]
    except FileNotFoundError:
        return {}
    except (UnicodeDecodeError, csv.Error) as error:
        raise StoreError(f"{path}: {error}; it is damaged") from error
    return splits


def known_videos(store: str | Path, records: Iterable[VideoRecord]) -> list[IndexVideo]:
    """The videos of a store's records, each with its frozen split: what ties new videos to a side.

    Give them to :func:`dfd.data.splits.assign.assign_splits` together with the new rows when a store grows.
    """
    splits = read_splits(store)
    names = ("video_id", "source_ids", "label", "dataset", "method")
    return [
        IndexVideo(
            split=splits.get(record.video_id, ""),
            official_split=record.extra.get("official_split", ""),
            **{name: getattr(record, name) for name in names},
        )
        for record in records
    ]


def read_split_plan(store: str | Path) -> SplitPlan | None:
    """How the store's videos were divided; None if they were not, or before stores said how: then by source.

    Raises:
        StoreError: the file is not what :func:`write_split_plan` writes.
    """
    path = Path(store) / PLAN_NAME
    try:
        return decode(SplitPlan, read_json(path))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StoreError(f"{path}: {error}; it is damaged; write again what was asked for, or delete it") from error


def write_split_plan(store: str | Path, plan: SplitPlan) -> None:
    """Say how the store's videos are divided."""
    write_text(Path(store) / PLAN_NAME, json.dumps(asdict(plan), indent=1, sort_keys=True) + "\n")


def write_splits(store: str | Path, splits: Mapping[str, str]) -> None:
    """Freeze an assignment, sorted by video."""
    _write_table(Path(store) / SPLITS_NAME, ("video_id", "split"), sorted(splits.items()))
