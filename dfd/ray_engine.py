"""Scoring on many machines: the work of :meth:`dfd.inference.Detector.score_many`, as a Ray Data pipeline.

A row per video: a task decodes it and finds its faces, wherever cores are free; an actor with the network, on a GPU if
there are any, scores what was found; the score comes back here as soon as it is made. The numbers are those of one
machine, since both steps are its code. A worker that decodes imports this module, and not torch.

What may go wrong costs the video at hand: a decoder that hangs or dies does so in a process below the task, and what
Ray cannot bring to an end in ``max_retries`` tries is a row too.
"""

import logging
import os
import pickle
import socket
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

from dfd.errors import ConfigError, DfdError
from dfd.faces.extract import ExtractionSettings
from dfd.faces.windows import Found, Thumbnail, WindowSettings, start_worker, windows_task
from dfd.types import Status, VideoScore
from dfd.workers import Again, Failure, WorkerPool, num_cores

if TYPE_CHECKING:
    from dfd.inference import Detector, Progress

MAX_ROW_BYTES = 2**30
"""The most that the crops of one video may take. They are one value of a row, and Arrow holds 2 GiB in one at most."""

MAX_ROWS_AT_ONCE = 10_000
"""Videos of one Ray data set. It is laid out whole, a millisecond or so per row, before the first video begins."""

_PACKAGE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class ActorPlan:
    """How many networks there are, and what each of them reserves."""

    num_actors: int
    num_gpus: float
    num_cpus: float


def plan_actors(
    nodes: Sequence[Mapping[str, float]],
    *,
    device: str = "auto",
    num_actors: int | None = None,
    num_gpus_per_actor: float | None = None,
    num_cpus_per_video: float = 1,
) -> ActorPlan:
    """Divide a cluster, given as the resources of its nodes, between the network and decoding.

    With GPUs there is an actor for each share of one, and every core decodes; without, half of the cores compute. Where
    both numbers are given the cluster may still grow, and only they count.

    >>> plan_actors([{"CPU": 16, "GPU": 2}, {"CPU": 32}])
    ActorPlan(num_actors=2, num_gpus=1, num_cpus=0)
    >>> plan_actors([{"CPU": 2}])
    ActorPlan(num_actors=1, num_gpus=0, num_cpus=1)

    Raises:
        ConfigError: the cluster does not hold it; Ray would wait for ever.
    """
    num_cpus = sum(node.get("CPU", 0) for node in nodes)
    num_gpus = sum(node.get("GPU", 0) for node in nodes)
    share = num_gpus_per_actor
    if share is None:
        share = 1 if device != "cpu" and (num_gpus or device != "auto") else 0
    if device != "auto" and (device == "cpu") == bool(share):
        raise ConfigError(f"device={device} does not fit num_gpus_per_actor={share:g}; leave one of them out")
    if num_actors is not None and num_gpus_per_actor is not None:
        return ActorPlan(num_actors, share, 0 if share else 1)
    if share:
        room = int(sum(node.get("GPU", 0) // share for node in nodes))
        if not room:
            raise ConfigError(
                f"no node has {share:g} GPU free for the network (the cluster has {num_gpus:g}); use device=cpu, or "
                "give both num_actors and num_gpus_per_actor if nodes with GPUs will join"
            )
    else:
        room = int(num_cpus - num_cpus_per_video)
    wanted = num_actors or (room if share else max(1, min(room, int(num_cpus // 2))))
    if wanted > room or not any(node.get("CPU", 0) >= num_cpus_per_video for node in nodes):
        raise ConfigError(
            f"{wanted} actors with {share:g} GPU each and {num_cpus_per_video:g} CPU for a video to decode do not fit "
            f"a cluster of {num_cpus:g} CPUs and {num_gpus:g} GPUs; lower num_actors or num_cpus_per_video, add nodes, "
            "or use engine=local"
        )
    return ActorPlan(wanted, share, 0 if share else 1)


class RayEngine:
    """Scores videos as a :class:`~dfd.inference.Detector` does, on a Ray cluster. A context manager, or close it.

    Nodes need Python, dfd's requirements and Ray in the versions of this machine, and must see the videos under the
    same paths. dfd itself and the checkpoint are sent to them. Ray is started or joined with the first video; a Ray
    that runs in this process already is used, and left running.

    Memory: the store of a node holds the crops of the videos on their way, at most ``max_windows * max_faces`` clips
    for each; Ray stops decoding when it fills up. So ``max_windows`` cannot be None here.

    Args:
        checkpoint: as :meth:`Detector.load` takes it.
        address: None: on this machine alone; ``auto``: the cluster that this machine belongs to; else ``host:port``.
        num_actors: copies of the network; None: one for each GPU (or share of one), without GPUs half of the cores.
        num_gpus_per_actor: 0 to 1; None: 1 if the cluster has GPUs, else 0.
        num_cpus_per_video: cores that are reserved while a video is decoded; it uses one.
        max_retries: how often a video is begun anew when its process or node dies.
        options: the detector's. ``deadline_seconds`` and ``stall_seconds`` count while a video is decoded.

    Raises:
        ConfigError, ValueError, CheckpointError: an option or the checkpoint is refused, or Ray is not installed.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        address: str | None = None,
        num_actors: int | None = None,
        num_gpus_per_actor: float | None = None,
        num_cpus_per_video: float = 1,
        max_retries: int = 3,
        device: str = "auto",
        **options: Any,
    ) -> None:
        check_ray_options(address, num_cpus_per_video=num_cpus_per_video, max_retries=max_retries)
        if num_actors is not None and num_actors < 1:
            raise ValueError(f"num_actors must be at least 1, got {num_actors}")
        if num_gpus_per_actor is not None and not 0 <= num_gpus_per_actor <= 1:
            raise ValueError(f"num_gpus_per_actor must be in 0..1: a network runs on one GPU; got {num_gpus_per_actor}")
        if options.pop("num_workers", None) is not None:
            raise ConfigError("num_workers is for engine=local; Ray decodes a video on every free num_cpus_per_video")
        from dfd.inference import Detector

        self._ray = import_ray()
        self._checkpoint = Path(checkpoint)
        self.detector = Detector.load(checkpoint, device="cpu", **options)
        """What the actors load, here for its card, name and settings."""
        _refuse_large_rows(self.detector.windows, self.detector.extraction)
        self._address, self._device, self._options = address, device, options
        self._shares = {
            "num_actors": num_actors,
            "num_gpus_per_actor": num_gpus_per_actor,
            "num_cpus_per_video": num_cpus_per_video,
        }
        self._num_cpus_per_video, self._max_retries = num_cpus_per_video, max_retries
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
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        plan = plan_actors(nodes, device=self._device, **self._shares)  # type: ignore[arg-type]
        with ray_errors(self._ray):
            checkpoint = self._ray.put(self._checkpoint.read_bytes())
            for first in range(0, len(files), MAX_ROWS_AT_ONCE):
                for score in self._scores(files[first : first + MAX_ROWS_AT_ONCE], plan, checkpoint):
                    if on_progress is not None:
                        on_progress(Path(score.path), 1.0)
                    yield score

    def _scores(self, files: Sequence[Path], plan: ActorPlan, checkpoint: Any) -> Iterator[VideoScore]:
        waiting = dict(enumerate(files))
        rows = self._dataset(waiting, plan, checkpoint).iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=0
        )
        for row in (row for table in rows for row in table.to_pylist()):
            outcome = pickle.loads(row["score"])  # noqa: S301 - made by _Network below
            if isinstance(outcome, Fatal):
                raise DfdError(outcome.message)
            del waiting[row["key"]]
            yield outcome
        for path in waiting.values():  # what Ray had to drop
            message = (
                f"{path}: Ray lost it: its process or node died in each of {1 + self._max_retries} tries (was memory "
                "short?); Ray's logs of the node say more"
            )
            yield VideoScore(str(path), Status.ERROR, model=self.detector.name, message=message)

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
            return dataset.map(
                find_faces,
                fn_kwargs={"job": job},
                num_cpus=self._num_cpus_per_video,
                max_retries=self._max_retries,
            ).map(
                _Network,
                fn_constructor_kwargs={"checkpoint": [checkpoint], "name": self._checkpoint.name, "options": options},
                compute=data.ActorPoolStrategy(size=plan.num_actors),
                num_gpus=plan.num_gpus,
                num_cpus=plan.num_cpus,
                max_task_retries=self._max_retries,
            )

    def _start(self) -> None:
        """Start or join Ray, unless it runs in this process already."""
        ray = self._ray
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        for handler in logging.getLogger("ray.data").handlers:
            if handler.get_name() == "console":
                handler.setLevel(logging.CRITICAL)  # a lost video is a row, and its traceback is in the log file
        self._is_ours = self._is_ours or start_ray(ray, self._address)


def check_ray_options(address: str | None, *, num_cpus_per_video: float, max_retries: int) -> None:
    """Refuse what does not fit, before Ray starts.

    Raises:
        ConfigError, ValueError: it does not.
    """
    if address is not None and address.startswith("ray://"):
        raise ConfigError(
            f"address={address}: working through a Ray client is not supported; start the command on a machine of "
            "the cluster with address=auto, or hand it over with `ray job submit`"
        )
    if not num_cpus_per_video > 0:
        raise ValueError(f"num_cpus_per_video must be above 0, got {num_cpus_per_video}")
    if max_retries < 0:
        raise ValueError(f"max_retries must not be negative, got {max_retries}")


def start_ray(ray: Any, address: str | None) -> bool:
    """Start or join Ray; False if it runs in this process already, and is not ours to stop.

    Raises:
        ConfigError: it does not start, or the cluster is not there, or cannot import what dfd needs.
    """
    if ray.is_initialized():
        return False
    where: dict[str, Any] = (
        {"address": "local", "num_cpus": max(2, num_cores()), "include_dashboard": False}  # one for each step
        if address is None
        else {"address": address, "runtime_env": {"py_modules": [str(_PACKAGE)]}}
    )
    try:
        if address is not None and ":" in address:
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=10).close()  # Ray itself tries for minutes
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
            ray.get(ray.remote(num_cpus=0)(_can_import).remote())
        except ray.exceptions.RayError as error:
            ray.shutdown()
            reason = str(error).strip().splitlines()[-1]
            raise ConfigError(f"address={address}: a node cannot import what dfd needs: {reason}") from error
    return True


def import_ray() -> Any:
    """Ray, told what it reads before it starts.

    Raises:
        ConfigError: it is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when Ray starts: nothing is reported to its makers
    # Read when it is imported. Under `uv run` Ray would start its workers by the same command, relative paths and all,
    # in folders of its own, where they fail to start for ever. They are to run the Python that is on their node.
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError(f"engine=ray needs Ray ({error}): pip install 'dfd[ray]'") from error
    return ray


@contextmanager
def ray_errors(ray: Any) -> Iterator[None]:
    """Say in a sentence that Ray itself gave up.

    Raises:
        DfdError: it did.
    """
    try:
        yield
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise DfdError(f"Ray gave up: {type(error).__name__}: {reason}; what is done is kept") from error


def _refuse_large_rows(windows: WindowSettings, extraction: ExtractionSettings) -> None:
    if windows.max_windows is None:
        raise ConfigError(
            "max_windows=null does not fit Ray, where the clips of a video are held together; give a number such as "
            "max_windows=256, or use engine=local"
        )
    clip = windows.clip_len * extraction.crop_size**2 * 3
    most = windows.max_windows * windows.max_faces * clip
    if most > MAX_ROW_BYTES:
        fits = MAX_ROW_BYTES // (windows.max_faces * clip)
        raise ConfigError(
            f"max_windows={windows.max_windows} of max_faces={windows.max_faces} may take {most / 2**30:.1f} GiB for "
            f"one video, and Ray holds them together; use max_windows={fits} or fewer, fewer faces, or engine=local"
        )


def _can_import() -> None:
    import dfd.faces.detect  # noqa: F401


@dataclass(frozen=True, slots=True)
class Fatal:
    """No video's fault: the job cannot go on."""

    message: str

    @classmethod
    def of(cls, error: Exception) -> "Fatal":
        """What an error on this node says."""
        return cls(f"{Failure.of(error).message} (on node {socket.gethostname()})")


@dataclass(frozen=True, slots=True)
class Job:
    """What decoding needs to know: ``start(*arguments)`` prepares its process. ``folder`` is where relative paths
    begin.
    """

    start: Callable[..., None]
    arguments: tuple[Any, ...]
    deadline_seconds: float
    stall_seconds: float | None
    folder: str


_pools: dict[bytes, WorkerPool] = {}
"""In a Ray worker: the process that decodes, by its job. It stays for the next video."""


def pool_below(job: Job) -> WorkerPool:
    """The process below this Ray worker that does the job's videos, which may hang or die without harm to the rest."""
    key = pickle.dumps(job)
    if key not in _pools:
        while _pools:
            _pools.popitem()[1].close()
        _pools[key] = WorkerPool(
            num_workers=1,
            deadline_seconds=job.deadline_seconds,
            stall_seconds=job.stall_seconds,
            initializer=_start_worker,
            initargs=(job.folder, job.start, *job.arguments),
        )
    return _pools[key]


def _start_worker(folder: str, start: Callable[..., None], *arguments: Any) -> None:
    if os.path.isdir(folder):
        os.chdir(folder)
    start(*arguments)


def find_faces(row: Mapping[str, Any], job: Job) -> dict[str, Any]:
    """A Ray task: what :func:`dfd.faces.windows.stream_windows` finds in the video of a row, or how it failed.

    The video is decoded in a process below this one, which may hang, crash or be killed without harm to the row.
    """
    began = time.perf_counter()
    found: list[Found | Failure] | Fatal
    try:
        found = _pieces(pool_below(job), Path(os.fsdecode(row["path"])))
    except Exception as error:  # noqa: BLE001 - the edge of the task; what a video does comes as a Failure
        found = Fatal.of(error)
    return {
        "key": row["key"],
        "path": row["path"],
        "found": pickle.dumps(found),
        "seconds": time.perf_counter() - began,
    }


def _pieces(pool: WorkerPool, path: Path) -> list[Found | Failure]:
    pieces: list[Found | Failure] = []
    for _, item in pool.stream(windows_task, [path]):
        match item:
            case Again():
                pieces.clear()
            case float() | None:
                pass
            case Thumbnail():  # a later one is a better one
                pieces = [piece for piece in pieces if not isinstance(piece, Thumbnail)] + [item]
            case _:
                pieces.append(item)
    return pieces


class _Network:
    """A Ray actor: the detector, loaded once."""

    def __init__(self, checkpoint: list[Any], name: str, options: Mapping[str, Any]) -> None:
        import ray

        from dfd.inference import Detector

        self._detector: Detector | Fatal
        try:
            with TemporaryDirectory() as folder:
                file = Path(folder) / name
                file.write_bytes(ray.get(checkpoint[0]))
                self._detector = Detector.load(file, **options)
        except Exception as error:  # noqa: BLE001 - said with the first video, in words instead of Ray's
            self._detector = Fatal.of(error)

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        found = pickle.loads(row["found"])  # noqa: S301 - made by find_faces above
        outcome: VideoScore | Fatal
        if isinstance(self._detector, Fatal):
            outcome = self._detector
        elif isinstance(found, Fatal):
            outcome = found
        else:
            score = self._score(self._detector, Path(os.fsdecode(row["path"])), found)
            outcome = replace(score, seconds=score.seconds + row["seconds"])
        return {"key": row["key"], "score": pickle.dumps(outcome)}

    @staticmethod
    def _score(detector: "Detector", path: Path, found: Sequence[Found | Failure]) -> VideoScore:
        try:
            return detector.score_windows(path, found)
        except Exception as error:  # noqa: BLE001 - the edge of the row: every error becomes its status
            return detector.score_windows(path, [Failure.of(error)])
