"""Capsule-Forensics, first edition: a capsule network on VGG19's features (ICASSP 2019)."""

from dfd.models.networks.systems.vgg19 import UNUSED
from dfd.models.pretrained import VGG19_WEIGHTS
from dfd.models.published.entry import Figure, Published, PublishedFile, has
from dfd.models.published.naming import Source, from_names, swapped

_STATISTICS = {"0": "7", "1": "8", "2": "9", "3": "10"}
"""Numbers of the layers after the statistics: dfd's and the published ones."""


def _published(name: str) -> str | Source:
    if name == "classify.route_OIVP":  # its first axis is the class, and the authors put fake first
        return Source(("routing_stats.route_weights",), swapped)
    if name.startswith("classify.capsules."):
        number, part, layer, kind = name.removeprefix("classify.capsules.").split(".")
        return f"fea_ext.ext_{int(number) + 1}.{_STATISTICS[layer] if part == 'statistics' else layer}.{kind}"
    return name.removeprefix("backbone.network.")


def _entry(name: str, manipulation: str, folder: str, file: str, sha256: str) -> Published:
    path = f"{folder}/{file}"
    return Published(
        name=name,
        title=f"Capsule-Forensics for {manipulation} (Nguyen, Yamagishi and Echizen, ICASSP 2019)",
        home="https://github.com/nii-yamagishilab/Capsule-Forensics",
        files=(
            PublishedFile(
                name=file,
                url=f"https://github.com/nii-yamagishilab/Capsule-Forensics/raw/master/checkpoints/{path}",
                size_bytes=1_898_055,
                sha256=sha256,
            ),
            PublishedFile(name=VGG19_WEIGHTS.name, url=VGG19_WEIGHTS.url, sha256=VGG19_WEIGHTS.sha256),
        ),
        licence_code="BSD-3-Clause",
        licence_weights=f"BSD-3-Clause (that of the repository); VGG19: {VGG19_WEIGHTS.licence}",
        training_data=(
            "MesoNet's videos of the web (Deepfakes)"
            if folder == "deepfakes"
            else "FaceForensics (Face2Face), whose terms allow research only"
        ),
        citation="Nguyen, Yamagishi, Echizen: Capsule-Forensics, ICASSP 2019, arXiv 1810.11215",
        figures=tuple(
            Figure(data, "frame AUC", value, "DeepfakeBench, which trained it anew on FaceForensics++ c23")
            for data, value in (
                *(("FaceForensics++ c23", 0.842), ("Celeb-DF v2", 0.747), ("DFD", 0.684)),
                *(("DFDC", 0.647), ("DFDCP", 0.657)),
            )
        ),
        verified=(
            "The published head gives the published module's probabilities on feature maps of a formula; the trunk "
            "equals torchvision's VGG19. Whole pictures were not compared. How its authors cropped faces is not stated."
        ),
        seconds_per_crop=0.07,
        input={"kind": "square", "size": 128, "margin_fraction": 0.3},
        label_order=("fake", "real"),
        model={
            "backbone": {
                **{"_target_": "dfd.models.backbones.vgg19_pool3", "pretrained": False},
                **{"input_size": 128, "freeze": True},
            },
            "temporal": {"_target_": "dfd.models.temporal.mean"},
            "head": {"_target_": "dfd.models.heads.capsule"},
            "dropout": 0.0,
        },
        recipe=from_names(_published),
        recognises=has("fea_ext.ext_1.0.weight", "routing_stats.route_weights"),
        unused=lambda given: given in UNUSED,
    )


CAPSULE = (
    _entry(
        *("capsule-deepfakes", "Deepfakes", "deepfakes", "capsule_95.pt"),
        "1da17e648639fb146d2cb8609bd3b7bf64617bb2a3b22b7f81b958ae517a41ae",
    ),
    _entry(
        *("capsule-face2face-c0", "Face2Face without compression", "face2face/c0", "capsule_29.pt"),
        "efdeffc0645a8aea7704a2448549b8981be4a907ac8b924a6a8cfa8dbb8d6dcf",
    ),
    _entry(
        *("capsule-face2face-c23", "Face2Face at c23", "face2face/c23", "capsule_35.pt"),
        "5a611e3359b5df0605543939a2abedf922dd0c4f797acb670cd8a87dab205934",
    ),
    _entry(
        *("capsule-face2face-c40", "Face2Face at c40", "face2face/c40", "capsule_54.pt"),
        "814e125e38f7b60e3648a1baba6104e17b216ae03add6922b50b7b2971c54317",
    ),
)
