"""Ray clusters: connecting, checking options, and one worker pool per Ray worker."""

import logging
import os
import pickle
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from dfd.base.errors import ConfigError, DfdError
from dfd.base.machine import num_cores
from dfd.base.names import plugins
from dfd.process.failure import Failure
from dfd.process.pool import WorkerPool

_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class RayOptions:
    """Options of ``engine=ray`` wherever videos are decoded, checked before Ray starts.

    Args:
        address: None: on this machine alone; ``auto``: the cluster that this machine belongs to; else ``host:port``.
        num_cpus_per_video: cores that are reserved while a video is decoded; it uses one.
        max_retries: how often a video is begun anew when its process or node dies.

    Raises:
        ConfigError, ValueError: an option is refused.
    """

    address: str | None = None
    num_cpus_per_video: float = 1
    max_retries: int = 3

    def __post_init__(self) -> None:
        if self.address is not None and self.address.startswith("ray://"):
            raise ConfigError(
                f"address={self.address}: working through a Ray client is not supported; start the command on a "
                "machine of the cluster with address=auto, or hand it over with `ray job submit`"
            )
        if not self.num_cpus_per_video > 0:
            raise ValueError(f"num_cpus_per_video must be above 0, got {self.num_cpus_per_video}")
        if self.max_retries < 0:
            raise ValueError(f"max_retries must not be negative, got {self.max_retries}")


def start_ray(ray: Any, address: str | None, *, needs: str) -> bool:
    """Start or join Ray; False if it already runs in this process, and so must not be stopped.

    ``needs`` is the module that every node must be able to import.

    Raises:
        ConfigError: when Ray does not start, the cluster cannot be reached, or a node cannot import ``needs``.
    """
    if ray.is_initialized():
        return False
    where: dict[str, Any] = (
        {"address": "local", "num_cpus": max(2, num_cores()), "include_dashboard": False}  # one core for each step
        if address is None
        else {"address": address, "runtime_env": {"py_modules": [str(_PACKAGE)]}}
    )
    try:
        if address is not None and ":" in address:
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=10).close()  # Ray itself would try for minutes
        ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        remedy = (
            "use engine=local"
            if address is None
            else "start Ray on the nodes with `ray start`, or leave the address out to use this machine alone"
        )
        raise ConfigError(
            f"address={address or 'null'}: Ray does not start or cannot be reached: "
            f"{(str(error).strip() or type(error).__name__).splitlines()[0]}; {remedy}"
        ) from error
    if address is not None:
        try:
            ray.get(ray.remote(num_cpus=0)(import_module).remote(needs))
        except ray.exceptions.RayError as error:
            ray.shutdown()
            reason = str(error).strip().splitlines()[-1]
            raise ConfigError(f"address={address}: a node cannot import what dfd needs: {reason}") from error
    return True


def import_ray() -> Any:
    """Import Ray, after setting the environment variables that it reads.

    Raises:
        ConfigError: when it is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # no reports to Ray's makers
    # Under `uv run` Ray would start its workers by the same command, relative paths included, in folders of its own,
    # where they never start. Workers must run the Python installed on their node.
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError(f"engine=ray needs Ray ({error}): pip install 'dfd[ray]'") from error
    return ray


@contextmanager
def ray_errors(ray: Any) -> Iterator[None]:
    """Context that turns Ray's own errors into one sentence.

    Raises:
        DfdError: when Ray raises an error.
    """
    try:
        yield
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise DfdError(f"Ray gave up: {type(error).__name__}: {reason}; what is done is kept") from error


@dataclass(frozen=True, slots=True)
class Fatal:
    """Error that no video caused: the job cannot continue."""

    message: str

    @classmethod
    def of(cls, error: Exception) -> "Fatal":
        """Convert an error on this node."""
        return cls(f"{Failure.of(error).message} (on node {socket.gethostname()})")


@dataclass(frozen=True, slots=True)
class Job:
    """Settings of a decoding process.

    ``start(*arguments)`` prepares the process; relative paths start at ``folder``. ``plugins`` are those that the user
    has named, which each node must have.
    """

    start: Callable[..., None]
    arguments: tuple[Any, ...]
    deadline_seconds: float
    stall_seconds: float | None
    folder: str
    plugins: tuple[str, ...] = field(default_factory=lambda: tuple(plugins.named()))


_pools: dict[bytes, WorkerPool] = {}
"""Decoding process of this Ray worker, by its job; kept for the next video."""


def pool_below(job: Job) -> WorkerPool:
    """Process below this Ray worker that decodes the job's videos, and may hang or die without harm to the worker."""
    key = pickle.dumps(job)
    if key not in _pools:
        while _pools:
            _pools.popitem()[1].close()
        _pools[key] = WorkerPool(
            num_workers=1,
            deadline_seconds=job.deadline_seconds,
            stall_seconds=job.stall_seconds,
            initializer=_start_worker,
            initargs=(job.folder, job.plugins, job.start, *job.arguments),
        )
    return _pools[key]


def work_in(folder: str, names: Sequence[str]) -> None:
    """Work in the folder of the calling process, if this node has it, with its plug-ins.

    Raises:
        ConfigError: the node does not have a plug-in, or cannot import it.
    """
    if os.path.isdir(folder):
        os.chdir(folder)
    plugins.use_plugins(*names)


def _start_worker(folder: str, names: Sequence[str], start: Callable[..., None], *arguments: Any) -> None:
    work_in(folder, names)
    start(*arguments)
