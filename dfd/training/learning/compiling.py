"""Compilation of a backbone by torch."""

import torch

from dfd.base.errors import ConfigError
from dfd.models.classifier import ClipClassifier


def compile_backbone(model: ClipClassifier, device: torch.device) -> None:
    """Compile the backbone with torch's compiler on first use; its weights keep their names.

    Raises:
        ConfigError: no compiler works here; reported now instead of by a long traceback in the first step.
    """
    try:
        torch.compile(torch.sin)(torch.zeros(8, device=device))
    except RuntimeError as error:  # every error of torch's compiler is one
        needed = "a C++ compiler (g++ or clang++)" if device.type == "cpu" else "Triton and a C compiler"
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(
            f"compile=true needs {needed}, and torch's compiler does not work here ({lines[0][:200]}); "
            "install what is missing, or set compile=false"
        ) from error
    model.backbone.compile()
