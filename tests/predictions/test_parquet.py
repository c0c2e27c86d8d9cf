"""The Parquet file says what the JSON lines say."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from dfd.predictions.parquet import write_parquet
from dfd.predictions.rows import COLUMNS, SCHEMA_VERSION
from dfd.predictions.writer import PredictionWriter
from tests.predictions.test_predictions import score


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with PredictionWriter(tmp_path, model="m@1") as writer:
        writer.write(score("a.mp4", 0.75))
        writer.write(score("b.mp4", None))
        writer.write(score("c\udcff.mp4", 0.123456789012345))
    write_parquet(tmp_path)
    return tmp_path


def test_a_row_is_its_json_line(folder: Path) -> None:
    table = pq.read_table(folder / "predictions.parquet")
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    lines[2]["path"] = "c\\udcff.mp4"
    for line in lines:
        if line["file"]:
            del line["file"]["stated"]  # its names differ from file to file, so it has no column
    assert table.column_names == [*COLUMNS, "file", "tracks"]
    assert table.to_pylist() == [{name: line[name] for name in table.column_names} for line in lines]
    assert table.schema.metadata[b"schema_version"] == str(SCHEMA_VERSION).encode()
    assert [path.name for path in folder.glob("*.partial")] == []


def test_pandas_reads_numbers_and_what_is_missing(folder: Path) -> None:
    table = pd.read_parquet(folder / "predictions.parquet").set_index("path")
    assert table["prob_fake"].dtype == np.float64
    assert table["num_faces"].dtype == np.int64
    assert table["prob_fake"].isna().tolist() == [False, True, False]
    assert table["verdict"]["a.mp4"] == "fake"
    assert table["tracks"]["a.mp4"][0]["windows"][0]["box"].tolist() == [1, 2, 3, 4]


def test_it_is_made_anew_from_whatever_is_there(folder: Path) -> None:
    with PredictionWriter(folder, model="m@1") as writer:
        writer.write(score("d.mp4", 0.5))
    assert pq.read_metadata(write_parquet(folder)).num_rows == 4


def test_a_run_without_scores_gives_an_empty_table(tmp_path: Path) -> None:
    assert pq.read_table(write_parquet(tmp_path)).num_rows == 0
