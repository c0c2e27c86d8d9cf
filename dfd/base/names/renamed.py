"""Old names of modules and functions, which saved configurations, commands and scripts still use."""

import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.abc import InspectLoader, Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import CodeType, ModuleType

MODULES = {
    # Used in commands. `dfd.adopt`, `dfd.blend`, `dfd.fingerprint` and `dfd.weights` are no old names, but of the kind
    # that commands share.
    "dfd.data.audit": "dfd.commands.audit",
    "dfd.data.sheet": "dfd.commands.sheet",
    "dfd.data.blend_sheet": "dfd.commands.sheet.blend",
    "dfd.adopt": "dfd.commands.adopt",
    "dfd.blend": "dfd.commands.adopt.pseudo_fakes",
    "dfd.fingerprint": "dfd.commands.adopt.fingerprint",
    "dfd.weights": "dfd.commands.adopt.prefetch",
    "dfd.data.identity_demo": "dfd.data.demo.identity",
    "dfd.starter": "dfd.models.starter",
    "dfd.faces.track": "dfd.faces.tracks.track",
    # Used as `_target_` in the configurations of runs.
    "dfd.data.blend_module": "dfd.data.blend.module",
    "dfd.data.demo_module": "dfd.data.demo.module",
    "dfd.data.module": "dfd.data.clips.module",
    "dfd.data.transforms": "dfd.data.augment.transforms",
    "dfd.distributed": "dfd.training.distributed",
    "dfd.epoch_bar": "dfd.training.callbacks",
    "dfd.loggers": "dfd.training.loggers",
}
"""New names of modules by those of version 0.1.0, as far as files or commands may use them."""

FUNCTIONS = {
    f"dfd.training.{name}": f"dfd.training.schedules.{name}" for name in ("constant", "cosine", "plateau", "step")
}
"""New names of functions whose old module has become a package."""

OPTIONS = {"preprocess": {"faces.crop_size": "crop.size", "faces.margin_fraction": "crop.margin_fraction"}}
"""New names of options by those of version 0.1.0, for each command."""
CHOICES = {"train": {"debug=fast": "debug=one_batch"}}
"""New choices of groups by those of version 0.1.0, for each command."""


def todays_options(command: str, words: Iterable[str]) -> list[str]:
    """Words of a command line with today's names of options.

    >>> todays_options("preprocess", ["faces.crop_size=224", "root=faces.crop_size"])
    ['crop.size=224', 'root=faces.crop_size']
    """
    names, choices = OPTIONS.get(command, {}), CHOICES.get(command, {})
    parts = (choices.get(word, word).partition("=") for word in words)
    return [names.get(name, name) + equals + value for name, equals, value in parts]


class _OldNames(MetaPathFinder, Loader):
    """Finds modules under their old names: the same module for ``import``, its code for ``python -m``."""

    def find_spec(self, fullname: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in MODULES else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(MODULES[spec.name])
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state  # the import system has just replaced it by the old name's

    def get_code(self, fullname: str) -> CodeType | None:
        spec = find_spec(MODULES[fullname])
        assert spec is not None
        assert isinstance(spec.loader, InspectLoader)
        return spec.loader.get_code(spec.name)


def find_old_names() -> None:
    """Make imports and ``python -m`` find modules by the names in :data:`MODULES`, too."""
    if not any(isinstance(finder, _OldNames) for finder in sys.meta_path):
        # First in the list: upgrades leave folders of compiled files behind, which would pass for packages.
        sys.meta_path.insert(0, _OldNames())
