"""dfd: detect face deepfakes in video.

>>> from dfd import Detector                                                   # doctest: +SKIP
>>> Detector.load("detector.safetensors").score("clip.mp4").prob_fake          # doctest: +SKIP
0.93
"""

from typing import TYPE_CHECKING, Any

from dfd.base.names.plugins import register, use_plugins
from dfd.base.names.renamed import find_old_names

if TYPE_CHECKING:
    from dfd.scoring.detector import Detector

__all__ = ["Detector", "__version__", "register", "use_plugins"]
__version__ = "0.1.0"

find_old_names()


def __getattr__(name: str) -> Any:
    """``Detector`` when it is asked for: it brings torch along, which `import dfd` does not wait for."""
    if name == "Detector":
        from dfd.scoring.detector import Detector

        return Detector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
