"""Backbones that see a clip at once: torchvision's networks of convolutions over space and time."""

from typing import Literal

from torch import Tensor, nn

from dfd.base.fetch import WeightsFile
from dfd.models.networks.backbone import Backbone
from dfd.models.pretrained import _torchvision_file, load_weights

KINETICS_MEAN, KINETICS_STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
FILES = {
    "r2plus1d_18": "r2plus1d_18-91a641e6.pth",
    "mc3_18": "mc3_18-a90a0ba3.pth",
    "r3d_18": "r3d_18-b3b3357e.pth",
}
"""torchvision's file of each network, whose name has the first digits of its SHA-256."""
NUM_FEATURES = 512


class VideoBackbone(Backbone):
    """A network of clips whose maps are averaged over places, so that a head over time sees what is left of it."""

    sees_clips = True

    def forward(self, clips_BTCHW: Tensor) -> Tensor:
        """Features ``(B, T', num_features)`` of clips ``(B, T, C, H, W)``, or those of one clip without ``B``."""
        if clips_BTCHW.ndim == 4:
            alone_TD: Tensor = self(clips_BTCHW[None])[0]
            return alone_TD
        maps_BDThw: Tensor = self.network(clips_BTCHW.transpose(1, 2))
        return maps_BDThw.mean(dim=(3, 4)).transpose(1, 2)


def video(
    *,
    name: Literal["r2plus1d_18", "mc3_18", "r3d_18"] = "r2plus1d_18",
    pretrained: bool = True,
    weights: str | None = None,
    freeze: bool = False,
) -> Backbone:
    """Build a ResNet of 18 layers over space and time (Tran and others, CVPR 2018), 512 features.

    It halves time three times (``mc3_18`` never): a clip of 16 frames gives two vectors, one of 4 frames gives one.

    Args:
        name: ``r2plus1d_18`` (convolutions over space, then over time), ``r3d_18`` (over both at once) or ``mc3_18``
            (over both in the first layers only).
        pretrained: load torchvision's weights of Kinetics-400 from torch's cache, dfd's cache or the network.
        weights: file of weights to load instead.
        freeze: train only the layers after the backbone.

    Raises:
        WeightsMissing: when the weights cannot be found or downloaded, or the file does not fit.
    """
    import torchvision  # takes seconds, see dfd.models.networks.resnext

    whole = getattr(torchvision.models.video, name)(weights=None)
    network = nn.Sequential()
    for part in ("stem", "layer1", "layer2", "layer3", "layer4"):
        network.add_module(part, getattr(whole, part))
    file = FILES[name]
    known = WeightsFile(
        name=file,
        url=f"https://download.pytorch.org/models/{file}",
        sha256=file.rpartition("-")[2].removesuffix(".pth"),
        size_bytes=None,
        licence="BSD-3-Clause (torchvision); trained on Kinetics-400, whose videos are under their owners' terms",
    )
    path = _torchvision_file(known, pretrained=pretrained, weights=weights)
    if path is not None:
        load_weights(network, path, head=("fc.weight", "fc.bias"))
    return VideoBackbone(
        network, num_features=NUM_FEATURES, mean=KINETICS_MEAN, std=KINETICS_STD, min_size=16, frozen=freeze
    )
