"""The demonstration from end to end: the first scores that a newcomer sees must be right."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

TRUE_LABELS = {"real_1": "real", "real_2": "real", "fake_1": "fake", "fake_2": "fake", "two_people": "fake"}
"""The videos of the inbox that can be decided, and what they are."""


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 4])
def test_no_video_of_the_inbox_is_called_wrong_and_most_are_decided(tmp_path: Path, seed: int) -> None:
    def run(*words: str) -> None:
        subprocess.run([sys.executable, *words], cwd=ROOT, check=True, capture_output=True, text=True)

    run("-m", "dfd.data.demo", str(tmp_path), "--seed", str(seed))
    run("-m", "dfd.preprocess", f"manifest={tmp_path}/videos/manifest.csv", f"store={tmp_path}/store")
    run(
        "train.py", "experiment=demo", f"seed={seed}", f"data.store={tmp_path}/store", f"hydra.run.dir={tmp_path}/train"
    )
    detector = f"checkpoint={tmp_path}/train/detector.safetensors"
    run("predict.py", detector, f"input={tmp_path}/inbox", f"output={tmp_path}/scores", "heatmaps=false")
    with (tmp_path / "scores" / "predictions.csv").open() as file:
        said = {Path(row["path"]).stem: row["verdict"] for row in csv.DictReader(file)}
    verdicts = {name: said[name] for name in TRUE_LABELS}
    assert {name for name, word in verdicts.items() if word not in (TRUE_LABELS[name], "uncertain")} == set()
    assert sum(word != "uncertain" for word in verdicts.values()) >= 4
