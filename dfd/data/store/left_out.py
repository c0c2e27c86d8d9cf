"""The table of videos that a store leaves out, with reasons."""

import csv
from collections.abc import Iterable
from pathlib import Path

from dfd.base.errors import StoreError
from dfd.data.store.files import _locked, _write_table
from dfd.data.store.records import LEFT_OUT_NAME

LEFT_OUT_COLUMNS = ("name", "reason", "detail")


def write_left_out(store: str | Path, left_out: Iterable[tuple[str, str, str]], *, taken: Iterable[str] = ()) -> None:
    """Record in ``left_out.csv`` which videos are not taken: (name, reason, detail), sorted.

    What was written of other names stays, for several sources fill one store; of these names it is replaced, and of
    names that are ``taken`` now it is removed.

    Raises:
        StoreError: the file that is there is not such a table.
    """
    left_out = list(left_out)
    gone = {name for name, _, _ in left_out}.union(taken)
    path = Path(store) / LEFT_OUT_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):  # several shards add to it
        kept = [row for row in _read_left_out(path) if row[0] not in gone]
        _write_table(path, LEFT_OUT_COLUMNS, sorted({*kept, *left_out}))


def _read_left_out(path: Path) -> list[tuple[str, str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file, strict=True)
            if tuple(header) != LEFT_OUT_COLUMNS or any(len(row) != len(header) for row in rows):
                raise ValueError(f"its columns are not {', '.join(LEFT_OUT_COLUMNS)}")
    except FileNotFoundError:
        return []
    except (ValueError, csv.Error) as error:
        raise StoreError(f"{path}: {error}; delete it, and run the preprocessing again") from error
    return [(name, reason, detail) for name, reason, detail in rows]
