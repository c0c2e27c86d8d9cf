"""``python predict.py``: score a video, a list or a folder of videos. ``--help`` shows how."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from omegaconf import DictConfig

from dfd.config import PredictConfig, check, entry_point, options, output_dir, parse_shard, refusing, target_name
from dfd.errors import DfdError

if TYPE_CHECKING:
    from dfd.predictions import PredictionWriter
    from dfd.types import VideoScore

# A file with such a name always gets a row; any other file gets one if there is a video in it.
VIDEO_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif", ".mpg", ".mpeg", ".mts", ".m2ts", ".ts", ".3gp"),
        *(".3g2", ".flv", ".wmv", ".ogv", ".vob", ".mxf", ".y4m"),
    )
)

MAX_SHOWN = 40
"""So many rows are printed; the CSV has all."""


class NothingToScore(DfdError):
    """The input holds no video."""


def find_inputs(given: str) -> list[Path]:
    """Files to look at: the file itself, the lines of a ``.txt`` list, or every file below a folder, hidden ones apart.

    Raises:
        NothingToScore: there is no such path, or nothing in it.
    """
    path = Path(given).expanduser()
    if path.is_dir():
        found = sorted(_files(path))
        remedy = "give a folder with videos"
    elif path.is_file() and path.suffix.lower() == ".txt":
        lines = [line.strip() for line in path.read_text("utf-8-sig", errors="surrogateescape").splitlines()]
        found = [path.parent / Path(line).expanduser() for line in dict.fromkeys(lines) if line]
        remedy = "write one path per line; relative paths start at the list's folder"
    elif path.is_file():
        return [path]
    else:
        raise NothingToScore(f"{path}: no such file or folder")
    if not found:
        raise NothingToScore(f"{path}: there is nothing in it to score; {remedy}")
    return found


def _files(root: Path) -> Iterator[Path]:
    """Every file below ``root`` that is not hidden, through linked folders too.

    Raises:
        NothingToScore: a folder cannot be read.
    """
    entered = set()
    for folder, folders, names in os.walk(root, followlinks=True, onerror=_unreadable_folder):
        entered.add(os.path.realpath(folder))
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(os.path.join(folder, name)) not in entered
        ]
        yield from (Path(folder) / name for name in names if not name.startswith("."))


def _unreadable_folder(error: OSError) -> NoReturn:
    raise NothingToScore(f"{error.filename}: the folder cannot be read ({error.strerror}); make it readable") from error


def is_no_video(score: VideoScore, asked: str) -> bool:
    """True for a file that merely lay in the folder: unreadable, not named like a video, and not asked for by name."""
    from dfd.types import Status

    named = Path(score.path).suffix.lower() in VIDEO_SUFFIXES or not Path(asked).expanduser().is_dir()
    return score.status is Status.UNREADABLE and not named


@entry_point("predict")
def main(cfg: DictConfig) -> None:
    """Score videos with a trained detector."""
    config = check(cfg, PredictConfig)
    shard, num_shards = parse_shard(config.shard)
    paths = find_inputs(config.input)[shard::num_shards]

    from dfd.inference import Detector
    from dfd.predictions import PredictionWriter
    from dfd.video.decode import VideoLimits

    chosen = config.face_detector
    taken = ["device", "max_windows", "max_faces", "max_decode_side", "batch_size", "num_workers", "deadline_seconds"]
    with refusing("predict"):
        detector = Detector.load(
            Path(config.checkpoint).expanduser(),
            face_detector={"name": target_name(chosen), **options(chosen)} if chosen else None,
            limits=VideoLimits(**config.limits),
            **{name: getattr(config, name) for name in taken},
        )
    folder = Path(config.output).expanduser() if config.output else output_dir()
    settings = {
        "face_detector": {k: v for k, v in detector.face_detector.items() if k not in ("device", "weights")},
        **{name: getattr(config, name) for name in ("max_windows", "max_faces", "max_decode_side")},
    }
    with PredictionWriter(folder, model=detector.name, settings=settings, overwrite=config.overwrite) as writer:
        waiting = [path for path in paths if str(path) not in writer.done]
        if len(waiting) < len(paths):
            print(f"{len(paths) - len(waiting)} of {len(paths)} are already in {writer.csv_path}")
        others = list(write_scores(detector.score_many(waiting), writer, asked=config.input, total=len(waiting)))
        if not writer.done and num_shards == 1:
            raise NothingToScore(f"{config.input}: none of its {len(paths)} files is a video")
    if others:
        (folder / "not_videos.txt").write_text("".join(f"{path}\n" for path in others), errors="surrogateescape")
        print(f"{len(others)} other files are not videos: {folder / 'not_videos.txt'}")
    summarize(writer)
    if detector.card.data.get("is_demo"):
        print("This detector was trained on drawn demonstration videos: its scores say nothing about real deepfakes.")
    print(f"predictions.csv and predictions.jsonl (every face and window) are in {folder}")


def write_scores(scores: Iterator[VideoScore], writer: PredictionWriter, *, asked: str, total: int) -> Iterator[str]:
    """Write each score as it comes, with a progress bar; yields the files that are no videos and got no row."""
    from dfd.progress import progress_bar

    with progress_bar() as bar:
        task = bar.add_task("scoring", total=total, note="")
        for score in scores:
            if is_no_video(score, asked):
                yield score.path
            else:
                writer.write(score)
            bar.update(task, advance=1, note=", ".join(f"{n} {status}" for status, n in writer.counts.most_common()))


def summarize(writer: PredictionWriter) -> None:
    """A table in the terminal: what became of the videos, and the verdicts, most suspicious first."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from dfd.predictions import read_predictions

    table = read_predictions(writer.csv_path).sort_values("prob_fake", ascending=False, na_position="last")
    shown = Table(title=", ".join(f"{n} {status}" for status, n in writer.counts.most_common()), box=SIMPLE)
    for name in ("video", "status", "verdict"):
        shown.add_column(name, overflow="fold")
    for name in ("prob. fake", "confidence", "faces"):
        shown.add_column(name, justify="right")
    console = Console()
    for row in table.head(MAX_SHOWN).to_dict("records"):
        known = row["prob_fake"] == row["prob_fake"]
        probs = [f"{row['prob_fake']:.3f}", f"{row['confidence']:.3f}"] if known else ["", ""]
        verdict = {"fake": "[bold red]fake[/]", "real": "[green]real[/]"}.get(row["label"], "")
        shown.add_row(_printable(Path(row["path"]).name), row["status"], verdict, *probs, str(row["num_faces"]))
    console.print(shown)
    for message in table.head(MAX_SHOWN)["message"]:
        if message:
            console.print(f"[yellow]{_printable(message)}[/]", highlight=False, soft_wrap=True)
    if len(table) > MAX_SHOWN:
        print(f"… and {len(table) - MAX_SHOWN} more in {writer.csv_path}")


def _printable(text: str) -> str:
    """``text`` without line ends, markup or what no terminal can show: a file name may hold all of them."""
    from rich.markup import escape

    return escape(repr(text)[1:-1])


if __name__ == "__main__":
    main()
