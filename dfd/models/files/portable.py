"""Wraps the network for export: uint8 frames in, probabilities out, for any number of clips and frames.

torch traces an LSTM or GRU frame by frame, which ties the export to the example's number of frames. Here one opaque
operator replaces ``nn.LSTM`` and ``nn.GRU``: for ONNX its own LSTM and GRU, for ``torch.export`` one that is replaced
by torch's own after tracing.
"""

import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from dfd.models.classifier import ClipClassifier
from dfd.models.temporal import RecurrentHead, TransformerHead

Target = Literal["onnx", "torch_export"]


class PortableDetector(nn.Module):
    """Maps uint8 frames ``(B, T, 3, H, W)`` to probabilities ``(B, 2)`` in label order.

    It is a copy of ``model`` on the CPU in evaluation mode, and includes resizing, normalisation and ``temperature``.
    """

    def __init__(self, model: ClipClassifier, *, temperature: float, target: Target) -> None:
        super().__init__()
        # torch.export.save needs contiguous weights.
        self.model = copy.deepcopy(model).cpu().float().to(memory_format=torch.contiguous_format)
        self.temperature = temperature
        self.max_time = model.temporal.max_len if isinstance(model.temporal, TransformerHead) else None
        head = self.model.temporal
        if isinstance(head, RecurrentHead):
            opaque = OnnxRecurrent if target == "onnx" else OpaqueRecurrent
            head.register_module("recurrent", opaque(head.recurrent))
        self.eval()

    def forward(self, frames: Tensor) -> Tensor:
        """Compute probabilities ``(B, 2)``."""
        logits_BK: Tensor = self.model(frames) / self.temperature
        return logits_BK.softmax(dim=-1)

    def example(self, image_size: int) -> Tensor:
        """Clips for tracing. Tracing would take a size of 1 for a constant, and equal sizes for the same one."""
        time = 3 if self.max_time is None else min(3, self.max_time)
        return torch.zeros(2, time, 3, image_size, image_size, dtype=torch.uint8)

    @property
    def dynamic_shapes(self) -> dict[str, dict[int, Dim]]:
        """Dimensions of the input of :meth:`forward` that may vary: the clips, and the frames of each."""
        return {"frames": {0: Dim("batch"), 1: Dim("time", max=self.max_time)}}


class OnnxRecurrent(nn.Module):
    """Replaces torch's LSTM or GRU by ONNX's: ``(B, T, D)`` to outputs ``(B, T, H)`` and final states ``(L, B, H)``.

    Gates are stored in ONNX's order (LSTM in torch: input, forget, cell, output; in ONNX: input, output, forget, cell.
    GRU: reset, update, new; update, reset, new), so that nothing is rearranged at run time. Outside of an export the
    operators return zeros.
    """

    def __init__(self, recurrent: nn.LSTM | nn.GRU) -> None:
        super().__init__()
        self.bidirectional = recurrent.bidirectional
        self.hidden_size = recurrent.hidden_size
        self.num_layers = recurrent.num_layers
        self.is_lstm = isinstance(recurrent, nn.LSTM)
        order = (0, 3, 1, 2) if self.is_lstm else (1, 0, 2)
        directions = ["", "_reverse"] if self.bidirectional else [""]
        for layer in range(self.num_layers):
            for name, parts in {"W": ["weight_ih"], "R": ["weight_hh"], "B": ["bias_ih", "bias_hh"]}.items():
                stacked = [
                    torch.cat([_reordered(getattr(recurrent, f"{part}_l{layer}{way}"), order) for part in parts])
                    for way in directions
                ]
                self.register_buffer(f"{name}{layer}", torch.stack(stacked))

    def forward(self, features_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Compute outputs and final states like ``nn.GRU`` with ``batch_first``, in evaluation mode."""
        inputs_TBD = features_BTD.transpose(0, 1)
        time, batch = inputs_TBD.shape[:2]
        num_directions = 2 if self.bidirectional else 1
        attributes: dict[str, Any] = {
            "hidden_size": self.hidden_size,
            "direction": "bidirectional" if self.bidirectional else "forward",
        }
        if not self.is_lstm:
            attributes["linear_before_reset"] = 1  # torch multiplies by the reset gate after the hidden weights
        finals_DBH = []
        for layer in range(self.num_layers):
            weights = [getattr(self, f"{name}{layer}") for name in "WRB"]
            outputs_TDBH, final_DBH = torch.onnx.ops.symbolic_multi_out(
                "LSTM" if self.is_lstm else "GRU",
                [inputs_TBD, *weights],
                attributes,
                dtypes=[torch.float32] * 2,
                shapes=[
                    [time, num_directions, batch, self.hidden_size],
                    [num_directions, batch, self.hidden_size],
                ],
            )
            finals_DBH.append(final_DBH)
            inputs_TBD = outputs_TDBH.transpose(1, 2).flatten(2)
        return inputs_TBD.transpose(0, 1), torch.cat(finals_DBH)


class OpaqueRecurrent(nn.Module):
    """Puts torch's LSTM or GRU behind an operator that is not traced into; see :func:`with_torchs_operators`."""

    def __init__(self, recurrent: nn.LSTM | nn.GRU) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.bidirectional = recurrent.bidirectional

    def forward(self, features_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Compute outputs and final states like ``nn.GRU`` with ``batch_first``, in evaluation mode."""
        recurrent = self.recurrent
        num_states = recurrent.num_layers * (2 if recurrent.bidirectional else 1)
        state_LBH = features_BTD.new_zeros(num_states, features_BTD.shape[0], recurrent.hidden_size)
        weights = [weight for layer in recurrent.all_weights for weight in layer]
        options = (True, recurrent.num_layers, 0.0, False, recurrent.bidirectional, True)
        if isinstance(recurrent, nn.LSTM):
            outputs_BTH, final_LBH, _ = opaque_lstm(features_BTD, [state_LBH, state_LBH], weights, *options)
        else:
            outputs_BTH, final_LBH = opaque_gru(features_BTD, state_LBH, weights, *options)
        return outputs_BTH, final_LBH


@torch.library.custom_op("dfd::lstm", mutates_args=())
def opaque_lstm(
    input: Tensor,
    hx: list[Tensor],
    params: list[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """``aten::lstm.input`` with the same arguments."""
    outputs_BTH, final_LBH, cells_LBH = torch.ops.aten.lstm.input(
        input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first
    )
    return outputs_BTH, final_LBH, cells_LBH


@torch.library.custom_op("dfd::gru", mutates_args=())
def opaque_gru(
    input: Tensor,
    hx: Tensor,
    params: list[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, Tensor]:
    """``aten::gru.input`` with the same arguments."""
    outputs_BTH, final_LBH = torch.ops.aten.gru.input(
        input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first
    )
    return outputs_BTH, final_LBH


@opaque_lstm.register_fake
def _(input: Tensor, hx: list[Tensor], *options: object) -> tuple[Tensor, Tensor, Tensor]:
    return _outputs_like(input, hx[0], options), torch.empty_like(hx[0]), torch.empty_like(hx[1])


@opaque_gru.register_fake
def _(input: Tensor, hx: Tensor, *options: object) -> tuple[Tensor, Tensor]:
    return _outputs_like(input, hx, options), torch.empty_like(hx)


def with_torchs_operators(program: ExportedProgram) -> ExportedProgram:
    """Replace the opaque operators by torch's LSTM and GRU, so that ``program`` loads without dfd."""
    replacements = {
        torch.ops.dfd.lstm.default: torch.ops.aten.lstm.input,
        torch.ops.dfd.gru.default: torch.ops.aten.gru.input,
    }
    for node in program.graph.nodes:
        node.target = replacements.get(node.target, node.target)
    program.graph_module.recompile()
    return program


def _reordered(weight: Tensor, order: tuple[int, ...]) -> Tensor:
    gates = weight.detach().chunk(len(order))
    return torch.cat([gates[index] for index in order])


def _outputs_like(input: Tensor, state_LBH: Tensor, options: tuple[object, ...]) -> Tensor:
    bidirectional = options[5]
    batch, time = input.shape[:2]
    return input.new_empty(batch, time, state_LBH.shape[2] * (2 if bidirectional else 1))
