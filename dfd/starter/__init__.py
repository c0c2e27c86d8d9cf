"""The starter detector: a small one that comes with dfd, so that there is something to run; ``checkpoint=starter``.

Trained on photographs of real faces and fakes made of them; docs/starter.md says how, what it is worth and what not.
Its model card lies beside its file.
"""

import logging
from pathlib import Path

NAME = "starter"
FILE = Path(__file__).with_name("detector.safetensors")

logger = logging.getLogger(__name__)


def checkpoint_path(checkpoint: str | Path) -> Path:
    """The file that ``checkpoint`` names; of ``starter`` the one that comes with dfd, with a word on what it is.

    >>> checkpoint_path("detector.safetensors").name, checkpoint_path("starter") == FILE
    ('detector.safetensors', True)
    """
    if str(checkpoint) != NAME:
        return Path(checkpoint).expanduser()
    logger.warning(
        "the starter detector is to try dfd with: it looks for the traces of blended faces (swaps, reenactments), "
        "misses many, suspects some real videos, and does not see wholly synthetic talking heads. docs/starter.md has "
        "its figures. Train your own before anything depends on it"
    )
    return FILE
