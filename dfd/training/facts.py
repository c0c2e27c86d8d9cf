"""Facts about a run, for its summary and for its detector's card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dfd.config.build import target_name
from dfd.config.schemas import TrainConfig
from dfd.models.files.card import DetectorCard, plugins_of
from dfd.models.files.checkpoint import weights_sha256
from dfd.training.tracking import git_revision

if TYPE_CHECKING:
    from dfd.data.clips.module import ClipDataModule
    from dfd.models.classifier import ClipClassifier


def facts_of(config: TrainConfig, model: ClipClassifier, data: ClipDataModule) -> dict[str, Any]:
    """Facts for the run's summary that are needed to repeat the run."""
    return {
        "name": f"{backbone_name(config.backbone)} + {target_name(config.temporal)}",
        "tags": tags_of(config),
        "seed": config.seed,
        "git": git_revision(),
        "initial_weights": {
            "pretrained": config.backbone.get("pretrained"),
            "weights": config.backbone.get("weights"),
            "sha256": weights_sha256(model.state_dict()),
        },
        "data": data.summary(),
        "frames_per_video": frames_per_video(data, config.test_windows),
    }


def tags_of(config: TrainConfig) -> list[str]:
    """Tags of a run: its backbone, head and clip length, and the given ``tags``."""
    choices = [backbone_name(config.backbone), target_name(config.temporal), f"{config.data['clip_len']} frames"]
    return [*dict.fromkeys([*choices, *config.tags])]


def backbone_name(node: Mapping[str, Any]) -> str:
    """Name of the backbone: the timm model's, or else the option's."""
    return str(node.get("name") or target_name(node))


def frames_per_video(data: ClipDataModule, test_windows: int) -> dict[str, Any]:
    """Numbers of a video's frames in its clip, in a training sample, and in the test."""
    used = data.used_videos()["num_frames"]
    return {
        "prepared": data.summary()["preprocessing"].get("num_frames"),
        "in_clips_mean": round(float(used.mean()), 1),
        "in_clips_min": int(used.min()),
        "per_training_sample": data.clip_len,
        "scored_in_test_at_most": data.clip_len * test_windows,
    }


def card_of(model: ClipClassifier, data: ClipDataModule, lineage: Sequence[dict[str, Any]] = ()) -> DetectorCard:
    """Card of this run's checkpoints; ``lineage`` is that of the detector that it started from."""
    summary = data.summary()
    return DetectorCard(
        model=model.config,
        image_size=data.image_size,
        clip_len=data.clip_len,
        clip_stride=data.clip_stride,
        crop=summary["crop"],
        data=summary,
        lineage=list(lineage),
        plugins=plugins_of(model.config, summary["crop"], {}),
    )
