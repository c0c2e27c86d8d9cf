"""Tables and locks of a store, safe against processes that are killed."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dfd.base.files import take_lock, write_table


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    write_table(path, map(list, rows), columns, line_end="\n", errors="backslashreplace")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time read and write a file of the store."""
    lock = take_lock(path.with_name(f".{path.name}.lock"), wait=True)
    assert lock is not None
    with lock:
        yield
