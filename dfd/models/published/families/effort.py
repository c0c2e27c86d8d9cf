"""Effort: CLIP with trained residuals of low rank in every attention layer (ICML 2025)."""

import torch
from torch import Tensor

from dfd.models.published.clip import clip_source
from dfd.models.published.entry import Figure, Published, PublishedFile, has
from dfd.models.published.naming import Source, from_names

_TOWER = "backbone."
_FACTORS = ("weight_main", "U_residual", "S_residual", "V_residual")
_UNUSED = ("U_r", "S_r", "V_r")
_REPOSITORY = "table of the repository of BiasConsist, which repeated it in DeepfakeBench's protocol"


def _published(name: str) -> str | Source:
    if name.startswith("classify."):
        return f"head.{name.removeprefix('classify.')}"
    source = clip_source(name.removeprefix("backbone.network."), _TOWER)
    if ".self_attn." not in source.names[0] or not source.names[0].endswith(".weight"):
        return source
    layers = [published.removesuffix(".weight") for published in source.names]
    return Source(tuple(f"{layer}.{factor}" for layer in layers for factor in _FACTORS), merged)


def merged(*factors: Tensor) -> Tensor:
    """Add each layer's residual ``U · diag(S) · V`` to its main part; join the layers of queries, keys and values."""
    layers = [factors[start : start + len(_FACTORS)] for start in range(0, len(factors), len(_FACTORS))]
    # In double precision, so that the sum is rounded once.
    dense = [main.double() + (left.double() * scale.double()) @ right.double() for main, left, scale, right in layers]
    return torch.cat(dense).to(factors[0].dtype)


EFFORT = (
    Published(
        name="effort",
        title="Effort, CLIP ViT-L/14 with residuals of low rank (Yan and others, ICML 2025)",
        home="https://github.com/YZY-stack/Effort-AIGI-Detection",
        files=(
            PublishedFile(
                name="effort.pth",
                url="https://github.com/YZY-stack/Effort-AIGI-Detection",
                is_direct=False,
            ),
        ),
        licence_code="CC BY-NC 4.0",
        licence_weights="CC BY-NC 4.0",
        training_data="FaceForensics++ (c23), whose terms allow research only; begun from CLIP (MIT)",
        citation=(
            "Yan and others: Orthogonal Subspace Decomposition for Generalizable AI-Generated Image Detection, "
            "ICML 2025"
        ),
        figures=tuple(
            Figure(data, "video AUC", value, _REPOSITORY)
            for data, value in (("Celeb-DF v2", 0.956), ("DFD", 0.965), ("DFDC", 0.843), ("DFDCP", 0.909))
        ),
        verified=(
            "Merged weights compute what unmerged ones do, on random weights; the network equals transformers' CLIP. "
            "The published weights themselves were not run here."
        ),
        seconds_per_crop=2.1,
        input={
            **{"kind": "five_points", "template": "arcface", "scale": 1.3, "size": 256},
            **{"filter": "bilinear", "border": "black", "fit": "lmeds"},
        },
        model={
            "backbone": {
                **{"_target_": "dfd.models.backbones.timm", "name": "vit_large_patch14_clip_quickgelu_224"},
                **{"pretrained": False, "input_size": 224, "resample": "bilinear"},
            },
            "temporal": {"_target_": "dfd.models.temporal.mean"},
            "head": {"_target_": "dfd.models.heads.linear", "outputs": 2},
            "dropout": 0.0,
        },
        recipe=from_names(_published),
        recognises=has(f"{_TOWER}encoder.layers.0.self_attn.q_proj.weight_main", "head.weight"),
        unused=lambda name: name.rpartition(".")[2] in _UNUSED or name.endswith(".position_ids"),
    ),
)
