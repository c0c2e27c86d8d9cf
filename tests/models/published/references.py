"""Published detectors as independent packages compute them, at random weights that are the same everywhere.

``python -m tests.models.published.references`` writes ``frozen.json``, which the default tier compares with: it needs
transformers and efficientnet_pytorch only here and in the slow tier.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfd.models.backbones import IMAGENET_MEAN, IMAGENET_STD, Backbone
from dfd.models.classifier import ClipClassifier, build_model
from dfd.models.heads import HEADS
from dfd.models.published.entry import Published
from dfd.models.published.table import PUBLISHED
from dfd.models.temporal import TEMPORALS

FROZEN = Path(__file__).with_name("frozen.json")
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)
SMALL = {"embed_dim": 64, "depth": 2, "num_heads": 4}
"""Width and depth at which the large transformers are compared."""


def filled(shapes: Mapping[str, Iterable[int]]) -> dict[str, Tensor]:
    """Random weights that keep a signal alive; the same on every machine and for every version of the libraries."""
    return {name: _values(number, name, tuple(shapes[name])) for number, name in enumerate(sorted(shapes))}


def _values(number: int, name: str, shape: tuple[int, ...]) -> Tensor:
    draw = np.random.RandomState(number)
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if name.endswith("running_var"):
        values = draw.uniform(0.5, 1.5, shape)
    elif name.endswith(("S_residual", "lambda1")):
        values = draw.uniform(0.5, 1.0, shape)
    elif len(shape) == 1 and name.endswith("weight"):
        values = draw.uniform(0.7, 1.3, shape)
    elif len(shape) <= 1 or "embed" in name.rpartition(".")[0].rpartition(".")[2]:
        values = 0.2 * draw.standard_normal(shape)
    else:
        values = math.sqrt(1.5 / max(1, math.prod(shape[1:]))) * draw.standard_normal(shape)
    return torch.from_numpy(np.asarray(values, np.float32))


def picture(side: int) -> Tensor:
    """A picture ``(1, 3, side, side)`` in 0..1 of coloured waves."""
    y, x = np.mgrid[:side, :side] / side
    waves = [np.sin(9 * x + 3 * c) * np.cos(7 * y - c) + np.sin(40 * x * y + c) for c in range(3)]
    return torch.from_numpy(np.stack(waves).astype(np.float32) / 4 + 0.5)[None]


def normalised(side: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    return (picture(side) - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1)


def renamed(module: nn.Module, rename: Callable[[str], str]) -> dict[str, list[int]]:
    """Published names and shapes of a module's tensors."""
    return {rename(name): list(value.shape) for name, value in module.state_dict().items()}


def load(module: nn.Module, tensors: Mapping[str, Tensor], rename: Callable[[str], str]) -> nn.Module:
    module.load_state_dict({name: tensors[rename(name)] for name in module.state_dict()})
    return module.eval()


def clip_tower() -> nn.Module:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=224,
        patch_size=14,
        projection_dim=48,
        hidden_act="quick_gelu",
    )
    return CLIPVisionModel(config).eval()


def gend_clip() -> tuple[dict[str, list[int]], Callable[[dict[str, Tensor]], Tensor]]:
    tower = clip_tower()

    def rename(name: str) -> str:
        return f"feature_extractor.vision_model.{name.removeprefix('vision_model.')}"

    shapes = renamed(tower, rename) | {"model.linear.weight": [2, 64], "model.linear.bias": [2]}

    def logits(tensors: dict[str, Tensor]) -> Tensor:
        features = load(tower, tensors, rename)(normalised(224, CLIP_MEAN, CLIP_STD)).pooler_output
        unit = features / features.norm(dim=1, keepdim=True)
        return unit @ tensors["model.linear.weight"].T + tensors["model.linear.bias"]

    return shapes | {"feature_extractor.visual_projection.weight": [48, 64]}, logits


def gend_dinov3() -> tuple[dict[str, list[int]], Callable[[dict[str, Tensor]], Tensor]]:
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    config = DINOv3ViTConfig(
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_register_tokens=4,
        patch_size=16,
        image_size=224,
    )
    network = DINOv3ViTModel(config).eval()

    def rename(name: str) -> str:  # newer versions put the layers into a model of their own
        return f"feature_extractor.backbone.{name.removeprefix('model.')}"

    shapes = renamed(network, rename) | {"model.linear.weight": [2, 64], "model.linear.bias": [2]}

    def logits(tensors: dict[str, Tensor]) -> Tensor:
        found = load(network, tensors, rename)(normalised(224, IMAGENET_MEAN, IMAGENET_STD)).last_hidden_state[:, 0]
        unit = found / found.norm(dim=1, keepdim=True)
        return unit @ tensors["model.linear.weight"].T + tensors["model.linear.bias"]

    return shapes, logits


def gend_pe() -> tuple[dict[str, list[int]], Callable[[dict[str, Tensor]], Tensor]]:
    """Outputs of the Perception Encoder as its authors run it: built for 336 px, given 224."""
    network = timm.create_model("vit_pe_core_large_patch14_336", num_classes=0, dynamic_img_size=True, **SMALL).eval()

    def rename(name: str) -> str:
        return f"feature_extractor.backbone.{name}"

    shapes = renamed(network, rename) | {"model.linear.weight": [2, 64], "model.linear.bias": [2]}

    def logits(tensors: dict[str, Tensor]) -> Tensor:
        features = load(network, tensors, rename)(normalised(224, HALF, HALF))
        unit = features / features.norm(dim=1, keepdim=True)
        return unit @ tensors["model.linear.weight"].T + tensors["model.linear.bias"]

    return shapes, logits


class Unmerged(nn.Module):
    """Layer of Effort: the residual is applied beside the main part, in three steps."""

    def __init__(self, tensors: Mapping[str, Tensor], layer: str) -> None:
        super().__init__()
        factors = ("weight_main", "U_residual", "S_residual", "V_residual", "bias")
        self.main, self.left, self.scale, self.right, self.bias = (tensors[f"{layer}.{factor}"] for factor in factors)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.main, self.bias) + ((x @ self.right.T) * self.scale) @ self.left.T


def effort() -> tuple[dict[str, list[int]], Callable[[dict[str, Tensor]], Tensor]]:
    tower = clip_tower()
    layers = [name for name, module in tower.named_modules() if isinstance(module, nn.Linear) and ".self_attn." in name]

    def rename(name: str) -> str:
        return f"backbone.{name.removeprefix('vision_model.')}"

    shapes = renamed(tower, rename) | {"head.weight": [2, 64], "head.bias": [2]}
    for layer in layers:
        del shapes[f"{rename(layer)}.weight"]
        factors = {"weight_main": [64, 64], "U_residual": [64, 1], "S_residual": [1], "V_residual": [1, 64]}
        unused = {"U_r": [64, 63], "S_r": [63], "V_r": [63, 64]}
        shapes |= {f"{rename(layer)}.{factor}": shape for factor, shape in {**factors, **unused}.items()}

    def logits(tensors: dict[str, Tensor]) -> Tensor:
        for layer in layers:
            parent, _, child = layer.rpartition(".")
            setattr(tower.get_submodule(parent), child, Unmerged(tensors, rename(layer)))
        load(tower, tensors, rename)
        features = tower(normalised(224, CLIP_MEAN, CLIP_STD)).pooler_output
        return features @ tensors["head.weight"].T + tensors["head.bias"]

    return shapes, logits


def efficientnet(
    prefix: str, head: str, outputs: int, side: int, mean: tuple[float, ...], std: tuple[float, ...], *, stem: bool
) -> tuple[dict[str, list[int]], Callable[[dict[str, Tensor]], Tensor]]:
    """EfficientNet-B4 of efficientnet_pytorch, with paddings for its nominal 380 px, given pictures of ``side`` px."""
    from efficientnet_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-b4", num_classes=outputs).eval()
    if stem:
        network._conv_stem = nn.Conv2d(3, 48, 3, stride=2, bias=False)

    def rename(name: str) -> str:
        return name.replace("_fc.", head) if name.startswith("_fc.") else prefix + name

    def logits(tensors: dict[str, Tensor]) -> Tensor:
        z: Tensor = load(network, tensors, rename)(normalised(side, mean, std))
        return z

    return renamed(network, rename), logits


def xception() -> tuple[dict[str, list[int]], Callable[[dict[str, Tensor]], Tensor]]:
    network = timm.create_model("legacy_xception", num_classes=2).eval()

    def rename(name: str) -> str:
        return f"backbone.{name.replace('fc.', 'last_linear.') if name.startswith('fc.') else name}"

    def logits(tensors: dict[str, Tensor]) -> Tensor:
        found: Tensor = load(network, tensors, rename)(normalised(256, HALF, HALF))
        return found

    return renamed(network, rename), logits


ZERO, ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
REFERENCES: dict[str, Callable[[], tuple[dict[str, list[int]], Callable[[dict[str, Tensor]], Tensor]]]] = {
    "gend-clip-l14": gend_clip,
    "gend-pe-l": gend_pe,
    "gend-dinov3-l": gend_dinov3,
    "effort": effort,
    "sbi": lambda: efficientnet("net.", "net._fc.", 2, 380, ZERO, ONE, stem=False),
    "icpr2020-b4": lambda: efficientnet(
        "efficientnet.", "classifier.", 1, 224, IMAGENET_MEAN, IMAGENET_STD, stem=False
    ),
    "deepfakebench-efficientnetb4": lambda: efficientnet(
        "backbone.efficientnet.", "backbone.last_layer.", 2, 256, HALF, HALF, stem=True
    ),
    "deepfakebench-xception": xception,
}
"""Published names and shapes of each detector's tensors, and its logits on the picture for such tensors."""
REDUCED: dict[str, dict[str, Any]] = {
    "gend-clip-l14": SMALL,
    "gend-pe-l": {**SMALL, "img_size": 224},
    "gend-dinov3-l": {**SMALL, "img_size": 224, "global_pool": "token"},
    "effort": SMALL,
}


def network_of(entry: Published) -> ClipClassifier:
    """dfd's network of a detector; of the large transformers one of the same build, narrow and shallow."""
    if entry.name not in REDUCED:
        return build_model(entry.model).eval()
    backbone, head = entry.model["backbone"], entry.model["head"]["_target_"].rpartition(".")[2]
    network = timm.create_model(backbone["name"], num_classes=0, **REDUCED[entry.name])
    mean, std = (backbone.get(key) or network.pretrained_cfg[key] for key in ("mean", "std"))
    width = SMALL["embed_dim"]
    reduced = Backbone(
        network, num_features=width, mean=mean, std=std, input_size=224, resample=backbone.get("resample")
    )
    return ClipClassifier(reduced, TEMPORALS["mean"](width), head=HEADS[head](width, dropout=0.0)).eval()


def ours(entry: Published, tensors: Mapping[str, Tensor]) -> Tensor:
    """Logits ``(2,)`` of dfd's network for published tensors, on the picture in the size of the network."""
    network = network_of(entry)
    network.load_state_dict(entry.convert(tensors, network), strict=True)
    with torch.inference_mode():
        logits: Tensor = network(picture(entry.model["backbone"]["input_size"])[None])[0]
    return logits


def theirs(logits: Tensor) -> Tensor:
    """The reference's logits ``(2,)``: a single output is a sigmoid."""
    return logits[0] if logits.shape[1] == 2 else torch.stack([torch.zeros(()), logits[0, 0]])


def names_sha256(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def _freeze() -> None:
    frozen: dict[str, Any] = {}
    for name, reference in REFERENCES.items():
        shapes, logits = reference()
        with torch.inference_mode():
            found = theirs(logits(filled(shapes)))
        frozen[name] = {"logits": [round(float(value), 6) for value in found], "names_sha256": names_sha256(shapes)}
        if name in REDUCED:
            frozen[name]["shapes"] = {key: " ".join(map(str, shape)) for key, shape in sorted(shapes.items())}
        print(name, frozen[name]["logits"], ours(PUBLISHED[name], filled(shapes)).tolist())
    FROZEN.write_text(json.dumps(frozen, indent=1) + "\n")


if __name__ == "__main__":
    _freeze()
