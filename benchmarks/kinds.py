"""What a detector tells of each kind of fake and of real videos, as they are and after platforms have encoded them.

    python benchmarks/kinds.py MANIFEST … --checkpoint FILE --work DIR [--trained-on STORE] [--name NAME]

The manifests have the columns path and label, and kind, method and source_ids where known. ``dfd predict`` scores each
video with its defaults, but without report and heat maps: as it is; as a *messenger* leaves it (short side of 480 px at
most, H.264 at a CRF of 28); and after a *second upload* (720 px and a CRF of 26, then 360 px and a CRF of 30).
``--trained-on`` leaves out the real videos of persons and sources that trained the detector. Copies and scores are kept
in ``--work``, so that a run that was stopped goes on; the copies have a manifest there, for ``dfd preprocess``.

For each kind, encoding by encoding: video AUC against all real videos with a 95 % bootstrap interval, and the share of
fakes that reach the detector's threshold. For the real videos, how many reach it, with exact 95 % intervals.
"""

import argparse
import csv
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from _measure import parser, report
from rich.progress import track

from dfd.base.types import FrameArray, Label
from dfd.data.store.tables import read_index
from dfd.metrics.operating import exact_interval
from dfd.metrics.videos import bootstrap_intervals, video_metrics
from dfd.models.files.checkpoint import load_checkpoint
from dfd.models.starter import checkpoint_path
from dfd.video.decode import VideoReader
from dfd.video.encode import VideoWriter

TITLE = "Kinds of fakes and real videos, as they are and encoded again"
AS_IS = "as it is"
ENCODINGS = {"messenger": ((480, 28),), "second upload": ((720, 26), (360, 30))}
"""Short side at most, in pixels, and CRF of each time that a video is encoded."""
MAX_FRAMES = 150
"""Frames of a video that are encoded again."""
KEPT = ["path", "label", "dataset", "kind", "method", "source_ids"]
COLUMNS = ["kind", "fakes", *(f"{what}, {name}" for name in (AS_IS, *ENCODINGS) for what in ("AUC", "found"))]


def encoded(source: Path, target: Path, short_side: int, crf: int) -> None:
    """Write the beginning of a video again, no larger than this."""
    with VideoReader(source) as reader:
        last = min(reader.first_frame + MAX_FRAMES, reader.num_frames)
        frames: Iterator[FrameArray] = chain.from_iterable(
            part for _, part in reader.chunks([range(reader.first_frame, last)])
        )
        writer: VideoWriter | None = None
        for frame in frames:
            scale = min(1.0, short_side / min(frame.shape[:2]))
            width, height = (max(2, round(side * scale / 2) * 2) for side in frame.shape[1::-1])
            if writer is None:
                writer = VideoWriter(
                    target,
                    **{"width": width, "height": height, "fps": reader.fps, "crf": crf, "pixel_format": "yuv420p"},
                    **{"keyframe_interval": 250, "fast_decode": False, "preset": "veryfast"},
                )
            small = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
            writer.write(np.asarray(small, np.uint8)[None])
        if writer is None:
            raise ValueError(f"{source}: has no frame")
        writer.close()


def videos_of(manifests: Sequence[Path], trained_on: Path | None) -> pd.DataFrame:
    """Rows of manifests, with whole paths; without the real videos that share a source with what trained."""
    tables = []
    for path in manifests:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        table["path"] = [str((path.parent / name).resolve()) for name in table["path"]]
        tables.append(
            table.reindex(columns=["path", "label", "dataset", "kind", "method", "source_ids"], fill_value="")
        )
    videos = pd.concat(tables, ignore_index=True)
    if trained_on is None:
        return videos
    index = read_index(trained_on)
    used = set(chain.from_iterable(ids.split(";") for ids in index.loc[index["split"] == "train", "source_ids"]))
    shared = videos["source_ids"].map(lambda ids: not used.isdisjoint(ids.split(";")))
    print(f"left out, because their source trained the detector: {int(shared.sum())} videos")
    return videos[~shared].reset_index(drop=True)


def copies_of(videos: pd.DataFrame, name: str, work: Path) -> list[str]:
    """Paths of the videos in one encoding, made where they are not there yet."""
    folder = work / name.replace(" ", "_")
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for source in track([*map(Path, videos["path"])], description=name):
        target = folder / f"{source.parent.parent.name}-{source.stem}.mp4"
        if not target.is_file():
            *before, last = ENCODINGS[name]
            current = source
            for step in before:
                encoded(current, between := folder / f".{target.stem}-between.mp4", *step)
                current = between
            encoded(current, part := folder / f".{target.stem}-part.mp4", *last)
            part.rename(target)
            if current != source:
                current.unlink()
        paths.append(str(target))
    videos.assign(path=paths).to_csv(folder / "manifest.csv", index=False)
    return paths


def scores_of(paths: Sequence[str], checkpoint: str, output: Path, options: Sequence[str]) -> list[float]:
    """Probability of each video by ``dfd predict``; nan where it has none."""
    output.mkdir(parents=True, exist_ok=True)
    wanted = output.with_suffix(".csv")
    with wanted.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path"], *([path] for path in paths)])
    command = [sys.executable, "-m", "dfd", "predict", f"input={wanted}", f"checkpoint={checkpoint}"]
    subprocess.run([*command, f"output={output}", "report=false", "heatmaps=false", *options], check=True)
    rows = pd.read_csv(output / "predictions.csv").drop_duplicates("path", keep="last").set_index("path")
    return [float(value) for value in rows["prob_fake"].reindex(paths)]


def share(reached: int, number: int) -> str:
    """A share with its interval."""
    low, high = exact_interval(reached, number)
    return f"{reached / number:.0%} ({low:.0%}–{high:.0%})"


def row_of(name: str, fakes: pd.DataFrame, real: pd.DataFrame, threshold: float) -> tuple[list[str], dict[str, Any]]:
    """Cells and values of one kind or method."""
    cells, values = [name, str(len(fakes))], dict[str, Any](fakes=len(fakes))
    for encoding in (AS_IS, *ENCODINGS):
        here = pd.concat([real, fakes])[[encoding, "label"]].dropna()
        label = (here["label"] == "fake").astype(int)
        found = video_metrics(here[encoding], label, threshold=threshold)
        interval = bootstrap_intervals(here[encoding], label, ["auc"])["auc"]
        number = int(label.sum())
        values[encoding] = {"auc": found["auc"], "interval": interval, "found": found["tp"], "fakes": number}
        if found["auc"] is None:
            cells += ["–", "–"]
            continue
        shown = f" ({interval[0]:.2f}–{interval[1]:.2f})" if interval else ""
        cells += [f"{found['auc']:.2f}{shown}", share(int(found["tp"] or 0), number)]
    return cells, values


def tables(videos: pd.DataFrame, threshold: float) -> tuple[list[list[str]], dict[str, Any], dict[str, str]]:
    """Rows by kind and then by method, all values, and sentences on the real videos."""
    real, fake = videos[videos["label"] == "real"], videos[videos["label"] == "fake"]
    rows, values = [], dict[str, Any](threshold=threshold)
    kinds = [(kind or "(none)", fakes) for kind, fakes in fake.groupby("kind")]
    methods = [(f"{method}", fakes) for method, fakes in fake.groupby("method")]
    for name, fakes in [("all", fake), *kinds, *methods]:
        cells, values[name] = row_of(name, fakes, real, threshold)
        rows.append(cells)
    said = {}
    for encoding in (AS_IS, *ENCODINGS):
        scored = real[encoding].dropna()
        alarms = int((scored >= threshold).sum())
        values[f"real, {encoding}"] = {"alarms": alarms, "real": len(scored), "median": statistics.median(scored)}
        said[f"false alarms, {encoding}"] = (
            f"{share(alarms, len(scored))} of {len(scored)}, median {scored.median():.3f}"
        )
    again = pd.concat([real[name] for name in ENCODINGS]).dropna()
    values["threshold at 5 %"] = limit = float(np.quantile(again, 0.95, method="higher"))
    said["reached by 5 % of the real videos encoded again"] = f"{limit:.4f}"
    return rows, values, said


def main() -> None:
    options = parser(__doc__)
    options.add_argument("manifests", nargs="+", type=Path)
    options.add_argument("--checkpoint", default="starter")
    options.add_argument("--work", type=Path, required=True)
    options.add_argument("--trained-on", type=Path, help="store of the detector's training")
    options.add_argument("--threshold", type=float, help="else the detector's")
    options.add_argument("--name", default="kinds", help="of the table")
    options.add_argument("--predict", nargs="*", default=[], metavar="OPTION", help="options of dfd predict")
    arguments: argparse.Namespace = options.parse_args()
    videos = videos_of(arguments.manifests, arguments.trained_on)
    if arguments.quick:
        videos = videos.groupby("label").head(3).reset_index(drop=True)
    card, _ = load_checkpoint(checkpoint_path(arguments.checkpoint))
    for name in (AS_IS, *ENCODINGS):
        paths = [*videos["path"]] if name == AS_IS else copies_of(videos, name, arguments.work)
        output = arguments.work / Path(arguments.checkpoint).stem / name.replace(" ", "_")
        videos[name] = scores_of(paths, arguments.checkpoint, output, arguments.predict)
    assert set(videos["label"]) <= {label.name.lower() for label in Label}
    rows, values, said = tables(videos, arguments.threshold or card.threshold)
    report(arguments, arguments.name, TITLE, COLUMNS, rows, values, **said)


if __name__ == "__main__":
    main()
