"""Time and memory of an evaluation of many predictions, with every metric, interval and the report.

    python benchmarks/evaluation.py [NUMBER]

Draws NUMBER (100,000) predictions of videos of 5 data sets with 5 methods each, with sources, groups and labels, writes
them as a manifest and a table of scores, and evaluates these as ``dfd evaluate scores= manifest=`` does.
"""

import csv
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def write(folder: Path, number: int) -> None:
    """Write labels.csv and scores.csv of ``number`` videos."""
    generator = np.random.default_rng(0)
    fake = generator.random(number) < 0.6
    score = 1 / (1 + np.exp(-generator.normal(np.where(fake, 0.9, -0.9), 1.2)))
    with (
        (folder / "labels.csv").open("w", newline="") as labels,
        (folder / "scores.csv").open("w", newline="") as scores,
    ):
        rows, probs = csv.writer(labels), csv.writer(scores)
        rows.writerow(["path", "label", "dataset", "method", "source_ids", "sex"])
        probs.writerow(["path", "score"])
        for index in range(number):
            dataset, method = index % 5, f"method{index // 5 % 5}" if fake[index] else ""
            name = f"{dataset}/{method or 'real'}/{index}.mp4"
            label = "fake" if fake[index] else "real"
            rows.writerow([name, label, f"data{dataset}", method, f"person{index // 40}", "fm"[index % 2]])
            probs.writerow([name, f"{score[index]:.5f}"])


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, number)
        began = time.perf_counter()
        command = [sys.executable, "-m", "dfd", "evaluate", "--scores", str(folder / "scores.csv")]
        command += ["--manifest", str(folder / "labels.csv"), "--groups", "[sex]", "--output", str(folder / "out")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = used.ru_utime + used.ru_stime
        print(f"{number} predictions: {seconds:.1f} s ({cpu:.1f} s of CPU), {used.ru_maxrss / 2**20:.2f} GiB at most")


if __name__ == "__main__":
    main()
