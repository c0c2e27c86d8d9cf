"""The files around the code say the same thing as the code."""

import re
import tomllib
from pathlib import Path

import yaml

from dfd.base.types import FileFacts, Status, VideoScore
from dfd.predictions.rows import COLUMNS, SCHEMA_VERSION, json_of

ROOT = Path(__file__).resolve().parents[1]


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_environment_yml_lists_the_dependencies_of_pyproject() -> None:
    wanted = {re.split(r";", item)[0].strip() for item in pyproject()["project"]["dependencies"]}
    text = (ROOT / "environment.yml").read_text()
    pip = next(item["pip"] for item in yaml.safe_load(text)["dependencies"] if isinstance(item, dict))
    assert set(pip) == wanted
    (retinaface,) = (item for item in pyproject()["dependency-groups"]["dev"] if str(item).startswith("retinaface"))
    assert f"pip install --no-deps {retinaface}\n" in text, "it pins torch 1.9, so that pip must not look at its pins"


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
