"""Kinds of values that options take, by the schema of the command or the signature of what is built with them."""

import ast
import inspect
import re
import typing
from dataclasses import dataclass, is_dataclass
from enum import Enum
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from dfd.config.cli.declared import Declared, leaf


class Kind(Enum):
    """Kinds of values, each as a message names it."""

    TEXT = "text"
    WHOLE = "a whole number"
    NUMBER = "a number"
    FLAG = "true or false"
    LIST = "a list, such as [a,b]"
    PATHS = "a path, or a list of paths"
    ANY = "any value"


SEVERAL = ("input", "checkpoint")
"""Options that take one path or several."""
LITERAL = re.compile(r"(?i)null|true|false|[+-]?(\d[\d_]*\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|nan)")
"""Values that Hydra reads as something other than text, besides brackets and quotes."""


@dataclass(frozen=True, slots=True)
class Kinds:
    """Tells kinds of options.

    Args:
        declared: the options of the command.
        schema: the dataclass that its configuration is checked against; None: nothing is known but the YAML files.
    """

    declared: Declared
    schema: type[Any] | None = None

    def of(self, key: str, given: typing.Mapping[str, str] | None = None) -> Kind:
        """The kind of a dotted key, with these choices of groups."""
        found = _by_schema(self.schema, key.split("."))
        if key in SEVERAL and found is not Kind.TEXT:
            return Kind.PATHS
        if found is not None:
            return found
        chosen = self.declared.chosen(given or {})
        owners = sorted(self.declared.owners.get(key, ()), key=lambda owner: chosen.get(owner[0]) != owner[1])
        for group, choice in owners:
            if key == f"{self.declared.groups[group].package}.{leaf(key)}":
                annotation = parameters_of(self.declared.target(group, choice)).get(leaf(key))
                if annotation is not None:
                    return _kind_of(annotation)
        default = next((option.default for option in self.declared.options(given) if option.key == key), "")
        return Kind.FLAG if default in ("true", "false") else Kind.ANY


def _by_schema(schema: Any, parts: list[str]) -> Kind | None:
    for part in parts:
        schema = typing.get_type_hints(schema).get(part) if is_dataclass(schema) else None
    return None if schema is None else kind_of_type(inspect.formatannotation(schema))


def kind_of_type(annotation: str) -> Kind:
    """The kind that an annotation stands for; None among its alternatives does not count.

    >>> kind_of_type("int | None"), kind_of_type("str | Path"), kind_of_type("dict[str, int]")
    (<Kind.WHOLE: 'a whole number'>, <Kind.TEXT: 'text'>, <Kind.ANY: 'any value'>)
    """
    return _kind_of(ast.parse(annotation, mode="eval").body)


NAMED = {"str": Kind.TEXT, "Path": Kind.TEXT, "_PATH": Kind.TEXT, "list": Kind.LIST, "List": Kind.LIST}
NAMED |= {"int": Kind.WHOLE, "float": Kind.NUMBER, "bool": Kind.FLAG}


def _kind_of(node: ast.expr) -> Kind:
    name, inner = node, []
    if isinstance(node, ast.Subscript):
        name, inner = node.value, node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    word = ast.unparse(name).rpartition(".")[2]
    if isinstance(node, ast.BinOp):
        inner = [node.left, node.right]
    elif word not in ("Optional", "Union"):
        return NAMED.get(word, Kind.ANY)
    found = {_kind_of(item) for item in inner if not (isinstance(item, ast.Constant) and item.value is None)}
    if found == {Kind.WHOLE, Kind.NUMBER}:
        return Kind.NUMBER
    return found.pop() if len(found) == 1 else Kind.ANY


def quoted(text: str) -> str:
    r"""A text as Hydra's grammar and OmegaConf read it back unchanged.

    >>> print(quoted("it's (1).mp4"), quoted("${x}"))
    'it\'s (1).mp4' '\${x}'
    """
    if any("\ud800" <= sign <= "\udfff" for sign in text):  # bytes of a file's name that are not text
        return f"'${{dfd.bytes:x{text.encode(errors='surrogateescape').hex()}}}'"
    text = re.sub(r"(\\*)\$\{", lambda found: f"{found[1]}{found[1]}\\${{", text)
    return "'" + re.sub(r"(\\*)('|\Z)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text) + "'"


def plain_or_quoted(text: str) -> str:
    """A text as Hydra's grammar reads it back, quoted only if it has to be.

    >>> plain_or_quoted("runs/1"), plain_or_quoted("runs (1)")
    ('runs/1', "'runs (1)'")
    """
    return text if re.fullmatch(r"[\w./:@%+-]+", text) else quoted(text)


def written(value: str, kind: Kind) -> str:
    """A value that a person typed, as Hydra's grammar takes it for this kind of option.

    >>> written("a (1).mp4", Kind.TEXT), written("null", Kind.TEXT), written("1e-4", Kind.NUMBER)
    ("'a (1).mp4'", 'null', '1e-4')
    >>> written("0.7,0.3", Kind.LIST), written("resnet (2)", Kind.ANY)
    ('[0.7,0.3]', "'resnet (2)'")
    """
    if value == "null":
        return value
    if kind in (Kind.TEXT, Kind.PATHS):
        return quoted(value)
    if kind is Kind.LIST:
        return value if value.startswith(("[", "${")) else f"[{value}]"
    if LITERAL.fullmatch(value) or value.startswith(("[", "{", "'", '"')):
        return value
    return value if re.fullmatch(r"[\w./:+-]+(,[\w./:+-]+)*|[\w-]+\([\w.,:+\- ]*\)", value) else quoted(value)


MAX_HOPS = 8
"""Number of imports that are followed from a name to its definition."""


@cache
def parameters_of(target: str) -> dict[str, ast.expr | None]:
    """Parameters of ``target`` with their annotations; empty if its source cannot be read.

    >>> [*parameters_of("dfd.config.cli.kinds.parameters_of")]
    ['target']
    """
    module, _, name = target.rpartition(".")
    found = _definition(module, name, MAX_HOPS)
    if isinstance(found, ast.ClassDef):
        methods = [item for item in found.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
        if not methods and found.bases:
            return parameters_of(f"{module}.{ast.unparse(found.bases[0])}")
        found = methods[0] if methods else None
    if found is None:
        return {}
    arguments = (*found.args.posonlyargs, *found.args.args, *found.args.kwonlyargs)
    return {item.arg: item.annotation for item in arguments if item.arg != "self"}


def _definition(module: str, name: str, hops: int) -> ast.FunctionDef | ast.ClassDef | None:
    """Definition of ``name``, followed through imports if ``module`` imports it."""
    path = _file_of(module)
    if path is None or hops == 0:
        return None
    tree = _parsed(path)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node
    for imported in (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)):
        for alias in imported.names:
            if (alias.asname or alias.name) == name:
                package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
                base = package[: len(package) - imported.level + 1] if imported.level else []
                parts = [*base, *([imported.module] if imported.module else [])]
                return _definition(".".join(parts), alias.name, hops - 1)
    return None


@cache
def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return ast.Module(body=[], type_ignores=[])


def _file_of(module: str) -> Path | None:
    """The source of a module, found without importing its package."""
    places, origin = None, None
    for part in module.split("."):
        spec = PathFinder.find_spec(part, places)
        if spec is None:
            return None
        places, origin = spec.submodule_search_locations, spec.origin
    return Path(origin) if origin and origin.endswith(".py") else None
