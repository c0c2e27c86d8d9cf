"""GenD: large vision transformers of which only the layer normalisations were trained (WACV 2026)."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from dfd.models.published.clip import clip_source
from dfd.models.published.entry import Figure, Published, PublishedFile, has
from dfd.models.published.naming import Recipe, Source, from_names, joined

_TOWER = "feature_extractor.vision_model."
_BACKBONE = "feature_extractor.backbone."
_GRID = 16
"""Patches along a side of a picture of 224 px, at 14 px each."""
_TABLE = "table of the repository of BiasConsist, in DeepfakeBench's protocol, which does not name the trunk"
_PAPER = "arXiv 2508.06248"
_HALF = [0.5, 0.5, 0.5]


def _head(name: str) -> str:
    return f"model.linear.{name.removeprefix('classify.')}"


def _in_clip(name: str) -> str | Source:
    if name.startswith("classify."):
        return _head(name)
    return clip_source(name.removeprefix("backbone.network."), _TOWER)


def _in_perception_encoder(name: str) -> str | Source:
    if name.startswith("classify."):
        return _head(name)
    own = name.removeprefix("backbone.network.")
    return Source((_BACKBONE + own,), _at_224) if own == "pos_embed" else _BACKBONE + own


def _at_224(positions: Tensor) -> Tensor:
    """Resample the positions of another size, as timm does when it is given a picture of 224 px."""
    from timm.layers import resample_abs_pos_embed  # with torchvision: some seconds, which the table need not wait for

    resampled: Tensor = resample_abs_pos_embed(positions, new_size=[_GRID, _GRID], num_prefix_tokens=1)
    return resampled


_IN_BLOCKS = {
    **{"norm1": "norm1", "norm2": "norm2", "attn.proj": "attention.o_proj"},
    **{"mlp.fc1": "mlp.up_proj", "mlp.fc2": "mlp.down_proj"},
}
_ONCE = {
    **{"cls_token": "embeddings.cls_token", "reg_token": "embeddings.register_tokens"},
    **{f"patch_embed.proj.{kind}": f"embeddings.patch_embeddings.{kind}" for kind in ("weight", "bias")},
    **{f"norm.{kind}": f"norm.{kind}" for kind in ("weight", "bias")},
}


def _in_dinov3(name: str) -> str | Source:
    if name.startswith("classify."):
        return _head(name)
    own = name.removeprefix("backbone.network.")
    if own in _ONCE:
        return _BACKBONE + _ONCE[own]
    _, number, part = own.split(".", 2)
    block = f"{_BACKBONE}layer.{number}."
    if part in ("gamma_1", "gamma_2"):
        return f"{block}layer_scale{part[-1]}.lambda1"
    if part in ("attn.q_bias", "attn.v_bias"):  # there is none for keys
        return f"{block}attention.{part[5]}_proj.bias"
    if part == "attn.qkv.weight":
        return Source(tuple(f"{block}attention.{which}_proj.weight" for which in "qkv"), joined)
    layer, _, kind = part.rpartition(".")
    return f"{block}{_IN_BLOCKS[layer]}.{kind}"


def _entry(
    name: str,
    trunk: str,
    file: PublishedFile,
    backbone: dict[str, Any],
    change: Callable[[str], str | Source],
    *,
    mark: str,
    licence_weights: str,
    seconds: float,
    figures: tuple[Figure, ...] = (),
    unused: Callable[[str], bool] = lambda name: False,
    verified: str,
) -> Published:
    recipe: Recipe = from_names(change)
    return Published(
        name=name,
        title=f"GenD with {trunk} (Yermakov, Cech, Matas and Fritz, WACV 2026)",
        home="https://github.com/yermandy/GenD",
        files=(file,),
        licence_code="MIT",
        licence_weights=licence_weights,
        training_data="FaceForensics++ (c23), whose terms allow research only",
        citation=(
            "Yermakov, Cech, Matas, Fritz: Deepfake Detection that Generalizes Across Benchmarks, WACV 2026, "
            "arXiv 2508.06248"
        ),
        figures=figures,
        verified=verified,
        seconds_per_crop=seconds,
        input={
            **{"kind": "five_points", "template": "gend", "scale": 1.3, "size": 256},
            **{"filter": "bilinear", "border": "black", "fit": "lmeds"},
        },
        model={
            "backbone": {"_target_": "dfd.models.backbones.timm", "pretrained": False, "input_size": 224, **backbone},
            "temporal": {"_target_": "dfd.models.temporal.mean"},
            "head": {"_target_": "dfd.models.heads.linear_norm", "outputs": 2},
            "dropout": 0.0,
        },
        recipe=recipe,
        recognises=has(mark, "model.linear.weight"),
        unused=unused,
    )


def _hub(repo: str, **facts: Any) -> PublishedFile:
    url = f"https://huggingface.co/{repo}/resolve/main/model.safetensors"
    return PublishedFile(name="model.safetensors", url=url, hub=repo, **facts)


_UNCHECKED = (
    "The network equals {what} on random weights, with the tensors named as published; the published weights "
    "themselves were not run here."
)

GEND = (
    _entry(
        "gend-clip-l14",
        "CLIP ViT-L/14",
        _hub("yermandy/GenD_CLIP_L_14", size_bytes=1_215_928_160, sha256="d76f0bdf"),
        {"name": "vit_large_patch14_clip_quickgelu_224", "resample": "bicubic"},
        _in_clip,
        mark=f"{_TOWER}pre_layrnorm.weight",
        licence_weights="MIT (tag of the hub); CLIP: MIT",
        seconds=2.1,
        unused=lambda name: name.startswith("feature_extractor.visual_projection.") or name.endswith(".position_ids"),
        verified=_UNCHECKED.format(what="transformers' CLIP")
        + " A file of these names and shapes has the length of the published one to the byte.",
    ),
    _entry(
        "gend-pe-l",
        "Perception Encoder L",
        _hub("yermandy/GenD_PE_L"),
        {
            **{"name": "vit_pe_core_large_patch14_336", "img_size": 224, "resample": "bicubic"},
            **{"mean": _HALF, "std": _HALF},
        },
        _in_perception_encoder,
        mark=f"{_BACKBONE}attn_pool.latent",
        licence_weights="MIT (tag of the hub); Perception Encoder: Apache-2.0",
        seconds=2.1,
        figures=(
            *(
                Figure(data, "video AUC", value, _TABLE)
                for data, value in (("Celeb-DF v2", 0.960), ("DFD", 0.970), ("DFDC", 0.870), ("DFDCP", 0.917))
            ),
            *(
                Figure(data, "video AUC", value, _PAPER)
                for data, value in (
                    *(("mean of 14 sets", 0.914), ("FaceForensics++", 0.989), ("Celeb-DF v2", 0.950)),
                    *(("FFIW", 0.937), ("DFDC", 0.822), ("FakeAVCeleb", 0.973)),
                )
            ),
        ),
        verified=_UNCHECKED.format(what="timm's network at 224 px"),
    ),
    _entry(
        "gend-dinov3-l",
        "DINOv3 ViT-L/16",
        _hub("yermandy/GenD_DINOv3_L"),
        {"name": "vit_large_patch16_dinov3_qkvb", "img_size": 224, "global_pool": "token"},
        _in_dinov3,
        mark=f"{_BACKBONE}embeddings.cls_token",
        licence_weights="MIT (tag of the hub); DINOv3: Meta's DINOv3 licence",
        seconds=1.7,
        unused=lambda name: name == f"{_BACKBONE}embeddings.mask_token",
        verified=_UNCHECKED.format(what="transformers' DINOv3")
        + " How its authors resize pictures (bilinear) was not found in a file of theirs; a preprocessor_config.json "
        "that lies beside the weights decides.",
    ),
)
