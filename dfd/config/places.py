"""Folders of configurations and of runs, and the resolvers that YAML files use."""

import os
import time
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from dfd.config.folders import SWEEPS_DIR

FILE_SUFFIXES = (".safetensors", ".ckpt", ".onnx", ".pt2")


def shared_name(default: str) -> str:
    """Name of the run's folder, the same in all of its processes; ``default`` outside of srun and torchrun.

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
    """Whether to use features of GPUs, such as batch normalisation over processes: not with ``accelerator=cpu``."""
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
    # Hydra would take a ${ in its folder's name for an interpolation.
    if chosen is None or "${" in str(chosen) or (where == "beside" and os.access(".", os.W_OK)):
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
# A file's name whose bytes are no text, as dfd.config.cli.kinds.quoted writes it: no YAML file could hold it.
OmegaConf.register_new_resolver(
    "dfd.bytes", lambda digits: bytes.fromhex(digits[1:]).decode(errors="surrogateescape"), replace=True
)
