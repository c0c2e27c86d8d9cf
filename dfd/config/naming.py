"""Names, tags and groups of runs, made from what a study varies."""

import os
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from dfd.runs.records import StudyRecord, overrides_by_key

MAX_TAG = 64
"""Characters of a tag that W&B takes."""


def job_choices() -> dict[str, str]:
    """Values that a study or a W&B sweep chose for this run, by option; empty outside of one."""
    if not HydraConfig.initialized():
        return {}
    hydra_config = HydraConfig.get()
    given = list(hydra_config.overrides.task or ())
    if hydra_config.mode is RunMode.MULTIRUN:
        study = StudyRecord.read(Path(hydra_config.sweep.dir))
        return study.choices(given) if study else {}
    swept = os.environ.get("WANDB_SWEEP_PARAM_PATH")  # W&B's agent writes what it chose into this file
    if swept and Path(swept).is_file():
        keys = list(OmegaConf.to_container(OmegaConf.load(swept)) or ())
        return {key: value for key, value in overrides_by_key(given).items() if key in keys}
    return {}


def shown_choices() -> list[str]:
    """Choices of this run as ``key=value``, with numbers to three places, as W&B's tags take them."""
    return [f"{key}={_short(value)}"[:MAX_TAG] for key, value in job_choices().items()]


def _short(value: str) -> str:
    try:
        return value if value.lstrip("-").isdecimal() else f"{float(value):.3g}"
    except ValueError:
        return value


def study_group() -> str | None:
    """The group of this run in W&B: its study and when it began; None for a run on its own."""
    if HydraConfig.initialized() and HydraConfig.get().mode is RunMode.MULTIRUN:
        study = StudyRecord.read(Path(HydraConfig.get().sweep.dir))
        return study.group if study else None
    return None


OmegaConf.register_new_resolver("dfd.run_name", lambda: ", ".join(shown_choices()) or None, replace=True)
OmegaConf.register_new_resolver("dfd.run_group", study_group, replace=True)
OmegaConf.register_new_resolver("dfd.run_tags", lambda tags: [*tags, *shown_choices()], replace=True)
