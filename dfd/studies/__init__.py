"""Studies: several related runs of train.py, implemented as Hydra plugins; see ``docs/sweeps.md`` for their use.

Hydra finds its plugins in ``hydra_plugins/dfd_studies``, which names the classes of this package.
"""

from dfd.studies.callback import StudyReport

__all__ = ["StudyReport"]
