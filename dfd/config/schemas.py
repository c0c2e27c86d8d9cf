"""Root schemas of the commands: the name and type of every option. conf/ has the values."""

from dataclasses import dataclass
from typing import Any


@dataclass
class AudioOnlyConfig:
    """Options to recognise fakes whose picture was not altered."""

    check: bool | None
    threshold: float | None


@dataclass
class RayVideosConfig:
    """Options of ``engine=ray`` wherever videos are decoded."""

    address: str | None
    num_cpus_per_video: float
    max_retries: int


@dataclass
class PreprocessConfig:
    """``python -m dfd.preprocess``."""

    store: str
    manifest: str | None
    source: Any
    root: str | None
    per_label: Any
    audio_only: AudioOnlyConfig
    face_detector: dict[str, Any]
    crop: dict[str, Any]
    faces: dict[str, Any]
    num_frames: int | None
    fps: float | None
    min_track_frames: int
    max_decode_side: int | None
    stills: bool
    encode: dict[str, Any]
    limits: dict[str, Any]
    split: str
    split_fractions: list[float]
    split_seed: int
    num_workers: int | None
    deadline_seconds: float
    retry_failed: bool
    shard: str
    engine: str
    ray: RayVideosConfig
    plugins: list[str] | None


@dataclass
class TuningConfig:
    """Options of what a training learns of the backbone."""

    learns: str
    freeze_stages: int
    layer_decay: float
    backbone_rate: float


@dataclass
class NeedsConfig:
    """Options of what an experiment needs of its data (:class:`dfd.studies.needs.Needs`)."""

    crop: str | None
    num_frames: int
    num_methods: int


@dataclass
class TrainConfig:
    """``train.py``."""

    data: dict[str, Any]
    backbone: dict[str, Any]
    temporal: dict[str, Any]
    head: dict[str, Any] | None
    loss: dict[str, Any] | None
    strategy: dict[str, Any] | None
    optimizer: dict[str, Any]
    scheduler: Any
    trainer: dict[str, Any]
    callbacks: Any
    logger: Any
    dropout: float
    label_smoothing: float
    class_weights: Any
    freeze_batchnorm: bool
    tuning: TuningConfig | None
    compile: bool
    seed: int | None
    ckpt_path: str | None
    init_from: str | None
    calibrate: bool
    test: bool
    test_windows: int
    num_sample_clips: int
    optimized_metric: str
    needs: NeedsConfig | None
    tags: list[str]
    plugins: list[str] | None


@dataclass
class EvaluateConfig:
    """``python -m dfd.evaluate``."""

    checkpoint: Any
    combine: str | None
    data: dict[str, Any]
    split: str
    device: str
    output: str | None
    threshold: float | None
    suite: str | None
    update_scope: bool
    trained_on: str | None
    stores: Any
    disturbances: list[str] | None
    scores: Any
    methods_trained: Any
    manifest: str | None
    prevalence: float
    groups: list[str] | None
    protocol: str | None
    fingerprint_weights: str | None
    plugins: list[str] | None


@dataclass
class CalibrateConfig:
    """``python -m dfd.calibrate``."""

    checkpoint: Any
    combine: str | None
    data: dict[str, Any]
    split: str
    false_alarms: float | None
    device: str
    output: str | None
    overwrite: bool
    plugins: list[str] | None


@dataclass
class RayConfig(RayVideosConfig):
    """Options of ``predict.py engine=ray``."""

    num_actors: int | None
    num_gpus_per_actor: float | None


@dataclass
class PredictConfig:
    """``predict.py``."""

    input: Any
    checkpoint: Any
    votes: list[float] | None
    output: str | None
    face_detector: dict[str, Any] | None
    crop: dict[str, Any] | None
    max_windows: Any
    look_seconds: float
    sparse_windows: int | None
    span: str | None
    window_stride: int | None
    max_faces: int
    aggregation: str | None
    threshold: float | None
    uncertain_margin: float
    prevalence: float | None
    runtime: str
    report: bool
    manifest: str | None
    annotate: bool
    blinks: bool
    moments_per_face: int
    heatmaps: bool
    batch_size: int | None
    stop_early: float | None
    device: str
    precision: str
    num_workers: int | None
    deadline_seconds: float
    stall_seconds: float
    limits: dict[str, Any]
    tracks: dict[str, Any]
    max_decode_side: int | None
    video_stream: int | None
    overwrite: bool
    shard: str
    engine: str
    ray: RayConfig
    plugins: list[str] | None


@dataclass
class ExportConfig:
    """``python -m dfd.export``."""

    checkpoint: str
    format: str
    half: bool
    output: str | None
    licence: str | None
    plugins: list[str] | None


SCHEMAS: dict[str, type[Any]] = {
    "preprocess": PreprocessConfig,
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "calibrate": CalibrateConfig,
    "predict": PredictConfig,
    "export": ExportConfig,
}
"""Schemas of the commands' configurations, by command."""


def inputs_of(given: object) -> list[str]:
    """The option ``input`` or ``checkpoint`` as what it names: one path, or each of a list.

    >>> inputs_of("a.mp4"), inputs_of(["a.mp4", 7])
    (['a.mp4'], ['a.mp4', '7'])
    """
    return [str(item) for item in given] if isinstance(given, list) else [str(given)]
