"""What the site has besides docs/*.md: README as its front page, a page for each command and for each module.

Command pages are made of the YAML files' comments, so each option is described once. Nothing is written into docs/.
"""

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from dfd.config.cli.declared import Declared, Option, read_file

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
SCRIPTS = {"train": "python train.py", "predict": "python predict.py"}
OTHER_COMMANDS = {
    "report": "dfd.report",
    "sources": "dfd.data.sources",
    "audit": "dfd.data.audit",
    "sheet": "dfd.data.sheet",
    "demo": "dfd.data.demo",
    "adopt": "dfd.adopt",
    "blend": "dfd.blend",
    "fingerprint": "dfd.fingerprint",
    "weights": "dfd.weights",
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
    declared = Declared(name)
    for block in re.split(r"\n\n", declared.help.rstrip()):
        lines += [f"```sh\n{_dedent(block)}\n```" if block.startswith("  ") else block, ""]
    lines += ["## Options", "", *_table(declared.root.options)]
    for group in declared.groups.values():
        about = group.about + (" " if group.about else "")
        lines += ["", f"## {group.name}", "", f"{about}Default: `{group.default}`.", ""]
        for choice in group.choices:
            head = read_file(declared.path(f"{group.name}/{choice}")).header
            lines += [f"### {group.name}={choice}", "", head, "", *_table(declared.of_choice(group.name, choice)), ""]
    return "\n".join(lines) + "\n"


def _table(options: Iterable[Option]) -> list[str]:
    rows = []
    for option in options:
        value = "required" if option.default == "???" else option.default and f"`{option.default}`"
        about = option.about.replace("|", r"\|")
        rows += [f"| `{option.key}` | {value} | {about} |"] if value or about else []
    return ["| option | default | meaning |", "|---|---|---|", *rows] if rows else []


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
