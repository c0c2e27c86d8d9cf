"""Scoring on many machines: the work of :meth:`dfd.scoring.detector.Detector.score_many`, as a Ray Data pipeline.

A row per video: a task decodes it and finds its faces, wherever cores are free; an actor with the network, on a GPU if
there are any, scores what was found; the score comes back here as soon as it is made. The numbers are those of one
machine, since both steps are its code. A worker that decodes imports this module, and not torch.

What may go wrong costs the video at hand: a decoder that hangs or dies does so in a process below the task, and what
Ray cannot bring to an end in ``max_retries`` tries is a row too.
"""

import logging
import os
import pickle
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

from dfd.base.errors import ConfigError, DfdError
from dfd.base.types import Status, VideoScore
from dfd.faces.extract import ExtractionSettings
from dfd.faces.found import Found, Thumbnail, WindowSettings
from dfd.models.starter import checkpoint_path
from dfd.process.actors import ActorPlan, plan_actors
from dfd.process.failure import Failure
from dfd.process.pool import Again, WorkerPool
from dfd.process.ray import Fatal, Job, RayOptions, import_ray, pool_below, ray_errors, start_ray, work_in
from dfd.scoring.look.workers import start_worker, windows_task

if TYPE_CHECKING:
    from dfd.scoring.engine import Progress

MAX_ROW_BYTES = 2**30
"""The most that the crops of one video may take. They are one value of a row, and Arrow holds 2 GiB in one at most."""

MAX_ROWS_AT_ONCE = 10_000
"""Videos of one Ray data set. It is laid out whole, a millisecond or so per row, before the first video begins."""


ROUNDS = 2
"""Times that Ray is given a video which it loses. The tries of one round are spent within seconds if the network that
was to score it moves from a lost node to another meanwhile."""


class RayEngine:
    """Scores videos as a :class:`~dfd.scoring.detector.Detector` does, on a Ray cluster. A context manager, or close
    it.

    Nodes need Python, dfd's requirements and Ray in the versions of this machine, and must see the videos under the
    same paths. dfd itself and the checkpoint are sent to them, and the names of plug-ins, which they need installed.
    Ray is started or joined with the first video; one that runs in this process already is used, and left running.

    Memory: the store of a node holds the crops of the videos on their way, at most ``max_windows * max_faces`` clips
    for each; Ray stops decoding when it fills up. So ``max_windows`` cannot be None here.

    Args:
        checkpoint: as :meth:`Detector.load` takes it.
        num_actors: copies of the network; None: one for each GPU (or share of one), without GPUs half of the cores.
        num_gpus_per_actor: 0 to 1; None: 1 if the cluster has GPUs, else 0.
        options: those of :class:`~dfd.process.ray.RayOptions` and the detector's.
            ``deadline_seconds`` and ``stall_seconds`` count while a video is decoded.

    Raises:
        ConfigError, ValueError, CheckpointError: an option or the checkpoint is refused, or Ray is not installed.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        num_actors: int | None = None,
        num_gpus_per_actor: float | None = None,
        device: str = "auto",
        **options: Any,
    ) -> None:
        of_ray = {field.name for field in fields(RayOptions)} & options.keys()
        self._cluster = RayOptions(**{name: options.pop(name) for name in of_ray})
        if num_actors is not None and num_actors < 1:
            raise ValueError(f"num_actors must be at least 1, got {num_actors}")
        if num_gpus_per_actor is not None and not 0 <= num_gpus_per_actor <= 1:
            raise ValueError(f"num_gpus_per_actor must be in 0..1: a network runs on one GPU; got {num_gpus_per_actor}")
        if options.pop("num_workers", None) is not None:
            raise ConfigError("num_workers is for engine=local; Ray decodes a video on every free num_cpus_per_video")
        self._ray = import_ray()
        self._checkpoint = checkpoint_path(checkpoint)
        from dfd.scoring.detector import Detector  # torch: what decodes below a Ray worker has no room for it

        self.detector = Detector.load(checkpoint, device="cpu", **options)
        """What the actors load, here for its card, name and settings."""
        _refuse_large_rows(self.detector.windows, self.detector.extraction)
        self._device, self._options = device, options
        self._shares: dict[str, Any] = {"num_actors": num_actors, "num_gpus_per_actor": num_gpus_per_actor}
        self._is_ours = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the Ray that was started here, or leave the cluster that was joined. The next video starts it again."""
        if self._is_ours:
            self._ray.shutdown()
            self._is_ours = False

    def score_many(self, paths: Iterable[str | Path], *, on_progress: "Progress | None" = None) -> Iterator[VideoScore]:
        """Score videos as they are done, in no particular order; one score for each path.

        ``on_progress`` is told of each video when all of it has been looked at.

        Raises:
            ConfigError: the cluster is not there or too small.
            DfdError: nothing can be scored: Ray gave up, or a node cannot load the detector or look for faces.
        """
        files = [Path(path) for path in paths]
        if not files:
            return
        self._start()
        self._plan()  # refuses a cluster that is too small before anything is sent
        with ray_errors(self._ray):
            checkpoint = self._ray.put(self._checkpoint.read_bytes())
            for first in range(0, len(files), MAX_ROWS_AT_ONCE):
                for score in self._scores(files[first : first + MAX_ROWS_AT_ONCE], checkpoint):
                    if on_progress is not None:
                        on_progress(Path(score.path), 1.0)
                    yield score

    def _plan(self) -> ActorPlan:
        """How the nodes that are there now are divided."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        cpus = self._cluster.num_cpus_per_video
        return plan_actors(nodes, device=self._device, num_cpus_per_video=cpus, **self._shares)

    def _scores(self, files: Sequence[Path], checkpoint: Any) -> Iterator[VideoScore]:
        waiting = dict(enumerate(files))
        for _ in range(ROUNDS):
            data = self._dataset(waiting, self._plan(), checkpoint)
            rows = data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
            for row in (row for table in rows for row in table.to_pylist()):
                outcome = pickle.loads(row["score"])  # noqa: S301 - made by _Network below
                if isinstance(outcome, Fatal):
                    raise DfdError(outcome.message)
                del waiting[row["key"]]
                yield outcome
            if not waiting:
                return
        tries = f"in each of {ROUNDS * (1 + self._cluster.max_retries)} tries"
        why = f"Ray lost it: its process or node died {tries} (was memory short?); Ray's logs of the node say more"
        for path in waiting.values():  # what Ray had to drop
            yield VideoScore(str(path), Status.ERROR, model=self.detector.name, message=f"{path}: {why}")

    def _dataset(self, files: Mapping[int, Path], plan: ActorPlan, checkpoint: Any) -> Any:
        """A block for each video, so that it is scored, lost or tried again by itself."""
        data = self._ray.data
        rows = [{"key": key, "path": os.fsencode(path)} for key, path in files.items()]
        dataset = data.from_items(rows, override_num_blocks=len(rows))
        dataset.context.max_errored_blocks = -1  # what fails in spite of all tries is dropped, and missed above
        dataset.context.enable_progress_bars = False
        dataset.context.print_on_execution_start = False
        detector = self.detector
        job = Job(
            start_worker,
            (detector.face_detector, detector.extraction, detector.windows),
            deadline_seconds=detector.deadline_seconds,
            stall_seconds=detector.stall_seconds,
            folder=str(Path.cwd()),
        )
        # Not auto: a node whose torch sees no GPU is to say so.
        device = ("cuda" if self._device == "auto" else self._device) if plan.num_gpus else "cpu"
        options = {**self._options, "device": device}
        with warnings.catch_warnings():
            # Ray 2.60 has no other way to say how often a task is tried; pyproject.toml keeps to versions that have it.
            warnings.filterwarnings("ignore", message=".*ray_remote_args.*")
            cpus, retries = plan.num_cpus_per_video, self._cluster.max_retries
            found = dataset.map(find_faces, fn_kwargs={"job": job}, num_cpus=cpus, max_retries=retries)
            return found.map(
                _Network,
                fn_constructor_kwargs={
                    "checkpoint": [checkpoint],
                    "name": self._checkpoint.name,
                    "options": options,
                    "job": job,
                },
                compute=data.ActorPoolStrategy(size=plan.num_actors),
                num_gpus=plan.num_gpus,
                num_cpus=plan.num_cpus,
                max_task_retries=retries,
            )

    def _start(self) -> None:
        """Start or join Ray, unless it runs in this process already."""
        ray = self._ray
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        for handler in logging.getLogger("ray.data").handlers:
            if handler.get_name() == "console":
                handler.setLevel(logging.CRITICAL)  # a lost video is a row, and its traceback is in the log file
        self._is_ours = self._is_ours or start_ray(ray, self._cluster.address, needs="dfd.faces.detect")


def _refuse_large_rows(windows: WindowSettings, extraction: ExtractionSettings) -> None:
    if windows.max_windows is None:
        raise ConfigError(
            "max_windows=null does not fit Ray, where the clips of a video are held together; give a number such as "
            "max_windows=256, or use engine=local"
        )
    clip = windows.clip_len * extraction.crop.size**2 * 3
    most = windows.max_windows * windows.max_faces * clip
    if most > MAX_ROW_BYTES:
        fits = MAX_ROW_BYTES // (windows.max_faces * clip)
        raise ConfigError(
            f"max_windows={windows.max_windows} of max_faces={windows.max_faces} may take {most / 2**30:.1f} GiB for "
            f"one video, and Ray holds them together; use max_windows={fits} or fewer, fewer faces, or engine=local"
        )


def find_faces(row: Mapping[str, Any], job: Job) -> dict[str, Any]:
    """A Ray task: what :func:`dfd.scoring.look.stream.stream_windows` finds in the video of a row, or how it failed.

    The video is decoded in a process below this one, which may hang, crash or be killed without harm to the row.
    """
    began = time.perf_counter()
    found: list[Found | Failure] | Fatal
    try:
        found = _pieces(pool_below(job), Path(os.fsdecode(row["path"])))
    except Exception as error:  # noqa: BLE001 - the edge of the task; what a video does comes as a Failure
        found = Fatal.of(error)
    return {**row, "found": pickle.dumps(found), "seconds": time.perf_counter() - began}


def _pieces(pool: WorkerPool, path: Path) -> list[Found | Failure]:
    pieces: list[Found | Failure] = []
    for _, item in pool.stream(windows_task, [path]):
        if isinstance(item, Again):
            pieces.clear()
        elif not isinstance(item, float | None):
            if isinstance(item, Thumbnail):  # a later one is a better one
                pieces = [piece for piece in pieces if not isinstance(piece, Thumbnail)]
            pieces.append(item)
    return pieces


class _Network:
    """A Ray actor: the detector, loaded once."""

    def __init__(self, checkpoint: list[Any], name: str, options: Mapping[str, Any], job: Job) -> None:
        from dfd.scoring.detector import Detector

        self._detector: Detector | Fatal
        try:
            work_in(job.folder, job.plugins)
            with TemporaryDirectory() as folder:
                file = Path(folder) / name
                file.write_bytes(import_ray().get(checkpoint[0]))
                self._detector = Detector.load(file, **options)
        except Exception as error:  # noqa: BLE001 - said with the first video, in words instead of Ray's
            self._detector = Fatal.of(error)

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        found = pickle.loads(row["found"])  # noqa: S301 - made by find_faces above
        outcome: VideoScore | Fatal
        if isinstance(self._detector, Fatal) or isinstance(found, Fatal):
            outcome = self._detector if isinstance(self._detector, Fatal) else found
        else:
            path = Path(os.fsdecode(row["path"]))
            try:
                score = self._detector.score_windows(path, found)
            except Exception as error:  # noqa: BLE001 - the edge of the row: every error becomes its status
                score = self._detector.score_windows(path, [Failure.of(error)])
            outcome = replace(score, seconds=score.seconds + row["seconds"])
        return {"key": row["key"], "score": pickle.dumps(outcome)}
