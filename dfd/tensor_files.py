"""Files of tensors that nobody vouches for: read without ever running code that is in them."""

import pickle
import re
import struct
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# What torch's restricted unpickler raises on a damaged or refused file, found by feeding it some thousands of both.
_DAMAGED = (
    MemoryError,
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

MAX_FILE_BYTES = 16 * 10**9
"""A .ckpt of a ViT-L with its optimizer has 4e9, one of seven EfficientNet-B7 7e9."""
MAX_PICKLE_BYTES = 32 * 10**6
"""Bytes of the part of a torch file that is not tensors: some 200 for each tensor."""
MAX_TENSORS = 100_000
"""Seven EfficientNet-B7 have 8,000."""
_SPARE_BYTES = 2**20


def read_tensor_file(path: Path) -> tuple[Any, dict[str, str]]:
    """What a torch file or, by its suffix, a ``.safetensors`` file holds, and the latter's header metadata.

    A torch file may be anything made of tensors and plain values (a state dict, a Lightning checkpoint); whatever
    else is in it (which is how a pickle runs code) is refused by ``weights_only=True``.

    Raises:
        ValueError: the file is missing, damaged, or holds more than tensors and plain values.
    """
    if not path.is_file():
        raise ValueError("is a directory, not a file" if path.is_dir() else "no such file")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"is larger than any checkpoint that dfd reads ({MAX_FILE_BYTES // 10**9} GB)")
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                names = list(file.keys())
                if len(names) > MAX_TENSORS:
                    raise ValueError(f"it holds more than {MAX_TENSORS} tensors")
                return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
        except (SafetensorError, OSError) as error:
            raise ValueError(f"not a safetensors file ({_first_line(error)})") from error
    try:
        _refuse_inflated(path)
        return torch.load(path, map_location="cpu", weights_only=True), {}
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"not a file of tensors and plain values, or damaged; nothing in it was run ({_refusal(error)})"
        ) from error
    except _DAMAGED as error:
        raise ValueError(f"not a torch file, or damaged ({_first_line(error)})") from error


def refuse_hollow(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Let only tensors pass whose every value is in the file: a view of one value can claim to be of any size.

    Raises:
        ValueError: one is sparse, quantised, of no storage or larger than what is stored of it, or all together are
            larger than the file.
    """
    odd = [name for name, tensor in tensors.items() if not _is_plain(tensor)]
    if odd:
        raise ValueError(_listed("not plain tensors (sparse, quantised, empty shells or views)", odd))
    stored = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors.values()}
    largest = path.stat().st_size + _SPARE_BYTES
    # Two names may share a storage, as tied weights do.
    if sum(stored.values()) > largest or sum(tensor.nbytes for tensor in tensors.values()) > 2 * largest:
        raise ValueError("its tensors claim to be larger than the file")


def _is_plain(tensor: Tensor) -> bool:
    return (
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_quantized
        and not tensor.is_complex()
        and tensor.nbytes <= tensor.untyped_storage().nbytes()
    )


def _refuse_inflated(path: Path) -> None:
    """Refuse a torch file that would be larger unpacked: torch compresses nothing.

    Raises:
        ValueError, RuntimeError: it is so, or damaged.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return  # the form before zip files, which holds as much as it is long
    records = torch._C.PyTorchFileReader(str(path))  # as torch itself will read it, whatever else a zip file may be
    sizes = {name: int(records.get_record_size(name)) for name in records.get_all_records()}
    if sum(sizes.values()) > path.stat().st_size:
        raise ValueError("it unpacks to more than its size, which no file of torch does")
    if sizes.get("data.pkl", 0) > MAX_PICKLE_BYTES:
        raise ValueError(f"what it holds beside tensors is larger than {MAX_PICKLE_BYTES // 10**6} MB")


_DRAWING = ("normal_", "uniform_", "kaiming_normal_", "kaiming_uniform_", "xavier_normal_", "xavier_uniform_")


class without_first_weights(TorchFunctionMode):  # noqa: N801 - a context, like torch.inference_mode
    """Where networks are built whose weights are to be loaded: nothing is drawn at random for them."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """``func``, unless it fills a tensor by drawing."""
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in _DRAWING:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def load_exactly(module: nn.Module, tensors: Mapping[str, Tensor], *, ignore: Collection[str] = ()) -> None:
    """Copy ``tensors`` into ``module``: every one that it has, and no other but those named by ``ignore``.

    Raises:
        ValueError: names or shapes differ; the message lists which. The module is then unchanged.
    """
    given = fitting(module, tensors, ignore=ignore)
    module.load_state_dict(given, strict=True)


def fitting(module: nn.Module, tensors: Mapping[str, Tensor], *, ignore: Collection[str] = ()) -> dict[str, Tensor]:
    """``tensors`` less those to ignore, if the module has these and no others, in these shapes; it may be on ``meta``.

    Raises:
        ValueError: names or shapes differ; the message lists which.
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
    return given


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
