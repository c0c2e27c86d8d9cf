"""The one place that imports decord."""

import sys
from types import ModuleType


def load_decord() -> ModuleType:
    """The decord module, imported without the GPU libraries that it would open on the way, and silent.

    decord2 opens every library of the ``nvidia`` packages, which torch brings along, for the whole process to see: for
    its GPU builds. One of them, NVBLAS, then takes the place of torch's BLAS and crashes on the first convolution on a
    CPU; and all of them together hold 600 MB. Frames are decoded on the CPU here, so the packages are hidden from it.
    """
    if "decord" not in sys.modules:
        nvidia = sys.modules.get("nvidia")
        sys.modules["nvidia"] = None  # type: ignore[assignment] # importlib's way to say: there is none
        try:
            import decord
        finally:
            if nvidia is None:
                del sys.modules["nvidia"]
            else:
                sys.modules["nvidia"] = nvidia
        decord.logging.set_level(decord.logging.QUIET)
    return sys.modules["decord"]
