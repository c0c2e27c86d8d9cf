"""Export formats of a detector besides the checkpoint: ONNX and torch.export's program.

Both take uint8 frames ``(B, T, 3, S, S)`` for any number of clips and frames, and give probabilities ``(B, 2)`` in
label order. They include resizing, normalisation, temperature and the card.
"""

import importlib
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from dfd.base.errors import CheckpointError, ConfigError
from dfd.base.types import CARD_KEY, Label
from dfd.models.classifier import ClipClassifier
from dfd.models.files.card import DetectorCard, parse_card
from dfd.models.files.checkpoint import refuse_mixed_clips, weights_sha256
from dfd.models.files.portable import PortableDetector, with_torchs_operators

WEIGHTS_KEY = "dfd_weights_sha256"
"""Key of the hash of the weights that a file was made from: :func:`~dfd.models.files.checkpoint.weights_sha256`."""
INPUT_NAME = "frames"
OUTPUT_NAME = "prob"
OPSET = 20
"""Version of ONNX's operators; onnxruntime runs it from 1.17. The first with GELU; 18 was the first to antialias."""
CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")
MAX_ONNX_BYTES = 2**31 - 1
"""Maximum size of one protobuf message, and so of an ONNX file without further files."""


@dataclass(frozen=True)
class OnnxFile:
    """A checked ONNX file written by dfd."""

    content: bytes
    card: DetectorCard
    weights_sha256: str
    name: str = "the ONNX model"


def optional_module(name: str) -> Any:
    """Import a module of the extra ``onnx``.

    Raises:
        ConfigError: when it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"ONNX needs the package {error.name}; install it with: pip install 'dfd[onnx]'") from error


def to_onnx(model: ClipClassifier, card: DetectorCard) -> bytes:
    """Content of one self-contained ``.onnx`` file, checked by ``onnx.checker`` but not yet run.

    Raises:
        CheckpointError: when the model mixes the clips of a batch, is too large, or has parts that ONNX cannot express.
        ConfigError: when the extra ``onnx`` is not installed.
    """
    refuse_mixed_clips(model, "format=onnx")
    _refuse_signals(model, "format=onnx")
    checker = optional_module("onnx.checker")
    optional_module("onnxscript")
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    if size > MAX_ONNX_BYTES:
        raise CheckpointError(
            f"the weights take {size / 1e9:.1f} GB and one ONNX file holds 2 GB; use format=safetensors"
        )
    portable = PortableDetector(model, temperature=card.temperature or 1.0, target="onnx")
    for library in ("onnxscript", "onnx_ir", "torch.onnx"):
        logging.getLogger(library).setLevel(logging.WARNING)  # they log every rewritten node otherwise
    try:
        program = torch.onnx.export(
            portable,
            (portable.example(card.image_size),),
            dynamic_shapes=portable.dynamic_shapes,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    except RuntimeError as error:
        raise CheckpointError(_inexpressible("ONNX", error)) from error
    assert program is not None  # guaranteed by dynamo=True
    proto: Any = program.model_proto
    _forget_the_source(proto.graph)
    for key, value in _metadata(model, card).items():
        proto.metadata_props.add(key=key, value=value)
    content: bytes = proto.SerializeToString()
    checker.check_model(content, full_check=True)
    return content


def read_onnx(source: Path | bytes) -> OnnxFile:
    """Read a ``.onnx`` file written by :func:`to_onnx`, or its content, without running it.

    It may only hold ONNX's own operators, without loops or branches, and no reference to another file.

    Raises:
        CheckpointError: when it is missing, damaged, from another program, or not as dfd writes them.
        ConfigError: when the extra ``onnx`` is not installed.
    """
    name = "the ONNX model" if isinstance(source, bytes) else str(source)
    onnx = optional_module("onnx")
    damaged = optional_module("google.protobuf.message").DecodeError
    try:
        content = source if isinstance(source, bytes) else _read(source)
        proto = onnx.ModelProto.FromString(content)
        metadata = {entry.key: entry.value for entry in proto.metadata_props}
        if CARD_KEY not in metadata:
            raise ValueError("not a detector of dfd: it has no card (the settings that the weights belong to)")
        card = parse_card(metadata[CARD_KEY])
        digest = metadata.get(WEIGHTS_KEY, "")
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise ValueError(f"it does not state the SHA-256 of its weights ({WEIGHTS_KEY})")
        _check_graph(proto, card)
    except damaged as error:
        raise CheckpointError(f"{name}: not an ONNX file, or damaged; {_REMEDY}") from error
    except (ValueError, CheckpointError) as error:
        raise CheckpointError(f"{name}: {error}; {_REMEDY}") from error
    return OnnxFile(content, card, digest, name)


def to_program(model: ClipClassifier, card: DetectorCard) -> ExportedProgram:
    """Trace the detector with ``torch.export``; loading and running the program needs only torch.

    Raises:
        CheckpointError: when the model mixes the clips of a batch, or has a part that cannot be traced.
    """
    refuse_mixed_clips(model, "format=torch_export")
    _refuse_signals(model, "format=torch_export")
    portable = PortableDetector(model, temperature=card.temperature or 1.0, target="torch_export")
    example = portable.example(card.image_size)
    try:
        program = torch.export.export(portable, (example,), dynamic_shapes=portable.dynamic_shapes)
    except RuntimeError as error:
        raise CheckpointError(_inexpressible("torch.export", error)) from error
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)  # it names files on this machine
    return with_torchs_operators(program)


def save_program(path: Path, program: ExportedProgram, model: ClipClassifier, card: DetectorCard) -> None:
    """Write a ``.pt2`` file with the card and the weights' hash as extra files."""
    torch.export.save(program, path, extra_files=_metadata(model, card))


_REMEDY = "give a .onnx that dfd.export wrote"


def _metadata(model: ClipClassifier, card: DetectorCard) -> dict[str, str]:
    return {
        CARD_KEY: json.dumps(card.to_dict(), allow_nan=False),
        WEIGHTS_KEY: weights_sha256(model.state_dict()),
    }


def _refuse_signals(model: ClipClassifier, what: str) -> None:
    if not model.backbone.is_differentiable:
        raise CheckpointError(f"{what}: this detector computes its features outside of torch; use format=safetensors")


def _inexpressible(form: str, error: RuntimeError) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    first = lines[0][:300] if lines else type(error).__name__
    return f"{form} cannot express this model ({first}); use format=safetensors, or another backbone"


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise ValueError("is a directory, not a file" if path.is_dir() else "no such file")
    if path.stat().st_size > MAX_ONNX_BYTES:
        raise ValueError("larger than an ONNX file can be")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error


def _check_graph(proto: Any, card: DetectorCard) -> None:
    """Check inputs, outputs, operators and weights.

    Raises:
        ValueError: when they are not as :func:`to_onnx` writes them.
    """
    side = card.image_size
    wanted = {
        "inputs": [(INPUT_NAME, _element_type("UINT8"), [None, None, 3, side, side])],
        "outputs": [(OUTPUT_NAME, _element_type("FLOAT"), [None, len(Label)])],
    }
    found = {"inputs": _signature(proto.graph.input), "outputs": _signature(proto.graph.output)}
    for name, values in wanted.items():
        if found[name] != values:
            raise ValueError(f"its {name} must be {values} (name, element type, shape), got {found[name]}")
    graphs = [graph for body in (proto.graph, *proto.functions) for graph in _with_inner_graphs(body)]
    domains = {entry.domain for entry in (*proto.opset_import, *(node for graph in graphs for node in graph.node))}
    foreign = domains - {"", "ai.onnx"}
    if foreign:
        raise ValueError(f"it uses operators that are not ONNX's own: {', '.join(sorted(foreign))}")
    if any(tensor.external_data for graph in graphs for tensor in _tensors(graph)):
        raise ValueError("its weights are in another file, but a detector must be one file")
    nodes = [node for graph in graphs for node in graph.node]
    branching = {node.op_type for node in nodes if node.op_type in CONTROL_FLOW or any(map(_has_graph, node.attribute))}
    if branching:
        raise ValueError(
            f"it controls how long it runs ({', '.join(sorted(branching))}), but dfd writes no loops or branches"
        )
    if proto.functions:
        raise ValueError("it has functions, which may stand for any number of operators; dfd writes none")


def _has_graph(attribute: Any) -> bool:
    return bool(attribute.HasField("g") or attribute.graphs)


def _element_type(name: str) -> int:
    return int(getattr(optional_module("onnx").TensorProto, name))


def _signature(values: Any) -> list[tuple[str, int, list[int | None]]]:
    """Name, element type and shape of each value; None for a dimension that varies."""
    found = []
    for value in values:
        tensor = value.type.tensor_type
        shape = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
        found.append((value.name, int(tensor.elem_type), shape))
    return found


def _with_inner_graphs(body: Any) -> Iterator[Any]:
    """The graph or function, and every graph that is an attribute of a node in it."""
    yield body
    for node in body.node:
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _with_inner_graphs(graph)


def _tensors(graph: Any) -> Iterator[Any]:
    """All constants of a graph or function."""
    sparse = list(getattr(graph, "sparse_initializer", ()))
    yield from getattr(graph, "initializer", ())
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
    for tensor in sparse:
        yield from (tensor.values, tensor.indices)


def _forget_the_source(graph: Any) -> None:
    """Remove the exporter's notes on the origin of each node, as they name files on this machine."""
    for entry in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        entry.ClearField("metadata_props")
        entry.ClearField("doc_string")
