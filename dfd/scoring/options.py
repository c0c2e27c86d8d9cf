"""Detector, settings and ``run.json`` made from the options of ``predict.py``.

Shared by ``predict.py`` and by the workers of the web page, which take the same options.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfd import __version__
from dfd.base.errors import CheckpointError, ConfigError
from dfd.base.machine import num_cores
from dfd.config.build import build, options, part_name
from dfd.config.schemas import PredictConfig, inputs_of
from dfd.metrics.alike import check_prevalence
from dfd.models.files.card import read_card
from dfd.process.pool import WorkerPool
from dfd.scoring.aggregation import aggregation_named, check_chance, uncertain_band
from dfd.scoring.look.workers import look_settings, looks_of, numbered_windows_task, start_worker, worker_pool
from dfd.video.file.container import VideoLimits
from dfd.video.sampling import read_span

if TYPE_CHECKING:
    from dfd.scoring.detector import Detector
    from dfd.scoring.panel import Ensemble, Panel

# Options of the detector that decide what a score is; a folder holds scores of one setting of them.
DECISIVE = (
    *("window_stride", "max_windows", "max_faces", "max_decode_side", "video_stream"),
    *("aggregation", "threshold"),
)
OTHER = (
    *("runtime", "device", "precision", "moments_per_face", "heatmaps", "batch_size", "num_workers", "stop_early"),
    *("deadline_seconds", "stall_seconds"),
)

SECONDS_PER_FRAME, SECONDS_PER_SEEK, SECONDS_PER_BYTE = 0.015, 0.25, 1.25e-9
"""Estimated cost, on a core of a server, of a frame, of seeking a window, and of a frame for each byte of a network."""

LEAST_WINDOWS = 32
"""Windows that are scored of any video that has so many."""

TRACKS = ("embedding", "embedding_takes", "least_cosine")
"""Keys of the option ``tracks``."""

LOOKS = ("face_detector", "crop", *DECISIVE[:5], "limits", "span", "sparse_windows", *TRACKS)
"""Options that decide what a worker looks at."""


def detector_options(config: PredictConfig) -> dict[str, Any]:
    """Options of :class:`dfd.scoring.detector.Detector`."""
    chosen = config.face_detector
    if unknown := config.limits.keys() - {"max_width", "max_height"}:
        raise ConfigError(f"limits: no such key {', '.join(sorted(map(str, unknown)))}; it has max_width, max_height")
    if unknown := config.tracks.keys() - set(TRACKS):
        raise ConfigError(f"tracks: no such key {', '.join(sorted(map(str, unknown)))}; it has {', '.join(TRACKS)}")
    embedding = config.tracks.get("embedding")
    if embedding and not Path(embedding).expanduser().is_file():
        raise ConfigError(f"tracks.embedding: {embedding}: no such file; give the .onnx of a face recognition network")
    return {
        **config.tracks,
        "embedding": str(Path(embedding).expanduser()) if embedding else None,
        "face_detector": {"name": part_name(chosen, "dfd.faces.detect"), **options(chosen)} if chosen else None,
        "crop": build(config.crop) if config.crop else None,
        "limits": VideoLimits(**config.limits),
        "uncertain_margin": config.uncertain_margin,
        "prevalence": config.prevalence,
        "boxes": config.annotate,
        "span": read_span(config.span) if config.span else None,
        "sparse_windows": config.sparse_windows,
        "tuned": True,
        **{name: getattr(config, name) for name in (*DECISIVE, *OTHER)},
    }


def check_numbers(config: PredictConfig) -> None:
    """Refuse an aggregation, threshold, band, share of fakes or chance that cannot be, before anything is loaded.

    Raises:
        ConfigError: one of them is unknown or out of range.
    """
    try:
        if config.aggregation:
            aggregation_named(config.aggregation)
        uncertain_band(0.5 if config.threshold is None else config.threshold, config.uncertain_margin)
        check_prevalence(config.prevalence)
        check_chance(config.stop_early)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def affordable_windows(files: Sequence[Path], look_seconds: float) -> tuple[int, int]:
    """Number of windows that detectors score in about ``look_seconds``: of those that follow each other, and far apart.

    It is a fixed estimate and not measured: else the same video would be scored otherwise on a busier machine. Decoding
    and following faces take 15 ms a frame, a window that is sought in the file a quarter of a second, a network 1.25 ns
    a frame and byte of its file: 9 ms for the starter, 125 ms for a ResNeXt-50.

    Args:
        files: those of the detectors.
        look_seconds: time for one video, of one core.

    Raises:
        ConfigError: ``look_seconds`` is not above 0.
    """
    if not look_seconds > 0:
        raise ConfigError(f"look_seconds must be above 0, got {look_seconds}; max_windows=32 looks at 32 windows")
    # Only a .safetensors is read here: for others, clips of ten frames.
    clip_lens = [card.clip_len if (card := read_card(file)) else 10 for file in files]
    sizes = [file.stat().st_size if file.is_file() else 0 for file in files]
    networks = sum(length * size * SECONDS_PER_BYTE for length, size in zip(clip_lens, sizes, strict=True))
    frames = max(clip_lens) * SECONDS_PER_FRAME
    return int(look_seconds / (frames + networks)), int(look_seconds / (frames + SECONDS_PER_SEEK + networks))


def windows_of_one(config: PredictConfig, files: Sequence[Path], *, look_seconds: float) -> tuple[Any, int | None]:
    """What ``max_windows`` and ``sparse_windows`` are for a video that is looked at alone: what ``look_seconds`` allow.

    What the options say is kept, and so is the number in a card: it is part of how the detector's authors score.

    Args:
        config: options; ``max_windows=auto`` leaves the choice.
        files: those of the detectors.
        look_seconds: time for the video, of one core.

    Raises:
        ConfigError: ``look_seconds`` is not above 0.
    """
    has_rule = any((card := read_card(file)) and card.scoring.get("max_windows") for file in files)
    if config.max_windows != "auto" or config.sparse_windows is not None or has_rule:
        return config.max_windows, config.sparse_windows
    whole, sparse = affordable_windows(files, look_seconds)
    return max(LEAST_WINDOWS, whole), max(LEAST_WINDOWS, sparse)


def start_workers(
    config: PredictConfig, checkpoints: Sequence[Path], paths: Sequence[Path], *, begin: bool = False
) -> WorkerPool:
    """Worker processes for these videos, on their way while the detectors are loaded here: the option ``pool``.

    Where the cards can be read without torch they get ready, and with ``begin`` look at the first videos already. A
    card that is wrong is for the detector to refuse.

    Args:
        config: options of ``predict.py``.
        checkpoints: a file for each detector; of an ensemble, that of its first network.
        paths: the videos.
        begin: look at the first videos.
    """
    given = detector_options(config)
    cards = [read_card(checkpoint) for checkpoint in checkpoints]
    found = given["face_detector"] or (cards[0].crop.get("face_detector") if cards[0] else None)
    name = found.get("name") if isinstance(found, Mapping) else None
    pool = worker_pool(
        max(1, min(config.num_workers or num_cores(), len(paths))),
        deadline_seconds=config.deadline_seconds,
        stall_seconds=config.stall_seconds,
        batch_size=config.batch_size or 1,
        detector=name,
    )
    pool.start()
    known = [card for card in cards if card is not None]
    if len(known) == len(checkpoints):
        looks = {option: given[option] for option in LOOKS}
        with contextlib.suppress(CheckpointError, ValueError):
            looks |= {"every_frame": config.annotate, "frames": config.moments_per_face > 0}
            each = [
                look_settings(card, name=str(checkpoint), **looks)
                for card, checkpoint in zip(known, checkpoints, strict=True)
            ]
            pool.prepare(start_worker, *looks_of(each))
            if begin:
                pool.begin(numbered_windows_task, enumerate(paths))
    return pool


def settings_of(config: PredictConfig, detector: Detector | Ensemble | Panel) -> dict[str, Any]:
    """Settings that decide a score besides the model; a folder is continued only with the same ones."""
    return {
        "face_detector": {k: v for k, v in detector.face_detector.items() if k not in ("device", "weights")},
        **({"crop": detector.extraction.crop.to_dict()} if config.crop else {}),
        # Folders of before there was a choice of streams go on.
        **{k: getattr(config, k) for k in DECISIVE if k != "video_stream" or config.video_stream is not None},
        "max_windows": detector.windows.max_windows,
        "aggregation": detector.describe()["aggregation"],
        **({"votes": config.votes} if config.votes else {}),
        **({"span": config.span} if config.span else {}),
        "threshold": detector.threshold,
        "uncertain_margin": config.uncertain_margin,
        **({"sparse_windows": config.sparse_windows} if config.sparse_windows is not None else {}),
        **_tracks(config),
        **({"stop_early": config.stop_early} if config.stop_early is not None else {}),
        **({"prevalence": config.prevalence} if config.prevalence is not None else {}),
    }


def _tracks(config: PredictConfig) -> dict[str, Any]:
    """Settings by which persons are recognised, with the file's hash; none where nothing recognises them."""
    if not config.tracks.get("embedding"):
        return {}
    with Path(config.tracks["embedding"]).expanduser().open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
    return {"tracks": {**config.tracks, "embedding": f"{Path(file.name).name}@{digest}"}}


def run_facts(
    config: PredictConfig, detector: Detector | Ensemble | Panel, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Content of ``run.json``: the detector, its settings, the input and the time."""
    inputs = inputs_of(config.input)
    return {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "dfd": __version__,
        "input": inputs[0] if len(inputs) == 1 else f"{inputs[0]} and {len(inputs) - 1} more",
        "shard": config.shard,
        "model": {**detector.describe(), "file": ", ".join(Path(name).name for name in inputs_of(config.checkpoint))},
        "settings": settings,
    }
