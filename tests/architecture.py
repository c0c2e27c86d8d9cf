"""The packages of dfd and what imports what, as the sources say. ``python -m tests.architecture`` draws them."""

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "architecture.svg"

ORDER = [
    *("base", "metrics", "signals", "models", "video", "process", "figures", "faces", "runs", "data", "config"),
    *("training", "scoring", "evaluation", "predictions", "report", "studies", "web", "commands", "api"),
]
"""The packages, lowest first. Each imports only those before it."""
TOP = "doors"
"""train.py, predict.py and the modules that lie in dfd/ itself: they may import every package."""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {
    module_name(path): path
    for path in [*sorted((ROOT / "dfd").rglob("*.py")), *sorted(ROOT.glob("*.py"))]
    if "__pycache__" not in path.parts
}


@cache
def imports(module: str) -> frozenset[str]:
    """Modules of dfd that ``module`` imports anywhere, also for type checking only."""
    found = set()
    for node in ast.walk(ast.parse(SOURCES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
            found.add(str(node.module))
    return frozenset(name for name in found if name in SOURCES and name != "dfd" and name != module)


def package(module: str) -> str:
    """The package of dfd that a module is in; ``doors`` for modules that are in none."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ORDER and parts[-1] != "__main__" else TOP


def arrows() -> dict[tuple[str, str], int]:
    """How many imports lead from one package to another."""
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for module in SOURCES:
        for name in imports(module):
            if package(name) != package(module):
                counts[package(module), package(name)] += 1
    return dict(counts)


def rooms(folder: str) -> dict[str, set[str]]:
    """The modules and packages directly in a package, each with its siblings that it imports."""
    inside: dict[str, set[str]] = defaultdict(set)
    start = len(folder.split("."))
    for module in SOURCES:
        if not module.startswith(f"{folder}."):
            continue
        room = module.split(".")[start]
        inside[room] |= {
            name.split(".")[start]
            for name in imports(module)
            if name.startswith(f"{folder}.") and name.split(".")[start] != room
        }
    return dict(inside)


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Rooms that import each other in a circle; empty if there is none."""
    done: set[str] = set()

    def walk(room: str, path: list[str]) -> list[str]:
        if room in path:
            return path[path.index(room) :]
        if room in done:
            return []
        for other in sorted(graph.get(room, ())):
            if found := walk(other, [*path, room]):
                return found
        done.add(room)
        return []

    return next((found for room in sorted(graph) if (found := walk(room, []))), [])


def picture() -> str:
    """An SVG: the packages from the highest down to the lowest, and an arc for each arrow.

    Arrows that follow from others are pale; a wider arc stands for more imports.
    """
    names = [TOP, *reversed(ORDER)]
    found = arrows()
    place = {name: number for number, name in enumerate(names)}
    below = {name: {b for a, b in found if a == name} for name in names}

    @cache
    def reaches(start: str, end: str) -> bool:
        lower = [other for other in below[start] if place[other] > place[start]]
        return any(other == end or reaches(other, end) for other in lower)

    row, left, width = 34, 210, 620
    height = row * len(names) + 20
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="14">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for (start, end), count in sorted(found.items(), key=lambda item: (place[item[0][0]], place[item[0][1]])):
        top, bottom = (place[name] * row + 27 for name in (start, end))
        direct = not any(other != end and reaches(other, end) for other in below[start])
        bulge = left + 18 + (bottom - top) * 0.62
        stroke = "#1f5fa8" if direct else "#c9d6e6"
        title = f"{start} imports {end} ({count})"
        arc = f"M{left} {top} C{bulge:.0f} {top}, {bulge:.0f} {bottom}, {left + 7} {bottom}"
        lines.append(
            f'<path d="{arc}" fill="none" stroke="{stroke}" stroke-width="{1 + min(count, 40) / 20:.1f}">'
            f"<title>{title}</title></path>"
        )
        lines.append(f'<path d="M{left + 9} {bottom - 4} l-8 4 l8 4 z" fill="{stroke}"/>')
    for name in names:
        middle = place[name] * row + 27
        label = "train.py, predict.py, doors" if name == TOP else f"dfd/{name}"
        lines.append(
            f'<rect x="8" y="{middle - 13}" width="{left - 14}" height="26" rx="5" fill="#eef3f9" stroke="#1f5fa8"/>'
        )
        lines.append(f'<text x="18" y="{middle + 5}" fill="#1b2733">{label}</text>')
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(picture())
    print(f"drawn: {PICTURE}")
