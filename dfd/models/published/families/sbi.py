"""Self-blended images: EfficientNet-B4 trained on real faces and blends of them (CVPR 2022)."""

from collections.abc import Iterable

from dfd.models.published.efficientnet import efficientnet_names
from dfd.models.published.entry import Figure, Published, PublishedFile, has
from dfd.models.published.naming import Source

_TRUNK = "backbone.network."


def _recipe(names: Iterable[str]) -> dict[str, Source]:
    own = list(names)
    trunk = efficientnet_names(name.removeprefix(_TRUNK) for name in own if name.startswith(_TRUNK))
    sources = {_TRUNK + name: Source((f"net.{published}",)) for name, published in trunk.items()}
    return sources | {f"classify.{kind}": Source((f"net._fc.{kind}",)) for kind in ("weight", "bias")}


SBI = (
    Published(
        name="sbi",
        title="Self-Blended Images, EfficientNet-B4 (Shiohara and Yamasaki, CVPR 2022)",
        home="https://github.com/mapooon/SelfBlendedImages",
        files=(
            PublishedFile(
                name="sbi.tar",
                url="https://drive.google.com/file/d/12sLyqBp0VFwdpA-oZLdIOkOTkz_ZnIhV/view",
                is_direct=False,
            ),
        ),
        licence_code="research only; commercial use needs an agreement with the authors",
        licence_weights="research only; commercial use needs an agreement with the authors",
        training_data="real videos of FaceForensics++ (raw), whose terms allow research only; begun from ImageNet",
        citation="Shiohara, Yamasaki: Detecting Deepfakes with Self-Blended Images, CVPR 2022, arXiv 2204.08376",
        figures=(
            *(
                Figure(data, "video AUC", value, "the authors' repository")
                for data, value in (
                    *(("Celeb-DF v2", 0.9382), ("DFD", 0.9787), ("DFDC", 0.7301)),
                    *(("DFDCP", 0.8570), ("FFIW", 0.8452)),
                )
            ),
            Figure("1,999 videos of mixed origin", "video AUC", 0.676, "deepsafe-bench 1.0.0"),
        ),
        verified=(
            "The network equals efficientnet_pytorch's B4 at 380 px on random weights, with the tensors named as "
            "there. The published weights themselves were not run here. Of several faces the authors take the most "
            "suspicious in each frame; dfd takes the face with the highest mean, and scores faces of any size."
        ),
        seconds_per_crop=0.2,
        input={"kind": "box", "margin_fraction": 0.125, "size": 380, "filter": "bilinear"},
        aggregation="max_of_means",
        faces="all",
        model={
            "backbone": {
                **{"_target_": "dfd.models.backbones.timm", "name": "tf_efficientnet_b4", "pretrained": False},
                **{"input_size": 380, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0], "resample": "bilinear"},
            },
            "temporal": {"_target_": "dfd.models.temporal.mean"},
            "head": {"_target_": "dfd.models.heads.linear", "outputs": 2},
            "dropout": 0.0,
        },
        recipe=_recipe,
        recognises=has("net._conv_stem.weight", "net._fc.weight"),
    ),
)
