"""The direction of imports: a module imports lower ranks only (DESIGN, section 2), and `import dfd` stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Longest prefix wins. A module may import modules of its own package and anything of a lower rank.
RANKS: dict[str, float] = {
    "dfd": 0,
    "dfd.types": 0,
    "dfd.errors": 0.5,
    "dfd.files": 0.5,
    "dfd.names": 0.5,
    "dfd.scratch": 0.6,
    "dfd.untrusted": 0.5,
    "dfd.environment": 0.5,
    "dfd.host": 0.5,
    "dfd.inbox": 0.7,
    "dfd.memory": 0.5,
    "dfd.outcomes": 0.7,
    "dfd.aggregation": 1,
    "dfd.captions": 1,
    "dfd.card": 1,
    "dfd.config": 1,
    "dfd.tuning": 1,
    "dfd.progress": 1,
    "dfd.weights": 1,
    "dfd.workers": 1,
    "dfd.video": 1,
    "dfd.faces": 2,
    "dfd.heatmap": 1,
    "dfd.inputs": 1.5,
    "dfd.metrics": 1,
    "dfd.stages": 1,
    "dfd.starter": 1,
    "dfd.starter.initial_weights": 2,
    "dfd.tensor_files": 1,
    "dfd.callbacks": 2,
    "dfd.distributed": 2,
    "dfd.divergence": 2,
    "dfd.schedules": 2,
    "dfd.loggers": 2,
    "dfd.predictions": 2,
    "dfd.parquet": 3,
    "dfd.plots": 2,
    "dfd.models": 2,
    "dfd.checkpoint": 3,
    "dfd.explain": 3,
    "dfd.formats": 3.2,
    "dfd.onnx_trial": 3.1,
    "dfd.model_card": 3.4,
    "dfd.runtimes": 3.4,
    "dfd.calibration": 4,
    "dfd.data": 3,
    "dfd.data.features": 3.5,
    "dfd.annotate": 3,
    "dfd.training": 4,
    "dfd.resuming": 4,
    "dfd.pruning": 4,
    "dfd.inference": 4,
    "dfd.suites": 4.5,
    "dfd.ray_engine": 4.5,
    "dfd.ray_preparation": 4.6,
    "dfd.preprocess": 5,
    "dfd.evaluate": 5,
    "dfd.export": 5,
    "dfd.calibrate": 5.5,
    "dfd.report": 5,
    "dfd.studies": 6,
    "dfd.tracking": 5,
    "dfd.scoring": 5,
    "dfd.web": 6,
    "train": 7,
    "predict": 7,
}
MAY_USE_HYDRA = {
    *("dfd.config", "dfd.preprocess", "dfd.evaluate", "dfd.calibrate", "dfd.export", "dfd.scoring"),
    *("dfd.studies", "dfd.studies.launchers", "dfd.studies.report", "dfd.studies.search", "dfd.studies.sweepers"),
    *("train", "predict"),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def rank(module: str) -> float:
    known = [name for name in RANKS if module == name or module.startswith(name + ".")]
    longest = max(known, key=len)
    assert module == "dfd" or longest != "dfd", f"give {module} a rank in tests/test_layers.py"
    return RANKS[longest]


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module} if node.module else set()
    return found


MODULES = {module_name(p): p for p in [*sorted((ROOT / "dfd").rglob("*.py")), ROOT / "train.py", ROOT / "predict.py"]}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_lower_ranks_only(module: str) -> None:
    package = ".".join(module.split(".")[:2])
    for name in imports(MODULES[module]):
        if name.split(".")[0] == "dfd" and not (name == package or name.startswith(package + ".")):
            assert rank(name) < rank(module), f"{module} (rank {rank(module)}) imports {name} (rank {rank(name)})"


@pytest.mark.parametrize("module", sorted(set(MODULES) - MAY_USE_HYDRA))
def test_only_config_and_the_entry_points_know_hydra(module: str) -> None:
    roots = {name.split(".")[0] for name in imports(MODULES[module])}
    assert not roots & {"hydra", "omegaconf"}


def test_importing_dfd_imports_nothing_heavy() -> None:
    heavy = ["torch", "decord", "django", "wandb", "cv2", "facenet_pytorch", "retinaface", "timm", "lightning"]
    code = f"import sys, dfd, dfd.errors; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["dfd.faces.windows", "dfd.data.preparation"])
def test_a_worker_starts_without_the_libraries_of_networks_and_tables(module: str) -> None:
    """They would cost each worker half a gigabyte and some seconds."""
    code = f"import sys, {module}; print([m for m in ('torch', 'pandas', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_page_that_is_written_can_be_sent_without_what_writes_it() -> None:
    """The web server serves reports; it neither makes tables and figures nor runs a network."""
    heavy = ["torch", "pandas", "matplotlib", "jinja2", "PIL", "yaml"]
    code = f"import sys, dfd.report.policy; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_scores_are_written_and_reported_without_pandas() -> None:
    """A run waits for what writes its scores before its workers start."""
    code = "import sys, dfd.predictions, dfd.report.videos; print([m for m in ('pandas', 'torch') if m in sys.modules])"
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
        "import sys, dfd.inference\n"
        "from dfd.faces.detect import build_detector; build_detector('mtcnn')\n"
        "from dfd.models.backbones import resnext50; resnext50(pretrained=False)\n"
        "print([m for m in ('torchvision', 'torch._dynamo', 'timm', 'lightning') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
