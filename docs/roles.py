"""Docstrings as the site's Markdown: Sphinx roles become links, and doctests become code blocks."""

import re
from typing import Any

import griffe

ROLE = re.compile(
    r":(?:func|class|meth|mod|data|attr|exc):`(?P<short>~?)(?P<target>[\w.]+)`|:math:`(?P<formula>[^`]+)`"
)
DOCTEST = re.compile(r"^>>> .*(?:\n(?!\s*$).*)*", re.MULTILINE)


class Roles(griffe.Extension):
    """Rewrites every docstring of a package once it is loaded, when names can be looked up."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Rewrite the docstrings of ``pkg`` and of all its members."""
        self._rewrite(pkg, pkg)

    def _rewrite(self, thing: griffe.Object, package: griffe.Module) -> None:
        if thing.docstring:
            text = ROLE.sub(lambda match: _link(match, thing, package), thing.docstring.value)
            thing.docstring.value = DOCTEST.sub(lambda match: f"```pycon\n{match[0]}\n```", text)
        for member in thing.members.values():
            if isinstance(member, griffe.Object):
                self._rewrite(member, package)


def _link(match: re.Match[str], scope: griffe.Object, package: griffe.Module) -> str:
    """A link to what the site shows; private names and formulas stay code."""
    if match["formula"]:
        return f"`{match['formula']}`"
    target: str = match["target"]
    label = target.rsplit(".", 1)[-1] if match["short"] else target
    path = target if target.startswith(f"{package.path}.") else _path(target, scope)
    return f"[`{label}`][{path}]" if _is_shown(path, package) else f"`{label}`"


def _is_shown(path: str, package: griffe.Module) -> bool:
    """Whether the site has a place for ``path``: it is public and has a docstring.

    A name that does not exist counts as shown, so that the build of the site fails on its link.
    """
    parts = path.split(".")
    if parts[0] != package.path or any(part.startswith("_") and not part.startswith("__") for part in parts):
        return False
    try:
        thing = package[parts[1:]] if parts[1:] else package
    except KeyError:
        return True
    return bool((thing.final_target if isinstance(thing, griffe.Alias) else thing).docstring)


def _path(name: str, scope: griffe.Object) -> str:
    """The full path of ``name`` as code at ``scope`` would look it up, or ``name`` if it is not known there."""
    head, _, rest = name.partition(".")
    place: griffe.Object | None = scope
    while place is not None:
        if head in place.members:
            member = place.members[head]
            found = member.target_path if isinstance(member, griffe.Alias) else member.path
            return f"{found}.{rest}" if rest else found
        place = None if place.is_module else place.parent
    return name
