"""An option has one default in code, and the value that people see in conf/ is that one."""

import ast
import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
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
                if (
                    default is not MISSING
                    and not OmegaConf.is_config(value)
                    and value not in ("???", "auto")
                    and default is not None
                ):
                    yield f"{root}.yaml: {below}.{name} of {taker.__qualname__}", value, default


def test_a_value_in_conf_is_the_default_of_what_takes_it() -> None:
    found = list(compared())
    assert len(found) >= 25
    assert [f"{place}: {value} and {default}" for place, value, default in found if value != default] == []


def test_values_that_are_handed_over_under_another_name_are_the_same_too() -> None:
    values = OmegaConf.load(CONFIG_DIR / "preprocess.yaml")
    plan = SplitPlan()
    assert (values.split, tuple(values.split_fractions), values.split_seed) == (plan.mode, plan.fractions, plan.seed)
    assert f"null: {DEFAULT_THRESHOLD}," in (CONFIG_DIR / "preprocess.yaml").read_text()


def targets() -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and options of every node of a group that one of dfd's own functions takes."""
    for path in sorted(CONFIG_DIR.glob("*/*.yaml")):
        nodes = [OmegaConf.to_container(OmegaConf.load(path), resolve=False)]
        while nodes:
            node = nodes.pop()
            if isinstance(node, dict):
                nodes += node.values()
                if str(node.get("_target_", "")).startswith("dfd."):
                    yield f"{path.parent.name}/{path.name}: {node['_target_']}", {str(k): v for k, v in node.items()}


@pytest.mark.parametrize(("place", "node"), targets(), ids=lambda item: item if isinstance(item, str) else "")
def test_a_value_of_a_group_is_the_default_of_its_function(place: str, node: dict[str, Any]) -> None:
    target = locate(str(node["_target_"]))
    written = {name: value for name, value in node.items() if not name.startswith("_") and not is_composed(value)}
    defaults = {name: default_of(target, name) for name in written}
    defaults = {name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()}
    differing = {
        name: (written[name], value) for name, value in defaults.items() if value not in (MISSING, written[name])
    }
    assert differing == {}


def is_composed(value: Any) -> bool:
    """Whether a value is taken from elsewhere in the configuration, or must be given."""
    return isinstance(value, dict) or (isinstance(value, str) and ("${" in value or value == "???"))


def test_a_schema_has_names_and_types_and_no_values() -> None:
    for name, schema in vars(schemas).items():
        if inspect.isclass(schema) and schema.__module__ == schemas.__name__:
            assert [item.name for item in fields(schema) if item.default is not MISSING] == [], name
            assert [item.name for item in fields(schema) if item.default_factory is not MISSING] == [], name


SEVERAL = {
    "weight",
    "temperature",
    "device",
    "runtime",
    "precision",
    "threshold",
    "num_frames",
    "fps",
    "width",
    "height",
    "name",
    "seconds",
}
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
