"""Configuration: the root schemas, the check that runs before anything is built, and the edge of every command.

Hydra refuses an override of a key that does not exist; what it cannot know is whether a value fits the code. ``check``
binds every ``_target_`` to its signature, so a misspelt or missing argument fails in a second and not after an hour.
"""

import difflib
import gc
import importlib
import inspect
import logging
import os
import sys
import time
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, HydraException
from hydra.types import RunMode
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dfd.errors import ConfigError, DfdError, RunDiverged, disk_sentence
from dfd.host import wait_without_spinning
from dfd.outcomes import StudyRecord, overrides_by_key, recorded

CONFIG_DIR = Path(__file__).resolve().parent.parent / "conf"
SWEEPS_DIR = CONFIG_DIR.parent / "sweeps"
FILE_SUFFIXES = (".safetensors", ".ckpt", ".onnx", ".pt2")
MAX_TAG = 64
"""Characters of a tag that W&B takes."""
logger = logging.getLogger(__name__)

ALLOWED_PACKAGES = ("dfd.", "torch.", "lightning.", "torchvision.", "torchmetrics.", "timm.")


@dataclass
class AudioOnlyConfig:
    """How fakes whose picture was left as it was are told."""

    check: bool | None = None
    threshold: float | None = None


@dataclass
class RayVideosConfig:
    """What ``engine=ray`` takes wherever videos are decoded."""

    address: str | None = None
    num_cpus_per_video: float = 1.0
    max_retries: int = 3


@dataclass
class PreprocessConfig:
    """``python -m dfd.preprocess``."""

    store: str = MISSING
    manifest: str | None = None
    source: Any = None
    root: str | None = None
    per_label: Any = None
    audio_only: AudioOnlyConfig = field(default_factory=AudioOnlyConfig)
    face_detector: dict[str, Any] = field(default_factory=dict)
    faces: dict[str, Any] = field(default_factory=dict)
    num_frames: int | None = 150
    fps: float | None = None
    min_track_frames: int = 10
    max_decode_side: int | None = 1920
    stills: bool = False
    encode: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    split: str = "source"
    split_fractions: list[float] = field(default_factory=lambda: [0.7, 0.15, 0.15])
    split_seed: int = 0
    num_workers: int | None = None
    deadline_seconds: float = 600.0
    retry_failed: bool = False
    shard: str = "0/1"
    engine: str = "local"
    ray: RayVideosConfig = field(default_factory=RayVideosConfig)


@dataclass
class TrainConfig:
    """``train.py``."""

    data: dict[str, Any] = MISSING
    backbone: dict[str, Any] = MISSING
    temporal: dict[str, Any] = MISSING
    optimizer: dict[str, Any] = MISSING
    scheduler: Any = None
    trainer: dict[str, Any] = MISSING
    callbacks: Any = None
    logger: Any = None
    dropout: float = 0.4
    label_smoothing: float = 0.0
    class_weights: Any = None
    freeze_batchnorm: bool = False
    compile: bool = False
    seed: int | None = 0
    ckpt_path: str | None = None
    calibrate: bool = True
    test: bool = True
    test_windows: int = 4
    num_sample_clips: int = 8
    optimized_metric: str = "val/auc"
    tags: list[str] = field(default_factory=list)


@dataclass
class EvaluateConfig:
    """``python -m dfd.evaluate``."""

    checkpoint: str = MISSING
    data: dict[str, Any] = MISSING
    split: str = "test"
    device: str = "auto"
    output: str | None = None
    threshold: float | None = None
    suite: str | None = None
    stores: Any = None
    disturbances: list[str] | None = None


@dataclass
class CalibrateConfig:
    """``python -m dfd.calibrate``."""

    checkpoint: str = MISSING
    data: dict[str, Any] = MISSING
    split: str = "val"
    device: str = "auto"
    output: str | None = None
    overwrite: bool = False


@dataclass
class RayConfig(RayVideosConfig):
    """What ``predict.py engine=ray`` takes."""

    num_actors: int | None = None
    num_gpus_per_actor: float | None = None


@dataclass
class PredictConfig:
    """``predict.py``."""

    input: str = MISSING
    checkpoint: str = MISSING
    output: str | None = None
    face_detector: dict[str, Any] = field(default_factory=dict)
    max_windows: int | None = 32
    window_stride: int | None = None
    max_faces: int = 8
    aggregation: str = "max_of_means"
    threshold: float | None = None
    uncertain_margin: float = 0.1
    runtime: str = "auto"
    report: bool = True
    annotate: bool = False
    moments_per_face: int = 3
    heatmaps: bool = True
    batch_size: int | None = None
    device: str = "auto"
    num_workers: int | None = None
    deadline_seconds: float = 3600.0
    stall_seconds: float = 300.0
    limits: dict[str, Any] = field(default_factory=dict)
    max_decode_side: int | None = 1920
    video_stream: int | None = None
    overwrite: bool = False
    shard: str = "0/1"
    engine: str = "local"
    ray: RayConfig = field(default_factory=RayConfig)


@dataclass
class ExportConfig:
    """``python -m dfd.export``."""

    checkpoint: str = MISSING
    format: str = "safetensors"
    half: bool = False
    output: str | None = None
    licence: str | None = None


def shared_name(default: str) -> str:
    """A name for the run's folder that all of its processes come to; ``default`` if it is not srun's or torchrun's.

    A job that Slurm requeues comes to the same name again, so it finds its checkpoints.
    """
    job, step = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_STEP_ID")
    if job and step and "SLURM_PROCID" in os.environ:
        return f"slurm_{job}" if step == "0" else f"slurm_{job}_{step}"
    if run_id := os.environ.get("TORCHELASTIC_RUN_ID"):
        # Without a rendezvous of its own the id is "none"; on one machine, the process that started all is the same.
        return f"torchrun_{run_id}" if run_id != "none" else f"torchrun_{time.strftime('%Y-%m-%d')}_{os.getppid()}"
    return default


def unless_cpu(accelerator: str) -> bool:
    """What GPUs alone can do, such as batch normalisation over processes, is on unless ``accelerator`` is the CPU."""
    return accelerator != "cpu"


_STARTED = time.strftime("%Y-%m-%d_%H-%M-%S")


def run_folder(command: str, key: str, where: str, *, _root_: DictConfig) -> str:
    """The folder of a run, with its log: ``outputs/COMMAND/TIME``, or what the config's ``key`` says.

    Args:
        command: its name.
        key: the option that names what is written, such as ``output``.
        where: ``always``: in that folder, wherever the working folder is; ``beside``: only if nothing can be written
            to the working folder, hidden, or for the folder of a file beside it.
    """
    chosen = OmegaConf.select(_root_, key, default=None, throw_on_missing=False)
    if chosen is None or (where == "beside" and os.access(".", os.W_OK)):
        return f"outputs/{command}/{_STARTED}"
    path = Path(str(chosen)).expanduser()
    if where == "always":
        return str(path)
    return str((path.parent if path.suffix in FILE_SUFFIXES and not path.is_dir() else path) / f".{command}")


# The named studies lie outside of conf/; a search path may not depend on where the command is run.
OmegaConf.register_new_resolver("dfd.sweeps", lambda: str(SWEEPS_DIR), replace=True)
OmegaConf.register_new_resolver("dfd.shared_name", shared_name, replace=True)
OmegaConf.register_new_resolver("dfd.unless_cpu", unless_cpu, replace=True)
OmegaConf.register_new_resolver("dfd.run_folder", run_folder, replace=True)

Schema = TypeVar("Schema")


def did_you_mean(word: str, choices: list[str]) -> str:
    """A clause to append to an error about ``word``.

    >>> did_you_mean("hidden_feature", ["in_features", "hidden_features"])
    "; did you mean 'hidden_features'?"
    """
    close = difflib.get_close_matches(word, choices, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; it takes {', '.join(choices)}" if choices else ""


def check(cfg: DictConfig, schema: type[Schema]) -> Schema:
    """``cfg`` as a checked ``schema``: known keys, right types, nothing missing, every ``_target_`` callable as given.

    Raises:
        ConfigError: listing every place that does not fit.
    """
    names = [item.name for item in fields(schema)]  # type: ignore[arg-type]
    keys = [str(key) for key in cfg]
    problems = [f"{key}: no such key{did_you_mean(key, names)}" for key in keys if key not in names]
    problems += [
        f"{key}: required; add {key}=… to the command line"
        for key in names
        if key in cfg and OmegaConf.is_missing(cfg, key)
    ]
    if not problems:
        try:
            plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=False)
            merged = OmegaConf.merge(OmegaConf.structured(schema), {str(k): v for k, v in dict(plain).items()})  # type: ignore[arg-type]
        except OmegaConfBaseException as error:
            where = getattr(error, "full_key", None) or ""
            raise ConfigError(f"config does not fit the code:\n  {where}: {str(error).splitlines()[0]}") from error
        problems += [problem for name in names for problem in _target_problems(dict(plain).get(name), name)]  # type: ignore[arg-type]
    if problems:
        raise ConfigError("\n  ".join(["config does not fit the code:", *problems]))
    value = OmegaConf.to_object(merged)
    assert isinstance(value, schema)
    return value


def _target_problems(node: Any, path: str) -> Iterator[str]:
    """What is wrong with the values and ``_target_`` calls in and below ``node``."""
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from _target_problems(item, f"{path}[{index}]")
        return
    if node == "???":
        yield f"{path}: required; add {path}=… to the command line"
        return
    if not isinstance(node, Mapping):
        return
    if "_target_" in node:
        yield from _binding_problems(node, path)
    for key, value in node.items():
        yield from _target_problems(value, f"{path}.{key}")


def _binding_problems(node: Mapping[str, Any], path: str) -> Iterator[str]:
    try:
        target = locate(str(node["_target_"]))
    except ConfigError as error:
        yield f"{path}._target_: {error}"
        return
    parameters = inspect.signature(target).parameters.values()
    named = [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for key in node:
            if not str(key).startswith("_") and key not in named:
                yield f"{path}.{key}: {target.__name__} has no parameter {key!r}{did_you_mean(str(key), named)}"
    # A partial call and a model part (its in_features come from the backbone) are completed by code.
    completed_later = node.get("_partial_", False) or path in ("temporal", "optimizer", "scheduler")
    for parameter in parameters:
        required = parameter.default is parameter.empty and parameter.name in named
        if required and not completed_later and parameter.name not in node:
            yield f"{path}.{parameter.name}: {target.__name__} needs it; add {path}.{parameter.name}=…"
        value = node.get(parameter.name)
        if isinstance(value, str) and _takes_numbers(parameter):
            yield f"{path}.{parameter.name}: must be a number, got {value!r}"


def _takes_numbers(parameter: inspect.Parameter) -> bool:
    """Whether it is a number and never text, by its type or, if that names more, by its default."""
    if str in (parameter.annotation, *typing.get_args(parameter.annotation)):
        return False
    default = parameter.default
    return parameter.annotation in (int, float) or (isinstance(default, int | float) and not isinstance(default, bool))


def locate(dotted: str) -> Callable[..., Any]:
    """The callable at ``package.module.name``, from the packages that a config may name.

    Raises:
        ConfigError: another package, or nothing there.
    """
    module_name, _, name = dotted.rpartition(".")
    if not dotted.startswith(ALLOWED_PACKAGES):
        raise ConfigError(f"{dotted} is not in {', '.join(p.rstrip('.') for p in ALLOWED_PACKAGES)}")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"cannot import {module_name}: {error}") from error
    if not hasattr(module, name):
        public = [item for item in vars(module) if not item.startswith("_")]
        close = difflib.get_close_matches(name, public, n=1)
        raise ConfigError(f"{module_name} has no {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
    found: Callable[..., Any] = getattr(module, name)
    return found


def build(node: Mapping[str, Any]) -> Any:
    """Call what a checked config node describes; nested nodes first.

    Raises:
        ConfigError: the call refuses a value; the message names the target.
    """
    if not str(node.get("_target_", "")).startswith(ALLOWED_PACKAGES):
        raise ConfigError(f"{node.get('_target_')} may not be built from a config")
    try:
        return hydra.utils.instantiate(dict(node), _convert_="all")
    except hydra.errors.InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, DfdError):
            raise cause from None
        if isinstance(cause, ValueError | TypeError):
            raise ConfigError(f"{target_name(node)}: {cause}") from error
        raise


def build_all(nodes: Mapping[str, Any] | None) -> list[Any]:
    """Build each entry of a group such as ``callbacks``, in order; ``null`` entries are off."""
    return [build(node) for node in (nodes or {}).values() if node]


def target_name(node: Mapping[str, Any]) -> str:
    """The last part of a node's ``_target_``: the option's name.

    >>> target_name({"_target_": "dfd.faces.detect.mtcnn"})
    'mtcnn'
    """
    return str(node["_target_"]).rpartition(".")[2]


def options(node: Mapping[str, Any]) -> dict[str, Any]:
    """A node's arguments, without Hydra's own keys."""
    return {str(key): value for key, value in node.items() if not str(key).startswith("_")}


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turn a value that a class of ours refuses into an error that says where it comes from.

    Raises:
        ConfigError: a value is out of range.
    """
    try:
        yield
    except ValueError as error:
        raise ConfigError(f"{what}: {error}") from error


def parse_shard(text: str) -> tuple[int, int]:
    """``i/n`` as numbers.

    >>> parse_shard("0/8")
    (0, 8)

    Raises:
        ConfigError: not of that form, or i is not in 0..n-1.
    """
    try:
        index, count = (int(part) for part in text.split("/"))
    except ValueError:
        raise ConfigError(f"shard={text} is not of the form i/n, such as shard=0/8") from None
    if count < 1:
        raise ConfigError(f"shard={text}: the second number, of the shards, must be 1 or more")
    if not 0 <= index < count:
        raise ConfigError(f"shard={text}: the first number must be in 0..{count - 1}")
    return index, count


def output_dir() -> Path:
    """The folder of this run, made by Hydra."""
    return Path(HydraConfig.get().runtime.output_dir)


def entry_point(config_name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], Any]]:
    """Make a function of the composed config a command: ``--help``, overrides, and errors as sentences on stderr.

    A ``DfdError``, and what a full or read-only disk raises, ends the command with exit status 1 and its message,
    without a traceback. In a multirun it is raised, so that the launcher decides.
    """

    def decorate(function: Callable[[DictConfig], Any]) -> Callable[[], Any]:
        entered = False

        def task(cfg: DictConfig) -> Any:
            nonlocal entered
            entered = True
            try:
                if HydraConfig.get().mode is RunMode.MULTIRUN:
                    return _run_job(function, cfg)
                return function(cfg)
            except DfdError as error:
                if HydraConfig.get().mode is RunMode.MULTIRUN:
                    raise  # the sweeper decides whether others go on
                # In the terminal, and in the run's log. On what all processes of a run agree, the first one speaks:
                # dfd.distributed.speak_once leaves errors to the others.
                agreed = isinstance(error, RunDiverged)
                logger.log(logging.WARNING if agreed else logging.ERROR, "error: %s", error)
                raise SystemExit(1) from error
            except OSError as error:
                sentence = disk_sentence(error)
                if sentence is None or HydraConfig.get().mode is RunMode.MULTIRUN:
                    raise
                print(f"error: {sentence}", file=sys.stderr)  # not to the log, whose disk may be the full one
                raise SystemExit(1) from error
            except KeyboardInterrupt as stop:
                logger.error(str(stop) or "interrupted; what was finished is kept, and --help says how to go on")
                raise SystemExit(130) from None

        task.__doc__, task.__module__, task.__name__ = function.__doc__, function.__module__, function.__name__
        command = hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name=config_name)(task)

        def run() -> Any:
            wait_without_spinning()
            logging.raiseExceptions = False  # of a log that cannot be written no traceback for each line
            before = os.environ.get("HYDRA_FULL_ERROR")
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on, to become sentences here
            try:
                return command()
            except DfdError as error:
                print(f"error: {error}", file=sys.stderr)
                raise SystemExit(1) from error
            except CompactHydraException as error:
                print(error, file=sys.stderr)
                if isinstance(error.__cause__, OmegaConfBaseException):
                    print(error.__cause__, file=sys.stderr)
                if not entered:
                    for line in _suggestions(config_name, sys.argv[1:]):
                        print(line, file=sys.stderr)
                raise SystemExit(1) from error
            except BrokenPipeError:  # whoever read the output has enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise SystemExit(1) from None
            except OSError as error:  # Hydra's, of the run's folder
                if (sentence := disk_sentence(error)) is None:
                    raise
                print(f"error: {sentence}", file=sys.stderr)
                raise SystemExit(1) from error
            finally:
                os.environ.pop("HYDRA_FULL_ERROR")
                if before is not None:
                    os.environ["HYDRA_FULL_ERROR"] = before

        return run

    return decorate


def _run_job(function: Callable[[DictConfig], Any], cfg: DictConfig) -> Any:
    """One job of a multirun. Its folder says what became of it, and it leaves no memory to the next one."""
    with recorded(output_dir(), list(HydraConfig.get().overrides.task)) as recorder:
        try:
            recorder.value = function(cfg)
        finally:
            gc.collect()
            if "torch" in sys.modules:
                sys.modules["torch"].cuda.empty_cache()
    return recorder.value


def job_choices() -> dict[str, str]:
    """What this run chose of what is varied, as a job of a study or as a run of a W&B sweep; else nothing."""
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
    """Each as ``key=value``, numbers to three places, as W&B's tags take them."""
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


def _suggestions(config_name: str, arguments: list[str]) -> Iterator[str]:
    """For overrides that Hydra refused: the key that was probably meant."""
    given = [argument for argument in arguments if "=" in argument and not argument.startswith("-")]
    keys = [argument.partition("=")[0].lstrip("+~") for argument in given]
    groups = sorted(item.name for folder in (CONFIG_DIR, SWEEPS_DIR) for item in folder.iterdir() if item.is_dir())
    chosen = [argument for argument, key in zip(given, keys, strict=True) if key in groups]
    try:
        with hydra.initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            composed = hydra.compose(config_name, chosen)
    except HydraException:
        return  # a group or an option that does not exist: Hydra's own message lists those that do
    known = [*groups, *_dotted_keys(OmegaConf.to_container(composed, resolve=False))]
    for key in keys:
        group = key.partition(".")[0]
        if group != key and group in groups and composed.get(group) is None:
            names = sorted(file.stem for file in (CONFIG_DIR / group).glob("*.yaml"))
            yield f"{key}: of which? Choose it, too: {group}=NAME, one of {', '.join(names)}"
        elif key not in known and not key.startswith("hydra"):
            yield f"{key}: no such key{did_you_mean(key, known) if difflib.get_close_matches(key, known) else ''}"


def _dotted_keys(node: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from _dotted_keys(value, f"{prefix}{key}.")
