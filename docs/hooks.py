"""What the site has besides docs/*.md: README as its front page, a page for each command and for each module.

Command pages are made of the YAML files' comments, so each option is described once. Nothing is written into docs/.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
SCRIPTS = {"train": "python train.py", "predict": "python predict.py"}
OTHER_COMMANDS = {
    "report": "dfd.report",
    "audit": "dfd.data.audit",
    "sheet": "dfd.data.sheet",
    "demo": "dfd.data.demo",
    "web": "dfd.web",
    "blend_sheet": "dfd.data.blend_sheet",
    "identity_demo": "dfd.data.identity_demo",
}
WITHOUT_SHORT_NAME = ("blend_sheet", "identity_demo")
# Files at the top of the repository that are pages of the site under another name.
TOP = {"index.md": "README.md", "changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the generated pages to the navigation."""
    assert config.nav is not None
    reference = next(item["Reference"] for item in config.nav if "Reference" in item)
    for item in reference:
        if "Commands" in item:
            item["Commands"] = [{"Overview": "commands.md"}, *(f"commands/{name}.md" for name in commands())]
        elif "Python" in item:
            item["Python"] = [{"Overview": "python.md"}, *_tree(modules())]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and the files outside docs/ that pages link to."""
    pages = {f"commands/{name}.md": command_page(name) for name in commands()}
    pages |= {_module_page(module): f"::: {module}\n" for module in modules()}
    pages |= {page: (ROOT / source).read_text("utf-8") for page, source in TOP.items()}
    for page, content in pages.items():
        files.append(File.generated(config, page, content=content))
    linked = {link for path in (ROOT / "docs").glob("*.md") for link in _links(path, r"\.\./")}
    linked |= {link for source in TOP.values() for link in _links(ROOT / source, r"(?!docs/|\w+:|#)")}
    for name in sorted(linked - {*TOP.values()}):
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, **kwargs: Any) -> str:
    """Point links to where the site has the file: README's into docs/, and those that lead out of docs/."""
    markdown = re.sub(r"\]\(docs/", "](", markdown) if page.file.src_uri in TOP else markdown
    for name, source in TOP.items():
        markdown = re.sub(rf"\]\((?:\.\./)?{re.escape(source)}(?=[)#])", f"]({name}", markdown)
    return markdown.replace("](../", "](") if "/" not in page.file.src_uri else markdown


def _links(page: Path, start: str) -> set[str]:
    """The files that a page links to by paths with this beginning, which is not part of the result."""
    return set(re.findall(rf"\]\({start}([^)#]+)", page.read_text("utf-8")))


def commands() -> list[str]:
    """Every command: those with options in conf/, then the others."""
    return [*(path.stem for path in sorted(CONF.glob("*.yaml"))), *OTHER_COMMANDS]


def command_page(name: str) -> str:
    """What the command does, and each of its options with its default."""
    module = OTHER_COMMANDS.get(name, f"dfd.{name}")
    short = "" if name in WITHOUT_SHORT_NAME else f"`dfd {name}` or "
    lines = [f"# {name}", "", f"{short}`{SCRIPTS.get(name, f'python -m {module}')}`", ""]
    if name in OTHER_COMMANDS:
        command = [sys.executable, "-m", module, "--help"]
        shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
        return "\n".join([*lines, "```text", shown + "```", ""])
    path = CONF / f"{name}.yaml"
    config = yaml.safe_load(path.read_text("utf-8"))
    for block in re.split(r"\n\n", config["hydra"]["help"]["header"].rstrip()):
        lines += [f"```sh\n{_dedent(block)}\n```" if block.startswith("  ") else block, ""]
    lines += ["## Options", "", *_table(row for row in options(path) if not row[0].startswith(("hydra", "defaults")))]
    chosen = [(group, default, comment) for group, default, comment in defaults(path) if (CONF / group).is_dir()]
    for group, default, comment in chosen:
        lines += ["", f"## {group}", "", comment + f"{' ' if comment else ''}Default: `{default}`.", ""]
        for choice in sorted((CONF / group).glob("*.yaml")):
            rows = [(f"{group}.{key}", *rest) for key, *rest in options(choice)]
            table = _table(rows) if "_global_" not in choice.read_text("utf-8") else []
            lines += [f"### {group}={choice.stem}", "", _about(choice), "", *table, ""]
    return "\n".join(lines) + "\n"


def defaults(path: Path) -> Iterator[tuple[str, str, str]]:
    """Group, chosen option and comment, for each line of a file's defaults list."""
    lines = path.read_text("utf-8").splitlines()
    root = yaml.compose("\n".join(lines))
    assert isinstance(root, yaml.MappingNode)
    for item in root.value[0][1].value:
        if isinstance(item, yaml.MappingNode) and "hydra" not in item.value[0][0].value:
            (key, value) = item.value[0]
            yield key.value, value.value, _comment(lines, value.end_mark)


def options(path: Path) -> Iterator[tuple[str, str, str]]:
    """Dotted key, default and comment of every value in a YAML file."""
    lines = path.read_text("utf-8").splitlines()
    root = yaml.compose("\n".join(lines))
    if isinstance(root, yaml.MappingNode):
        yield from _options(root, lines, "")


def _options(node: yaml.MappingNode, lines: list[str], prefix: str) -> Iterator[tuple[str, str, str]]:
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            if comment := _comment(lines, key.end_mark):
                yield name, "", comment
            yield from _options(value, lines, f"{name}.")
        elif key.value not in ("_target_", "defaults", "_partial_"):
            shown = "\n".join(lines)[value.start_mark.index : value.end_mark.index].strip()
            yield name, shown if value.start_mark.line == value.end_mark.line else "…", _comment(lines, value.end_mark)


def _comment(lines: list[str], mark: yaml.Mark) -> str:
    """The comment behind a value, with the lines below it that only go on with it."""
    line = lines[mark.line] if mark.line < len(lines) else ""
    start = line.find("#", mark.column)
    if start < 0:
        return ""
    words = [line[start + 1 :].strip()]
    for below in lines[mark.line + 1 :]:
        if below.lstrip()[:1] != "#" or below.find("#") < 12:  # a comment of its own begins near the margin
            break
        words.append(below.lstrip("# ").strip())
    return " ".join(words)


def _about(path: Path) -> str:
    """The comment at the head of an option's file."""
    words = []
    for line in path.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            break
        if "@package" not in line:
            words.append(line.lstrip("# ").strip())
    return " ".join(words)


def _table(rows: Any) -> list[str]:
    shown = [
        (key, "required" if value == "???" else value and f"`{value}`", comment.replace("|", "\\|"))
        for key, value, comment in rows
    ]
    head = ["| option | default | meaning |", "|---|---|---|"] if shown else []
    return [*head, *(f"| `{key}` | {value} | {comment} |" for key, value, comment in shown)]


def _dedent(block: str) -> str:
    return "\n".join(line.strip() for line in block.splitlines())


def modules() -> list[str]:
    """Every module of dfd that code can import something from."""
    paths = sorted((ROOT / "dfd").rglob("*.py"))
    names = [path.relative_to(ROOT).with_suffix("").parts for path in paths if path.read_text("utf-8").strip()]
    shown = [parts for parts in names if not {"migrations", "__main__"} & set(parts)]
    return [".".join(parts[:-1] if parts[-1] == "__init__" else parts) for parts in shown]


def _module_page(module: str) -> str:
    return f"python/{module}.md"


def _tree(names: list[str]) -> list[Any]:
    """The navigation: a section for each package, a page for each module, under their own short names."""
    packages = {name.rsplit(".", 1)[0] for name in names if "." in name}
    sections: dict[str, list[Any]] = {name: [] for name in packages}
    for name in sorted(names, key=lambda each: (each.count("."), each)):
        label = name.rsplit(".", 1)[-1]
        own: Any = {label: _module_page(name)}
        if name in packages:
            sections[name].insert(0, {name: _module_page(name)})
            own = {label: sections[name]}
        if name != "dfd":
            sections.setdefault(name.rsplit(".", 1)[0], []).append(own)
    return sections["dfd"]
