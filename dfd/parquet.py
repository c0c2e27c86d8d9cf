"""``predictions.parquet``: the scores of ``predictions.jsonl`` in typed columns, for tables too large for a CSV.

Needs pyarrow, which comes with ``pip install 'dfd[ray]'``.
"""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from dfd.errors import ConfigError
from dfd.files import partial_of
from dfd.inputs import PARQUET_NAME
from dfd.predictions import COLUMNS, SCHEMA_VERSION, read_scores

_FLOATS = ("prob_fake", "confidence", "duration_seconds", "seconds")
_COUNTS = ("num_faces", "num_frames", "num_windows", "num_windows_possible", "schema_version")
_ROWS_AT_ONCE = 1000


def write_parquet(folder: Path) -> Path:
    r"""Make ``predictions.parquet`` in ``folder`` from the ``predictions.jsonl`` there, whole; its path.

    A row per video: the columns of the CSV, text, numbers or null, then ``file`` and ``tracks``, nested as in the JSON
    lines. The file's metadata has ``schema_version``. Parquet's text is UTF-8: what is not in a file's name is written
    as an escape, ``\udcff`` for the byte ff.

    Raises:
        ConfigError: pyarrow is not installed.
        PredictionsError: the JSON lines are of another schema version.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ConfigError(f"Parquet needs pyarrow ({error}): pip install 'dfd[ray]'") from error
    path = folder / PARQUET_NAME
    partial = partial_of(path)
    schema = _schema(pa)
    values = iter(read_scores(folder).values())
    with pq.ParquetWriter(partial, schema) as writer:
        while rows := [_row(value, schema.names) for value in islice(values, _ROWS_AT_ONCE)]:
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    partial.replace(path)
    return path


def _schema(pa: Any) -> Any:
    types = {**dict.fromkeys(_FLOATS, pa.float64()), **dict.fromkeys(_COUNTS, pa.int64())}
    window = pa.struct(
        {
            "start_seconds": pa.float64(),
            "end_seconds": pa.float64(),
            "prob_fake": pa.float64(),
            "box": pa.list_(pa.float64()),
        }
    )
    track = pa.struct(
        {"track": pa.int64(), "prob_fake": pa.float64(), "verdict": pa.string(), "windows": pa.list_(window)}
    )
    file = pa.struct(
        {
            "size_bytes": pa.int64(),
            "sha256": pa.string(),
            "width": pa.int64(),
            "height": pa.int64(),
            "fps": pa.float64(),
            "codec": pa.string(),
            "num_frames": pa.int64(),
            "modified_seconds": pa.float64(),
        }
    )
    columns = {name: types.get(name, pa.string()) for name in COLUMNS}
    return pa.schema(
        {**columns, "file": file, "tracks": pa.list_(track)}, metadata={"schema_version": str(SCHEMA_VERSION)}
    )


def _row(value: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    return {name: _text(value[name]) if isinstance(value[name], str) else value[name] for name in names}


def _text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
