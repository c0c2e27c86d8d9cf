"""The files around the code say the same thing as the code."""

import re
import tomllib
from pathlib import Path

import yaml

from dfd.predictions import COLUMNS, SCHEMA_VERSION, json_of
from dfd.types import FileFacts, Status, VideoScore

ROOT = Path(__file__).resolve().parents[1]
# Installed by hand after `conda env create`, without their requirements; the file's comment says how.
WITHOUT_REQUIREMENTS = {"facenet-pytorch==2.6.0", "retinaface-pytorch==0.0.8"}


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_environment_yml_lists_the_dependencies_of_pyproject() -> None:
    wanted = {re.split(r";", item)[0].strip() for item in pyproject()["project"]["dependencies"]}
    text = (ROOT / "environment.yml").read_text()
    pip = next(item["pip"] for item in yaml.safe_load(text)["dependencies"] if isinstance(item, dict))
    corrected = pyproject()["tool"]["uv"]["dependency-metadata"]
    needed_by_corrected = {name for item in corrected for name in item["requires-dist"]}
    assert wanted - WITHOUT_REQUIREMENTS <= set(pip)
    assert all(item in text for item in WITHOUT_REQUIREMENTS)
    names = {re.split(r"[<>=]", item)[0] for item in pip}
    assert needed_by_corrected <= names, "what the two packages need must be installed by name"
    assert set(pip) - wanted <= needed_by_corrected, "environment.yml lists what pyproject.toml does not"


def test_python_versions_agree() -> None:
    wanted = pyproject()["project"]["requires-python"]
    python = next(item for item in yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"])
    assert python == f"python{wanted}"


def test_ci_runs_the_readmes_test_commands() -> None:
    ci = (ROOT / ".ci" / "run").read_text()
    assert [line for line in ci.splitlines() if line.startswith("make")] == ["make test", "make test-browser"]
    readme = (ROOT / "README.md").read_text()
    assert "make test" in readme
    assert "make demo" in readme


def test_the_description_of_predictions_names_every_field() -> None:
    text = (ROOT / "docs" / "predictions.md").read_text()
    described = set(re.findall(r"`(?:[a-z]+(?:\[\])?\.)?([a-z0-9_]+)(?:\[\])?`", text))
    value = json_of(VideoScore("a.mp4", Status.OK, file=FileFacts(1, "ab")))
    assert {*COLUMNS, *value, *value["file"]} <= described
    table = text.split("## predictions.csv")[1].split("## predictions.jsonl")[0]
    assert tuple(re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE)) == COLUMNS
    assert f"It is {SCHEMA_VERSION} here." in text
