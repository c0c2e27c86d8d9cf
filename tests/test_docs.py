"""README and docs/ are true: links lead somewhere, commands, options, files and names exist, and the site builds."""

import ast
import importlib
import importlib.util
import inspect
import itertools
import os
import pkgutil
import re
import runpy
import shlex
import subprocess
import sys
from dataclasses import fields
from functools import cache
from pathlib import Path

import griffe
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from lightning import Trainer
from markdown.extensions.toc import slugify

from dfd.base.names import plugins
from dfd.config.cli.declared import read_file
from dfd.config.folders import CONFIG_DIR, SWEEPS_DIR
from dfd.web.options import described
from tests.config.test_configs import ROOTS, checked
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
HOOKS = runpy.run_path(str(ROOT / "docs" / "hooks.py"))
FENCE = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
ADDED = "efficientnet_b4"
"""The backbone that CONTRIBUTING.md tells how to add."""
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(page: Path, *kinds: str) -> list[str]:
    return [code for kind, code in FENCE.findall(page.read_text("utf-8")) if kind in kinds]


def code_words(page: Path) -> list[str]:
    """What the prose of a page shows as code."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", page.read_text("utf-8")))


@cache
def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {slugify(re.sub(r"\[([^]]*)\]\([^)]*\)|`", r"\1", heading), "-") for heading in headings}


@each_page
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text("utf-8"))):
        if not re.match(r"https?://", target):
            path, _, anchor = target.partition("#")
            file = page.parent / path if path else page
            assert file.exists(), target
            assert not anchor or anchor in anchors(file), target


def test_readme_fits_a_first_screen_and_every_page_is_reached_from_it() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert len(readme.splitlines()) <= 120
    unreached = {page.name for page in PAGES[2:] if f"docs/{page.name}" not in readme}
    linked = "".join((ROOT / "docs" / name).read_text("utf-8") for name in re.findall(r"docs/([\w-]+\.md)", readme))
    assert [name for name in unreached if f"({name}" not in linked] == []


def commands(page: Path) -> list[tuple[str, list[str]]]:
    """The entry point and the words of every command of dfd in a page's blocks and prose."""
    lines = [line for code in blocks(page, "sh", "bash") for line in code.replace("\\\n", " ").splitlines()]
    found = []
    for line in [*lines, *code_words(page)]:
        match = re.search(
            r"(?:^|-- |&& |\s(?=python ))(dfd [a-z]\w*|python -m dfd[\w.]*|python (?:train|predict)\.py)(?=\s|$)(.*)",
            line,
        )
        if match:
            words = shlex.split(match[2].replace("…", " "), comments=True)
            found.append((match[1], [word for word in words if word != "..." and not word.endswith("=NAME")]))
    return found


@cache
def same_as() -> dict[str, str]:
    table = (ROOT / "docs" / "commands.md").read_text("utf-8")
    return dict(re.findall(r"^\| `(dfd \w+)` \|[^|]*\| `(python [^`]+)` \|$", table, re.MULTILINE))


def test_commands_md_names_every_command() -> None:
    for name in HOOKS["commands"]():
        assert f"dfd {name}" in same_as() or name in HOOKS["OTHER_COMMANDS"]
        module = HOOKS["OTHER_COMMANDS"].get(name, f"dfd.{name}")
        assert same_as().get(f"dfd {name}", "") in (f"python {name}.py", f"python -m {module}", "")


EXAMPLE = ROOT / "examples" / "residual_lab"
"""The plug-in that pages name."""


@cache
def composes(root: str, overrides: tuple[str, ...]) -> bool:
    if "plugins=[residual_lab]" not in overrides:
        return isinstance(checked(root, *overrides), ROOTS[root][0])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLE))
        patch.setenv(plugins.VARIABLE, "")
        patch.setattr(plugins, "_PARTS", {})
        patch.setattr(plugins, "_loaded", set())
        plugins.use_plugins("residual_lab")
        places = f"hydra.searchpath=[file://{SWEEPS_DIR},file://{EXAMPLE / 'residual_lab' / 'conf'}]"
        return isinstance(checked(root, *overrides, places), ROOTS[root][0])


def one_of_each(override: Override) -> str | None:
    """An override as one job of a multirun has it; None if only the sweeper can draw it."""
    if not override.is_sweep_override():
        return override.input_line
    value = override.value()
    return f"{override.key_or_group}={value.list[0]}" if isinstance(value, ChoiceSweep) else None


@each_page
def test_every_command_exists_and_its_options_compose(page: Path) -> None:
    for entry, words in commands(page):
        door = same_as().get(entry, entry)
        assert door.startswith("python "), f"commands.md has no {entry}"
        root = door.removeprefix("python ").removesuffix(".py").removeprefix("-m dfd.")
        if root not in ROOTS:
            assert importlib.util.find_spec(door.removeprefix("python -m ")), entry
            continue
        if "--config-dir" in words:
            continue  # a folder of the reader's own
        flags = [index for index, word in enumerate(words) if word.startswith("--")]
        typed = {index + step for index in flags for step in (0, 1)}  # --key value, which is not Hydra's
        assert {words[index][2:].replace("-", "_") for index in flags} <= {
            field.name for field in fields(ROOTS[root][0])
        }
        overrides = [
            word for index, word in enumerate(words) if index not in typed and re.match(r"[~+]|[\w./]+=", word)
        ]
        parsed = OverridesParser.create().parse_overrides(overrides)
        assert ADDED in str(words) or composes(root, tuple(filter(None, map(one_of_each, parsed)))), (entry, words)


@cache
def known_keys() -> set[str]:
    """Every key and group that something in conf/ or sweeps/ or a command's own options have."""
    keys = {name for name, *_ in described()} | {f"trainer.{name}" for name in inspect.signature(Trainer).parameters}
    for path in itertools.chain(CONFIG_DIR.rglob("*.yaml"), SWEEPS_DIR.rglob("*.yaml")):
        root = CONFIG_DIR if path.is_relative_to(CONFIG_DIR) else SWEEPS_DIR
        group = path.relative_to(root).parent.as_posix()
        keys |= {group, group.replace("/", ".")}
        for option in read_file(path).options:
            keys |= {option.key, f"{group.replace('/', '.')}.{option.key}"}
    return keys | {key.rpartition(".")[0] for key in keys} | {"hydra.run.dir", "hydra.sweep.dir"}


@each_page
def test_every_option_in_the_prose_exists(page: Path) -> None:
    wrong = []
    for word in code_words(page):
        named = re.match(r"^([a-z_][\w/]*(?:\.\w+)*)=", word)
        dotted = re.match(
            r"^((?:data|faces|encode|limits|trainer|optimizer|ray|hydra|source|backbone|temporal)\.[\w.]+)$", word
        )
        if (named or dotted) and not word.endswith((".py", ".json", ".csv", ".yaml", ".batch")):
            key = (named or dotted)[1]  # type: ignore[index]
            if key not in ("key", "group") and key not in known_keys() and f"data.{key}" not in known_keys():
                wrong.append(word)
    assert wrong == []


@each_page
def test_every_file_and_name_of_dfd_in_the_prose_exists(page: Path) -> None:
    for word in code_words(page):
        if path := re.match(
            r"^(?:python )?((?:dfd|conf|docs|tests|benchmarks|sweeps|deploy|hydra_plugins)/[\w./-]+)", word
        ):
            assert re.search("[A-Z]{3}", path[1]) or (ROOT / path[1]).exists() or "NAME" in word or ADDED in word, word
        if re.fullmatch(r"dfd(\.\w+)+", word):
            pkgutil.resolve_name(word)


@each_page
def test_python_blocks_compile_and_import_names_that_exist(page: Path) -> None:
    for code in blocks(page, "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = importlib.import_module(node.module)
                assert [name.name for name in node.names if not hasattr(module, name.name)] == []


def test_every_role_in_a_docstring_leads_to_something() -> None:
    roles = runpy.run_path(str(ROOT / "docs" / "roles.py"))
    package = griffe.load("dfd", search_paths=[ROOT], extensions=griffe.load_extensions(roles["Roles"]))
    missing, count = [], 0

    def walk(thing: griffe.Object) -> None:
        nonlocal count
        text = thing.docstring.value if thing.docstring else ""
        assert not re.search(r":(?:func|class|meth|mod|data):`", text), f"{thing.path}: a role is written wrongly"
        for target in re.findall(r"\]\[(dfd[\w.]*)\]", text):
            count += 1
            try:
                package[target.split(".")[1:]] if "." in target else package
            except KeyError:
                missing.append(f"{thing.path}: {target}")
        for member in thing.members.values():
            if isinstance(member, griffe.Object):
                walk(member)

    walk(package)
    assert missing == []
    assert count > 50


def test_option_tables_have_the_comments_of_the_yaml_files() -> None:
    page = HOOKS["command_page"]("train")
    assert "| `calibrate` | `true` | fit temperature and threshold on val's videos" in page
    assert "### backbone=resnext50" in page
    assert "| `data.clip_len` | `10` | frames per clip: the sequence length of the original study |" in page


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert not done.stderr.strip()
    for name in ("index", "tutorial", "commands/train", "python/dfd"):
        page = (tmp_path / f"{name}.html").read_text("utf-8")
        assert not re.findall(r"<(?:script|img)[^>]+src=\"?https?://|<link[^>]+stylesheet[^>]+https?://", page)
