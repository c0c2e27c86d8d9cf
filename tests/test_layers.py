"""The house: packages in one order, imports only downwards, few rooms in a folder, short files, a light start."""

import ast
import subprocess
import sys

import pytest

from tests.architecture import ORDER, PICTURE, ROOT, SOURCES, TOP, circle, imports, package, picture, rooms

MAY_USE_HYDRA = {"config", "studies", TOP}
MAX_ROOMS = 10
MAX_FLAT_FILES = 8
MAX_LINES = 300
DJANGO_NAMES = {
    *("admin", "apps", "management", "migrations", "models", "settings", "tasks", "templatetags", "urls", "wsgi"),
}
LONGER: dict[str, int] = {
    "dfd/data/clips/module.py": 436,
    "dfd/data/sources/manifest.py": 309,
    "dfd/data/sources/public/ffpp.py": 324,
    "dfd/scoring/detector.py": 307,
    "dfd/training/module.py": 367,
    "dfd/video/decode.py": 313,
}
"""Files of more than 300 lines, with the number that they have. The list may only shrink, and so may the numbers."""


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_a_module_imports_lower_packages_only(module: str) -> None:
    order = [*ORDER, TOP]
    higher = [name for name in imports(module) if order.index(package(name)) > order.index(package(module))]
    assert not higher, f"{module} is below {', '.join(higher)}"


@pytest.mark.parametrize("folder", sorted({name.rpartition(".")[0] for name in SOURCES if name.count(".") > 1}))
def test_no_circle_is_in_a_folder(folder: str) -> None:
    assert circle(rooms(folder)) == []


@pytest.mark.parametrize("folder", sorted({name.rpartition(".")[0] for name in SOURCES if name.count(".") > 1}))
def test_a_folder_has_ten_rooms_at_most(folder: str) -> None:
    inside = {room for room in rooms(folder) if room != "__main__"}
    assert len(inside - (DJANGO_NAMES if folder == "dfd.web" else set())) <= MAX_ROOMS


def test_every_package_has_its_place_in_the_order() -> None:
    assert {path.parent.name for path in (ROOT / "dfd").glob("*/__init__.py")} == set(ORDER)


def test_few_files_lie_in_dfd_itself() -> None:
    assert len(list((ROOT / "dfd").glob("*.py"))) <= MAX_FLAT_FILES


def test_files_are_short_and_those_that_are_not_grow_no_longer() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES.values()}
    longer = {name: length for name, length in lengths.items() if length > MAX_LINES}
    assert longer == {name: min(length, lengths.get(name, 0)) for name, length in LONGER.items()}


def test_the_picture_of_the_packages_is_that_of_the_imports() -> None:
    assert PICTURE.read_text() == picture(), "draw it anew: python -m tests.architecture"


@pytest.mark.parametrize("module", sorted(name for name in SOURCES if package(name) not in MAY_USE_HYDRA))
def test_only_config_studies_and_the_doors_know_hydra(module: str) -> None:
    roots: set[str] = set()
    for node in ast.walk(ast.parse(SOURCES[module].read_text())):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add(str(node.module).split(".")[0])
    assert not roots & {"hydra", "omegaconf"}


def test_importing_dfd_imports_nothing_heavy() -> None:
    heavy = ["torch", "decord", "django", "wandb", "cv2", "retinaface", "timm", "lightning"]
    code = f"import sys, dfd, dfd.base.errors; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["dfd.scoring.look.stream", "dfd.data.prepare.store"])
def test_a_worker_starts_without_the_libraries_of_networks_and_tables(module: str) -> None:
    """They would cost each worker half a gigabyte and some seconds."""
    code = f"import sys, {module}; print([m for m in ('torch', 'pandas', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_page_that_is_written_can_be_sent_without_what_writes_it() -> None:
    """The web server serves reports; it neither makes tables and figures nor runs a network."""
    heavy = ["torch", "pandas", "matplotlib", "jinja2", "PIL", "yaml"]
    code = f"import sys, dfd.report.page.policy; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_scores_are_written_and_reported_without_pandas() -> None:
    """A run waits for what writes its scores before its workers start."""
    modules = "dfd.predictions.writer, dfd.report.videos.page"
    code = f"import sys, {modules}; print([m for m in ('pandas', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("script", ["train", "predict"])
def test_help_does_not_wait_for_torch(script: str) -> None:
    heavy = ["torch", "lightning", "pandas", "cv2", "matplotlib"]
    code = (
        f"import sys, {script}; sys.argv = ['{script}.py', '--help']\n"
        f"try: {script}.main()\n"
        f"except SystemExit: pass\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "checkpoint" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_scoring_with_the_default_networks_does_not_wait_for_torchvision() -> None:
    """It brings torch's compiler along, which takes longer to import than torch."""
    code = (
        "import sys, dfd.scoring.detector\n"
        "from dfd.faces.detect import build_detector; build_detector('mtcnn')\n"
        "from dfd.models.backbones import resnext50; resnext50(pretrained=False)\n"
        "print([m for m in ('torchvision', 'torch._dynamo', 'timm', 'lightning') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_hydra_imports_at_the_start_of_every_command_waits_for_no_library() -> None:
    heavy = ("torch", "pandas", "scipy", "matplotlib", "optuna", "joblib")
    code = f"import sys, hydra_plugins.dfd_studies; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    from dfd.studies import StudyReport, callback

    assert StudyReport is callback.StudyReport
