"""dfd's sweepers and launchers, where Hydra looks for plugins: it takes classes of ``hydra_plugins`` only.

No ``__init__.py`` may be in the folder above: other packages have plugins in it, too.
"""

from dfd.studies import held_out, launchers, literature, per_method, sweepers
from dfd.studies.optuna_sweeper import OptunaSweeper


class GridSweeper(sweepers.GridSweeper):
    """``hydra/sweeper=grid``."""


class LiteratureSweeper(literature.LiteratureSweeper):
    """``hydra/sweeper=literature``."""


class PerMethodSweeper(per_method.PerMethodSweeper):
    """``hydra/sweeper=per_method``."""


class LeaveOneOutSweeper(held_out.LeaveOneOutSweeper):
    """``hydra/sweeper=leave_one_method_out` and `leave_one_dataset_out``."""


class OptunaSweeper(OptunaSweeper):
    """``hydra/sweeper=optuna``."""


class JoblibLauncher(launchers.JoblibLauncher):
    """``hydra/launcher=joblib``."""


class SubmititLauncher(launchers.SubmititLauncher):
    """``hydra/launcher=submitit_slurm`` and ``submitit_local``."""


class RayLauncher(launchers.RayLauncher):
    """``hydra/launcher=ray``."""
