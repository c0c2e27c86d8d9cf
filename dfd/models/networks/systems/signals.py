"""Backbones that compute signals of pictures and clips in place of learned features, and the network of pulse maps."""

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dfd.models.networks.backbone import Backbone
from dfd.signals.pulse import LEAST_FRAMES, NoPulse
from dfd.signals.pulse_features import FEATURES, pulse_features, pulse_map
from dfd.signals.rendering.features import TooShort, feature_names, rendering_features
from dfd.signals.rendering.moving import LEAST_FRAMES as LEAST_MOVING
from dfd.signals.traces import TOLERANCE, smallest_side, traces

NO_PULSE = (
    f"no pulse can be measured: that needs crops of 32 px or more and {LEAST_FRAMES} or more consecutive frames of one "
    "face, 12 or more a second and none missing for long; take a longer video; in training, "
    "data.clip_len=128 and data.min_frames=64"
)
NO_MOTION = (
    f"its clips have fewer than {LEAST_MOVING} frames, too few to measure anything over time; take a longer video; in "
    "training, data.clip_len=24"
)
NO_TRACE = "its picture is too small for the window of the convolutional traces; take a smaller backbone.window"


class SignalBackbone(Backbone):
    """Pictures in grey levels, 0..255, without any normalisation; torch cannot follow what is computed of them."""

    is_differentiable = False

    def __init__(self, network: nn.Module, *, num_features: int, min_size: int, frozen: bool) -> None:
        none, one = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        super().__init__(network, num_features=num_features, mean=none, std=one, min_size=min_size, frozen=frozen)


class TracesBackbone(SignalBackbone):
    """Convolutional traces of each picture: 3 (N x N - 1) coefficients."""

    why_nothing = NO_TRACE

    def __init__(self, *, window: int, tolerance: float) -> None:
        num_features = 3 * (window**2 - 1)
        super().__init__(nn.Identity(), num_features=num_features, min_size=smallest_side(window), frozen=True)
        self.window, self.tolerance = window, tolerance

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Coefficients ``(N, num_features)`` in float32, computed in float64; nan where a picture is nearly empty."""
        features = torch.full((len(images_NCHW), self.num_features), torch.nan)
        for place, picture in enumerate(_levels(images_NCHW)):
            try:
                found = traces(picture, window=self.window, tolerance=self.tolerance)
            except ValueError:  # the black border of a crop holds no pixels
                continue
            features[place] = torch.from_numpy(found)
        return features.to(images_NCHW.device)


class PulseBackbone(SignalBackbone):
    """What ``measure`` finds in a clip's frames and their times, and ``network`` on it; one vector for each clip."""

    sees_clips = True
    needs_seconds = True
    why_nothing = NO_PULSE

    def __init__(
        self,
        measure: Callable[[NDArray[np.uint8], NDArray[np.float64]], NDArray[np.generic]],
        network: nn.Module,
        *,
        num_features: int,
        frozen: bool,
    ) -> None:
        super().__init__(network, num_features=num_features, min_size=1, frozen=frozen)
        self.measure = measure

    def forward(self, clips_BTCHW: Tensor, seconds_BT: Tensor) -> Tensor:  # type: ignore[override]
        """Features ``(B, 1, num_features)``; nan where no pulse can be measured."""
        found: list[NDArray[np.generic] | None] = []
        for frames, seconds in zip(_levels(clips_BTCHW), seconds_BT.double().cpu().numpy(), strict=True):
            try:
                found.append(self.measure(frames.transpose(0, 2, 3, 1), seconds))
            except NoPulse:
                found.append(None)
        features_BD = torch.full((len(found), self.num_features), torch.nan, device=clips_BTCHW.device)
        if there := [place for place, one in enumerate(found) if one is not None]:
            measured = np.stack([one for one in found if one is not None]).astype(np.float32)
            features_BD = features_BD.index_put(
                (torch.tensor(there, device=clips_BTCHW.device),),
                self.network(torch.from_numpy(measured).to(clips_BTCHW.device)).float(),
            )
        return features_BD[:, None]


class RenderingBackbone(SignalBackbone):
    """Statistics of a face against the rest of its own frame, and over time; one vector for each clip."""

    sees_clips = True
    why_nothing = NO_MOTION

    def __init__(self) -> None:
        super().__init__(nn.Identity(), num_features=len(feature_names()), min_size=1, frozen=True)

    def forward(self, clips_BTCHW: Tensor) -> Tensor:
        """Features ``(B, 1, num_features)``; nan where a clip has too few frames."""
        features_BD = torch.full((len(clips_BTCHW), self.num_features), torch.nan)
        for place, frames in enumerate(_levels(clips_BTCHW)):
            try:
                found = rendering_features(frames.transpose(0, 2, 3, 1))
            except TooShort:
                continue
            features_BD[place] = torch.from_numpy(found)
        return features_BD[:, None].to(clips_BTCHW.device)


class MapNetwork(nn.Module):
    """Three convolutions with pooling and a dense layer on a pulse map ``(B, 64, T)``; our widths."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, width in ((1, 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
        self.maps = nn.Sequential(*layers, nn.AdaptiveAvgPool2d((8, 8)), nn.Flatten())
        self.dense = nn.Sequential(nn.Linear(128 * 64, num_features), nn.ReLU())

    def forward(self, map_BRT: Tensor) -> Tensor:
        """Compute features ``(B, num_features)``."""
        features_BD: Tensor = self.dense(self.maps(map_BRT[:, None] / 127.5 - 1))
        return features_BD


def convolutional_traces(
    *, window: Literal[3, 5, 7] = 3, tolerance: Annotated[float, (1e-8, 1)] = TOLERANCE
) -> Backbone:
    """Build convolutional traces of each picture (Guarnera and others 2020); for ``crop=native`` and a fitted head.

    Args:
        window: side of the neighbourhood; 24, 72 or 144 features.
        tolerance: change of the coefficients at which the iteration ends; the published 0.01.
    """
    return TracesBackbone(window=window, tolerance=tolerance)


def pulse() -> Backbone:
    """Build the features of the pulse after FakeCatcher, for ``crop=five_points``, long clips and a fitted head."""
    return PulseBackbone(pulse_features, nn.Identity(), num_features=len(FEATURES), frozen=True)


def pulse_maps(*, width: Annotated[int, (1, 4096)] = 256) -> Backbone:
    """Build the network on pulse maps after FakeCatcher, for ``crop=five_points`` and long clips.

    Args:
        width: features of its dense layer.
    """
    return PulseBackbone(pulse_map, MapNetwork(width), num_features=width, frozen=False)


def rendering() -> Backbone:
    """Build the statistics of a face against the rest of its frame and over time, for crops with margin.

    They need consecutive frames and a fitted head.
    """
    return RenderingBackbone()


def _levels(images: Tensor) -> NDArray[np.uint8]:
    """Grey levels 0..255 of pictures in 0..1."""
    return (images.detach() * 255).round().to(torch.uint8).cpu().numpy()
