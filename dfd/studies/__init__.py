"""Studies: several related runs of train.py, implemented as Hydra plugins; see ``docs/sweeps.md`` for their use.

Hydra finds its plugins in ``hydra_plugins/dfd_studies``, which names the classes of this package. It imports them at
the start of every command, so ``StudyReport``, which needs torch and pandas, is imported when it is asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dfd.studies.callback import StudyReport

__all__ = ["StudyReport"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("dfd.studies.callback"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
