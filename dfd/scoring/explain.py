"""Why a clip was scored as it was: which frame spoke most for FAKE, and which parts of the face in it.

The method is HiResCAM (Draelos and Carin 2020, arXiv:2011.08891, section 4): with activations ``A`` (channel c, place
p) of the last layer that still has places, and ``m`` the logit of FAKE minus that of REAL,

    evidence(p) = sum over c of  dm/dA(c, p) * A(c, p)

Grad-CAM (Selvaraju et al. 2017, equations 1 and 2) averages the gradient over the places first, and may so show places
that the network did not use. Without that average the evidence is, place by place, the first-order share of ``m``:
where only pooling and (piecewise) linear layers follow, its sum over places and frames is ``m`` less the biases' part.

Captum's ``LayerGradientXActivation`` is the same product for a layer that is named by hand; here the layer is found.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import isqrt
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfd.base.types import FloatArray, Label
from dfd.models.classifier import ClipClassifier

MIN_SIDE = 4
"""Places along a side below which a map is too coarse to point at anything: Inception v3 leaves 2 of 112 pixels."""

CANCELLED = 1e-3
"""Share of the channels' evidence below which their sum is rounding, as for a token before a layer norm."""

PIXEL_GRID = 14
"""Places along a side, at most, into which the evidence of pixels is gathered: one by one they are mostly noise."""


_layers: WeakKeyDictionary[ClipClassifier, str] = WeakKeyDictionary()
"""Layer at which the evidence of a network is taken, once it is known; empty: that of the pixels."""


@dataclass(frozen=True, slots=True)
class ClipExplanation:
    """The ``frame`` of a clip that moved its score most towards FAKE, and where in it.

    ``heatmap`` ``(S, S)`` is the evidence for FAKE over that frame's crop, 1 where it is as strong as the strongest
    evidence, for FAKE or for REAL, anywhere in the clip: all 0 where nothing speaks for FAKE, and faint where little
    does. ``peak`` is that strongest evidence: the logit of FAKE over REAL, as a magnitude, if the whole clip spoke like
    that one place.
    """

    frame: int
    heatmap: FloatArray
    peak: float


@dataclass(frozen=True, slots=True)
class ClipEvidence:
    """What each frame and each place adds to the logit of FAKE less that of REAL, to first order, signed.

    ``by_frame`` ``(T,)`` is in logits, taken at the backbone's features; one of clips may have fewer than
    frames. ``by_place`` ``(T, h, w)`` is taken at ``layer`` (a module of the backbone; empty for the pixels) and given
    as a density: its mean over all places and frames is what they add together.
    """

    by_frame: Tensor
    by_place: Tensor
    layer: str


def explain_clip(model: ClipClassifier, frames_TCHW: Tensor) -> ClipExplanation:
    """Why ``model`` scores a clip ``(T, 3, S, S)``, uint8 or floats in 0..1, as it does.

    The same frames give the same answer on a CPU. The model is left as it was: its weights, gradients, mode and hooks.

    Raises:
        ValueError: the shape is another, or the model is in training mode.
    """
    return explanation(clip_evidence(model, frames_TCHW), len(frames_TCHW), frames_TCHW.shape[-1])


def explanation(evidence: ClipEvidence, num_frames: int, side: int) -> ClipExplanation:
    """What is shown of the evidence in a clip of ``num_frames`` frames of ``side`` pixels."""
    frame = int((evidence.by_frame.argmax() + 0.5) * num_frames / len(evidence.by_frame))
    peak = float(evidence.by_place.abs().max())
    if not peak:
        return ClipExplanation(frame, np.zeros((side, side), np.float32), peak)
    share_hw = evidence.by_place[frame] / peak
    heat_SS = F.interpolate(share_hw[None, None], (side, side), mode="bilinear", align_corners=False)[0, 0]
    return ClipExplanation(frame, heat_SS.clamp(0, 1).float().cpu().numpy(), peak)


def clip_evidence(model: ClipClassifier, frames_TCHW: Tensor) -> ClipEvidence:
    """The evidence in a clip, signed and unscaled; arguments and errors as for :func:`explain_clip`."""
    shape = tuple(frames_TCHW.shape)
    if len(shape) != 4 or shape[0] < 1 or shape[1] != 3 or shape[2] != shape[3] or shape[2] < 2:
        raise ValueError(f"a clip must have the shape (T, 3, S, S), T >= 1 and S >= 2; got {shape}")
    return clips_evidence(model, frames_TCHW[None])[0]


def clips_evidence(model: ClipClassifier, frames_BTCHW: Tensor) -> list[ClipEvidence]:
    """The evidence in each of several clips, in one pass; errors as for :func:`explain_clip`."""
    if model.training:
        raise ValueError("the model is in training mode, in which no score is given; call model.eval() first")
    if len(frames_BTCHW) > 1 and (model.backbone.sees_clips or model.mixes_clips):
        return [evidence for clip in frames_BTCHW for evidence in clips_evidence(model, clip[None])]
    with torch.inference_mode(False), _frozen(model):
        images_NCHW = model.normalize(frames_BTCHW.flatten(0, 1).to(model.mean.device)).detach()
        clips = torch.unflatten(images_NCHW, 0, frames_BTCHW.shape[:2])
        if model not in _layers:
            # Found on two frames: to keep what every layer gives for a whole clip takes hundreds of megabytes.
            found = _evidence_anywhere(model, clips[0, :2])
            if len(images_NCHW) <= 2 and len(clips) == 1:
                return [found]
            _layers[model] = found.layer
        at_layer = _evidence_at(model, images_NCHW, _layers[model], num_clips=len(clips)) if _layers[model] else None
        return at_layer or [_evidence_anywhere(model, clip) for clip in clips]


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Without gradients towards the weights: nobody asks for them, and they take as much memory as the weights do."""
    trained = nn.ParameterList(parameter for parameter in model.parameters() if parameter.requires_grad)
    trained.requires_grad_(False)
    try:
        yield
    finally:
        trained.requires_grad_(True)


def _evidence_anywhere(model: ClipClassifier, images_TCHW: Tensor) -> ClipEvidence:
    """The evidence in one clip, after looking for the layer that it is taken at."""
    with torch.enable_grad():
        images_TCHW = images_TCHW.detach().requires_grad_()
        with _recorded(model.backbone) as recorded:
            features_TD = model.backbone(images_TCHW)
        margin, frames_BT = _margin(model, features_TD[None])
        layer, places_Thw = _last_places(margin, recorded, images_TCHW, _Layout.of(model.backbone.network))
    return ClipEvidence(frames_BT[0], places_Thw * places_Thw.numel(), layer)


def _evidence_at(
    model: ClipClassifier, images_NCHW: Tensor, layer: str, *, num_clips: int = 1
) -> list[ClipEvidence] | None:
    """The evidence in each clip at a known layer, the way to which takes no more memory than a score; None if none."""
    outputs: list[Tensor] = []

    def begin_to_record(module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
        torch.set_grad_enabled(True)
        outputs.append(output.detach().requires_grad_())
        return outputs[-1]

    handle = model.backbone.get_submodule(layer).register_forward_hook(begin_to_record)
    try:
        with torch.no_grad():  # until the layer; what was on before comes back behind it
            features_ND = model.backbone(images_NCHW)
            margin, frames_BT = _margin(model, torch.unflatten(features_ND, 0, (num_clips, -1)))
            places_Nhw = _evidence(margin, outputs[-1], _Layout.of(model.backbone.network))
    finally:
        handle.remove()
    if places_Nhw is None:
        return None
    by_clip_BThw = torch.unflatten(places_Nhw, 0, (num_clips, -1))
    return [ClipEvidence(*one, layer) for one in zip(frames_BT, by_clip_BThw * by_clip_BThw[0].numel(), strict=True)]


@contextmanager
def _plain_kernels() -> Iterator[None]:
    """Torch's own kernels for recurrent layers.

    cuDNN's cannot go back in evaluation mode, and oneDNN's make gradients for frozen weights, too: 300 MB for an LSTM
    of 2048.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="TF32 acceleration on top of oneDNN")  # of restoring its flags
        with torch.backends.cudnn.flags(enabled=False), torch.backends.mkldnn.flags(enabled=False):
            yield


def _margin(model: ClipClassifier, features_BTD: Tensor) -> tuple[Tensor, Tensor]:
    """The logits of FAKE less those of REAL, summed over clips, and what each frame ``(B, T)`` adds to its clip's."""
    with _plain_kernels():
        logits_BK = model.head(features_BTD)
        margin = (logits_BK[:, Label.FAKE] - logits_BK[:, Label.REAL]).sum()
        (gradient_BTD,) = torch.autograd.grad(margin, features_BTD, retain_graph=True)
    return margin, (gradient_BTD * features_BTD).sum(dim=-1).detach()


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a network lays out places: tokens before them, and whether a cube of a tensor is ``(h, w, C)``."""

    num_prefix_tokens: int
    channels_last: bool

    @classmethod
    def of(cls, network: nn.Module) -> "_Layout":
        """Layout of a network's features, as timm's models declare it."""
        prefix: Any = getattr(network, "num_prefix_tokens", 0)
        return cls(prefix if isinstance(prefix, int) else 0, getattr(network, "output_fmt", None) == "NHWC")

    def places(self, tensor_N: Tensor) -> Tensor | None:
        """``tensor_N`` as ``(N, h, w, C)``, h = w > 1, as crops are square; None if it has no places."""
        if tensor_N.ndim == 4:
            a, b, c = tensor_N.shape[1:]
            if a == b > 1 and (b != c or self.channels_last):
                return tensor_N
            return tensor_N.permute(0, 2, 3, 1) if b == c > 1 and not _is_attention(tensor_N) else None
        if tensor_N.ndim == 3:
            for prefix in (self.num_prefix_tokens, 0):
                num_places = tensor_N.shape[1] - prefix
                side = isqrt(max(num_places, 0))
                if side > 1 and side * side == num_places:
                    return tensor_N[:, prefix:].reshape(-1, side, side, tensor_N.shape[2])
        return None


@contextmanager
def _recorded(network: nn.Module) -> Iterator[list[tuple[str, Tensor]]]:
    """The output of each module within, by name, in the order in which they end."""
    outputs: list[tuple[str, Tensor]] = []

    def record(name: str, module: nn.Module, arguments: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.requires_grad:
            outputs.append((name, output))

    modules = [(name, module) for name, module in network.named_modules() if name]
    handles = [module.register_forward_hook(partial(record, name)) for name, module in modules]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _last_places(
    margin: Tensor, recorded: Sequence[tuple[str, Tensor]], images_TCHW: Tensor, layout: _Layout
) -> tuple[str, Tensor]:
    """The last output with places that ``margin`` depends on, and the evidence ``(T, h, w)`` there.

    A network that reads a class token does not depend on the other tokens of its last layers; the last that counts is
    then what the class token attends to. A map of less than ``MIN_SIDE`` places along a side gives way to the last
    finer one through which everything passes: in a network of branches, the last finer map may be in only one of them.
    Without any such layer the evidence is that of the pixels, in cells: gradient times input, less the mean colour.
    """
    coarse: tuple[str, Tensor] | None = None
    for name, output in reversed(recorded):
        places = layout.places(output) if output.shape[0] == len(images_TCHW) else None
        if places is None or (coarse and (places.shape[1] < MIN_SIDE or _bypassed(margin, output, images_TCHW))):
            continue
        evidence_Thw = _evidence(margin, output, layout)
        if evidence_Thw is None:
            continue
        if places.shape[1] >= MIN_SIDE:
            return name, evidence_Thw
        coarse = name, evidence_Thw
    if coarse:
        return coarse
    evidence_THW = _evidence(margin, images_TCHW, _Layout(0, channels_last=False))
    if evidence_THW is None:
        evidence_THW = torch.zeros_like(images_TCHW[:, 0])
    side = evidence_THW.shape[-1]
    cell = next((side // cells for cells in range(PIXEL_GRID, MIN_SIDE - 1, -1) if side % cells == 0), 1)
    return "", F.avg_pool2d(evidence_THW, cell, divisor_override=1)


def _evidence(margin: Tensor, activations_N: Tensor, layout: _Layout) -> Tensor | None:
    """Gradient times activation, summed over channels, ``(N, h, w)``; None if nothing comes of it."""
    gradient: Any  # torch's stubs do not know that an unused one is None
    (gradient,) = torch.autograd.grad(margin, activations_N, retain_graph=True, allow_unused=True)
    if gradient is None:
        return None
    places_NhwC = layout.places(gradient * activations_N.detach())
    assert places_NhwC is not None
    evidence_Nhw = places_NhwC.sum(dim=-1)
    return None if evidence_Nhw.abs().sum() <= CANCELLED * places_NhwC.abs().sum() else evidence_Nhw


def _is_attention(tensor_Nabc: Tensor) -> bool:
    """True for weights of attention ``(N, heads, L, L)``, whose rows are distributions: L x L are no places."""
    return bool((tensor_Nabc >= 0).all()) and torch.allclose(tensor_Nabc.sum(-1), tensor_Nabc.new_ones(()), atol=1e-3)


def _bypassed(margin: Tensor, output: Tensor, images: Tensor) -> bool:
    """True if ``margin`` depends on ``images`` by a way around ``output``."""
    waiting: list[Any] = [margin.grad_fn]
    seen = {output.grad_fn}
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if getattr(node, "variable", None) is images:
            return True
        waiting += [following for following, _ in node.next_functions]
    return False
