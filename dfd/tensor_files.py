"""Files of tensors that nobody vouches for: read without ever running code that is in them."""

import pickle
import re
import struct
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

# What torch's restricted unpickler raises on a damaged or refused file, found by feeding it some thousands of both.
_DAMAGED = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    OverflowError,
    struct.error,
)
_MAX_KEYS_SHOWN = 6


def read_tensor_file(path: Path) -> tuple[Any, dict[str, str]]:
    """What a torch file or, by its suffix, a ``.safetensors`` file holds, and the latter's header metadata.

    A torch file may be anything made of tensors and plain values (a state dict, a Lightning checkpoint); whatever
    else is in it (which is how a pickle runs code) is refused by ``weights_only=True``.

    Raises:
        ValueError: the file is missing, damaged, or holds more than tensors and plain values.
    """
    if not path.is_file():
        raise ValueError("is a directory, not a file" if path.is_dir() else "no such file")
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise ValueError(f"not a safetensors file ({_first_line(error)})") from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True), {}
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"not a file of tensors and plain values, or damaged; nothing in it was run ({_refusal(error)})"
        ) from error
    except _DAMAGED as error:
        raise ValueError(f"not a torch file, or damaged ({_first_line(error)})") from error


def load_exactly(module: nn.Module, tensors: Mapping[str, Tensor], *, ignore: Collection[str] = ()) -> None:
    """Copy ``tensors`` into ``module``: every one that it has, and no other but those named by ``ignore``.

    Raises:
        ValueError: names or shapes differ; the message lists which. The module is then unchanged.
    """
    expected = module.state_dict()
    given = {name: tensor for name, tensor in tensors.items() if name in expected or name not in ignore}
    problems = [
        _listed("missing", [name for name in expected if name not in given]),
        _listed("unexpected", [name for name in given if name not in expected]),
        _listed(
            "of another shape",
            [
                f"{name} {tuple(tensor.shape)} for {tuple(expected[name].shape)}"
                for name, tensor in given.items()
                if name in expected and tensor.shape != expected[name].shape
            ],
        ),
    ]
    if any(problems):
        raise ValueError("; ".join(problem for problem in problems if problem))
    module.load_state_dict(given, strict=True)


def is_state_dict(value: object) -> TypeGuard[Mapping[str, Tensor]]:
    """True for a mapping from names to tensors that has at least one entry."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items())
    )


def _listed(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _MAX_KEYS_SHOWN} more" if len(names) > _MAX_KEYS_SHOWN else ""
    return f"{what}: {', '.join(names[:_MAX_KEYS_SHOWN])}{more}"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _refusal(error: pickle.UnpicklingError) -> str:
    """What torch refused, out of a long message that goes on to advise switching the check off."""
    refused = re.search(r"Unsupported (?:global: GLOBAL|class|operand) \S+", str(error))
    return refused.group() if refused else "its pickle cannot be read"
