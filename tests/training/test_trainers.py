"""Every trainer, optimizer and experiment of conf/, together, as they ship: each takes a step and keeps its weights."""

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, open_dict

from dfd.commands import train
from dfd.config.build import build_all
from dfd.config.check import check
from dfd.config.folders import CONFIG_DIR
from dfd.config.schemas import TrainConfig
from dfd.data.prepare.store import prepare_store
from dfd.data.prepare.video import PreparationSettings
from dfd.data.sources.manifest import read_manifest
from dfd.faces.crop import Square
from dfd.faces.extract import ExtractionSettings
from dfd.models.files.checkpoint import load_model
from dfd.training.loggers import finishing
from dfd.training.results import best_checkpoint
from dfd.video.encode import write_video
from tests.conftest import drawn_frames
from tests.training.test_distributed import free_port


def options_of(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIG_DIR / group).glob("*.yaml") if path.stem != "default")


TRAINERS, OPTIMIZERS = options_of("trainer"), options_of("optimizer")
OTHER_DATA = ("meta", "traces", "ppg", "ppg_cnn", "rendering")
"""Experiments whose data the small store cannot be (several methods of fakes, longer clips); other tests have them."""
EXPERIMENTS = ["none given", *(name for name in options_of("experiment") if name not in OTHER_DATA)]

HARDWARE = {"trainer.accelerator": "cpu", "trainer.devices": "1"}
"""This machine has no GPU, and tests run side by side."""
NODES = {"slurm": {"trainer.num_nodes": "1"}}
SIZES = {
    "data.batch_size": "2",
    "data.clip_len": "2",
    "data.num_workers": "0",
    "trainer.max_epochs": "1",
}
HEAD = {"lstm": "temporal.hidden_features", "gru": "temporal.hidden_features", "transformer": "temporal.width"}
WEIGHTS = {"backbone.pretrained": "false"}
DATA = {"data.store", "data.per_label", "data._target_"}
SIZED = {"backbone.input_size", "backbone.picture_size", "backbone.name"}
MAY_BE_OVERRIDDEN = {*HARDWARE, "trainer.num_nodes", *SIZES, *HEAD.values(), *SIZED, *WEIGHTS, *DATA, "needs.crop"}
"""Accelerator, devices, nodes, sizes, weights and data: nothing that decides whether a step can be taken."""
SLURM_TASK = {
    **{"SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "train", "SLURM_NNODES": "1", "SLURM_NTASKS": "1"},
    **{"SLURM_NTASKS_PER_NODE": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"},
    **{"SLURM_NODELIST": "127.0.0.1", "MASTER_ADDR": "127.0.0.1"},
}


def pairwise(*factors: list[str]) -> list[tuple[str, ...]]:
    """Combinations in which every pair of values of two factors is found: greedily, those with the most new pairs."""
    rows = list(itertools.product(*factors))

    def pairs(row: tuple[str, ...]) -> set[Any]:
        return set(itertools.combinations(enumerate(row), 2))

    open_pairs, chosen = set().union(*map(pairs, rows)), []
    while open_pairs:
        best = max(rows, key=lambda row: len(pairs(row) & open_pairs))
        open_pairs -= pairs(best)
        chosen.append(best)
    return sorted(chosen)


PAIRWISE = pairwise(TRAINERS, OPTIMIZERS, EXPERIMENTS)
EACH = [
    (TRAINERS[number % len(TRAINERS)], OPTIMIZERS[number % len(OPTIMIZERS)], experiment)
    for number, experiment in enumerate(EXPERIMENTS)
]
"""Every experiment once, in turn with every trainer and every optimizer."""
LARGE = ("blink", "guera_delp", "sstnet", "starter_gpu", "thesis_inception_v3")
"""Experiments whose networks cannot be made small here, and take a while."""


@pytest.fixture(scope="module")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of each split, one of them fake, so that an epoch is one step, of the size that Inception v3 takes."""
    folder = tmp_path_factory.mktemp("videos")
    lines = ["path,label,dataset,method,source_ids,split"]
    for number, (split, label) in enumerate(itertools.product(("train", "val", "test"), ("real", "fake"))):
        write_video(folder / f"{number}.mp4", drawn_frames(number, fake=label == "fake", num_frames=12), fps=25)
        lines.append(f"{number}.mp4,{label},tiny,{'flicker' if label == 'fake' else ''},person{number},{split}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    settings = PreparationSettings({"name": "fixed_box"}, ExtractionSettings(crop=Square(size=80, margin_fraction=0.0)))
    prepare_store(read_manifest(folder / "manifest.csv"), folder / "store", settings, num_workers=1)
    return folder / "store"


@pytest.fixture
def processes_of_nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give back what strategies of several processes leave behind, even of one."""
    before = dict(os.environ)
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def configured(folder: Path, store: Path, choices: dict[str, str]) -> TrainConfig:
    """The configuration as shipped, but for what :data:`MAY_BE_OVERRIDDEN` names."""
    chosen = [f"{group}={option}" for group, option in choices.items() if option != "none given"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        plain = compose("train", [*chosen, f"data.store={store}"])
        if plain.data._target_.endswith("DemoDataModule"):
            chosen.append("data=clips")  # the demonstration draws its own videos, for minutes
        nodes = NODES.get(choices.get("trainer", ""), {})
        weights = WEIGHTS if "pretrained" in plain.backbone else {}
        changed = {**HARDWARE, **nodes, **SIZES, **weights, "data.store": str(store)}
        head = plain.temporal._target_.rpartition(".")[2].removesuffix("_over_batch")
        if head in HEAD:
            changed[HEAD[head]] = "8"
        if "per_label" in plain.data and plain.data.per_label is not None:
            changed["data.per_label"] = "null"
        if plain.backbone.get("name", "").startswith("vit_"):
            changed["backbone.name"] = "test_vit"  # transformers take one size, and this one is small
        elif plain.backbone._target_.endswith((".timm", ".vgg19_pool3")):
            changed["backbone.input_size"] = "32"
        if "picture_size" in plain.backbone:
            changed["backbone.picture_size"] = "32"
        if plain.needs.crop:
            changed["needs.crop"] = "null"
        assert changed.keys() <= MAY_BE_OVERRIDDEN
        overrides = [*chosen, *(f"{key}={value}" for key, value in changed.items())]
        cfg = compose("train", overrides, return_hydra_config=True)
    with open_dict(cfg):
        cfg.hydra.runtime.output_dir = str(folder)
        HydraConfig.instance().set_config(cfg)
        del cfg["hydra"]
    allowed = tuple(MAY_BE_OVERRIDDEN)  # per_label has a number for each data set below it
    differing = {key for key, value in flat(cfg) if dict(flat(plain)).get(key, "absent") != value}
    assert {key for key in differing if not key.startswith(allowed)} == set()
    return check(cfg, TrainConfig)


def flat(node: Any, prefix: str = "") -> list[tuple[str, Any]]:
    plain = OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else node
    if not isinstance(plain, dict):
        return [(prefix.rstrip("."), plain)]
    return [item for key, value in plain.items() for item in flat(value, f"{prefix}{key}.")]


def fit(folder: Path, store: Path, choices: dict[str, str]) -> lightning.Trainer:
    """Train as train.py does, to the end of an epoch, and read what was kept."""
    config = configured(folder, store, choices)
    lightning.seed_everything(0, workers=True, verbose=False)
    loggers = build_all(config.logger)
    trainer = train.trainer_of(config, loggers)
    with finishing(loggers):
        data, module, _ = train.prepare(config, trainer, folder)
        before = {name: tensor.clone() for name, tensor in module.model.state_dict().items()}
        trainer.fit(module, data, weights_only=True)
    assert trainer.global_step >= 1
    assert any(not torch.equal(tensor, before[name]) for name, tensor in module.model.state_dict().items())
    assert "val/loss" in trainer.callback_metrics
    return trainer


@pytest.fixture
def task(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, processes_of_nobody: None) -> dict[str, str]:
    choices = dict(zip(("trainer", "optimizer", "experiment"), request.param, strict=True))
    for name, value in SLURM_TASK.items() if choices["trainer"] == "slurm" else ():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", free_port())  # by itself, every job of that number takes the same one
    return choices


def takes_a_step(folder: Path, store: Path, choices: dict[str, str]) -> None:
    trainer = fit(folder, store, choices)
    best = best_checkpoint(trainer)
    assert best is not None
    model, card = load_model(best)
    assert card.metrics["val/loss"] == pytest.approx(float(trainer.callback_metrics["val/loss"]))
    assert all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values())
    shutil.rmtree(folder / "checkpoints")  # of networks of full size: half a gigabyte each time


def test_the_combinations_have_every_value_and_every_pair() -> None:
    factors = (TRAINERS, OPTIMIZERS, EXPERIMENTS)
    assert [set(column) for column in zip(*EACH, strict=True)] == [set(factor) for factor in factors]
    wanted = {
        pair
        for (i, one), (j, other) in itertools.combinations(enumerate(factors), 2)
        for pair in itertools.product([(i, value) for value in one], [(j, value) for value in other])
    }
    found = {pair for row in PAIRWISE for pair in itertools.combinations(enumerate(row), 2)}
    assert found == wanted
    assert len(PAIRWISE) < len(TRAINERS) * len(OPTIMIZERS) * len(EXPERIMENTS) / 2


@pytest.mark.parametrize(
    "task",
    [pytest.param(row, marks=pytest.mark.slow if row[2] in LARGE else ()) for row in EACH],
    ids=map("-".join, EACH),
    indirect=True,
)
def test_every_trainer_optimizer_and_experiment_takes_a_step(
    task: dict[str, str], small_store: Path, tmp_path: Path
) -> None:
    takes_a_step(tmp_path, small_store, task)


@pytest.mark.slow
@pytest.mark.parametrize("task", [row for row in PAIRWISE if row not in EACH], ids="-".join, indirect=True)
def test_every_pair_of_them_takes_a_step(task: dict[str, str], small_store: Path, tmp_path: Path) -> None:
    takes_a_step(tmp_path, small_store, task)


OPTIONS = [
    (group, option)
    for group in ("callbacks", "scheduler", "data/augmentation", "logger")
    for option in [*options_of(group), *(["default"] if group == "callbacks" else [])]
]


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_of_these_groups_has_trained(
    group: str, option: str, small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    choices = {"trainer": "cpu", "experiment": "demo", "data": "clips", group: option}
    trainer = fit(tmp_path, small_store, choices)
    assert (best_checkpoint(trainer) is None) == (option == "none")
    assert (tmp_path / "metrics.csv").is_file()
    if option in ("wandb", "tensorboard"):
        assert any(path.is_file() for path in (tmp_path / option).rglob("*"))
