"""Starter detector: a small one that comes with dfd for first experiments (``checkpoint=starter``).

It was trained on photographs of real faces and fakes made from them; docs/starter.md describes how, and its limits.
Its model card is stored beside its file.
"""

import logging
from pathlib import Path

NAME = "starter"
FILE = Path(__file__).with_name("detector.safetensors")

logger = logging.getLogger(__name__)


def checkpoint_path(checkpoint: str | Path) -> Path:
    """Path that ``checkpoint`` names; ``starter`` is the file that comes with dfd, and logs a warning about its limits.

    >>> checkpoint_path("detector.safetensors").name, checkpoint_path("starter") == FILE
    ('detector.safetensors', True)
    """
    if str(checkpoint) != NAME:
        return Path(checkpoint).expanduser()
    logger.warning(
        "the starter detector is meant for trying dfd: it looks for the traces of blended faces (swaps, reenactments), "
        "misses many, suspects some real videos, and does not see wholly synthetic talking heads. docs/starter.md has "
        "its figures. Train your own before anything depends on it"
    )
    return FILE
