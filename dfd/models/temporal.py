"""Heads over time: map the features of a clip's frames, ``(B, T, D)``, to one vector per clip, ``(B, num_features)``.

The name of a head's function is its option name. Its ``in_features``, D, comes from the backbone, never from a config.
All heads but :func:`mean` use the order of the frames, and all treat the clips of a batch separately, except for
:func:`lstm_over_batch`, which exists to show an error.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

Reduce = Literal["mean", "last"]


class TemporalHead(nn.Module):
    """Maps ``(B, T, D)`` to ``(B, num_features)``.

    ``mixes_clips`` is True if the output for a clip depends on the other clips of its batch: its score is then
    meaningless outside of that batch.
    """

    num_features: int
    mixes_clips: bool = False


class MeanHead(TemporalHead):
    """Mean over time, which ignores the order: the baseline that other heads must beat."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.num_features = in_features

    def forward(self, features_BTD: Tensor) -> Tensor:
        """Compute the mean, ``(B, D)``."""
        return features_BTD.mean(dim=1)


class RecurrentHead(TemporalHead):
    """LSTM or GRU, reduced over time to the mean of its outputs or to its final state."""

    def __init__(self, recurrent: nn.LSTM | nn.GRU, *, reduce: Reduce) -> None:
        super().__init__()
        if reduce not in ("mean", "last"):
            raise ValueError(f"reduce must be 'mean' or 'last', got {reduce!r}")
        self.recurrent = recurrent
        self.reduce = reduce
        self.num_features = recurrent.hidden_size * (2 if recurrent.bidirectional else 1)

    def forward(self, features_BTD: Tensor) -> Tensor:
        """Compute the reduced output, ``(B, num_features)``."""
        outputs_BTH: Tensor
        outputs_BTH, final = self.recurrent(features_BTD)
        if self.reduce == "mean":
            return outputs_BTH.mean(dim=1)
        states_LBH: Tensor = final[0] if isinstance(final, tuple) else final
        # The last layer's state: forward, and if bidirectional also backward, which ends at the clip's start.
        directions = 2 if self.recurrent.bidirectional else 1
        return states_LBH[-directions:].transpose(0, 1).flatten(1)


class BatchAxisLSTMHead(TemporalHead):
    """LSTM that runs over the clips of a batch and treats frames as the batch; followed by the mean over the frames.

    The popular public code of the original system does this; it is kept for comparison. Each output depends on the
    previous clips in the batch, and not at all on the order of its own frames.

    With ``alone``, each clip is a batch of its own, as that code scores a video: the LSTM makes one step on each frame.
    """

    def __init__(self, recurrent: nn.LSTM, *, reduce: Reduce, alone: bool) -> None:
        super().__init__()
        if reduce not in ("mean", "last"):
            raise ValueError(f"reduce must be 'mean' or 'last', got {reduce!r}")
        self.recurrent = recurrent
        self.reduce = reduce
        self.alone = alone
        self.mixes_clips = not alone
        self.num_features = recurrent.hidden_size

    def forward(self, features_BTD: Tensor) -> Tensor:
        """Compute the mean or the last output, ``(B, num_features)``."""
        outputs_BTH: Tensor
        if self.alone:
            outputs_BTH = torch.unflatten(
                self.recurrent(features_BTD.flatten(0, 1)[None])[0][0], 0, features_BTD.shape[:2]
            )
        else:
            outputs_BTH = self.recurrent(features_BTD)[0]  # without batch_first, the first axis is time
        return outputs_BTH.mean(dim=1) if self.reduce == "mean" else outputs_BTH[:, -1]


class TransformerHead(TemporalHead):
    """Pre-norm transformer encoder with learned positions, reduced by the mean over time."""

    def __init__(
        self, in_features: int, *, width: int, num_heads: int, num_layers: int, dropout: float, max_len: int
    ) -> None:
        super().__init__()
        self.num_features = width
        self.max_len = max_len
        self.project = nn.Linear(in_features, width)
        self.position_TD = nn.Parameter(torch.empty(max_len, width))
        nn.init.trunc_normal_(self.position_TD, std=0.02)  # as in ViT (Dosovitskiy et al. 2021) and its successors
        layer = nn.TransformerEncoderLayer(
            d_model=width,
            nhead=num_heads,
            dim_feedforward=4 * width,
            dropout=dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.encoder = nn.TransformerEncoder(
            layer, num_layers=num_layers, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )

    def forward(self, features_BTD: Tensor) -> Tensor:
        """Compute the mean of the encoded frames, ``(B, width)``.

        Raises:
            ValueError: when the clip is longer than ``max_len``.
        """
        time = features_BTD.shape[1]
        if time > self.max_len:
            raise ValueError(f"a clip of {time} frames is longer than temporal.max_len={self.max_len}; train with more")
        tokens_BTD = self.project(features_BTD) + self.position_TD[:time]
        encoded_BTD: Tensor = self.encoder(tokens_BTD)
        return encoded_BTD.mean(dim=1)


def lstm(
    in_features: int,
    *,
    hidden_features: int = 2048,
    num_layers: int = 1,
    bidirectional: bool = False,
    dropout: float = 0.0,
    reduce: Reduce = "mean",
) -> TemporalHead:
    """Build an LSTM over the frames; the original system had one layer of 2048, and the mean of its outputs.

    ``dropout`` acts between layers. All arguments of ``nn.LSTM`` are passed by name: the original passed
    ``bidirectional`` as the fourth positional one, which is ``bias``, and omitted ``batch_first``, so that its LSTM ran
    over the videos of a batch instead of the frames of a video.
    """
    _check_counts(hidden_features=hidden_features, num_layers=num_layers)
    recurrent = nn.LSTM(
        input_size=in_features,
        hidden_size=hidden_features,
        num_layers=num_layers,
        bias=True,
        batch_first=True,
        dropout=dropout,
        bidirectional=bidirectional,
    )
    return RecurrentHead(recurrent, reduce=reduce)


def lstm_over_batch(
    in_features: int, *, hidden_features: int = 2048, num_layers: int = 1, reduce: Reduce = "mean", alone: bool = False
) -> TemporalHead:
    """Build the LSTM as the original system's public code runs it, over the batch: for comparison only.

    That code builds ``nn.LSTM(2048, 2048, 1, False)`` and means ``bidirectional=False``, but the fourth argument is
    ``bias``; ``batch_first`` is omitted, so ``(B, T, D)`` is read as (time, batch, D). It trains with the mean over the
    frames, and scores each video alone by the output of its last frame.

    Args:
        in_features: length of the vector of a frame.
        hidden_features: width of the state.
        num_layers: layers, one above the other.
        reduce: ``mean`` of the frames' outputs, or the ``last`` frame's.
        alone: treat each clip as a batch of its own.
    """
    _check_counts(hidden_features=hidden_features, num_layers=num_layers)
    recurrent = nn.LSTM(in_features, hidden_features, num_layers, bias=False, batch_first=False)
    return BatchAxisLSTMHead(recurrent, reduce=reduce, alone=alone)


def gru(
    in_features: int,
    *,
    hidden_features: int = 1024,
    num_layers: int = 1,
    bidirectional: bool = False,
    dropout: float = 0.0,
    reduce: Reduce = "mean",
) -> TemporalHead:
    """Build a GRU over the frames; ``dropout`` acts between layers."""
    _check_counts(hidden_features=hidden_features, num_layers=num_layers)
    recurrent = nn.GRU(
        input_size=in_features,
        hidden_size=hidden_features,
        num_layers=num_layers,
        bias=True,
        batch_first=True,
        dropout=dropout,
        bidirectional=bidirectional,
    )
    return RecurrentHead(recurrent, reduce=reduce)


def mean(in_features: int) -> TemporalHead:
    """Build the mean over the frames: no parameters, and no use of the order."""
    return MeanHead(in_features)


def transformer(
    in_features: int,
    *,
    width: int = 512,
    num_heads: int = 8,
    num_layers: int = 2,
    dropout: float = 0.1,
    max_len: int = 256,
) -> TemporalHead:
    """Build a transformer encoder over the frames, for clips of up to ``max_len`` frames.

    Raises:
        ValueError: when ``width`` is not a multiple of ``num_heads``, or a count is not positive.
    """
    _check_counts(width=width, num_heads=num_heads, num_layers=num_layers, max_len=max_len)
    if width % num_heads:
        raise ValueError(f"width must be a multiple of num_heads, got {width} and {num_heads}")
    return TransformerHead(
        in_features, width=width, num_heads=num_heads, num_layers=num_layers, dropout=dropout, max_len=max_len
    )


TEMPORALS: dict[str, Callable[..., TemporalHead]] = {
    "lstm": lstm,
    "gru": gru,
    "mean": mean,
    "transformer": transformer,
    "lstm_over_batch": lstm_over_batch,
}
"""Functions by option name; a config or checkpoint can call no others."""


def _check_counts(**counts: object) -> None:
    for name, count in counts.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ValueError(f"{name} must be a positive whole number, got {count!r}")
