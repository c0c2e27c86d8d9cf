"""dfd: detect face deepfakes in video.

>>> from dfd import Detector                                                   # doctest: +SKIP
>>> Detector.load("detector.safetensors").score("clip.mp4").prob_fake          # doctest: +SKIP
0.93
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dfd.inference import Detector

__all__ = ["Detector", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """``Detector`` when it is asked for: it brings torch along, which `import dfd` does not wait for."""
    if name == "Detector":
        from dfd.inference import Detector

        return Detector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
