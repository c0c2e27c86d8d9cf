"""The public code that the original study builds on: kept to show its error, not to detect."""

from dfd.models.published.entry import Published, PublishedFile, has
from dfd.models.published.naming import Source, from_names, swapped

_HOME = "https://github.com/abhijitjadhav1998/Deepfake_detection_using_deep_learning"
_STAGES = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
"""Places of torchvision's layers in the published sequence; 2 and 3 are the activation and the pooling."""


def _published(name: str) -> str | Source:
    if name.startswith("classify."):  # the authors put fake first
        return Source((f"linear1.{name.removeprefix('classify.')}",), swapped)
    if name.startswith("temporal.recurrent."):
        return f"lstm.{name.removeprefix('temporal.recurrent.')}"
    stage, _, rest = name.removeprefix("backbone.network.").partition(".")
    return f"model.{_STAGES[stage]}.{rest}"


THESIS = (
    Published(
        name="thesis-upstream",
        title="ResNeXt-50 with an LSTM over the wrong axis (Jadhav and others, 2020)",
        home=_HOME,
        files=(PublishedFile(name="thesis-upstream.pt", url=_HOME, is_direct=False),),
        licence_code="GPL-3.0",
        licence_weights="GPL-3.0 (that of the repository, which names no other)",
        training_data="FaceForensics++, DFDC and Celeb-DF, whose terms allow research only; begun from ImageNet",
        citation="Jadhav and others: Deepfake_detection_using_deep_learning, 2020",
        verified=(
            "Names and shapes of its tensors; the error is shown in docs/original-study.md. The published weights "
            "themselves were not run here."
        ),
        warning=(
            "A demonstration of an error: its LSTM runs over the videos of a batch, so for one video alone it sees one "
            "frame, the last of the clip, and nothing over time. Do not rely on its scores."
        ),
        seconds_per_crop=0.04,
        input={"kind": "box", "margin_fraction": 0.0, "size": 112, "filter": "bilinear"},
        clip_len=10,
        frames=10,
        label_order=("fake", "real"),
        model={
            "backbone": {"_target_": "dfd.models.backbones.resnext50", "pretrained": False},
            "temporal": {
                **{"_target_": "dfd.models.temporal.lstm_over_batch", "hidden_features": 2048, "num_layers": 1},
                **{"reduce": "last", "alone": True},
            },
            "head": {"_target_": "dfd.models.heads.linear", "outputs": 2},
            "dropout": 0.0,
        },
        recipe=from_names(_published),
        recognises=has("model.0.weight", "lstm.weight_ih_l0", "linear1.weight"),
    ),
)
