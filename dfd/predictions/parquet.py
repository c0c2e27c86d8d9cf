"""``predictions.parquet``: the scores of ``predictions.jsonl`` in typed columns, for tables too large for a CSV.

Needs pyarrow, which comes with ``pip install 'dfd[ray]'``.
"""

from collections.abc import Mapping
from dataclasses import is_dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from dfd.base.errors import ConfigError
from dfd.base.files import written_whole
from dfd.base.types import VideoScore
from dfd.predictions.layout import PARQUET_NAME
from dfd.predictions.rows import COLUMNS, SCHEMA_VERSION, read_scores

_ROWS_AT_ONCE = 1000


def write_parquet(folder: Path) -> Path:
    r"""Make ``predictions.parquet`` in ``folder`` from the ``predictions.jsonl`` there, whole; its path.

    A row per video: the columns of the CSV, text, numbers or null, then ``file`` and ``tracks``, nested as in the JSON
    lines, but for ``file.stated``. The file's metadata has ``schema_version``. Parquet's text is UTF-8: what is not in
    a file's name is written as an escape, ``\udcff`` for the byte ff.

    Raises:
        ConfigError: pyarrow is not installed.
        PredictionsError: the JSON lines are of another schema version.
    """
    try:
        pa, pq = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise ConfigError(f"Parquet needs pyarrow ({error}): pip install 'dfd[ray]'") from error
    path = folder / PARQUET_NAME
    hints = get_type_hints(VideoScore) | {"schema_version": int}
    columns = {name: _column(pa, hints[name]) for name in (*COLUMNS, "file", "tracks")}
    schema = pa.schema(columns, metadata={"schema_version": str(SCHEMA_VERSION)})
    values = iter(read_scores(folder).values())
    with written_whole(path) as partial, pq.ParquetWriter(partial, schema) as writer:
        while rows := [_row(value, schema.names) for value in islice(values, _ROWS_AT_ONCE)]:
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    return path


def _column(pa: Any, hint: Any) -> Any:
    kind = next((one for one in get_args(hint) if one is not type(None)), hint)
    if get_origin(hint) is tuple:
        return pa.list_(_column(pa, kind))
    if is_dataclass(kind):
        # Names that differ from file to file have no column: predictions.jsonl has them.
        hints = {name: one for name, one in get_type_hints(kind).items() if get_origin(one) is not Mapping}
        return pa.struct({name: _column(pa, one) for name, one in hints.items()})
    return {int: pa.int64(), float: pa.float64()}.get(kind, pa.string())


def _row(value: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    row = {name: value[name] for name in names}
    texts = {name: text for name, text in row.items() if isinstance(text, str)}
    return row | {name: text.encode("utf-8", "backslashreplace").decode("utf-8") for name, text in texts.items()}
