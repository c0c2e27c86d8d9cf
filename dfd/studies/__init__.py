"""Studies: several runs of train.py that belong together, as Hydra's plugins. ``docs/sweeps.md`` tells how to use them.

Hydra finds its plugins in ``hydra_plugins/dfd_studies``, which names the classes of this package.
"""

from dfd.studies.report import StudyReport

__all__ = ["StudyReport"]
