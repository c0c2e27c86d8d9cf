"""An option has one default in code, and the value that people see in conf/ is that one."""

import ast
import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from dfd.config import schemas
from dfd.config.build import locate
from dfd.config.entry import parse_shard
from dfd.config.folders import CONFIG_DIR
from dfd.data.prepare.audio_only import DEFAULT_THRESHOLD
from dfd.data.prepare.ray import RayPreparation
from dfd.data.prepare.store import prepare_store
from dfd.data.prepare.video import PreparationSettings
from dfd.data.store.plan import SplitPlan
from dfd.faces.extract import ExtractionSettings
from dfd.faces.found import WindowSettings
from dfd.models.classifier import ClipClassifier
from dfd.scoring.detector import Detector
from dfd.scoring.ray import RayEngine
from dfd.video.encode import VideoWriter
from dfd.video.file.container import VideoLimits
from tests.architecture import ROOT

TAKERS: dict[tuple[str, str], list[Callable[..., Any]]] = {
    ("predict", ""): [Detector, Detector.load, WindowSettings],
    ("predict", "limits"): [VideoLimits],
    ("predict", "ray"): [RayEngine, RayPreparation],
    ("preprocess", ""): [PreparationSettings, prepare_store],
    ("preprocess", "faces"): [ExtractionSettings],
    ("preprocess", "encode"): [VideoWriter],
    ("preprocess", "limits"): [VideoLimits],
    ("preprocess", "ray"): [RayPreparation],
    ("train", ""): [ClipClassifier],
}
"""What finally takes the options of a file in conf/, by the key that they are below."""


def default_of(taker: Callable[..., Any], name: str) -> Any:
    """The default of a parameter; MISSING if there is no such parameter, or it has none."""
    parameter = inspect.signature(taker).parameters.get(name)
    if parameter is None or parameter.default is parameter.empty:
        return MISSING
    for item in fields(taker) if hasattr(taker, "__dataclass_fields__") else ():  # type: ignore[arg-type]
        if item.name == name and item.default_factory is not MISSING:
            return item.default_factory()
    return parameter.default


def compared() -> Iterator[tuple[str, Any, Any]]:
    for (root, below), takers in TAKERS.items():
        node = OmegaConf.load(CONFIG_DIR / f"{root}.yaml")
        for name, written in (node[below] if below else node).items_ex(resolve=False):
            value = parse_shard(written) if name == "shard" else written
            for taker in takers:
                default = default_of(taker, name)
                # A section has takers of its own, and an option that the command must decide has null.
                if default is not MISSING and not OmegaConf.is_config(value) and value != "???" and default is not None:
                    yield f"{root}.yaml: {below}.{name} of {taker.__qualname__}", value, default


def test_a_value_in_conf_is_the_default_of_what_takes_it() -> None:
    found = list(compared())
    assert len(found) >= 30
    assert [f"{place}: {value} and {default}" for place, value, default in found if value != default] == []


def test_values_that_are_handed_over_under_another_name_are_the_same_too() -> None:
    values = OmegaConf.load(CONFIG_DIR / "preprocess.yaml")
    plan = SplitPlan()
    assert (values.split, tuple(values.split_fractions), values.split_seed) == (plan.mode, plan.fractions, plan.seed)
    assert f"null: {DEFAULT_THRESHOLD}," in (CONFIG_DIR / "preprocess.yaml").read_text()


GROUPS = ("face_detector", "temporal", "head", "source")


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(CONFIG_DIR.rglob("*.yaml")) if path.parent.name in GROUPS],
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_a_value_of_a_group_is_the_default_of_its_function(path: Path) -> None:
    node = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    assert isinstance(node, dict)
    target = locate(str(node["_target_"]))
    defaults = {str(name): default_of(target, str(name)) for name in node if not str(name).startswith("_")}
    differing = {name: (node[name], value) for name, value in defaults.items() if value not in (MISSING, node[name])}
    assert differing == {}


def test_a_schema_has_names_and_types_and_no_values() -> None:
    for name, schema in vars(schemas).items():
        if inspect.isclass(schema) and schema.__module__ == schemas.__name__:
            assert [item.name for item in fields(schema) if item.default is not MISSING] == [], name
            assert [item.name for item in fields(schema) if item.default_factory is not MISSING] == [], name


SEVERAL = {"device", "runtime", "threshold", "num_frames", "fps", "width", "height", "name", "seconds"}
"""Names of several things that are no option of a command there, each with a value of its own."""


def literals() -> dict[str, dict[str, list[str]]]:
    """Option -> written default -> where: parameters and fields with a number or text as default."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path in (ROOT / "dfd").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            pairs: list[tuple[str, ast.expr | None]] = []
            if isinstance(node, ast.FunctionDef):
                given = [*node.args.posonlyargs, *node.args.args]
                pairs += [(a.arg, d) for a, d in zip(given[::-1], node.args.defaults[::-1], strict=False)]
                pairs += [(a.arg, d) for a, d in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]
            elif isinstance(node, ast.ClassDef):
                pairs += [
                    (item.target.id, item.value)
                    for item in node.body
                    if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
                ]
            for name, default in pairs:
                if isinstance(default, ast.Constant | ast.Tuple):
                    found[name][ast.unparse(default)].append(f"{path.relative_to(ROOT)}: {node.name}")  # type: ignore[attr-defined]
    return found


def test_no_default_of_an_option_is_written_twice() -> None:
    options = {name for node in TAKERS.values() for taker in node for name in inspect.signature(taker).parameters}
    neutral = {"None", "''", "0", "1", "0.0", "1.0", "True", "False", "()", "(0, 1)"}
    twice = {
        f"{name}={text}": places
        for name, by_text in literals().items()
        for text, places in by_text.items()
        if name in options - SEVERAL and text not in neutral and len(places) > 1
    }
    assert twice == {}
