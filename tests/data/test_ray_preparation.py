"""Preprocessing with Ray: the store of one machine byte for byte, and what dies costs its own video."""

import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dfd.base.errors import ConfigError, DfdError
from dfd.base.names.plugins import named
from dfd.base.types import Status
from dfd.commands.preprocess import engine_of
from dfd.data.prepare.ray import RayPreparation, _start_on_node, prepare_on_node
from dfd.data.prepare.store import prepare_store
from dfd.data.prepare.video import PreparationSettings
from dfd.data.sources.manifest import read_manifest
from dfd.data.sources.row import VideoRow
from dfd.data.store.folders import read_record, video_folder
from dfd.process.ray import Fatal, Job, import_ray

SETTINGS = PreparationSettings({"name": "fixed_box"}, num_frames=12)


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
        object_store_memory=100_000_000,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"worker_process_setup_hook": "tests.dying_decoder.install"},
    )
    yield ray
    ray.shutdown()


@pytest.fixture
def manifest(tiny_videos: Path, tmp_path: Path) -> Path:
    """Videos that are sound, broken or gone, or whose names say what becomes of the process that reads them."""
    lines = ["path,label,source_ids"]
    names = ["a", "b", "c", "kills_worker_once", "kills_worker", "kills_decoder", "hangs"]
    for number, name in enumerate(names):
        shutil.copy(tiny_videos.parent / f"{number:02}.mp4", tmp_path / f"{name}.mp4")
        lines.append(f"{name}.mp4,{'fake' if number % 2 else 'real'},person{number}")
    for name in ("text", "gone"):
        (tmp_path / f"{name}.mp4").write_text("no video")
        lines.append(f"{name}.mp4,real,{name}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "manifest.csv"


def contents(store: Path) -> dict[str, bytes]:
    return {str(p.relative_to(store)): p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file()}


def test_the_store_is_that_of_one_machine_and_what_dies_costs_its_own_video_for_now(
    local_ray: Any, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One test: a run of Ray takes a while."""
    monkeypatch.chdir(tmp_path)  # paths that are relative here begin elsewhere in a Ray worker
    rows = [replace(row, path=Path(row.path.name)) for row in read_manifest(manifest)]
    (tmp_path / "gone.mp4").unlink()
    prepare_store(rows, "here", SETTINGS, num_workers=1)
    deadly = {
        name: next(row for row in rows if row.name == f"{name}.mp4")
        for name in ("kills_worker", "kills_decoder", "hangs")
    }

    told = []
    engine = RayPreparation(max_retries=1, deadline_seconds=5)
    prepare = partial(prepare_store, rows, "there", engine=engine, on_record=told.append)
    counts = prepare(SETTINGS)
    assert counts == {"ok": 4, "unreadable": 1, "missing": 1, "error": 2, "timeout": 1}, told[0].message
    assert sorted(record.name for record in told) == sorted(row.name for row in rows)
    assert local_ray.is_initialized()
    records = {name: read_record(video_folder("there", row)) for name, row in deadly.items()}
    assert records["kills_worker"].message.startswith(
        "kills_worker.mp4: its Ray process or node died in each of 2 tries"
    )
    assert "the worker process died (exit code -9, SIGKILL" in records["kills_decoder"].message
    assert records["hangs"].status is Status.TIMEOUT
    # Once with the worker that it killed for good, twice by kills_worker.
    assert (tmp_path / "deaths").read_text() in ("xx", "xxx")

    here, there = contents(Path("here")), contents(Path("there"))
    tables = {"index.csv", "videos.csv"}
    own = {str(video_folder("", row)) for row in deadly.values()}
    shared = {name for name in here if str(Path(name).parent) not in own} - tables
    assert {name for name in there if str(Path(name).parent) not in own} - tables == shared
    assert [name for name in shared if here[name] != there[name]] == []
    assert sum(name.endswith(".mp4") for name in shared) == 4

    # The next run tries again what died, here on other grounds: its files have harmless names now.
    clips = {path: path.stat().st_mtime_ns for path in Path("there").rglob("*.mp4")}
    harmless = {f"{name}.mp4": Path(f"harmless_{name}.mp4") for name in deadly}
    for name, path in harmless.items():
        shutil.copy(name, path)
    again = [replace(row, path=harmless.get(row.name, row.path)) for row in rows]
    assert prepare_store(again, "there", SETTINGS, engine=engine) == {"ok": 7, "unreadable": 1, "missing": 1}
    assert {path: path.stat().st_mtime_ns for path in clips} == clips
    assert contents(Path("there")) == here


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "store").mkdir()
    return Job(_start_on_node, (str(tmp_path / "mark"), tmp_path / "store", SETTINGS), 60.0, None, str(tmp_path))


def test_a_node_without_the_store_or_the_videos_ends_the_job_and_writes_nothing(job: Job, manifest: Path) -> None:
    row = read_manifest(manifest)[0]
    outcome = prepare_on_node(row, job, is_there=True)
    assert isinstance(outcome, Fatal)
    assert (
        "store: the node does not see it, or another folder; mount it under the same path (on node " in outcome.message
    )
    elsewhere: VideoRow = replace(row, path=Path("elsewhere.mp4"))
    outcome = prepare_on_node(elsewhere, job, is_there=True)
    assert isinstance(outcome, Fatal)
    assert "elsewhere.mp4: the node does not see it; mount the videos" in outcome.message
    assert list(job.arguments[1].iterdir()) == []


PLUGIN = """
import dfd


@dfd.register("face_detector")
def everywhere():
    raise RuntimeError("the plug-in's detector was built")
"""


def test_a_node_uses_the_plug_ins_that_were_named_and_says_which_one_it_lacks(
    job: Job, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mark").touch()
    row = read_manifest(manifest)[0]
    monkeypatch.setenv("DFD_PLUGINS", "raylab_absent")
    outcome = prepare_on_node(row, replace(job, plugins=tuple(named())), is_there=True)
    assert isinstance(outcome, Fatal)
    assert "plugins: there is no package 'raylab_absent'; install it" in outcome.message
    assert "(on node " in outcome.message

    (tmp_path / "raylab_there.py").write_text(PLUGIN)
    settings = replace(SETTINGS, face_detector={"name": "raylab_there.everywhere"})
    monkeypatch.delenv("DFD_PLUGINS")  # a node does not inherit the environment of the caller
    arguments = (*job.arguments[:2], settings)
    outcome = prepare_on_node(row, replace(job, plugins=("raylab_there",), arguments=arguments), is_there=True)
    assert isinstance(outcome, Fatal)
    assert "the plug-in's detector was built" in outcome.message


def test_what_ends_the_job_is_told_and_what_was_done_is_in_the_index(
    local_ray: Any, manifest: Path, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, face_detector={"name": "yunet", "weights": str(tmp_path / "gone.onnx")})
    with pytest.raises(DfdError, match=r"(?s)gone\.onnx: no such file.*\(on node "):
        prepare_store(read_manifest(manifest)[:1], tmp_path / "store", settings, engine=RayPreparation())
    assert (tmp_path / "store" / "index.csv").is_file()
    assert not list((tmp_path / "store").glob(".ray-*"))
    with pytest.raises(ConfigError, match="num_cpus_per_video=64 is more than any node has, which is 2 CPUs"):
        list(RayPreparation(num_cpus_per_video=64)(read_manifest(manifest)[:1], tmp_path / "store", settings))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"address": "ray://head:10001"}, "address=auto"),
        ({"num_cpus_per_video": 0}, "num_cpus_per_video must be above 0"),
        ({"max_retries": -1}, "max_retries must not be negative"),
    ],
)
def test_an_option_that_does_not_fit_is_refused_before_ray_starts(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=message):
        RayPreparation(**options)


def test_without_ray_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'dfd\[ray\]'"):
        RayPreparation()


def test_the_command_takes_the_engine_and_its_options() -> None:
    from hydra import compose, initialize_config_dir

    from dfd.config.check import check
    from dfd.config.folders import CONFIG_DIR
    from dfd.config.schemas import PreprocessConfig

    def engine(*overrides: str) -> Any:
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            return engine_of(check(compose("preprocess", ["store=s", *overrides]), PreprocessConfig))

    assert engine() is None
    assert engine("engine=ray", "ray.address=auto", "ray.max_retries=5", "deadline_seconds=9") == RayPreparation(
        "auto", 1, 5, 9
    )
    with pytest.raises(ConfigError, match="engine=slurm is not one of local, ray"):
        engine("engine=slurm")
