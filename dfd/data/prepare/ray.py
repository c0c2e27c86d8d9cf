"""Preprocessing on a Ray cluster: an :data:`~dfd.data.prepare.store.Engine` with a Ray task per video.

Tasks run in any order on any free core and write their clips into the store, which all nodes must see. The record that
commits the clips is written by the calling process, as on one machine, so the store is the same byte for byte.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from dfd.base.errors import ConfigError, DfdError, StoreError
from dfd.base.types import Status
from dfd.data.prepare.store import prepare_task, start_worker
from dfd.data.prepare.video import DEADLINE_SECONDS, PreparationSettings
from dfd.data.sources.row import VideoRow
from dfd.data.store.records import VideoRecord
from dfd.process.failure import Failure
from dfd.process.ray import Fatal, Job, RayOptions, import_ray, pool_below, ray_errors, start_ray

MAX_AHEAD = 1000
"""Number of videos submitted to Ray in advance; a cluster may have, or grow to, that many cores."""


@dataclass(frozen=True, slots=True)
class RayPreparation(RayOptions):
    """Preparation of videos on a Ray cluster; call it as an :data:`~dfd.data.prepare.store.Engine`.

    Ray is started or joined before the first video and left after the last, unless it is already running in this
    process. A video whose process hangs or dies is a failure, as on one machine. If its Ray worker or node dies, it is
    restarted up to ``max_retries`` times and then fails with status error, so that the next run tries it again.

    Args:
        deadline_seconds: time limit for one video.

    Raises:
        ConfigError, ValueError: an option is invalid, or Ray is not installed.
    """

    deadline_seconds: float = DEADLINE_SECONDS

    def __post_init__(self) -> None:
        RayOptions.__post_init__(self)
        import_ray()

    def __call__(
        self, rows: Sequence[VideoRow], store: Path, settings: PreparationSettings
    ) -> Iterator[tuple[VideoRow, VideoRecord | Failure]]:
        """Yield the result of each video as it is finished.

        Raises:
            ConfigError: the cluster cannot be reached or is too small.
            DfdError: nothing can be prepared: Ray failed, or a node does not see the store or a video, or cannot load
                the face detector.
        """
        ray = import_ray()
        store = store.absolute()
        is_ours = start_ray(ray, self.address, needs="dfd.faces.detect")
        try:
            most = max(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"])
            if self.num_cpus_per_video > most:  # Ray would wait forever
                raise ConfigError(
                    f"num_cpus_per_video={self.num_cpus_per_video:g} is more than any node has, which is {most:g} CPUs"
                )
            # The file shows whether a node has the same folder under the store's path.
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
                f"{row.path}: its Ray process or node died in each of {1 + self.max_retries} tries (perhaps out of "
                "memory); Ray's logs on the node say more",
            )
        if isinstance(outcome, Fatal):
            raise DfdError(outcome.message)
        return outcome


def prepare_on_node(row: VideoRow, job: Job, *, is_there: bool) -> VideoRecord | Failure | Fatal:
    """Prepare one video as a Ray task, in a child process; ``is_there``: the file exists on the calling machine."""
    try:
        if is_there and not os.path.exists(os.path.join(job.folder, row.path)):
            raise DfdError(f"{row.path}: the node does not see it; mount the videos under the same path")
        [(_, outcome)] = pool_below(job).map(prepare_task, [row])
    except Exception as error:  # noqa: BLE001 - the edge of the task; failures of a video come as a Failure
        return Fatal.of(error)
    return outcome


def _start_on_node(mark: str, store: Path, settings: PreparationSettings) -> None:
    if not os.path.exists(mark):
        raise StoreError(f"{store}: the node does not see it, or another folder; mount it under the same path")
    start_worker(store, settings)
