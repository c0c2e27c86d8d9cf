"""Scenes of the demonstration: drawn people who move and talk before a camera, and swaps of their faces.

Lengths are pixels of the picture, times are frames, colours RGB in 0..255.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dfd.base.types import FloatArray
from dfd.data.demo.faces import INNER_FACE, Portrait, View
from dfd.data.demo.person import Expression, Light, Pose

_NOISE_MARGIN = 32


@dataclass(frozen=True, slots=True)
class Format:
    """Length, rate and size of a video.

    Raises:
        ValueError: there would be no frame, an odd size (H.264 halves it), or one too small for a face to be found.
    """

    seconds: float = 3.0
    fps: int = 25
    width: int = 320
    height: int = 240

    def __post_init__(self) -> None:
        if self.fps < 1 or self.num_frames < 1:
            raise ValueError(f"a video needs at least one frame, got {self.seconds} seconds at {self.fps} fps")
        if self.height < 160 or self.width < self.height or self.width % 2 or self.height % 2:
            raise ValueError(
                f"the size must be even, at least 160 high and no higher than wide, got {self.width} x {self.height}"
            )

    @property
    def num_frames(self) -> int:
        """Number of frames of the whole video."""
        return round(self.seconds * self.fps)


@dataclass(frozen=True, slots=True)
class Actor:
    """A person in a scene, with pose, expression and light in each frame; ``body`` is RGB and coverage (H, W, 4)."""

    portrait: Portrait
    poses: Sequence[Pose]
    expressions: Sequence[Expression]
    lights: Sequence[Light]
    body: FloatArray

    @classmethod
    def enter(cls, portrait: Portrait, video: Format, generator: np.random.Generator, *, center: float) -> "Actor":
        """Someone who sits around ``center`` (0..1 of the width), looks about, blinks and talks."""
        scale = video.height * generator.uniform(0.175, 0.215)
        x = video.width * center + video.height * (generator.uniform(-0.06, 0.06) + _drift(video, generator, 0.05))
        y = video.height * (generator.uniform(0.415, 0.45) + _drift(video, generator, 0.02))
        scales = scale * (1 + _drift(video, generator, 0.035))
        yaw = generator.uniform(-0.15, 0.15) + _drift(video, generator, 0.20)
        pitch = generator.uniform(-0.05, 0.05) + _drift(video, generator, 0.08)
        roll = _drift(video, generator, 0.08)
        lamp_x = generator.uniform(-0.7, 0.7) + _drift(video, generator, 0.15)
        lamp_y = generator.uniform(-0.9, -0.5)
        ambient = generator.uniform(0.45, 0.6)
        poses = [Pose(*map(float, state)) for state in zip(x, y, scales, yaw, pitch, roll, strict=True)]
        return cls(
            portrait,
            poses,
            _talk(video, generator),
            [Light(float(lamp), lamp_y, 0.9, ambient) for lamp in lamp_x],
            _dress(poses[0], np.array(portrait.person.skin, np.float32), video, generator),
        )


@dataclass(frozen=True, slots=True)
class Scene:
    """What a camera films: a background, people, and the camera's own blur, noise and wandering exposure."""

    video: Format
    actors: Sequence[Actor]
    background: FloatArray
    exposures: FloatArray
    blur: float
    noise: FloatArray
    noise_seed: int

    @classmethod
    def compose(cls, portraits: Sequence[Portrait], video: Format, generator: np.random.Generator) -> "Scene":
        """The people beside each other, in a place and a light of their own."""
        centers = (np.arange(len(portraits)) + 0.5) / len(portraits)
        return cls(
            video,
            [
                Actor.enter(portrait, video, generator, center=float(center))
                for portrait, center in zip(portraits, centers, strict=True)
            ],
            _room(video, generator),
            (generator.uniform(0.92, 1.06) + _drift(video, generator, 0.03)).astype(np.float32),
            float(generator.uniform(0.0, 0.6)),
            _sensor_noise(video, generator),
            int(generator.integers(2**31)),
        )

    def frames(self) -> Iterator[FloatArray]:
        """The frames (H, W, 3) as the camera gives them. Each call films the same."""
        height, width = self.video.height, self.video.width
        generator = np.random.default_rng(self.noise_seed)
        for index in range(self.video.num_frames):
            picture = self.background.copy()
            for actor in self.actors:
                _put_body(picture, actor, index)
                view = View(actor.poses[index], actor.expressions[index], width=width, height=height)
                colours, coverage = actor.portrait.render(view, actor.lights[index])
                picture[view.area] += (colours - picture[view.area]) * coverage
            if self.blur > 0.2:
                picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), self.blur), np.float32)
            picture *= self.exposures[index]
            down, across = generator.integers(_NOISE_MARGIN, size=2)
            picture += self.noise[down : down + height, across : across + width]
            yield picture


@dataclass(frozen=True, slots=True)
class Swap:
    """How one actor's inner face is replaced by a donor's, and how badly.

    ``jitters`` (N, 3) are the misplacement in x, y and the growth of the seam per frame, ``gains`` (N, 3) the colour's
    factor, ``resolution`` the fraction of the pixels across that the swapped face was made with.
    """

    donor: Portrait
    softness: float
    resolution: float
    gains: FloatArray
    jitters: FloatArray

    @classmethod
    def between(cls, target: Portrait, donor: Portrait, video: Format, generator: np.random.Generator) -> "Swap":
        """A swap of usual quality: the donor's colour is brought near the target's and misses it by a few percent."""
        count = video.num_frames
        wanted = np.array(target.person.skin) / np.array(donor.person.skin)
        gain = wanted ** generator.uniform(0.7, 0.9) * (1 + generator.normal(0, 0.05, 3))
        flicker = 1 + generator.normal(0, 0.012, (count, 1))
        return cls(
            donor,
            softness=float(generator.uniform(0.05, 0.15)),
            resolution=float(generator.uniform(0.2, 0.32)),
            gains=(gain * flicker).astype(np.float32),
            jitters=(generator.normal(0, 1, (count, 3)) * [0.5, 0.5, 0.015]).astype(np.float32),
        )

    def apply(self, picture: FloatArray, scene: Scene, actor: Actor, frame: int) -> FloatArray:
        """``picture``, a frame of ``scene``, with the face of ``actor`` replaced; all else keeps its values."""
        jitter_x, jitter_y, grow = map(float, self.jitters[frame])
        pose = actor.poses[frame]
        pose = pose._replace(x=pose.x + jitter_x, y=pose.y + jitter_y)
        size = {"width": scene.video.width, "height": scene.video.height}
        view = View(pose, actor.expressions[frame], **size, part=INNER_FACE)
        colours, coverage = self.donor.render(view, actor.lights[frame])
        mask = view.inner_face(softness=self.softness, grow=grow) * coverage
        height, width = colours.shape[:2]
        small = (max(1, round(width * self.resolution)), max(1, round(height * self.resolution)))
        coarse = cv2.resize(cv2.resize(colours, small, interpolation=cv2.INTER_AREA), (width, height))
        face = np.asarray(coarse, np.float32) * (self.gains[frame] * scene.exposures[frame])
        forged = picture.copy()
        forged[view.area] += (face - forged[view.area]) * mask
        return forged


def _drift(video: Format, generator: np.random.Generator, size: float) -> FloatArray:
    """A smooth curve (N,) around 0 that keeps within about ``size``: four slow waves."""
    seconds = np.arange(video.num_frames)[:, None] / video.fps
    frequencies = generator.uniform(0.08, 0.75, 4)
    waves = np.sin(2 * np.pi * (frequencies * seconds + generator.uniform(0, 1, 4))) / (1 + 2 * frequencies)
    curve: FloatArray = (size * 0.6 * waves.sum(axis=1)).astype(np.float32)
    return curve


def _talk(video: Format, generator: np.random.Generator) -> list[Expression]:
    """Syllables, four or so a second with pauses; a blink every few seconds; eyes that jump from point to point."""
    seconds = np.arange(video.num_frames) / video.fps
    syllables = np.abs(np.sin(np.pi * (generator.uniform(3.2, 4.6) * seconds + _drift(video, generator, 0.8))))
    loudness = np.clip(0.45 + 3 * _drift(video, generator, 0.4), 0, 1)
    smiles = generator.uniform(0, 0.5) + _drift(video, generator, 0.3)
    blinks = np.zeros(video.num_frames)
    gaze = np.zeros((video.num_frames, 2))
    moment = generator.uniform(0.2, 2.0)
    while moment < seconds[-1] + 0.2:
        blinks = np.maximum(blinks, np.clip(1.25 - np.abs(seconds - moment) / 0.12, 0, 1))
        # Eyes mostly jump in a blink.
        gaze[seconds > moment] = generator.normal(0, [0.035, 0.012])
        moment += generator.uniform(1.2, 3.5)
    return [
        Expression(float(mouth), float(smile), float(blink), float(u), float(v))
        for mouth, smile, blink, (u, v) in zip(0.75 * syllables * loudness, smiles, blinks, gaze, strict=True)
    ]


def _room(video: Format, generator: np.random.Generator) -> FloatArray:
    """A background (H, W, 3) out of focus: a wall with a gradient, and a few things on it."""
    height, width = video.height, video.width
    wall = generator.uniform(90, 200) + generator.normal(0, 14, 3)
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :, None]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None, None]
    slope_x, slope_y = generator.uniform(-0.2, 0.2, 2)
    picture = np.asarray(wall * (1 + slope_x * x + slope_y * y), np.float32)
    for _ in range(generator.integers(3, 8)):
        left, top = generator.uniform(-0.2, 1, 2) * (width, height)
        right, bottom = (left, top) + generator.uniform(0.08, 0.4, 2) * (width, height)
        colour = np.clip(wall * generator.uniform(0.5, 1.25) + generator.normal(0, 22, 3), 15, 240)
        corners = (int(left), int(top)), (int(right), int(bottom))
        cv2.rectangle(picture, *corners, color=[float(channel) for channel in colour], thickness=-1)
    blurred = cv2.GaussianBlur(picture, (0, 0), float(generator.uniform(0.015, 0.03) * height))
    return np.clip(np.asarray(blurred, np.float32), 10, 245)


def _dress(pose: Pose, skin: FloatArray, video: Format, generator: np.random.Generator) -> FloatArray:
    """Shoulders and clothes (H, W, 4), RGB and coverage, below a head in ``pose``; skin where the collar is open."""
    u = ((np.arange(video.width, dtype=np.float32) - pose.x) / pose.scale)[None, :]
    v = ((np.arange(video.height, dtype=np.float32) - pose.y) / pose.scale)[:, None]
    colour = generator.uniform(30, 210) + generator.normal(0, 30, 3)
    other = colour * generator.uniform(0.55, 1.3) + generator.normal(0, 20, 3)
    weave = np.zeros((video.height, video.width), np.float32)
    pattern = generator.integers(3)
    if pattern == 1:
        weave = weave + (np.sin(v * generator.uniform(9, 22)) > 0.2)
    elif pattern == 2:
        weave = weave + 0.5 * (np.sin(v * 16) > 0.3) + 0.5 * (np.sin(u * 16) > 0.3)
    folds = cv2.GaussianBlur(generator.standard_normal(weave.shape, dtype=np.float32), (0, 0), 9)
    shade = 1 + 2.2 * np.asarray(folds, np.float32) - 0.12 * np.abs(u)
    cloth = (colour + (other - colour) * weave[..., None]) * shade[..., None]
    shoulders = (
        1.82 + 0.62 * (np.clip(np.abs(u) - 0.45, 0, None) / 1.6) ** 1.4 + 0.8 * np.clip(np.abs(u) - 2.0, 0, None)
    )
    collar = np.hypot(u / 0.68, (v - 1.8) / generator.uniform(0.3, 0.55)) - 1  # negative inside
    cloth *= 1 - 0.3 * np.exp(-(((collar - 0.06) / 0.05) ** 2))[..., None]
    neck = np.maximum(np.clip(0.5 - collar * 0.45 * pose.scale, 0, 1), v < 1.8)[..., None]
    shadow = 0.5 + 0.3 * np.clip((v - 1.65) / 0.35, 0, 1)
    cloth += (skin * shadow[..., None] - cloth) * neck
    shoulders = np.where(np.abs(u) < 0.48, 1.5, shoulders)  # a stump, behind the neck that moves with the head
    coverage = np.clip((v - shoulders) * pose.scale + 0.5, 0, 1)
    return np.dstack([np.clip(cloth, 8, 240), coverage]).astype(np.float32)


def _put_body(picture: FloatArray, actor: Actor, frame: int) -> None:
    """Lay the body over ``picture`` in place: it follows the head about half the way."""
    first = actor.poses[0]
    x, y = 0.6 * (actor.poses[frame].x - first.x), 0.5 * (actor.poses[frame].y - first.y)
    height, width = picture.shape[:2]
    shift = np.array([[1, 0, x], [0, 1, y]], np.float32)
    moved = np.asarray(cv2.warpAffine(actor.body, shift, (width, height), borderMode=cv2.BORDER_REPLICATE), np.float32)
    rows = slice(int(first.y + first.scale), height)
    picture[rows] += (moved[rows, :, :3] - picture[rows]) * moved[rows, :, 3:]


def _sensor_noise(video: Format, generator: np.random.Generator) -> FloatArray:
    """A sheet of noise somewhat larger than a frame; each frame gets it from another place, which is cheap."""
    shape = (video.height + _NOISE_MARGIN, video.width + _NOISE_MARGIN, 3)
    sheet = np.asarray(cv2.GaussianBlur(generator.standard_normal(shape, dtype=np.float32), (0, 0), 0.5), np.float32)
    return sheet * np.float32(generator.uniform(2.5, 5.0))
