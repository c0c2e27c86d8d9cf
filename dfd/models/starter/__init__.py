"""Detectors that come with dfd for first experiments: ``checkpoint=starter``, and ``checkpoint=rendering``.

The starter was trained on photographs of real faces and fakes made from them; the rendering expert on statistics of
real and forged videos. docs/starter.md describes how, and their limits. Their model cards are stored beside the files.
"""

import os
from pathlib import Path

from dfd.base.errors import CheckpointError
from dfd.models.published.names import NAMES, adopted_path

NAME = "starter"
FILE = Path(__file__).with_name("detector.safetensors")
FILES = {NAME: FILE, "rendering": FILE.with_name("rendering.safetensors")}
"""Files of the detectors that come with dfd, by name."""


def checkpoint_path(checkpoint: str | Path) -> Path:
    """Path that ``checkpoint`` names: a file, a name in ``FILES`` for one that comes with dfd, or an adopted detector.

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
    return FILES.get(name) or Path(checkpoint).expanduser()


def title_of(checkpoint: str | Path) -> str:
    """Name for people of the detector that ``checkpoint`` names, as for :func:`checkpoint_path`.

    >>> title_of(FILE), title_of("runs/mine.safetensors")
    ('starter', 'mine')
    """
    path = checkpoint_path(checkpoint)
    return next((name for name, file in FILES.items() if file == path.absolute()), path.stem)
