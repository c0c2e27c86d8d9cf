"""EfficientNet-B4 of the ICPR 2020 paper on ensembles, without attention, trained on DFDC."""

from collections.abc import Iterable

from dfd.models.published.efficientnet import efficientnet_names
from dfd.models.published.entry import Published, PublishedFile, has
from dfd.models.published.naming import Source

_TRUNK = "backbone.network."
_SHA256 = "c9f3663e2116d3356d056a0ce6453e0fc412a8df68ebd0902f07104d9129a09a"
_FILE = f"EfficientNetB4_DFDC_bestval-{_SHA256}.pth"


def _recipe(names: Iterable[str]) -> dict[str, Source]:
    own = list(names)
    trunk = efficientnet_names(name.removeprefix(_TRUNK) for name in own if name.startswith(_TRUNK))
    sources = {_TRUNK + name: Source((f"efficientnet.{published}",)) for name, published in trunk.items()}
    return sources | {f"classify.{kind}": Source((f"classifier.{kind}",)) for kind in ("weight", "bias")}


ICPR2020 = (
    Published(
        name="icpr2020-b4",
        title="EfficientNet-B4 trained on DFDC (Bonettini and others, ICPR 2020)",
        home="https://github.com/polimi-ispl/icpr2020dfdc",
        files=(PublishedFile(name=_FILE, url=f"https://icpr2020.s3.amazonaws.com/{_FILE}", sha256=_SHA256),),
        licence_code="GPL-3.0",
        licence_weights="GPL-3.0 (that of the repository, which names no other)",
        training_data="DFDC, whose terms allow research only; begun from ImageNet",
        citation="Bonettini and others: Video Face Manipulation Detection Through Ensemble of CNNs, ICPR 2020",
        verified=(
            "The network equals efficientnet_pytorch's B4 at 224 px on random weights, with the tensors named as "
            "there. The published weights themselves were not run here. The file's SHA-256 is part of its name."
        ),
        seconds_per_crop=0.08,
        input={"kind": "box", "margin_fraction": 0.0, "size": 224, "filter": "bilinear"},
        model={
            "backbone": {
                **{"_target_": "dfd.models.backbones.timm", "name": "tf_efficientnet_b4", "pretrained": False},
                **{"input_size": 224, "pads": 380, "resample": "bilinear"},
                **{"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
            },
            "temporal": {"_target_": "dfd.models.temporal.mean"},
            "head": {"_target_": "dfd.models.heads.linear", "outputs": 1},
            "dropout": 0.0,
        },
        recipe=_recipe,
        recognises=has("efficientnet._conv_stem.weight", "classifier.weight"),
    ),
)
