"""From the options of ``predict.py`` to a detector, its settings and what ``run.json`` says of them.

Shared by ``predict.py`` and by the workers of the web page, which take the same options.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.errors import HydraException
from omegaconf import OmegaConf

from dfd.card import read_card
from dfd.config import CONFIG_DIR, PredictConfig, check, options, target_name
from dfd.errors import CheckpointError, ConfigError
from dfd.workers import WorkerPool, num_cores

if TYPE_CHECKING:
    from dfd.inference import Detector

# Options of the detector that decide what a score is; a folder holds scores of one setting of them.
DECISIVE = (
    *("window_stride", "max_windows", "max_faces", "max_decode_side", "video_stream"),
    *("aggregation", "threshold"),
)
OTHER = (
    "runtime",
    "device",
    "moments_per_face",
    "heatmaps",
    "batch_size",
    "num_workers",
    "deadline_seconds",
    "stall_seconds",
)

LOOKS = (
    *("face_detector", "window_stride", "max_windows", "max_faces", "max_decode_side", "video_stream"),
    "limits",
)
"""Options that decide what a worker looks at."""


def predict_config(checkpoint: str, overrides: Sequence[str] = (), *, input: str = "") -> PredictConfig:
    """The configuration that ``predict.py checkpoint=… input=…`` would have with these overrides.

    Raises:
        ConfigError: an override names no option, or a value that does not fit.
    """
    try:
        with hydra.initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            cfg = hydra.compose("predict", list(overrides))
    except HydraException as error:
        raise ConfigError(f"{' '.join(overrides)}: {str(error).splitlines()[0]}") from error
    # Not as overrides: a path may hold any sign of Hydra's grammar.
    OmegaConf.update(cfg, "checkpoint", checkpoint)
    OmegaConf.update(cfg, "input", input)
    return check(cfg, PredictConfig)


def detector_options(config: PredictConfig) -> dict[str, Any]:
    """What :class:`dfd.inference.Detector` is told."""
    from dfd.video.container import VideoLimits

    chosen = config.face_detector
    if unknown := config.limits.keys() - {"max_width", "max_height"}:
        raise ConfigError(f"limits: no such key {', '.join(sorted(map(str, unknown)))}; it has max_width, max_height")
    return {
        "face_detector": {"name": target_name(chosen), **options(chosen)} if chosen else None,
        "limits": VideoLimits(**config.limits),
        "uncertain_margin": config.uncertain_margin,
        "boxes": config.annotate,
        "fold_batchnorm": True,
        **{name: getattr(config, name) for name in (*DECISIVE, *OTHER)},
    }


def start_workers(config: PredictConfig, checkpoint: Path, paths: Sequence[Path], *, begin: bool = False) -> WorkerPool:
    """Worker processes for these videos, on their way while the detector is loaded here: its option ``pool``.

    Where the card can be read without torch they get ready, and with ``begin`` look at the first videos already. A card
    that is wrong is for the detector to refuse.
    """
    from dfd.faces.windows import look_settings, numbered_windows_task, start_worker, worker_pool

    given = detector_options(config)
    card = read_card(checkpoint)
    found = given["face_detector"] or (card.crop.get("face_detector") if card else None)
    name = found.get("name") if isinstance(found, Mapping) else None
    pool = worker_pool(
        max(1, min(config.num_workers or num_cores(), len(paths))),
        deadline_seconds=config.deadline_seconds,
        stall_seconds=config.stall_seconds,
        batch_size=config.batch_size or 1,
        detector=name,
    )
    pool.start()
    if card is not None:
        looks = {option: given[option] for option in LOOKS}
        with contextlib.suppress(CheckpointError, ValueError):
            pool.prepare(start_worker, *look_settings(card, name=str(checkpoint), every_frame=config.annotate, **looks))
            if begin:
                pool.begin(numbered_windows_task, enumerate(paths))
    return pool


def runtime_of_folder(folder: Path, checkpoint: Path) -> str:
    """What ``runtime=auto`` is for a folder that scores lie in: what they were computed with; else ``auto``.

    So a run that is gone on with has the scores of one that was never stopped, to the last digit.
    """
    from dfd.inputs import JSONL_NAME, RUN_NAME
    from dfd.untrusted import read_json

    if checkpoint.suffix == ".onnx" or not (folder / JSONL_NAME).is_file():
        return "auto"
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        runtime = {"TorchRuntime": "torch", "OnnxRuntime": "onnx"}[read_json(folder / RUN_NAME)["model"]["runtime"]]
        if runtime == "torch" or all(find_spec(name) for name in ("onnx", "onnxruntime", "onnxscript")):
            return runtime
    return "auto"


def settings_of(config: PredictConfig, detector: Detector) -> dict[str, Any]:
    """What decides a score, besides the model: a folder is continued only with the same."""
    return {
        "face_detector": {k: v for k, v in detector.face_detector.items() if k not in ("device", "weights")},
        # Folders of before there was a choice of streams go on.
        **{
            name: getattr(config, name)
            for name in DECISIVE
            if name != "video_stream" or config.video_stream is not None
        },
        "threshold": detector.threshold,
        "uncertain_margin": config.uncertain_margin,
    }


def run_facts(config: PredictConfig, detector: Detector, settings: Mapping[str, Any]) -> dict[str, Any]:
    """``run.json``: who scored what, with what and when."""
    from dfd import __version__

    return {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "dfd": __version__,
        "input": config.input,
        "shard": config.shard,
        "model": {**detector.describe(), "file": Path(config.checkpoint).name},
        "settings": settings,
    }
