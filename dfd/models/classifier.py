"""Network of a detector: a backbone on every frame, a head over time, last layers that give two logits."""

import difflib
import inspect
import re
from collections.abc import Callable, Mapping
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from dfd.base.errors import ConfigError, StoreError
from dfd.base.names import plugins
from dfd.base.types import BatchFacts, ClipBatch
from dfd.base.untrusted import option_problems, shown
from dfd.models.backbones import BACKBONES, Backbone
from dfd.models.heads import HEADS, standard
from dfd.models.networks.backbone import resized
from dfd.models.temporal import TEMPORALS, TemporalHead


class ClipClassifier(nn.Module):
    """Maps clips to logits; takes crops as they are stored, and resizes and normalises them itself.

    Args:
        backbone: network on every frame.
        temporal: network over time.
        dropout: of the standard head, if ``head`` is None.
        head: last layers, one of :data:`~dfd.models.heads.HEADS`; None: the standard ones.

    Attributes:
        config: config that :func:`build_model` built it from, with all arguments; empty if it was built otherwise.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: Backbone, temporal: TemporalHead, dropout: float = 0.4, head: nn.Module | None = None
    ) -> None:
        super().__init__()
        # The layout that the kernels compute in. A training step on one CPU core takes 3.65 s instead of 4.18 for
        # ResNeXt50, and 2.16 s instead of 2.53 for Inception v3 (two clips of ten frames, 112 px).
        self.backbone = backbone if backbone.sees_clips else backbone.to(memory_format=torch.channels_last)
        self.temporal = temporal
        self.classify = standard(temporal.num_features, dropout=dropout) if head is None else head
        self.register_buffer("mean", torch.tensor(backbone.mean).reshape(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std).reshape(3, 1, 1), persistent=False)
        self.config: dict[str, Any] = {}

    def forward(self, frames_BTCHW: Tensor, seconds_BT: Tensor | None = None) -> Tensor:
        """Compute logits ``(B, 2)`` in label order (REAL, FAKE) from RGB frames: uint8 in 0..255 or floats in 0..1.

        A backbone that needs them also gets the time of each frame, ``seconds_BT``.

        Raises:
            ValueError: when the shape is not ``(B, T, 3, H, W)`` with at least one frame, or the frames are too small.
            TypeError: when the frames are neither uint8 nor floats.
        """
        return self.head(self.features(frames_BTCHW, seconds_BT=seconds_BT))

    def features(self, frames_BTCHW: Tensor, *, at_once: int | None = None, seconds_BT: Tensor | None = None) -> Tensor:
        """Compute the backbone's features ``(B, T, D)``; input and errors as in :meth:`forward`.

        A backbone of clips may give fewer. For scoring, at most ``at_once`` frames are processed together, in parts of
        equal size: memory grows with them, and more than a few are no faster on a CPU.
        """
        if frames_BTCHW.ndim != 5 or frames_BTCHW.shape[2] != 3 or frames_BTCHW.shape[1] == 0:
            raise ValueError(f"clips must have the shape (B, T, 3, H, W), T >= 1; got {tuple(frames_BTCHW.shape)}")
        batch, time = frames_BTCHW.shape[:2]
        if self.backbone.sees_clips:
            images_BTCHW = torch.unflatten(self.normalize(frames_BTCHW.flatten(0, 1)), 0, (batch, time))
            if self.backbone.needs_seconds and seconds_BT is None:
                raise ValueError("this detector needs the time of each frame beside the frames")
            return self.backbone(images_BTCHW, *([seconds_BT] if self.backbone.needs_seconds else []))  # type: ignore[no-any-return]
        frames_NCHW = frames_BTCHW.flatten(0, 1)
        num_parts = 1 if at_once is None else max(1, ceil(len(frames_NCHW) / at_once))
        features = [self.backbone(self.normalize(part)) for part in torch.tensor_split(frames_NCHW, num_parts)]
        return torch.unflatten(torch.cat(features), 0, (batch, time))

    def head(self, features_BTD: Tensor) -> Tensor:
        """Compute logits ``(B, 2)`` from the backbone's features ``(B, T, D)``: all layers after the backbone."""
        pooled_BD = self.temporal(features_BTD)
        logits_BK: Tensor = self.classify(pooled_BD)
        return logits_BK

    @property
    def mixes_clips(self) -> bool:
        """Whether a clip's logits depend on the other clips of the batch: a published error, kept for comparison."""
        return self.temporal.mixes_clips

    def normalize(self, frames_NCHW: Tensor) -> Tensor:
        """Scale, resize (if the backbone's input size is fixed) and normalise frames for the backbone."""
        if frames_NCHW.dtype == torch.uint8:
            images_NCHW = frames_NCHW.to(self.mean.dtype) / 255
        elif frames_NCHW.is_floating_point():
            images_NCHW = frames_NCHW.to(self.mean.dtype)
        else:
            raise TypeError(f"frames must be uint8 (0..255) or floats (0..1), got {frames_NCHW.dtype}")
        height, width = images_NCHW.shape[-2:]
        side = self.backbone.input_size
        if side is not None and (height, width) != (side, side):
            images_NCHW = resized(images_NCHW, side, self.backbone.resample)
        elif min(height, width) < self.backbone.min_size:
            raise ValueError(
                f"the backbone needs frames of {self.backbone.min_size} px or more, got {width} x {height}; "
                "prepare larger crops or choose another backbone"
            )
        return ((images_NCHW - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


def build_model(config: Mapping[str, Any]) -> ClipClassifier:
    """Build the model of a plain config, which may be a stranger's: only dfd's and registered functions are called.

    ``config`` is ``{"backbone": {"_target_": "dfd.models.backbones.resnext50", …}, "temporal": {"_target_":
    "dfd.models.temporal.lstm", …}, "head": {"_target_": "dfd.models.heads.linear", …}, "dropout": 0.4}``; without
    ``head``, the standard one. ``dropout`` belongs to the head.

    Raises:
        ConfigError: when a key or ``_target_`` is unknown, or a value does not fit.
        WeightsMissing: when the backbone's weights cannot be found or downloaded.
    """
    resolved = resolve_model_config(config)
    _refuse_out_of_range(resolved)
    parts = [part for part in TARGETS if part in resolved]
    make = {part: targets(part)[resolved[part]["_target_"]] for part in parts}
    arguments = {part: {k: v for k, v in resolved[part].items() if k != "_target_"} for part in parts}
    backbone = make["backbone"](**arguments["backbone"])
    try:
        temporal: TemporalHead = make["temporal"](backbone.num_features, **arguments["temporal"])
        head: nn.Module | None = None
        if "head" in resolved:
            head = make["head"](temporal.num_features, dropout=resolved["dropout"], **arguments["head"])
        model = ClipClassifier(backbone, temporal, dropout=resolved["dropout"], head=head)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the model cannot be built: temporal, head or dropout: {error}") from error
    model.config = resolved
    return model


LARGEST: dict[str, int] = {
    "hidden_features": 16384,
    "num_layers": 64,
    "width": 16384,
    "num_heads": 1024,
    "max_len": 65536,
    "input_size": 2048,
    "img_size": 2048,
    "pads": 2048,
    "lora": 256,
    "num_capsules": 256,
}
"""Maximum of a model's whole numbers, by name: a stranger's checkpoint states them, and even building takes time."""


def _refuse_out_of_range(resolved: Mapping[str, Any]) -> None:
    """Check types and ranges in a resolved config.

    Raises:
        ConfigError: when a value has another type than its function expects, or is out of range.
    """
    problems: list[str] = []
    for part in TARGETS:
        if part not in resolved:
            continue
        options = resolved[part]
        wrong = option_problems(targets(part)[options["_target_"]], options)
        problems += [f"{part}.{problem}" for problem in wrong]
        problems += [
            f"{part}.{name} must be in 1..{most}, got {shown(options[name])}"
            for name, most in LARGEST.items()
            if not wrong and options.get(name) is not None and not 1 <= options[name] <= most
        ]
    dropouts = {"dropout": resolved["dropout"], "temporal.dropout": resolved["temporal"].get("dropout", 0.0)}
    if (rate := resolved["backbone"].get("drop_path_rate")) is not None:
        dropouts["backbone.drop_path_rate"] = rate
    problems += [
        f"{name} must be a number in 0..1, got {shown(value)}"
        for name, value in dropouts.items()
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1
    ]
    if problems:
        raise ConfigError(f"the model cannot be built: {'; '.join(problems)}")


def resolve_model_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Write out ``config`` with all defaults, in plain dicts, without building anything.

    >>> resolve_model_config({"backbone": {"_target_": "dfd.models.backbones.resnext50"},
    ...                       "temporal": {"_target_": "dfd.models.temporal.mean"}})["backbone"]
    {'_target_': 'dfd.models.backbones.resnext50', 'pretrained': True, 'weights': None, 'freeze': False}

    Raises:
        ConfigError: when a key or ``_target_`` is unknown, or a required one is missing.
    """
    _refuse_unknown("model", config, [*TARGETS, "dropout"], of="the model")
    resolved = {
        "backbone": _resolve_part(config, "backbone"),
        "temporal": _resolve_part(config, "temporal"),
        "dropout": config.get("dropout", 0.4),
    }
    if config.get("head") is not None and (head := _resolve_part(config, "head")) != STANDARD_HEAD:
        resolved["head"] = head
    return resolved


def architecture(config: Mapping[str, Any]) -> dict[str, Any]:
    """Resolved config without initial weights and freezing: the part that a checkpoint's weights must fit."""
    resolved = resolve_model_config(config)
    forgotten = {"pretrained": False, "weights": None, "freeze": False}
    return {**resolved, "backbone": {name: forgotten.get(name, value) for name, value in resolved["backbone"].items()}}


TARGETS: dict[str, dict[str, Callable[..., Any]]] = {
    "backbone": {f"dfd.models.backbones.{name}": function for name, function in BACKBONES.items()},
    "temporal": {f"dfd.models.temporal.{name}": function for name, function in TEMPORALS.items()},
    "head": {f"dfd.models.heads.{name}": function for name, function in HEADS.items()},
}
"""Functions of dfd that a model's config may name, by part and ``_target_``; plug-ins may add others."""
STANDARD_HEAD = {"_target_": "dfd.models.heads.standard", "outputs": 2}
"""Head of a config that names none; it is not written into cards, so that older versions read them."""
HANDED_OVER = ("dropout",)
"""Keyword arguments that the model hands to its parts and a part's own config does not have."""


def targets(part: str) -> dict[str, Callable[..., Any]]:
    """Functions that a model's config may name for this part: dfd's own, and those that plug-ins have registered."""
    return plugins.by_name(TARGETS[part], part)


def _resolve_part(config: Mapping[str, Any], part: str) -> dict[str, Any]:
    given = config.get(part)
    if not isinstance(given, Mapping):
        raise ConfigError(f"model.{part}: must be a mapping with a _target_, got {shown(given)}")
    target = given.get("_target_")
    functions = TARGETS[part] if isinstance(target, str) and target in TARGETS[part] else targets(part)
    if not isinstance(target, str) or target not in functions:
        is_foreign = isinstance(target, str) and re.fullmatch(r"\w+(\.\w+)+", target) and target[:4] != "dfd."
        raise ConfigError(
            f"model.{part}._target_: {shown(target)} is not one of {', '.join(functions)}"
            + (f"; {plugins.remedy(str(target))}" if is_foreign else "")
        )
    parameters = inspect.signature(functions[target]).parameters
    handed_over = HANDED_OVER if part == "head" else ()
    keyword = {
        name: p
        for name, p in parameters.items()
        if p.kind is inspect.Parameter.KEYWORD_ONLY and name not in handed_over
    }
    _refuse_unknown(part, given, ["_target_", *keyword], of=target.rpartition(".")[2])
    missing = [name for name, p in keyword.items() if p.default is inspect.Parameter.empty and given.get(name) is None]
    if missing:
        raise ConfigError(f"{part}.{missing[0]}: {target.rpartition('.')[2]} needs it; set {part}.{missing[0]}=…")
    return {"_target_": target, **{name: given.get(name, p.default) for name, p in keyword.items()}}


def _refuse_unknown(part: str, given: Mapping[str, Any], known: list[str], *, of: str) -> None:
    for key in given:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known)}"
            raise ConfigError(f"{part}.{str(key)[:80]}: {of} has no parameter {shown(key)}; {hint}")


class FeatureBatch(BatchFacts):
    """Batch like :class:`dfd.base.types.ClipBatch`, with ``features`` (B, T, D) instead of frames."""

    features: Tensor


def pooled_of(model: ClipClassifier, batch: ClipBatch | FeatureBatch) -> Tensor:
    """Compute what the last layers get, ``(B, D)``, of a batch of frames or of the backbone's features.

    Raises:
        StoreError: when the backbone finds nothing in a clip, as no pulse in too few frames; the message names it.
    """
    given: Mapping[str, Any] = dict(batch)
    seconds_BT = given.get("seconds")
    features_BTD = given["features"] if "features" in given else model.features(given["frames"], seconds_BT=seconds_BT)
    if (why := model.backbone.why_nothing) and not (is_known_B := features_BTD.isfinite().all(dim=(1, 2))).all():
        video = given["video_id"][int(is_known_B.logical_not().nonzero()[0])]
        raise StoreError(f"{video}: {why}")
    pooled_BD: Tensor = model.temporal(features_BTD)
    return pooled_BD


def logits_of(model: ClipClassifier, batch: ClipBatch | FeatureBatch) -> Tensor:
    """Compute logits ``(B, 2)`` of a batch of frames or of the backbone's features."""
    return model.classify(pooled_of(model, batch))  # type: ignore[no-any-return]
