"""What a run tells its trackers (W&B, TensorBoard) beside the metrics that Lightning logs as they come.

At the beginning the whole configuration, the hashes of the data, the revision of the code and tags; at the end the
confusion matrix and other figures, the metrics at video level, and some clips with their probabilities. All of it lies
in the run's folder, too, which is what there is with ``logger=csv``.
"""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from matplotlib.figure import Figure

from dfd import plots
from dfd.data.module import ClipDataModule
from dfd.types import FrameArray, Label

CODE = Path(__file__).resolve().parent
FIGURES = ("confusion_matrix", "roc_pr", "reliability", "learning_curves")
MAX_TAG = 64
"""Characters; W&B refuses longer ones."""


@dataclass(frozen=True, slots=True)
class ScoredClip:
    """A clip of a video, frames ``(T, S, S, 3)``, with the video's label and the probability that it was given."""

    video_id: str
    label: Label
    predicted: Label
    prob_fake: float
    frames: FrameArray

    @property
    def caption(self) -> str:
        """In words."""
        return f"{self.video_id}: is {self.label}, called {self.predicted} (probability of fake {self.prob_fake:.3f})"


def git_revision(folder: Path = CODE) -> dict[str, Any] | None:
    """The ``commit`` of the checkout that the code is in, and whether it ``is_dirty``: differs from that commit.

    None where it is in no checkout: installed as a package, or without git.
    """
    try:
        _git(folder, "ls-files", "--error-unmatch", "__init__.py")  # an environment may lie in somebody else's checkout
        status = _git(folder, "status", "--porcelain")
        return {"commit": _git(folder, "rev-parse", "HEAD").strip(), "is_dirty": bool(status.strip())}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout


def trackers_of(loggers: Sequence[Logger]) -> list[Logger]:
    """Those that take more than numbers."""
    return [logger for logger in loggers if not isinstance(logger, CSVLogger)]


def log_run(
    loggers: Sequence[Logger], config: Mapping[str, Any], facts: Mapping[str, Any], tags: Sequence[str]
) -> None:
    """Say what the run is, before it trains. The first process's to call.

    Args:
        loggers: of the run; the CSV is left alone, ``config.yaml`` and ``summary.json`` lie beside it.
        config: the whole of it, resolved.
        facts: hashes of the data, revision of the code, initial weights, as in ``summary.json``.
        tags: to find the run by; those that the logger has stay.
    """
    described = {**config, "facts": dict(facts)}
    for logger in trackers_of(loggers):
        if isinstance(logger, WandbLogger):
            logger.log_hyperparams(described)
            run = logger.experiment
            run.tags = tuple(dict.fromkeys([*(run.tags or ()), *(tag[:MAX_TAG] for tag in tags)]))
        elif isinstance(logger, TensorBoardLogger):
            text = yaml.safe_dump({"tags": [*tags], **described}, sort_keys=False, allow_unicode=True)
            logger.experiment.add_text("config", "\n".join(f"    {line}" for line in text.splitlines()))


def sample_clips(data: ClipDataModule, split: str, predictions_csv: Path, *, num_clips: int) -> list[ScoredClip]:
    """Clips of a scored split, half real and half fake, from what looks most real to what looks most fake.

    Args:
        data: set up.
        split: of which ``predictions_csv`` has the videos.
        predictions_csv: as :func:`dfd.evaluate.write_results` writes it.
        num_clips: at most so many.
    """
    table = pd.read_csv(predictions_csv, dtype={"video_id": str}).dropna(subset="prob_fake")
    dataset = data.dataset(split)
    first = {video_id: number for number, video_id in reversed(list(enumerate(dataset.video_ids)))}
    clips = []
    for label, share in zip(Label, (num_clips - num_clips // 2, num_clips // 2), strict=True):
        rows = table[table["label"] == str(label)].sort_values("prob_fake", ignore_index=True)
        places = np.unique(np.linspace(0, len(rows) - 1, min(share, len(rows))).round().astype(int))
        for row in rows.iloc[places].to_dict("records"):
            frames_TCHW = dataset[first[row["video_id"]]]["frames"]
            clips.append(
                ScoredClip(
                    video_id=str(row["video_id"]),
                    label=label,
                    predicted=Label.parse(str(row["predicted"])),
                    prob_fake=float(row["prob_fake"]),
                    frames=frames_TCHW.permute(0, 2, 3, 1).numpy(),
                )
            )
    return clips


def clip_sheet(clips: Sequence[ScoredClip]) -> Figure:
    """The clips below each other, a strip of frames each."""
    return plots.clip_strips([(clip.caption, clip.label == clip.predicted, clip.frames) for clip in clips])


def log_results(
    loggers: Sequence[Logger],
    folder: Path,
    split: str,
    *,
    metrics: Mapping[str, Any],
    summary: Mapping[str, Any],
    clips: Sequence[ScoredClip] = (),
    step: int,
) -> None:
    """Say what came of the run: figures, metrics of the videos, clips. The first process's to call.

    Args:
        loggers: of the run.
        folder: of the run; ``folder/split`` has the figures of the split's videos.
        split: the one that was scored at video level.
        metrics: of its videos, overall; they are logged as ``<split>_videos/<name>``.
        summary: of the run; its metrics of the best epoch are logged as ``best/<name>``.
        clips: to show.
        step: the optimizer's steps so far.
    """
    values = {f"{split}_videos/{name}": float(value) for name, value in metrics.items() if value is not None}
    values |= {f"best/{name}": float(value) for name, value in summary["val"].items()}
    values["best/epoch"] = float(summary["best_epoch"])
    paths = [place / f"{name}.png" for name in FIGURES for place in (folder / split, folder)]
    figures = {f"{split}_videos/{path.stem}" if path.parent.name == split else path.stem: path for path in paths}
    figures = {name: path for name, path in figures.items() if path.is_file()}
    strips = [plots.as_array(clip_sheet([clip])) for clip in clips]
    for logger in trackers_of(loggers):
        logger.log_metrics(values, step)
        if isinstance(logger, WandbLogger):
            for name, path in figures.items():
                logger.log_image(name, [str(path)])
            if clips:
                logger.log_image(f"{split}_videos/clips", strips, caption=[clip.caption for clip in clips])
        elif isinstance(logger, TensorBoardLogger):
            for name, path in figures.items():
                logger.experiment.add_image(name, plots.read_png(path), step, dataformats="HWC")
            for number, (clip, strip) in enumerate(zip(clips, strips, strict=True)):
                name = f"{split}_videos/clips/{number}_{clip.label}_called_{clip.predicted}"
                logger.experiment.add_image(name, strip, step, dataformats="HWC")
            logger.experiment.close()
