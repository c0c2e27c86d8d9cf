"""The winner of the Deepfake Detection Challenge: seven EfficientNet-B7 (Seferbekov 2020)."""

from dfd.models.published.entry import Published, PublishedFile, has
from dfd.models.published.naming import from_names

_RELEASE = "https://github.com/selimsef/dfdc_deepfake_challenge/releases/download/0.0.1/"
_STEM = "DeepFakeClassifier_tf_efficientnet_b7_ns_0_"
_SEEDS_AND_EPOCHS = ((111, 36), (555, 19), (777, 29), (777, 31), (888, 37), (888, 40), (999, 23))


def _published(name: str) -> str:
    if name.startswith("classify."):
        return f"fc.{name.removeprefix('classify.')}"
    return f"encoder.{name.removeprefix('backbone.network.')}"


DFDC = (
    Published(
        name="dfdc-b7",
        title="Winner of the Deepfake Detection Challenge, seven EfficientNet-B7 (Seferbekov 2020)",
        home="https://github.com/selimsef/dfdc_deepfake_challenge",
        files=tuple(
            PublishedFile(name=name, url=_RELEASE + name)
            for name in (f"final_{seed}_{_STEM}{epoch}" for seed, epoch in _SEEDS_AND_EPOCHS)
        ),
        is_ensemble=True,
        licence_code="MIT",
        licence_weights="MIT",
        training_data="DFDC, whose terms allow research only; begun from weights trained on JFT-300M and ImageNet",
        citation="Seferbekov: dfdc_deepfake_challenge, first place of the Deepfake Detection Challenge, 2020",
        verified=(
            "The network is timm's own, whose names the files have; the rule from frames to a video is tested on "
            "tables made by hand. The published weights themselves were not run here, and where its authors compute "
            "in 16 bits, dfd computes in 32."
        ),
        seconds_per_crop=0.52,
        input={"kind": "letterbox", "margin_fraction": 0.333333, "size": 380, "filter": "auto"},
        aggregation="confident",
        faces="all",
        model={
            "backbone": {
                **{"_target_": "dfd.models.backbones.timm", "name": "tf_efficientnet_b7.ns_jft_in1k"},
                **{"pretrained": False, "input_size": 380},
            },
            "temporal": {"_target_": "dfd.models.temporal.mean"},
            "head": {"_target_": "dfd.models.heads.linear", "outputs": 1},
            "dropout": 0.0,
        },
        recipe=from_names(_published),
        recognises=has("encoder.conv_stem.weight", "encoder.blocks.1.0.conv_pw.weight", "fc.weight"),
        unused=lambda name: name.startswith("encoder.classifier."),
    ),
)
