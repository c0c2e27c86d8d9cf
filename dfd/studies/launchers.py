"""Hydra launchers: joblib for processes of this machine, submitit for Slurm, and Ray.

With submitit and Ray, a killed process is one failed job; the published launchers raise at the first one and leave the
other jobs running unattended.
"""

import logging
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from dfd.base.errors import ConfigError, StudyError
from dfd.studies.search_study import import_extra

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class OneJob:
    """A job that can be sent to another process, possibly on another machine with the same disk."""

    context: HydraContext
    config: DictConfig
    function: TaskFunction
    overrides: list[str]
    number: int
    singletons: Any = field(default_factory=Singleton.get_state)
    folder: Path = field(default_factory=Path.cwd)

    def __call__(self) -> JobReturn:
        """Run the job in the command's folder, at which relative paths start."""
        os.chdir(self.folder)
        Singleton.set_state(self.singletons)
        setup_globals()
        config = self.context.config_loader.load_sweep_config(self.config, self.overrides)
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = self.number
        HydraConfig.instance().set_config(config)
        return run_job(
            hydra_context=self.context,
            task_function=self.function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )

    def checkpoint(self) -> Any:
        """Resubmission after preemption or timeout by Slurm: the same job, which resumes."""
        return import_extra("submitit", "a job of submitit").helpers.DelayedSubmission(self)


class JobsLauncher(Launcher):
    """Base class of the launchers."""

    config: DictConfig
    hydra_context: HydraContext
    task_function: TaskFunction

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Set up the launcher; Hydra calls this before :meth:`launch`."""
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def jobs(self, job_overrides: Sequence[Sequence[str]], first: int) -> Iterator[OneJob]:
        """Yield the jobs, and log each."""
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        for number, overrides in enumerate(job_overrides, start=first):
            logger.info("\t#%d : %s", number, " ".join(filter_overrides(overrides)))
            yield OneJob(self.hydra_context, self.config, self.task_function, list(overrides), number)


@dataclass(kw_only=True, eq=False)
class JoblibLauncher(JobsLauncher):
    """Launcher that runs jobs in several processes of this machine.

    Hydra's own plugin would start one process per core. If a process is killed, joblib ends the others, too; the
    sweeper launches their jobs again.

    Args:
        n_jobs: number of simultaneous processes; 1 runs the jobs in this process, like the basic launcher.
    """

    n_jobs: int

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all jobs and wait for them."""
        joblib = import_extra("joblib", "hydra/launcher=joblib")
        if not isinstance(self.n_jobs, int) or self.n_jobs < 1:
            raise ConfigError(f"hydra.launcher.n_jobs must be a whole number of 1 or more, got {self.n_jobs!r}")
        parallel = joblib.Parallel(n_jobs=self.n_jobs, backend="loky", pre_dispatch="n_jobs")
        returned = parallel(joblib.delayed(job)() for job in self.jobs(job_overrides, initial_job_idx))
        return list(returned)


class SubmititLauncher(JobsLauncher):
    """Launcher that runs jobs as a Slurm array, or as processes of this machine (``cluster=local``) for trying it out.

    Args:
        cluster: ``slurm`` or ``local``.
        submitit_folder: folder for submitit's files and the jobs' output.
        max_num_timeout: how often a job that runs out of time is resubmitted; it resumes after its last epoch.
        parameters: ``timeout_min``, ``gpus_per_node``, ``cpus_per_task``, ``mem_gb``, ``nodes``, ``tasks_per_node``,
            ``name``, and options of the cluster, such as ``partition``. None takes the cluster's default.
    """

    SHARED = (
        *("timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes", "name"),
        "stderr_to_stdout",
    )

    def __init__(self, *, cluster: str, submitit_folder: str, max_num_timeout: int = 0, **parameters: Any) -> None:
        self.cluster = cluster
        self.submitit_folder = submitit_folder
        self.max_num_timeout = max_num_timeout
        self.parameters = {
            name if name in self.SHARED else f"{cluster}_{name}": value
            for name, value in parameters.items()
            if value is not None
        }

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit all jobs and wait for them."""
        submitit = import_extra("submitit", "hydra/launcher=submitit_…")
        specific = {"slurm_max_num_timeout": self.max_num_timeout} if self.cluster == "slurm" else {}
        try:
            executor = submitit.AutoExecutor(folder=self.submitit_folder, cluster=self.cluster, **specific)
            executor.update_parameters(**self.parameters)
        except (NameError, RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ConfigError(f"hydra.launcher: submitit refuses cluster={self.cluster} ({reason})") from error
        try:
            with executor.batch():
                submitted = [executor.submit(job) for job in self.jobs(job_overrides, initial_job_idx)]
        except submitit.core.utils.FailedJobError as error:
            reason = " ".join(str(error).split()) or "without a reason"
            raise StudyError(f"hydra/launcher=submitit_{self.cluster}: the jobs were not taken ({reason})") from error
        return [_result(job) for job in submitted]


def _result(job: Any) -> JobReturn:
    try:
        first: JobReturn = job.results()[0]  # the first of a job's processes writes
    except Exception as error:  # noqa: BLE001 - submitit's own error, or one that the job raised outside of the training
        reason = (str(error).strip() or "no reason").splitlines()[0]
        return _lost(f"{type(error).__name__}: {reason} (its output is in {job.paths.stderr})")
    return first


@dataclass(kw_only=True, eq=False)
class RayLauncher(JobsLauncher):
    """Launcher that runs jobs as Ray tasks, each in its own process.

    Nodes need Python, Ray and dfd's requirements in the same versions as this machine, and its disk mounted under the
    same path, since each job starts in the folder of this command.

    Args:
        address: None for Ray on this machine only, ``auto`` for the cluster it belongs to, or ``host:port``.
        num_cpus: CPUs reserved per job.
        num_gpus: GPUs reserved for and visible to a job; with 0.5, two jobs share one.
        max_retries: how often a job is restarted if its process or node dies; it resumes after its last epoch.
    """

    address: str | None = None
    num_cpus: float = 1
    num_gpus: float = 0
    max_retries: int = 1

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all jobs on Ray and wait for them; a Ray started here ends with this process."""
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # no usage reports to Ray's developers
        # Read on import. Under `uv run`, Ray would start its workers with the same command and relative paths in its
        # own folders, where they can never start.
        os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
        ray = import_extra("ray", "hydra/launcher=ray")
        if not ray.is_initialized():
            self._start(ray)
        root = str(Path(__file__).resolve().parents[2])
        # One process per job, which ends with it, so that CUDA memory is free for the next job.
        options = {name: getattr(self, name) for name in ("num_cpus", "num_gpus", "max_retries")}
        task = ray.remote(**options, max_calls=1)(_in_ray)
        running = [task.remote(root, job) for job in self.jobs(job_overrides, initial_job_idx)]
        return [_ray_result(ray, one) for one in running]

    def _start(self, ray: Any) -> None:
        where: dict[str, Any] = {"address": self.address}
        if self.address is None:
            where = {"address": "local", "include_dashboard": False}
        try:
            if self.address is not None and ":" in self.address:
                host, _, port = self.address.rpartition(":")
                socket.create_connection((host, int(port)), timeout=10).close()  # Ray itself tries for minutes
            ray.init(**where, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ConfigError(
                f"hydra.launcher.address={self.address or 'null'}: Ray does not start or cannot be reached: {reason}; "
                "start it on the nodes with `ray start` (with its token, RAY_AUTH_MODE=token), or omit the address to "
                "use this machine only"
            ) from error


def _in_ray(root: str, job: OneJob) -> JobReturn:
    """Run a job as a Ray task."""
    if root not in sys.path:
        sys.path.insert(0, root)
    return job()


def _ray_result(ray: Any, running: Any) -> JobReturn:
    try:
        result: JobReturn = ray.get(running)
    except ray.exceptions.RayError as error:
        return _lost(f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")
    return result


def _lost(message: str) -> JobReturn:
    lost = JobReturn(status=JobStatus.FAILED)
    lost.return_value = RuntimeError(message)
    return lost
