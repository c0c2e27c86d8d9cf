"""Preprocessing on many machines: the :data:`~dfd.data.preparation.Engine` of a Ray cluster.

A Ray task per video, in any order, on any free core. It writes the clips into the store, which all nodes see; the
record, which commits them, is written here as on one machine, so the store is the same byte for byte.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from dfd.data.manifest import VideoRow
from dfd.data.preparation import PreparationSettings, prepare_task, start_worker
from dfd.data.store import VideoRecord
from dfd.errors import ConfigError, DfdError, StoreError
from dfd.ray_engine import Fatal, Job, check_ray_options, import_ray, pool_below, ray_errors, start_ray
from dfd.types import Status
from dfd.workers import Failure

MAX_AHEAD = 1000
"""Videos that are handed to Ray before their turn: a cluster may have or get as many cores."""


@dataclass(frozen=True, slots=True)
class RayPreparation:
    """Prepares videos on a Ray cluster; call it as an :data:`~dfd.data.preparation.Engine`.

    Ray is started or joined with the first video, and left with the last; a Ray that runs in this process already is
    used. A video whose process below the Ray task hangs or dies is a failure, as on one machine. One whose Ray worker
    or node dies is begun anew; after ``max_retries`` times it is a failure of status error, for the next run to try.

    Args:
        address: None: on this machine alone; ``auto``: the cluster that this machine belongs to; else ``host:port``.
        num_cpus_per_video: cores that are reserved for a video; it uses one.
        max_retries: how often a video is begun anew.
        deadline_seconds: the most that a video may take.

    Raises:
        ConfigError, ValueError: an option is refused, or Ray is not installed.
    """

    address: str | None = None
    num_cpus_per_video: float = 1
    max_retries: int = 3
    deadline_seconds: float = 600.0

    def __post_init__(self) -> None:
        check_ray_options(self.address, num_cpus_per_video=self.num_cpus_per_video, max_retries=self.max_retries)
        import_ray()

    def __call__(
        self, rows: Sequence[VideoRow], store: Path, settings: PreparationSettings
    ) -> Iterator[tuple[VideoRow, VideoRecord | Failure]]:
        """What becomes of each video, as they are done.

        Raises:
            ConfigError: the cluster is not there or too small.
            DfdError: nothing can be prepared: Ray gave up, or a node does not see the store or a video, or cannot load
                the face detector.
        """
        ray = import_ray()
        store = store.absolute()
        is_ours = start_ray(ray, self.address)
        try:
            most = max(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"])
            if self.num_cpus_per_video > most:  # Ray would wait for ever
                raise ConfigError(
                    f"num_cpus_per_video={self.num_cpus_per_video:g} is more than any node has, which is {most:g} CPUs"
                )
            # A node that has another folder under the store's path does not have this file in it.
            with ray_errors(ray), NamedTemporaryFile(dir=store, prefix=".ray-") as mark:
                arguments = (mark.name, store, settings)
                job = Job(_start_on_node, arguments, self.deadline_seconds, None, str(Path.cwd()))
                yield from self._results(ray, rows, job)
        finally:
            if is_ours:
                ray.shutdown()

    def _results(
        self, ray: Any, rows: Sequence[VideoRow], job: Job
    ) -> Iterator[tuple[VideoRow, VideoRecord | Failure]]:
        task = ray.remote(num_cpus=self.num_cpus_per_video, max_retries=self.max_retries)(prepare_on_node)
        waiting, shared_job = iter(rows), ray.put(job)
        running: dict[Any, VideoRow] = {}
        try:
            while True:
                for row in islice(waiting, MAX_AHEAD - len(running)):
                    running[task.remote(row, shared_job, is_there=row.path.exists())] = row
                if not running:
                    return
                [done], _ = ray.wait(list(running))
                row = running.pop(done)
                yield row, self._outcome(ray, row, done)
        finally:
            for lost in running:
                with suppress(ray.exceptions.RayError):
                    ray.cancel(lost, force=True)

    def _outcome(self, ray: Any, row: VideoRow, done: Any) -> VideoRecord | Failure:
        died = ray.exceptions
        try:
            outcome: VideoRecord | Failure | Fatal = ray.get(done)
        except (died.WorkerCrashedError, died.NodeDiedError, died.OutOfMemoryError, died.ObjectLostError):
            return Failure(
                Status.ERROR,
                f"{row.path}: Ray lost it: its process or node died in each of {1 + self.max_retries} tries (was "
                "memory short?); Ray's logs of the node say more",
            )
        if isinstance(outcome, Fatal):
            raise DfdError(outcome.message)
        return outcome


def prepare_on_node(row: VideoRow, job: Job, *, is_there: bool) -> VideoRecord | Failure | Fatal:
    """A Ray task: prepare one video, in a process below this one. ``is_there``: where the command runs, the file is."""
    try:
        if is_there and not os.path.exists(os.path.join(job.folder, row.path)):
            raise DfdError(f"{row.path}: the node does not see it; mount the videos under the same path")
        [(_, outcome)] = pool_below(job).map(prepare_task, [row])
    except Exception as error:  # noqa: BLE001 - the edge of the task; what a video does comes as a Failure
        return Fatal.of(error)
    return outcome


def _start_on_node(mark: str, store: Path, settings: PreparationSettings) -> None:
    if not os.path.exists(mark):
        raise StoreError(f"{store}: the node does not see it, or another folder; mount it under the same path")
    start_worker(store, settings)
