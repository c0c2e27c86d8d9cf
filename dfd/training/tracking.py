"""Logging to trackers (W&B, MLflow, TensorBoard) beyond the metrics that Lightning logs during the run.

At the start: the configuration, hashes of the data, the revision of the code and tags. At the end: the confusion matrix
and other figures, video-level metrics, and some clips with their probabilities. All of this is in the run's folder as
well, where ``logger=csv`` leaves it.
"""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from matplotlib.figure import Figure

from dfd.base.types import FrameArray, Label
from dfd.data.clips.module import ClipDataModule
from dfd.figures import style as plots
from dfd.figures.clips import clip_strips
from dfd.training.loggers import RunWandbLogger

CODE = Path(__file__).resolve().parent
FIGURES = ("confusion_matrix", "roc_pr", "reliability", "learning_curves")
MAX_TAG = 64
"""Maximum length of a tag in characters; W&B refuses longer ones."""


@dataclass(frozen=True, slots=True)
class ScoredClip:
    """A clip of a video, frames ``(T, S, S, 3)``, with the video's label and predicted probability."""

    video_id: str
    label: Label
    predicted: Label
    prob_fake: float
    frames: FrameArray

    @property
    def caption(self) -> str:
        """Caption of the clip in figures."""
        return f"{self.video_id}: is {self.label}, called {self.predicted} (probability of fake {self.prob_fake:.3f})"


def git_revision(folder: Path = CODE) -> dict[str, Any] | None:
    """``commit`` of the checkout that contains the code, and ``is_dirty``, whether the code differs from it.

    None if the code is not in a checkout (installed as a package) or git is missing.
    """
    try:
        _git(folder, "ls-files", "--error-unmatch", "__init__.py")  # an environment may lie in an unrelated checkout
        status = _git(folder, "status", "--porcelain")
        return {"commit": _git(folder, "rev-parse", "HEAD").strip(), "is_dirty": bool(status.strip())}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.check_output(command, text=True, timeout=20, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def trackers_of(loggers: Sequence[Logger]) -> list[Logger]:
    """Loggers that accept more than numbers."""
    return [logger for logger in loggers if not isinstance(logger, CSVLogger)]


def log_run(
    loggers: Sequence[Logger], config: Mapping[str, Any], facts: Mapping[str, Any], tags: Sequence[str]
) -> None:
    """Log a run's description before it trains; to be called by the first process only.

    Args:
        loggers: loggers of the run; the CSV logger is skipped, as ``config.yaml`` and ``summary.json`` lie beside it.
        config: the complete, resolved configuration.
        facts: hashes of the data, revision of the code and initial weights, as in ``summary.json``.
        tags: tags to add to those that the logger has.
    """
    described = {**config, "facts": dict(facts)}
    for logger in trackers_of(loggers):
        if isinstance(logger, MLFlowLogger):
            if not logger.experiment.get_run(logger.run_id).data.params:  # those of a resumed run may not change
                logger.log_hyperparams(described)
            for number, tag in enumerate(tags):
                logger.experiment.set_tag(logger.run_id, f"tag{number}", tag)
        elif isinstance(logger, WandbLogger):
            logger.log_hyperparams(described)
            run = logger.experiment
            run.tags = tuple(dict.fromkeys([*(run.tags or ()), *(tag[:MAX_TAG] for tag in tags)]))
        elif isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(described)
            text = yaml.safe_dump({"tags": [*tags], **described}, sort_keys=False, allow_unicode=True)
            logger.experiment.add_text("config", "\n".join(f"    {line}" for line in text.splitlines()))


def sample_clips(data: ClipDataModule, split: str, predictions_csv: Path, *, num_clips: int) -> list[ScoredClip]:
    """Clips of a scored split, half real and half fake, spread over the range of predicted probabilities.

    Args:
        data: data module after set-up.
        split: split whose videos are in ``predictions_csv``.
        predictions_csv: table written by :func:`dfd.evaluation.splits.write_results`.
        num_clips: maximum number of clips.
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
    """Figure with a strip of frames per clip."""
    return clip_strips([(clip.caption, clip.label == clip.predicted, clip.frames) for clip in clips])


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
    """Log a run's results: figures, video-level metrics and clips; to be called by the first process only.

    Args:
        loggers: loggers of the run.
        folder: folder of the run; ``folder/split`` has the figures of the split's videos.
        split: split that was scored at video level.
        metrics: overall metrics of its videos, logged as ``<split>_videos/<name>``.
        summary: summary of the run; the metrics of its best epoch are logged as ``best/<name>``.
        clips: clips to show.
        step: number of optimizer steps so far.
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
            if isinstance(logger, RunWandbLogger):
                logger.log_detector(folder, summary["val"])
        elif isinstance(logger, TensorBoardLogger):
            for name, path in figures.items():
                logger.experiment.add_image(name, plots.read_png(path), step, dataformats="HWC")
            for number, (clip, strip) in enumerate(zip(clips, strips, strict=True)):
                name = f"{split}_videos/clips/{number}_{clip.label}_called_{clip.predicted}"
                logger.experiment.add_image(name, strip, step, dataformats="HWC")
            logger.experiment.close()
        elif isinstance(logger, MLFlowLogger):
            for path in [*figures.values(), *([folder / "samples.png"] if clips else [])]:
                logger.experiment.log_artifact(logger.run_id, str(path), artifact_path="figures")
