"""Fakes made of one real face: blended with another view of itself, so that a detector learns the traces of blending.

After K. Shiohara and T. Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022: of a real picture a source
view :math:`I_s` and a target view :math:`I_t` are made, one of them altered in colour or sharpness, the source moved a
little; and with a mask ``M`` of the face, :math:`I_{SB} = I_s M + I_t (1 - M)` (their equation 1). What a forger's tool
leaves behind (a border, colours that do not match, another sharpness, features a little out of place) is in it, and no
one forger's style.

Beyond the paper: the mask comes from five landmarks, which every face detector gives, by a mean face that is laid over
them; parts of the face are blended, too (the mouth alone, as lip-syncs do); and clips are altered coherently, with the
drift, the jitter of frame-by-frame detection and the flicker that a face swapped frame by frame has. The real clip
that goes with a fake is one of the two views, so that being altered in colour or sharpness tells nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

import cv2
import numpy as np
from numpy.typing import NDArray

from dfd.types import FloatArray, FrameArray

Points = NDArray[np.float64]

MEAN_LANDMARKS: Points = np.array([(-0.5, 0.0), (0.5, 0.0), (0.0, 0.57), (-0.41, 1.15), (0.41, 1.15)])
"""The five landmarks of a mean face, in distances between the eyes from the point between them; y points down."""

OUTLINES: dict[str, Points] = {
    # From the hair to the chin, without the ears.
    "face": np.array(
        [
            *[(0.0, -0.85), (0.55, -0.78), (0.95, -0.45), (1.08, 0.0), (1.04, 0.5), (0.92, 1.0), (0.72, 1.42)],
            *[(0.4, 1.78), (0.0, 1.92), (-0.4, 1.78), (-0.72, 1.42), (-0.92, 1.0), (-1.04, 0.5), (-1.08, 0.0)],
            *[(-0.95, -0.45), (-0.55, -0.78)],
        ]
    ),
    # From the brows to below the mouth: what tools that align by inner features paste.
    "inner": np.array(
        [
            *[(0.0, -0.42), (0.5, -0.48), (0.9, -0.28), (0.92, 0.1), (0.82, 0.6), (0.68, 1.1), (0.42, 1.48)],
            *[(0.0, 1.58), (-0.42, 1.48), (-0.68, 1.1), (-0.82, 0.6), (-0.92, 0.1), (-0.9, -0.28), (-0.5, -0.48)],
        ]
    ),
    # Below the eyes: what lip-sync models draw anew.
    "lower": np.array(
        [
            *[(0.0, 0.3), (0.5, 0.32), (0.98, 0.42), (0.98, 0.8), (0.85, 1.2), (0.6, 1.6), (0.3, 1.84), (0.0, 1.92)],
            *[(-0.3, 1.84), (-0.6, 1.6), (-0.85, 1.2), (-0.98, 0.8), (-0.98, 0.42), (-0.5, 0.32)],
        ]
    ),
    "mouth": np.array([(0.66 * np.cos(a), 1.18 + 0.42 * np.sin(a)) for a in np.arange(12) * np.pi / 6]),
    "eyes": np.array([(0.98 * np.cos(a), -0.04 + 0.38 * np.sin(a)) for a in np.arange(12) * np.pi / 6]),
    "nose": np.array([(0.36 * np.cos(a), 0.38 + 0.5 * np.sin(a)) for a in np.arange(12) * np.pi / 6]),
}
"""Parts of the mean face, as closed outlines in the same units."""

_OUTLINE_POINTS = 48
_MAX_MOTION = 0.04
"""How far a still drifts when it is made a clip, as a fraction of its side."""


@dataclass(frozen=True, slots=True)
class BlendSettings:
    """How fakes are made. Ranges are drawn from evenly, anew for each clip.

    Lengths are in distances between the eyes, which makes them independent of the crop.

    Args:
        regions: how often each part of the face is blended, by its name in ``OUTLINES``; weights, of any sum.
        opacity: of the source in the mask; one is drawn.
        deform: standard deviation of the outline's random deformation, as a fraction of its radius.
        grow: the outline is scaled by this range; below 1 erodes it.
        feather: standard deviation of the blur of the mask's border.
        shift, scale, rotation: how far the source is moved, scaled (1 ± it) and turned (radians), each both ways.
        color_prob: how often the altered view differs in colour. If in neither, it differs in both.
        brightness, contrast, saturation, tint, gamma: the most that it then differs by: of 255; fraction; fraction; of
            255 for each channel; exponent 1 ± it.
        sharpness_prob: how often it differs in sharpness: half of the time less sharp, by way of a smaller size, or
            blurred; else sharpened or with noise.
        min_resize: the smallest size on the way, as a fraction.
        source_prob: how often the source is the altered view; else the target is.
        real_is_altered_prob: how often the real clip is the altered view.
        jitter: standard deviation of the source's place from frame to frame, as a face detector has it.
        drift: standard deviation of where it has wandered to after ten frames.
        flicker: standard deviation of the source's brightness from frame to frame, of 255.
        steady_prob: how often there is no jitter, drift and flicker: a good forger's clip.

    Raises:
        ValueError: a value is out of range; the message names it.
    """

    regions: Mapping[str, float] = field(
        default_factory=lambda: {"face": 0.45, "inner": 0.3, "lower": 0.12, "mouth": 0.08, "eyes": 0.03, "nose": 0.02}
    )
    opacity: Sequence[float] = (0.5, 0.75, 1.0, 1.0, 1.0)
    deform: float = 0.06
    grow: Sequence[float] = (0.85, 1.08)
    feather: Sequence[float] = (0.02, 0.22)
    shift: float = 0.07
    scale: float = 0.05
    rotation: float = 0.03
    color_prob: float = 0.7
    brightness: float = 25.0
    contrast: float = 0.15
    saturation: float = 0.3
    tint: float = 12.0
    gamma: float = 0.2
    sharpness_prob: float = 0.7
    min_resize: float = 0.3
    source_prob: float = 0.5
    real_is_altered_prob: float = 0.5
    jitter: float = 0.012
    drift: float = 0.03
    flicker: float = 2.0
    steady_prob: float = 0.3

    def __post_init__(self) -> None:
        for name in (one.name for one in fields(self)):
            value = getattr(self, name)
            if name == "regions":
                form, fits = "weights by name, {mouth: 1}", is_weights(value)
            elif name in ("opacity", "grow", "feather"):
                form, fits = "a list of numbers", isinstance(value, list | tuple) and all(map(_is_number, value))
            else:
                form, fits = "a number", _is_number(value)
            if not fits:
                raise ValueError(f"{name} must be {form}, got {value!r}")
        for name in ("color_prob", "sharpness_prob", "source_prob", "real_is_altered_prob", "steady_prob"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)}")
        for name in ("deform", "shift", "scale", "rotation", "brightness", "tint", "jitter", "drift", "flicker"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("contrast", "saturation", "gamma", "scale"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be from 0 to below 1, got {getattr(self, name)}")
        for name, least in (("grow", 0.1), ("feather", 0.0)):
            values = getattr(self, name)
            if len(values) != 2 or not least <= values[0] <= values[1]:
                raise ValueError(f"{name} must be a range [low, high] from {least}, got {list(values)}")
        if not 0 < self.min_resize <= 1:
            raise ValueError(f"min_resize must be above 0 and at most 1, got {self.min_resize}")
        if not self.opacity or not all(0 < value <= 1 for value in self.opacity):
            raise ValueError(f"opacity must be values above 0 and at most 1, got {list(self.opacity)}")
        if unknown := sorted(set(self.regions) - set(OUTLINES)):
            raise ValueError(f"regions: there is no {unknown[0]!r}, only {', '.join(OUTLINES)}")
        if not all(weight >= 0 for weight in self.regions.values()) or not sum(self.regions.values()) > 0:
            raise ValueError(f"regions must have weights from 0, some above it, got {dict(self.regions)}")


@dataclass(frozen=True, slots=True)
class BlendedPair:
    """A real clip and the fake made of it, uint8 (T, H, W, 3), and how.

    ``target`` is the view that the fake shows outside the mask; ``real`` is it or the source's view before it was
    moved. ``mask`` is (T, H, W), 0..1, the opacity included. ``region`` is the part of the face, by its name.
    """

    real: FrameArray
    fake: FrameArray
    target: FrameArray
    mask: FloatArray
    region: str


def self_blend(
    frames: FrameArray, landmarks: FloatArray, rng: np.random.Generator, settings: BlendSettings
) -> BlendedPair:
    """A real clip and a fake one, both made of these frames.

    Args:
        frames: uint8 (T, H, W, 3), the crops of one real face.
        landmarks: (T, 5, 2), in pixels of the crops, in the order of :class:`dfd.types.FaceBox`.
        rng: decides everything that is drawn.
        settings: how.

    Raises:
        ValueError: the landmarks are not five for each frame.
    """
    if landmarks.shape != (len(frames), 5, 2):
        raise ValueError(f"landmarks must be ({len(frames)}, 5, 2), got {landmarks.shape}")
    poses = [_pose(points) for points in landmarks.astype(np.float64)]
    unit = float(np.mean([np.hypot(*pose[:, 0]) for pose in poses]))  # pixels between the eyes
    altered = _altered(frames, rng, settings)
    source, target = (altered, frames) if rng.random() < settings.source_prob else (frames, altered)
    real = altered if rng.random() < settings.real_is_altered_prob else frames

    names = list(settings.regions)
    weights = np.array([settings.regions[name] for name in names], np.float64)
    region = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    outline = _deformed(OUTLINES[region], rng, settings)
    feather = rng.uniform(settings.feather[0], settings.feather[1]) * unit
    opacity = float(rng.choice(list(settings.opacity)))
    moves, flicker = _motion(len(frames), rng, settings)

    fake, masks = np.empty_like(frames), np.empty(frames.shape[:3], np.float32)
    height, width = frames.shape[1:3]
    for i, pose in enumerate(poses):
        mask = _mask(outline @ pose[:, :2].T + pose[:, 2], height, width, feather) * np.float32(opacity)
        # The source's move is in the face's own system; as a map of pixels it is pose * move * pose^-1.
        to_pixels = np.vstack([pose, (0, 0, 1)])
        warp = (to_pixels @ moves[i] @ np.linalg.inv(to_pixels))[:2]
        moved = cv2.warpAffine(source[i], warp, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        mixed = target[i] + mask[..., None] * (moved.astype(np.float32) + np.float32(flicker[i]) - target[i])
        fake[i] = np.clip(np.rint(mixed), 0, 255)
        masks[i] = mask
    return BlendedPair(real=real, fake=fake, target=target, mask=masks, region=region)


def is_weights(value: object) -> bool:
    """Whether it is a mapping to numbers."""
    return isinstance(value, Mapping) and all(map(_is_number, value.values()))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def moving_still(
    picture: FrameArray, landmarks: FloatArray, clip_len: int, rng: np.random.Generator
) -> tuple[FrameArray, FloatArray]:
    """A clip made of one picture, as if the camera moved a little; the same picture if ``clip_len`` is 1.

    A still that only stood still would tell a network that looks at time what is a photograph.

    Args:
        picture: uint8 (H, W, 3).
        landmarks: (5, 2), in its pixels.
        clip_len: T.
        rng: decides the motion.

    Returns:
        The frames, (T, H, W, 3), and their landmarks, (T, 5, 2).
    """
    if clip_len == 1:
        return picture[None], landmarks[None]
    height, width = picture.shape[:2]
    times = np.linspace(-0.5, 0.5, clip_len)
    # Smooth: a straight way and a slow swing, in shares of the side; the scale alike.
    drift = rng.normal(0, _MAX_MOTION / 2, 3)
    swing, phase = rng.normal(0, _MAX_MOTION / 4, 3), rng.uniform(0, 2 * np.pi, 3)
    way = np.clip(
        times[:, None] * drift + np.sin(2 * np.pi * times[:, None] + phase) * swing, -_MAX_MOTION, _MAX_MOTION
    )
    frames, points = np.empty((clip_len, *picture.shape), np.uint8), np.empty((clip_len, 5, 2), np.float32)
    for i, (x, y, zoom) in enumerate(way):
        factor = 1 + zoom
        warp = np.array(
            [[factor, 0, (1 - factor) * width / 2 + x * width], [0, factor, (1 - factor) * height / 2 + y * height]]
        )
        frames[i] = cv2.warpAffine(
            picture, warp, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
        points[i] = landmarks @ warp[:, :2].T + warp[:, 2]
    return frames, points


def _pose(landmarks: Points) -> Points:
    """The similarity (2, 3) that lays the mean face over five landmarks, by least squares (after Umeyama, 1991).

    Landmarks that fall together have none: they give a face of one pixel.
    """
    mean, mean_face = landmarks.mean(axis=0), MEAN_LANDMARKS.mean(axis=0)
    there, here = landmarks - mean, MEAN_LANDMARKS - mean_face
    # As complex numbers, a turn and a scaling is one factor.
    a, b = here @ (1, 1j), there @ (1, 1j)
    factor = complex(np.vdot(a, b) / np.vdot(a, a))
    if abs(factor) < 1:
        factor = 1 + 0j
    linear = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.column_stack([linear, mean - linear @ mean_face])


def _deformed(outline: Points, rng: np.random.Generator, settings: BlendSettings) -> Points:
    """The outline (N, 2) at more points, grown and deformed by a few waves around its middle."""
    middle = outline.mean(axis=0)
    closed = np.vstack([outline, outline[:1]])
    places = np.linspace(0, len(outline), _OUTLINE_POINTS, endpoint=False)
    points = np.column_stack([np.interp(places, np.arange(len(closed)), closed[:, i]) for i in (0, 1)]) - middle
    angles = np.arctan2(points[:, 1], points[:, 0])
    radius = np.full(len(points), rng.uniform(settings.grow[0], settings.grow[1]))
    for wave in range(1, 6):
        size, phase = rng.normal(0, settings.deform / np.sqrt(wave)), rng.uniform(0, 2 * np.pi)
        radius += size * np.cos(wave * angles + phase)
    # One side of a profile or of a face that is partly hidden may be stretched alone.
    stretch = 1 + rng.normal(0, settings.deform, 2)
    return np.asarray(points * radius[:, None].clip(0.3) * stretch + middle)


def _mask(outline: Points, height: int, width: int, feather: float) -> FloatArray:
    """The filled outline (N, 2), in pixels, with a soft border, float32 (H, W); a soft border lies inside, mostly."""
    mask = np.zeros((height, width), np.uint8)
    fraction_bits = 4
    cv2.fillPoly(mask, [np.rint(outline * 2**fraction_bits).astype(np.int32)], 255, cv2.LINE_AA, fraction_bits)
    soft: FloatArray = mask.astype(np.float32) / np.float32(255)
    if feather >= 0.5:
        soft = np.asarray(cv2.GaussianBlur(soft, (0, 0), feather), np.float32)
        # Half of the blur reaches outside; the paper erodes by a second blur, this by cutting off its foot.
        soft = np.clip((soft - 0.15) / 0.85, 0, 1).astype(np.float32)
    return soft


def _motion(
    num_frames: int, rng: np.random.Generator, settings: BlendSettings
) -> tuple[list[Points], NDArray[np.float64]]:
    """For each frame, how the source is moved, (3, 3) in the face's own system, and how much brighter it is."""
    base = np.array(
        [
            *rng.uniform(-settings.shift, settings.shift, 2),
            rng.uniform(-settings.scale, settings.scale),
            rng.uniform(-settings.rotation, settings.rotation),
        ]
    )
    way, flicker = np.tile(base, (num_frames, 1)), np.zeros(num_frames)
    # A picture alone cannot tremble; drawn nonetheless, so that a clip's first draws do not depend on its length.
    if rng.random() >= settings.steady_prob and num_frames > 1:
        sizes = np.array([1.0, 1.0, 0.5, 0.5])
        amount = rng.uniform(0.3, 1.7)
        steps = rng.normal(0, settings.drift / np.sqrt(10), (num_frames, 4)) * sizes
        jitter = rng.normal(0, settings.jitter, (num_frames, 4)) * sizes
        way = way + amount * (np.cumsum(steps, axis=0) + jitter)
        flicker = amount * rng.normal(0, settings.flicker, num_frames)
    centre = MEAN_LANDMARKS.mean(axis=0)
    moves = []
    for x, y, zoom, angle in way:
        factor = (1 + zoom) * np.exp(1j * angle)
        linear = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
        shift = centre - linear @ centre + (x, y)
        moves.append(np.vstack([np.column_stack([linear, shift]), (0, 0, 1)]))
    return moves, flicker


def _altered(frames: FrameArray, rng: np.random.Generator, settings: BlendSettings) -> FrameArray:
    """Another view of the clip: its colours, its sharpness or both, one draw for all frames."""
    color, sharpness = rng.random() < settings.color_prob, rng.random() < settings.sharpness_prob
    if not color and not sharpness:
        color = sharpness = True
    altered = frames
    if color:
        altered = _recolored(altered, rng, settings)
    if sharpness:
        altered = _resharpened(altered, rng, settings)
    return altered


def _recolored(frames: FrameArray, rng: np.random.Generator, settings: BlendSettings) -> FrameArray:
    """Brightness, contrast, tint and gamma by a table for each channel, then saturation."""
    levels = np.arange(256, dtype=np.float64)
    contrast = 1 + rng.uniform(-settings.contrast, settings.contrast)
    brightness = rng.uniform(-settings.brightness, settings.brightness)
    tint = rng.uniform(-settings.tint, settings.tint, 3)
    gamma = 1 + rng.uniform(-settings.gamma, settings.gamma)
    saturation = 1 + rng.uniform(-settings.saturation, settings.saturation)
    curve = 255 * (levels / 255) ** gamma
    curve = (curve - 128) * contrast + 128 + brightness
    table = np.clip(np.rint(curve[:, None] + tint), 0, 255).astype(np.uint8)[None]
    # Luma by ITU-R BT.601; what is left of a colour is scaled.
    luma = np.array([0.299, 0.587, 0.114])
    mix = (saturation * np.eye(3) + (1 - saturation) * luma[None]).astype(np.float32)
    changed = np.empty_like(frames)
    for i, frame in enumerate(frames):
        changed[i] = cv2.transform(cv2.LUT(frame, table), mix)
    return changed


def _resharpened(frames: FrameArray, rng: np.random.Generator, settings: BlendSettings) -> FrameArray:
    height, width = frames.shape[1:3]
    kind = rng.choice(["resized", "blurred", "sharpened", "noisy"], p=[0.35, 0.25, 0.25, 0.15])
    changed = np.empty_like(frames)
    if kind == "resized":
        fraction = rng.uniform(settings.min_resize, 0.9)
        small = max(1, round(width * fraction)), max(1, round(height * fraction))
        back = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
        for i, frame in enumerate(frames):
            changed[i] = cv2.resize(
                cv2.resize(frame, small, interpolation=cv2.INTER_AREA), (width, height), None, 0, 0, back
            )
    elif kind == "noisy":
        noise = rng.normal(0, rng.uniform(2, 8), frames.shape).astype(np.float32)
        changed = np.clip(np.rint(frames + noise), 0, 255).astype(np.uint8)
    else:
        sigma = rng.uniform(0.4, 1.6) * width / 112
        amount = rng.uniform(0.3, 1.2)
        for i, frame in enumerate(frames):
            blurred = cv2.GaussianBlur(frame, (0, 0), sigma)
            changed[i] = blurred if kind == "blurred" else cv2.addWeighted(frame, 1 + amount, blurred, -amount, 0)
    return changed
