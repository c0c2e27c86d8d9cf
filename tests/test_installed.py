"""The package without this checkout: installed by pip and by uv, alone and as a requirement of another project.

The environments are made for these tests and removed after them. Each takes some gigabytes, since torch is in it, and
minutes where it has to be downloaded.
"""

import csv
import faulthandler
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest

from tests.test_wheel import ROOT, metadata, wheel  # noqa: F401 - both are fixtures

pytestmark = pytest.mark.slow

IS_DOOR = re.compile(r'^if __name__ == "__main__":', re.MULTILINE)
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    for path in (ROOT / "dfd").rglob("*.py")
    if IS_DOOR.search(path.read_text())
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = sorted(PROJECT["optional-dependencies"])
SCRIPTS = sorted(PROJECT.get("scripts", {}))
# What this checkout's environment and its tests set for themselves.
OURS = ("PYTHONPATH", "VIRTUAL_ENV", "DJANGO_SETTINGS_MODULE")
MAX_SECONDS = 1800
"""The longest that a command may take: an installation downloads about 3 GB where no cache has them."""
OTHER_PROJECT = """
[project]
name = "other"
version = "1"
requires-python = ">=3.11"
dependencies = ["dfd{extras} @ {wheel}"]
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[tool.hatch.metadata]
allow-direct-references = true
"""


def run(*words: object, folder: Path) -> str:
    """Run a command in a folder, as a person would who has no checkout; returns what it printed."""
    faulthandler.cancel_dump_traceback_later()  # an installation may take longer than pytest lets a test
    outside = {name: value for name, value in os.environ.items() if name not in OURS}
    command = [str(word) for word in words]
    done = subprocess.run(
        command, cwd=folder, env=outside, capture_output=True, text=True, timeout=MAX_SECONDS, check=False
    )
    if done.returncode:
        pytest.fail(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


def dfd(python: Path, command: str, *words: object, folder: Path) -> str:
    """Run one of dfd's commands as it was installed."""
    return run(python.with_name("dfd"), command, *words, folder=folder)


def other_project(folder: Path, wheel: Path, extras: str = "") -> Path:  # noqa: F811
    """Another project, of one module, that requires dfd."""
    (folder / "other").mkdir(parents=True)
    (folder / "other" / "__init__.py").write_text("from dfd import Detector as Detector\n")
    (folder / "pyproject.toml").write_text(OTHER_PROJECT.format(extras=extras, wheel=wheel.as_uri()))
    return folder


@pytest.fixture(scope="module")
def uv() -> str:
    if not (found := os.environ.get("UV") or shutil.which("uv")):  # `uv run` sets UV
        pytest.skip("there is no uv here")
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for the environments. It is removed, since pytest would keep those of the last three runs."""
    folder = tmp_path_factory.mktemp("installed")
    yield folder
    faulthandler.cancel_dump_traceback_later()  # there are 13 GB of small files
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def by_pip(wheel: Path, place: Path) -> Path:  # noqa: F811
    """The interpreter of a fresh environment into which pip has installed the wheel, and nothing else was."""
    python = place / "pip" / "bin" / "python"
    run(sys.executable, "-m", "venv", place / "pip", folder=place)
    run(python, "-m", "pip", "install", wheel, folder=place)
    return python


@pytest.fixture(scope="module")
def by_uv(uv: str, wheel: Path, place: Path) -> Path:  # noqa: F811
    """The interpreter of another project's environment, which requires dfd with all extras and was made by uv."""
    project = other_project(place / "project", wheel, f"[{','.join(EXTRAS)}]")
    run(uv, "sync", "--python", sys.executable, folder=project)
    return project / ".venv" / "bin" / "python"


@pytest.fixture(params=["by_pip", "by_uv"])
def python(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def store(by_pip: Path, place: Path) -> Path:
    """A store of the demonstration's clips, prepared with MTCNN by what pip has installed."""
    run(by_pip, "-m", "dfd.data.demo", "demo", folder=place)
    run(by_pip, "-m", "dfd.preprocess", "manifest=demo/videos/manifest.csv", "store=store", folder=place)
    return place / "store"


def test_the_package_and_its_configuration_are_in_the_environment(python: Path, tmp_path: Path) -> None:
    code = "import dfd, dfd.config.folders as c; print(dfd.__file__, c.CONFIG_DIR, c.SWEEPS_DIR, sep='\\n')"
    module, *folders = (Path(line) for line in run(python, "-c", code, folder=tmp_path).splitlines())
    assert module.is_relative_to(python.parents[1])
    assert folders == [module.parent / "conf", module.parent / "sweeps"]


def test_pip_finds_nothing_missing_and_no_version_that_does_not_fit(by_pip: Path, tmp_path: Path) -> None:
    assert "No broken requirements" in run(by_pip, "-m", "pip", "check", folder=tmp_path)


def test_another_project_of_uv_imports_dfd(by_uv: Path, tmp_path: Path) -> None:
    code = "from other import Detector; print(Detector.__name__)"
    assert run(by_uv, "-c", code, folder=tmp_path) == "Detector\n"


def test_pip_finds_versions_for_another_project_that_requires_dfd(by_pip: Path, wheel: Path, tmp_path: Path) -> None:  # noqa: F811
    project = other_project(tmp_path / "project", wheel)
    words = (by_pip, "-m", "pip", "install", "--dry-run", "--ignore-installed", project)
    would = run(*words, folder=tmp_path).splitlines()[-1]
    assert would.startswith("Would install")
    assert {"dfd", "other", "torch"} <= {word.rpartition("-")[0] for word in would.split()}


@pytest.mark.parametrize("version", ["3.11", "3.13"])
@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_every_extra_resolves(uv: str, wheel: Path, tmp_path: Path, extra: str, version: str) -> None:  # noqa: F811
    (tmp_path / "wanted.in").write_text(f"dfd[{extra}] @ {wheel.as_uri()}\n")
    found = run(uv, "pip", "compile", "--python-version", version, "wanted.in", folder=tmp_path)
    assert re.search(r"^torch==", found, re.MULTILINE)


def test_the_wheel_has_the_extras_of_the_project(metadata: Message) -> None:  # noqa: F811
    assert metadata.get_all("Provides-Extra") == EXTRAS


@pytest.mark.parametrize("module", MODULES)
def test_every_module_that_can_be_run_shows_its_help(python: Path, tmp_path: Path, module: str) -> None:
    assert len(run(python, "-m", module, "--help", folder=tmp_path)) > 200
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_shows_its_help(python: Path, tmp_path: Path, script: str) -> None:
    assert len(run(python.with_name(script), "--help", folder=tmp_path)) > 200


def test_the_demonstration_is_prepared_with_mtcnn(store: Path) -> None:
    with (store / "index.csv").open() as file:
        clips = [store / row["path"] for row in csv.DictReader(file)]
    assert len(clips) >= 50
    assert all(clip.is_file() for clip in clips)


def test_a_detector_is_trained_and_scores_videos(by_pip: Path, store: Path, place: Path) -> None:
    short = ("experiment=demo", "trainer.max_epochs=1", "trainer.enable_progress_bar=false")
    dfd(by_pip, "train", *short, f"data.store={store}", "hydra.run.dir=trained", folder=place)
    for checkpoint in ("starter", "trained/detector.safetensors"):
        dfd(by_pip, "predict", "input=demo/inbox", f"checkpoint={checkpoint}", "output=scores", folder=place)
        with (place / "scores" / "predictions.csv").open() as file:
            status = {Path(row["path"]).name: row["status"] for row in csv.DictReader(file)}
        assert (status["real_1.mp4"], status["no_face.mp4"]) == ("ok", "no_face")
        assert "<svg" in (place / "scores" / "report.html").read_text()
        shutil.rmtree(place / "scores")
