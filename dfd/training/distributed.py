"""Runs of several processes, which must find each other, agree on a folder, and end together.

The processes are started either by Lightning (the command is given once; at ``fit`` the first process starts the others
with the same arguments), or by a launcher such as ``srun`` or ``torchrun``.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.plugins import LayerSync
from lightning.pytorch.strategies import ParallelStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from dfd.base.errors import ConfigError, RunDiverged
from dfd.config.build import build

if TYPE_CHECKING:
    from lightning import Trainer


def check_processes(trainer: Trainer, *, in_multirun: bool) -> None:
    """Refuse settings that would hang, or fail only after minutes.

    Raises:
        ConfigError: batch normalisation would be synchronised on CPUs, or a job of a multirun would start processes.
    """
    strategy = trainer.strategy
    if not isinstance(strategy, ParallelStrategy):
        return
    if isinstance(strategy._layer_sync, LayerSync) and strategy.root_device.type == "cpu":
        raise ConfigError(
            "trainer.sync_batchnorm works on GPUs only; on CPUs use trainer=ddp_cpu, or trainer.sync_batchnorm=false, "
            "and freeze_batchnorm=true if the processes' batches are small"
        )
    if in_multirun and trainer.world_size > 1 and not _started_by_others(trainer):
        raise ConfigError(
            "a multirun's job cannot start processes of its own: they would run the whole multirun again. Give each "
            "job one GPU (trainer=gpu), or all processes at once with a Slurm launcher and trainer=slurm"
        )


def meet(trainer: Trainer, folder: Path) -> None:
    """Connect processes that a launcher started, before any of them writes.

    Processes started by Lightning come later and are told the folder.

    Raises:
        ConfigError: the launcher started another number of processes, or their folders differ.
    """
    if trainer.world_size == 1 or not _started_by_others(trainer):
        return
    environment = _environment(trainer)
    try:
        environment.validate_settings(num_devices=trainer.num_devices, num_nodes=trainer.num_nodes)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    trainer.strategy.setup_environment()
    first = trainer.strategy.broadcast(str(folder.absolute()))
    if not trainer.strategy.reduce_boolean_decision(first == str(folder.absolute())):
        raise ConfigError(
            f"the processes of this run have different folders (this one's is {folder}, the first one's {first}); give "
            "all of them the same hydra.run.dir=DIR"
        )


def slurm_environment() -> SLURMEnvironment:
    """Environment of this process under Slurm, from the variables that ``srun`` sets.

    Lightning's own requeueing is off, since its checkpoint amid an epoch would repeat the epoch's clips. The batch
    script requeues, and ``ckpt_path=auto`` resumes after the last complete epoch.

    Raises:
        ConfigError: the process was not started by srun with --ntasks-per-node.
    """
    names = ("SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS_PER_NODE")
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise ConfigError(
            f"trainer=slurm: {', '.join(missing)} not set; put `srun` before the command, in a job with --nodes=N and "
            "--ntasks-per-node=GPUS, or take trainer=ddp on one machine"
        )
    return SLURMEnvironment(auto_requeue=False)


def first_prepares(trainer: Trainer, prepare: Callable[[], None]) -> None:
    """Call ``prepare`` in one process while the others wait, or before others are started."""
    if trainer.is_global_zero:
        prepare()
    if trainer.world_size > 1 and _started_by_others(trainer):
        trainer.strategy.barrier("prepared")


def speak_once(trainer: Trainer) -> None:
    """Show only errors of all but the first process on the terminal; their log files have everything."""
    if not trainer.is_global_zero:
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                handler.setLevel(logging.ERROR)


@contextmanager
def ending_together(trainer: Trainer) -> Iterator[None]:
    """End the processes that this one started if it fails, since they would wait for it."""
    try:
        yield
    except RunDiverged:
        raise  # all of them have found so and are ending; a signal amid that would show as a traceback
    except BaseException:
        launcher = trainer.strategy.launcher
        if isinstance(launcher, _SubprocessScriptLauncher):
            launcher.kill(signal.SIGTERM)
        raise


def build_trainer(config: Mapping[str, Any]) -> Trainer:
    """Build Lightning's trainer, and report its errors about devices and strategies in a sentence.

    Raises:
        ConfigError: the accelerator is not available, or options contradict each other.
    """
    try:
        trainer: Trainer = build(config)
    except Exception as error:
        cause = error.__cause__
        if isinstance(cause, MisconfigurationException | RuntimeError):
            no_gpu = "gpu" in str(cause).lower() and not torch.cuda.is_available()
            remedy = "; without a GPU use trainer=cpu, or trainer=ddp_cpu for two processes" if no_gpu else ""
            raise ConfigError(f"trainer: {cause}{remedy}") from error
        raise
    return trainer


def _environment(trainer: Trainer) -> Any:
    return getattr(trainer.strategy, "cluster_environment", None)


def _started_by_others(trainer: Trainer) -> bool:
    environment = _environment(trainer)
    return environment is not None and not isinstance(environment, LightningEnvironment)
