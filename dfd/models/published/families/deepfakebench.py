"""Xception and EfficientNet-B4 as DeepfakeBench trained them (NeurIPS 2023)."""

from collections.abc import Iterable
from typing import Any

from dfd.models.published.efficientnet import efficientnet_names
from dfd.models.published.entry import Figure, Published, PublishedFile, has
from dfd.models.published.naming import Recipe, Source, from_names

_TRUNK = "backbone.network."
_RELEASE = "https://github.com/SCLBD/DeepfakeBench/releases/download/v1.0.1/"
_HALF = [0.5, 0.5, 0.5]
_SETS = ("FaceForensics++ c23", "Celeb-DF v2", "DFD", "DFDC", "DFDCP")


def _in_xception(name: str) -> str:
    if name.startswith("classify."):
        return f"backbone.last_linear.{name.removeprefix('classify.')}"
    return f"backbone.{name.removeprefix(_TRUNK)}"


def _in_efficientnet(names: Iterable[str]) -> dict[str, Source]:
    own = list(names)
    trunk = efficientnet_names(name.removeprefix(_TRUNK) for name in own if name.startswith(_TRUNK))
    sources = {_TRUNK + name: Source((f"backbone.efficientnet.{published}",)) for name, published in trunk.items()}
    return sources | {f"classify.{kind}": Source((f"backbone.last_layer.{kind}",)) for kind in ("weight", "bias")}


def _entry(
    name: str,
    trunk: str,
    file: str,
    backbone: dict[str, Any],
    recipe: Recipe,
    aucs: tuple[float, ...],
    seconds: float,
    *marks: str,
) -> Published:
    return Published(
        name=name,
        title=f"{trunk} of DeepfakeBench (Yan and others, NeurIPS 2023)",
        home="https://github.com/SCLBD/DeepfakeBench",
        files=(PublishedFile(name=file, url=_RELEASE + file),),
        licence_code="CC BY-NC 4.0",
        licence_weights="CC BY-NC 4.0",
        training_data="FaceForensics++ (c23), whose terms allow research only; begun from ImageNet",
        citation="Yan and others: DeepfakeBench, NeurIPS 2023 Datasets and Benchmarks, arXiv 2307.01426",
        figures=tuple(
            Figure(data, "frame AUC", value, "DeepfakeBench") for data, value in zip(_SETS, aucs, strict=True)
        ),
        verified=(
            f"The network equals the published {trunk} on random weights, with the tensors named as there. The "
            "published weights themselves were not run here. Its crops are aligned on points of the eyelids, dfd's on "
            "the eyes: they agree approximately."
        ),
        seconds_per_crop=seconds,
        input={
            **{"kind": "five_points", "template": "arcface", "scale": 1.3, "size": 256},
            **{"filter": "bilinear", "border": "black", "fit": "lmeds"},
        },
        model={
            "backbone": {
                **{"_target_": "dfd.models.backbones.timm", "pretrained": False, "input_size": 256},
                **{"mean": _HALF, "std": _HALF, "resample": "bicubic", **backbone},
            },
            "temporal": {"_target_": "dfd.models.temporal.mean"},
            "head": {"_target_": "dfd.models.heads.linear", "outputs": 2},
            "dropout": 0.0,
        },
        recipe=recipe,
        recognises=has(*marks),
        unused=lambda name: name.startswith("backbone.adjust_channel."),
    )


DEEPFAKEBENCH = (
    _entry(
        "deepfakebench-xception",
        "Xception",
        "xception_best.pth",
        {"name": "legacy_xception"},
        from_names(_in_xception),
        (0.964, 0.737, 0.816, 0.708, 0.737),
        0.17,
        *("backbone.conv1.weight", "backbone.last_linear.weight"),
    ),
    _entry(
        "deepfakebench-efficientnetb4",
        "EfficientNet-B4",
        "effnb4_best.pth",
        {"name": "tf_efficientnet_b4", "pads": 380, "unpadded_stem": True},
        _in_efficientnet,
        (0.957, 0.749, 0.815, 0.696, 0.728),
        0.1,
        *("backbone.efficientnet._conv_stem.weight", "backbone.last_layer.weight"),
    ),
)
