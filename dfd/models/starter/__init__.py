"""Starter detector: a small one that comes with dfd for first experiments (``checkpoint=starter``).

It was trained on photographs of real faces and fakes made from them; docs/starter.md describes how, and its limits.
Its model card is stored beside its file.
"""

import os
from pathlib import Path

from dfd.base.errors import CheckpointError
from dfd.models.published.names import NAMES, adopted_path

NAME = "starter"
FILE = Path(__file__).with_name("detector.safetensors")


def checkpoint_path(checkpoint: str | Path) -> Path:
    """Path that ``checkpoint`` names: a file, ``starter`` for the one that comes with dfd, or an adopted detector.

    >>> checkpoint_path("detector.safetensors").name, checkpoint_path("starter") == FILE
    ('detector.safetensors', True)

    Raises:
        CheckpointError: when it is the name of a published detector that has not been adopted.
    """
    name = str(checkpoint)
    if name in NAMES and not os.path.lexists(name):
        if not (path := adopted_path(name)).is_file():
            raise CheckpointError(
                f"{name} is a published detector that has not been adopted on this machine; to do so: dfd adopt {name}"
            )
        return path
    if name != NAME:
        return Path(checkpoint).expanduser()
    return FILE


def title_of(checkpoint: str | Path) -> str:
    """Name for people of the detector that ``checkpoint`` names, as for :func:`checkpoint_path`.

    >>> title_of(FILE), title_of("runs/mine.safetensors")
    ('starter', 'mine')
    """
    path = checkpoint_path(checkpoint)
    return NAME if path.absolute() == FILE else path.stem
