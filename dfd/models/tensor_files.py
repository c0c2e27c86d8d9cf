"""Reads untrusted files of tensors without running code in them."""

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

# Errors of torch's restricted unpickler for damaged or refused files, found by giving it thousands of both.
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
"""Maximum size of a file. A .ckpt of a ViT-L with its optimizer has 4e9 bytes, one of seven EfficientNet-B7 7e9."""
MAX_PICKLE_BYTES = 32 * 10**6
"""Maximum size of the part of a torch file that is not tensors: about 200 bytes per tensor."""
MAX_TENSORS = 100_000
"""Maximum number of tensors. Seven EfficientNet-B7 have 8,000."""
_SPARE_BYTES = 2**20


def read_tensor_file(path: Path) -> tuple[Any, dict[str, str]]:
    """Content of a torch file or, by its suffix, of a ``.safetensors`` file, and the latter's header metadata.

    A torch file may hold tensors and plain values (a state dict, a Lightning checkpoint); ``weights_only=True`` refuses
    everything else, by which a pickle could run code.

    Raises:
        ValueError: when the file is missing, damaged, or holds more than tensors and plain values.
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
    """Refuse tensors whose values are not all in the file: a view of one value can claim any size.

    Raises:
        ValueError: when a tensor is sparse, quantised, without storage or larger than its storage, or all together are
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
    """Refuse a torch file that unpacks to more than its size, since torch does not compress.

    Raises:
        ValueError: when it does.
        RuntimeError: when it is damaged.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return  # the format before zip files, which is not compressed either
    records = torch._C.PyTorchFileReader(str(path))  # reads the file as torch itself will, not as another zip reader
    sizes = {name: int(records.get_record_size(name)) for name in records.get_all_records()}
    if sum(sizes.values()) > path.stat().st_size:
        raise ValueError("it unpacks to more than its size, which no file of torch does")
    if sizes.get("data.pkl", 0) > MAX_PICKLE_BYTES:
        raise ValueError(f"its content besides tensors is larger than {MAX_PICKLE_BYTES // 10**6} MB")


_DRAWING = (
    "normal_",
    "uniform_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "erfinv_",
)
"""Functions that draw initial weights; the last makes a truncated normal of uniform values: 1.9 s for a ViT-L."""


class without_first_weights(TorchFunctionMode):  # noqa: N801 - a context, like torch.inference_mode
    """Context in which networks are built without initial weights, as these will be loaded.

    Parameters are not written to at all, so those of a large network take no memory until then. Buffers are computed.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call ``func``, unless it fills a tensor with random values or changes a parameter."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        changes = name.endswith("_") and not name.endswith("__") and name != "requires_grad_"
        if name in _DRAWING or (changes and args and isinstance(args[0], nn.Parameter)):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def load_exactly(module: nn.Module, tensors: Mapping[str, Tensor], *, ignore: Collection[str] = ()) -> None:
    """Copy ``tensors`` into ``module``: they must hold all of its tensors, and no others but those in ``ignore``.

    Raises:
        ValueError: when names or shapes differ; the message lists them, and the module is unchanged.
    """
    given = fitting(module, tensors, ignore=ignore)
    module.load_state_dict(given, strict=True)


def put_exactly(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Make ``tensors`` themselves the values of ``module``, without a copy where they have its number format.

    Values that were mapped from a file thus stay there, and take memory as pages that the system can drop.

    Raises:
        ValueError: when names or shapes differ; the message lists them, and the module is unchanged.
    """
    formats = {name: tensor.dtype for name, tensor in module.state_dict().items()}
    given = {name: tensor.to(formats[name]) for name, tensor in fitting(module, tensors).items()}
    module.load_state_dict(given, strict=True, assign=True)


def fitting(module: nn.Module, tensors: Mapping[str, Tensor], *, ignore: Collection[str] = ()) -> dict[str, Tensor]:
    """Check that ``tensors``, without those in ``ignore``, are the module's in name and shape, and return them.

    The module may be on the ``meta`` device.

    Raises:
        ValueError: when names or shapes differ; the message lists them.
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
    """Whether ``value`` is a mapping from names to tensors with at least one entry."""
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
    """Reason of the refusal, from a long message of torch that also advises to switch the check off."""
    refused = re.search(r"Unsupported (?:global: GLOBAL|class|operand) \S+", str(error))
    return refused.group() if refused else "its pickle cannot be read"
