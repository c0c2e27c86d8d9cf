"""What the built package contains, and that it finds its own files; tests/test_installed.py installs it."""

import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest
from hatchling.build import build_sdist, build_wheel
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
# Where it lies in a checkout, and in the installed package.
PLACES = {"dfd": "dfd", "hydra_plugins": "hydra_plugins", "conf": "dfd/conf", "sweeps": "dfd/sweeps"}


def built(folder: Path, source: Path = ROOT, build=build_wheel) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(source)  # the build backend works on the current folder
        return folder / build(str(folder))


def content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    (text,) = (text for name, text in content(wheel).items() if name.endswith("dist-info/METADATA"))
    return message_from_bytes(text)


def files_of_checkout() -> Iterator[str]:
    for here, there in PLACES.items():
        for path in (ROOT / here).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield f"{there}/{path.relative_to(ROOT / here).as_posix()}"


def test_the_wheel_has_every_file_of_the_package_and_its_configuration_and_no_other(wheel: Path) -> None:
    files = {name for name in content(wheel) if ".dist-info/" not in name}
    assert files == set(files_of_checkout())
    assert "dfd/py.typed" in files
    kinds = {Path(name).suffix for name in files}
    assert {".yaml", ".safetensors", ".j2", ".html", ".css", ".js", ".svg"} <= kinds


def test_the_source_archive_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(built(tmp_path, build=build_sdist)) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    assert content(built(tmp_path, source)) == content(wheel)


def test_what_the_package_requires_leaves_a_resolver_room(metadata: Message) -> None:
    wanted = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    assert {"torch", "lightning", "django"} <= {item.name for item in wanted}
    for item in wanted:
        assert item.url is None, f"{item}: an address, which an index of packages refuses"
        assert not any(part.operator in ("==", "===") for part in item.specifier), f"{item}: a pin"
        # Both pin a torch of years ago, so that pip finds no set of versions with them.
        assert item.name not in ("facenet-pytorch", "retinaface-pytorch"), item


def test_the_licence_of_everything_that_has_one_of_its_own_is_named_and_included(
    metadata: Message, wheel: Path
) -> None:
    files = content(wheel)
    licences = {name: text.decode() for name, text in files.items() if Path(name).name == "LICENSE"}
    own = {name.partition("/licenses/")[2] for name in licences if "/licenses/" in name}
    assert own == {"LICENSE", *(name for name in licences if name.startswith("dfd/"))}
    assert set(metadata.get_all("License-File", [])) == own
    assert set(metadata["License-Expression"].split(" AND ")) == {"Apache-2.0", "CC-BY-NC-4.0", "MIT"}
    (mtcnn,) = {text for name, text in licences.items() if name.endswith("detectors/weights/LICENSE")}
    for part in ("Kaipeng Zhang", "David Sandberg", "Timothy Esler", "WIDER FACE", "CelebA", "MIT License"):
        assert part in mtcnn


def test_the_package_without_its_checkout_finds_its_configuration_and_weights(wheel: Path, tmp_path: Path) -> None:
    """Unpacked, with this environment's dependencies; tests/test_installed.py installs it into fresh ones."""
    (tmp_path / "empty").mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "package")
    code = (
        "from dfd.config.folders import CONFIG_DIR, SWEEPS_DIR; from dfd.faces.detect import build_detector;"
        "print(CONFIG_DIR, SWEEPS_DIR, build_detector('mtcnn').name)"
    )
    outside = {**os.environ, "PYTHONPATH": str(tmp_path / "package")}

    def output(*command: str) -> str:
        return subprocess.run(
            [sys.executable, *command], cwd=tmp_path / "empty", env=outside, capture_output=True, text=True, check=True
        ).stdout

    package = (tmp_path / "package" / "dfd").resolve()
    assert output("-c", code).split() == [str(package / "conf"), str(package / "sweeps"), "mtcnn"]
    assert "threshold: 0.9" in output("-m", "dfd.preprocess", "--cfg", "job", "face_detector=mtcnn")
