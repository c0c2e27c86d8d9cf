"""``python predict.py``: score a video, a list or a folder of videos. ``--help`` shows how."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from dfd.config import PredictConfig, check, entry_point, options, output_dir, parse_shard, target_name
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


class NothingToScore(DfdError):
    """The input holds no video."""


def find_inputs(given: str) -> list[Path]:
    """Files to look at: the file itself, the lines of a ``.txt`` list, or every file below a folder, hidden ones apart.

    Raises:
        NothingToScore: there is no such path, or nothing in it.
    """
    path = Path(given).expanduser()
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.is_file() and not _hidden(p.relative_to(path)))
        remedy = "give a folder with videos"
    elif path.is_file() and path.suffix.lower() == ".txt":
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        found = [path.parent / line.strip() for line in lines if line.strip() and not line.startswith("#")]
        remedy = "write one path per line; relative paths start at the list's folder"
    elif path.is_file():
        return [path]
    else:
        raise NothingToScore(f"{path}: no such file or folder")
    if not found:
        raise NothingToScore(f"{path}: there is nothing in it to score; {remedy}")
    return found


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def is_no_video(score: VideoScore, asked: str) -> bool:
    """True for a file that merely lay in the folder: unreadable, not named like a video, and not asked for by name."""
    from dfd.types import Status

    named = Path(score.path).suffix.lower() in VIDEO_SUFFIXES or not Path(asked).is_dir()
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

    detector = Detector.load(
        config.checkpoint,
        face_detector={"name": target_name(config.face_detector), **options(config.face_detector)},
        limits=VideoLimits(**config.limits),
        **{
            name: getattr(config, name)
            for name in (
                "device", "max_windows", "max_faces", "max_decode_side", "batch_size", "num_workers", "deadline_seconds"
            )
        },
    )  # fmt: skip
    folder = Path(config.output) if config.output else output_dir()
    with PredictionWriter(folder, model=detector.name, overwrite=config.overwrite) as writer:
        waiting = [path for path in paths if str(path) not in writer.done]
        if len(waiting) < len(paths):
            print(f"{len(paths) - len(waiting)} of {len(paths)} are already in {writer.csv_path}")
        others = list(write_scores(detector.score_many(waiting), writer, asked=config.input, total=len(waiting)))
        if not writer.done:
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
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from dfd.predictions import read_predictions

    table = read_predictions(writer.csv_path).sort_values("prob_fake", ascending=False, na_position="last")
    shown = Table(title=", ".join(f"{n} {status}" for status, n in writer.counts.most_common()))
    for name in ("video", "status", "verdict", "prob. fake", "confidence", "faces", "message"):
        shown.add_column(name, overflow="fold", justify="right" if name in ("prob. fake", "confidence") else "left")
    for row in table.head(40).to_dict("records"):
        known = row["prob_fake"] == row["prob_fake"]
        probs = [f"{row['prob_fake']:.3f}", f"{row['confidence']:.3f}"] if known else ["", ""]
        verdict = {"fake": "[bold red]fake[/]", "real": "[green]real[/]"}.get(row["label"], "")
        name, message = escape(repr(Path(row["path"]).name)[1:-1]), escape(row["message"].partition("\n")[0])
        shown.add_row(name, row["status"], verdict, *probs, str(row["num_faces"]), message)
    Console().print(shown)
    if len(table) > 40:
        print(f"… and {len(table) - 40} more in {writer.csv_path}")


if __name__ == "__main__":
    main()
