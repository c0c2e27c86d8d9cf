"""Scoring with Ray: the same scores as on one machine, and what goes wrong costs its own row."""

import pickle
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dfd.base.errors import ConfigError, DfdError
from dfd.base.types import Status, VideoScore
from dfd.process.actors import ActorPlan, plan_actors
from dfd.process.ray import Fatal, Job, import_ray
from dfd.scoring.detector import Detector
from dfd.scoring.look.workers import start_worker
from dfd.scoring.ray import RayEngine, _Network

FIXED = {"name": "fixed_box"}


@pytest.fixture(autouse=True)
def not_for_ever() -> Iterator[None]:
    """Ray waits without end for workers that cannot start; a test that does not end tells nobody why."""

    def stop(*_: object) -> None:
        raise TimeoutError("Ray did not come to an end in five minutes")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(300)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def local_ray() -> Iterator[Any]:
    """A small Ray whose workers decode as tests/dying_decoder.py does."""
    ray = import_ray()
    ray.init(
        address="local",
        num_cpus=2,
        object_store_memory=200_000_000,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"worker_process_setup_hook": "tests.dying_decoder.install"},
    )
    yield ray
    ray.shutdown()


@pytest.fixture
def inbox(tiny_videos: Path, tmp_path: Path) -> Path:
    for number in range(4):
        shutil.copy(tiny_videos.parent / f"{number:02}.mp4", tmp_path)
    return tmp_path


def plain(score: VideoScore) -> VideoScore:
    """Without what two runs never share, and without probabilities."""
    tracks = tuple(
        replace(track, prob_fake=0, windows=tuple(replace(window, prob_fake=0) for window in track.windows))
        for track in score.tracks
    )
    return replace(score, seconds=0, prob_fake=None, confidence=None, tracks=tracks)


def probs(score: VideoScore) -> list[float]:
    found = [window.prob_fake for track in score.tracks for window in track.windows]
    return found if score.prob_fake is None else [score.prob_fake, score.confidence, *found]


@pytest.mark.slow
def test_the_scores_are_those_of_one_machine_and_what_hangs_or_dies_costs_its_own_row(
    local_ray: Any, tiny_checkpoint: Path, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One test: a run of Ray takes a while."""
    (inbox / "text.mp4").write_text("no video")
    monkeypatch.chdir(inbox)
    sound = [*sorted(inbox.glob("*.mp4")), inbox / "gone.mp4", Path("03.mp4"), Path("b\udcff.mp4")]
    deadly = [inbox / f"{name}.mp4" for name in ("kills_decoder", "kills_worker", "hangs")]
    for path in deadly:
        shutil.copy(inbox / "00.mp4", path)
    options = {"face_detector": FIXED, "uncertain_margin": 0.05}
    with Detector.load(tiny_checkpoint, num_workers=1, device="cpu", **options) as detector:
        expected = {score.path: score for score in detector.score_many(sound)}
    assert {score.status for score in expected.values()} == {Status.OK, Status.MISSING, Status.UNREADABLE}

    told = []
    with RayEngine(tiny_checkpoint, max_retries=1, stall_seconds=10, **options) as engine:
        found = list(engine.score_many([*deadly, *sound], on_progress=lambda path, share: told.append((path, share))))
    assert local_ray.is_initialized()
    scores = {score.path: score for score in found}
    assert len(found) == len(scores) == len(deadly) + len(sound)
    assert sorted(told) == sorted((Path(path), 1.0) for path in scores)
    for path in sound:
        score, wanted = scores[str(path)], expected[str(path)]
        assert plain(score) == plain(wanted)
        assert probs(score) == pytest.approx(probs(wanted), abs=1e-5)
        assert [moment.window for moment in score.moments] == [moment.window for moment in wanted.moments]
        assert (score.thumbnail is None) == (wanted.thumbnail is None)
        assert score.seconds > 0

    killed, lost, hung = (scores[str(path)] for path in deadly)
    assert (killed.status, lost.status, hung.status) == (Status.ERROR, Status.ERROR, Status.TIMEOUT)
    assert "the worker process died (exit code -9, SIGKILL" in killed.message
    assert "kills_worker.mp4: Ray lost it: its process or node died in each of 4 tries" in lost.message
    assert (inbox / "deaths").read_text() == "xxxx"
    assert {score.model for score in found} == {detector.name}


def test_an_actor_without_a_plug_in_that_was_named_says_so_with_its_row(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DFD_PLUGINS", "raylab_absent")
    job = Job(start_worker, (), 60.0, None, str(tmp_path))
    monkeypatch.delenv("DFD_PLUGINS")
    monkeypatch.chdir(tmp_path)
    actor = _Network(checkpoint=[None], name=tiny_checkpoint.name, options={}, job=job)
    row = actor({"key": 0, "path": b"a.mp4", "found": pickle.dumps([]), "seconds": 0.0})
    outcome = pickle.loads(row["score"])  # noqa: S301 - made by the actor above
    assert isinstance(outcome, Fatal)
    assert "plugins: there is no package 'raylab_absent'; install it" in outcome.message


@pytest.mark.slow
def test_what_is_no_videos_fault_ends_the_job_with_its_reason(
    local_ray: Any, tiny_checkpoint: Path, inbox: Path, tmp_path: Path
) -> None:
    engine = RayEngine(tiny_checkpoint, face_detector={"name": "yunet", "weights": str(tmp_path / "gone.onnx")})
    with pytest.raises(DfdError, match=r"(?s)gone\.onnx: no such file.*\(on node "):
        list(engine.score_many([inbox / "00.mp4"]))


@pytest.mark.parametrize(
    ("nodes", "options", "expected"),
    [
        ([{"CPU": 2}], {}, ActorPlan(1, 0, 0.01, 0.99)),
        ([{"CPU": 1}], {}, ActorPlan(1, 0, 0.01, 0.99)),
        ([{"CPU": 16}], {}, ActorPlan(8, 0, 0.01, 0.99)),
        ([{"CPU": 16}, {"CPU": 16}], {"num_cpus_per_video": 4}, ActorPlan(16, 0, 0.01, 3.96)),
        ([{"CPU": 8, "GPU": 4}, {"CPU": 32}], {}, ActorPlan(4, 1, 0, 1)),
        ([{"CPU": 8, "GPU": 4}], {"num_gpus_per_actor": 0.5}, ActorPlan(8, 0.5, 0, 1)),
        ([{"CPU": 8, "GPU": 1.5}, {"CPU": 8, "GPU": 1.5}], {}, ActorPlan(2, 1, 0, 1)),
        ([{"CPU": 8, "GPU": 4}], {"num_actors": 2}, ActorPlan(2, 1, 0, 1)),
        ([{"CPU": 8, "GPU": 4}], {"device": "cpu"}, ActorPlan(4, 0, 0.01, 0.99)),
        ([{"CPU": 8, "GPU": 4}], {"num_gpus_per_actor": 0, "num_actors": 3}, ActorPlan(3, 0, 0.01, 0.99)),
        ([{"CPU": 2}], {"num_gpus_per_actor": 1, "num_actors": 64}, ActorPlan(64, 1, 0, 1)),
    ],
)
def test_a_cluster_is_divided_between_network_and_decoding(
    nodes: list[dict[str, float]], options: dict[str, Any], expected: ActorPlan
) -> None:
    assert plan_actors(nodes, **options) == expected


@pytest.mark.parametrize("num_cores", [1, 2, 3, 16])
def test_networks_of_lost_nodes_leave_every_core_to_videos(num_cores: int) -> None:
    plan = plan_actors([{"CPU": num_cores}] * 3)
    moved = min(plan.num_actors, num_cores)  # the node that is left holds as many as it has cores
    assert moved * plan.num_cpus + num_cores * plan.num_cpus_per_video <= num_cores


@pytest.mark.parametrize(
    ("nodes", "options", "message"),
    [
        ([{"CPU": 8}], {"device": "cuda"}, "no node has 1 GPU free.*use device=cpu"),
        ([{"CPU": 8}], {"num_gpus_per_actor": 0.5}, "no node has 0.5 GPU"),
        ([{"CPU": 8, "GPU": 1}], {"num_actors": 2}, "2 actors with 1 GPU .*lower num_actors"),
        ([{"CPU": 0}], {}, "use engine=local"),
        ([{"CPU": 4}, {"CPU": 4}], {"num_cpus_per_video": 6}, "6 CPU for a video"),
        ([{"CPU": 4}], {"num_actors": 5}, "5 actors with 0 GPU"),
        ([{"CPU": 4, "GPU": 1}], {"device": "cpu", "num_gpus_per_actor": 1}, "device=cpu does not fit"),
        ([{"CPU": 4, "GPU": 1}], {"device": "cuda", "num_gpus_per_actor": 0}, "device=cuda does not fit"),
    ],
)
def test_what_would_wait_for_ever_is_refused(
    nodes: list[dict[str, float]], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_actors(nodes, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_windows": None}, "max_windows=null.*engine=local"),
        ({"max_windows": 10**6}, "max_windows=1000000 of max_faces=8.*use max_windows=2730 or fewer"),
        ({"num_workers": 2}, "num_workers is for engine=local"),
        ({"num_actors": 0}, "num_actors must be at least 1"),
        ({"num_gpus_per_actor": 2}, "num_gpus_per_actor must be in 0..1"),
        ({"num_cpus_per_video": 0}, "num_cpus_per_video must be above 0"),
        ({"max_retries": -1}, "max_retries must not be negative"),
        ({"address": "ray://head:10001"}, "address=auto"),
        ({"batch_size": 0}, "batch_size must be above 0"),
    ],
)
def test_an_option_that_does_not_fit_is_refused_before_ray_starts(
    tiny_checkpoint: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigError, ValueError), match=message):
        RayEngine(tiny_checkpoint, **options)


@pytest.mark.parametrize("address", ["127.0.0.1:9", "head", "head:port"])
def test_a_cluster_that_is_not_there_is_a_sentence(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    engine = RayEngine(tiny_checkpoint, address=address)
    monkeypatch.setattr(engine._ray, "is_initialized", lambda: False)
    with pytest.raises(ConfigError, match=f"address={address}: Ray does not start or cannot be reached: .*`ray start`"):
        list(engine.score_many(["a.mp4"]))


def test_without_ray_the_remedy_is_named(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'dfd\[ray\]'"):
        RayEngine(tiny_checkpoint)


def test_nothing_to_score_starts_no_ray(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = RayEngine(tiny_checkpoint)
    monkeypatch.setattr(engine, "_start", lambda: pytest.fail("Ray was started"))
    assert list(engine.score_many([])) == []
