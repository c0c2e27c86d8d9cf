"""Folders of the configurations that come with dfd."""

from importlib.resources import files
from pathlib import Path


def data_folder(name: str) -> Path:
    """Folder ``conf`` or ``sweeps``: inside the installed package, or beside it in a checkout."""
    package = Path(str(files("dfd"))).resolve()
    return package / name if (package / name).is_dir() else package.parent / name


CONFIG_DIR = data_folder("conf")
SWEEPS_DIR = data_folder("sweeps")
