"""Portraits of invented people, drawn from formulas: no photograph and no trained network is behind them.

A face is painted flat, on a canvas in *face units*: 1 is half the width of the face (about 7 cm), ``u`` points to the
right of the picture, ``v`` down, and the origin lies between the eyes. Proportions are those of adults (Farkas,
"Anthropometry of the Head and Face", 1994), rounded. :meth:`Portrait.render` then turns the canvas in space, so
one portrait serves for every frame of a video.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dfd.base.types import FloatArray

PIXELS_PER_UNIT = 60
"""Resolution of the canvas; the heads of the demonstration are a little smaller, which smooths their edges."""

CANVAS = (-1.55, -1.95, 1.55, 2.35)
"""Left, top, right and bottom of the canvas in face units: hair at the sides and above, the neck below."""

INNER_FACE = (-1.0, -0.75, 1.0, 1.7)
"""The same of a part that holds all that a face swap replaces."""

SKIN_TONES = np.array(
    [[244, 208, 184], [230, 184, 152], [214, 162, 124], [186, 132, 96], [150, 100, 70], [116, 76, 54]], np.float32
)
HAIR_COLOURS = np.array(
    [[34, 28, 26], [52, 36, 28], [86, 56, 36], [128, 84, 48], [186, 146, 90], [112, 52, 30], [142, 138, 134]],
    np.float32,
)
IRIS_COLOURS = np.array([[74, 46, 28], [98, 68, 38], [84, 110, 132], [98, 116, 84], [52, 34, 24]], np.float32)


Area = tuple[slice, slice]
"""Rows and columns of a picture or of the canvas."""


class Pose(NamedTuple):
    """Where a head is in the picture and how it is turned. Pixels and radians; ``scale`` is pixels per face unit."""

    x: float
    y: float
    scale: float
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0


class Expression(NamedTuple):
    """What a face does: ``mouth_open`` and ``blink`` are 0..1, ``smile`` -1..1, the gaze is in face units."""

    mouth_open: float = 0.0
    smile: float = 0.0
    blink: float = 0.0
    gaze_u: float = 0.0
    gaze_v: float = 0.0


class Light(NamedTuple):
    """Direction *towards* the lamp in the picture's axes (``z`` to the viewer; any length), and the ambient share."""

    x: float = -0.4
    y: float = -0.7
    z: float = 0.9
    ambient: float = 0.5


@dataclass(frozen=True, slots=True)
class Person:
    """The looks of an invented person. Lengths are in face units, colours RGB in 0..255."""

    skin: tuple[float, float, float]
    hair: tuple[float, float, float]
    iris: tuple[float, float, float]
    face_height: float
    jaw_taper: float
    eye_distance: float
    eye_width: float
    eye_height: float
    eye_tilt: float
    brow_height: float
    brow_thickness: float
    brow_arch: float
    nose_width: float
    nose_length: float
    mouth_width: float
    lip_fullness: float
    lip_redness: float
    hairline: float
    hair_length: float
    beard: float
    freckles: float
    texture_seed: int

    @classmethod
    def invent(cls, generator: np.random.Generator) -> "Person":
        """A person that does not exist; the same one for the same state of ``generator``."""

        def between(low: float, high: float) -> float:
            return float(generator.uniform(low, high))

        def colour(palette: FloatArray, spread: float) -> tuple[float, float, float]:
            red, green, blue = palette[generator.integers(len(palette))] * (1 + generator.normal(0, spread))
            return float(red), float(green), float(blue)

        tone = between(0, len(SKIN_TONES) - 1)
        red, green, blue = (float(np.interp(tone, range(len(SKIN_TONES)), channel)) for channel in SKIN_TONES.T)
        masculine = generator.random() < 0.5
        return cls(
            skin=(red, green, blue),
            # Light hair on dark skin is rare; the darker half of the palette fits everyone.
            hair=colour(HAIR_COLOURS if tone < 2.5 else HAIR_COLOURS[:3], 0.12),
            iris=colour(IRIS_COLOURS if tone < 2.5 else IRIS_COLOURS[[0, 4]], 0.08),
            face_height=between(1.48, 1.68),
            jaw_taper=between(0.16, 0.34),
            eye_distance=between(0.84, 0.96),
            eye_width=between(0.21, 0.25),
            eye_height=between(0.085, 0.115),
            eye_tilt=between(-0.10, 0.02),
            brow_height=between(0.27, 0.36),
            brow_thickness=between(0.045, 0.075) if masculine else between(0.028, 0.05),
            brow_arch=between(0.02, 0.06),
            nose_width=between(0.22, 0.31),
            nose_length=between(0.62, 0.74),
            mouth_width=between(0.34, 0.44),
            lip_fullness=between(0.8, 1.35),
            lip_redness=between(0.1, 0.35) if masculine else between(0.3, 0.7),
            hairline=between(0.84, 1.08),
            hair_length=-0.2 if masculine else between(0.5, 2.1),
            beard=float(masculine) * max(0.0, between(-0.5, 0.8)),
            freckles=max(0.0, between(-1.0, 1.0)),
            texture_seed=int(generator.integers(2**31)),
        )


class View:
    """What a camera sees of a canvas that is bent to a head: for each pixel of ``area`` the point of the canvas there.

    ``area`` is the part of a picture of ``width`` x ``height`` pixels that ``part`` of the canvas can reach.
    """

    def __init__(
        self,
        pose: Pose,
        expression: Expression,
        *,
        width: int,
        height: int,
        part: tuple[float, float, float, float] = CANVAS,
    ) -> None:
        self.pose, self.expression = pose, expression
        left, top, right, bottom = part
        margin = 0.35 + 2 * abs(pose.roll)  # face units: turning moves nothing by more
        self.area: Area = (
            slice(
                max(0, int(pose.y + (top - margin) * pose.scale)),
                min(height, int(pose.y + (bottom + margin) * pose.scale) + 1),
            ),
            slice(
                max(0, int(pose.x + (left - margin) * pose.scale)),
                min(width, int(pose.x + (right + margin) * pose.scale) + 1),
            ),
        )
        self._u, self._v = _look_up(pose, expression, self.area)

    def show(self, canvas: FloatArray) -> FloatArray:
        """A canvas-shaped array as seen in ``area``; 0 where the canvas does not reach."""
        map_x, map_y = (self._u - CANVAS[0]) * PIXELS_PER_UNIT, (self._v - CANVAS[1]) * PIXELS_PER_UNIT
        return _float32(cv2.remap(canvas, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT))

    def inner_face(self, *, softness: float, grow: float = 0.0) -> FloatArray:
        """Coverage (h, w, 1) of ``area`` by what a face swap replaces: from the brows to below the mouth.

        ``softness`` is the width of its edge and ``grow`` how far it is pushed out, both in face units.
        """
        distance = (np.hypot(self._u / 0.82, (self._v - 0.48) / 0.98) - 1) * 0.85 - grow
        return _inside(distance, softness)[..., None]


class Portrait:
    """A person's face, painted once; :meth:`render` shows it in any pose, light and expression."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self._u, self._v = _canvas_grid()
        generator = np.random.default_rng(person.texture_seed)
        colours, coverage, flatness = _paint_head(person, self._u, self._v, generator)
        self._unlit = _float32(np.dstack([colours, coverage]))
        self._normals, self._openness = _surface(_relief(person, self._u, self._v), flatness)
        half_eyes, mouth = person.eye_distance / 2, _mouth_line(person)
        self._eyes = [_window(self._u, self._v, side * half_eyes, 0, person.eye_width * 1.35, 0.27) for side in (-1, 1)]
        self._mouth = _window(self._u, self._v, 0, mouth, person.mouth_width * 1.25, 0.45)
        self._patches: dict[tuple[int, ...], FloatArray] = {}

    def render(self, view: View, light: Light) -> tuple[FloatArray, FloatArray]:
        """The head in the pose and expression of ``view``: RGB (h, w, 3) in 0..255, coverage (h, w, 1) in 0..1."""
        shade = self._shade(view.pose, light)
        every = cv2.merge([shade, shade, shade, np.ones_like(shade)])
        seen = view.show(_float32(cv2.multiply(self._with_expression(view.expression), every)))
        return seen[..., :3], seen[..., 3:]

    def _with_expression(self, expression: Expression) -> FloatArray:
        """The unlit canvas, RGB and coverage, with eyes and mouth in the state of ``expression``.

        Eyes and mouth have a few dozen states, less than a pixel of the video apart, and each is painted once.
        """
        canvas = self._unlit.copy()
        blink, gaze_u, gaze_v = (
            round(expression.blink * 8),
            round(expression.gaze_u * 100),
            round(expression.gaze_v * 100),
        )
        mouth_open, smile = round(expression.mouth_open * 16), round(expression.smile * 8)
        nearest = Expression(mouth_open / 16, smile / 8, blink / 8, gaze_u / 100, gaze_v / 100)
        for index, window in enumerate((*self._eyes, self._mouth)):
            key = (index, blink, gaze_u, gaze_v) if index < 2 else (index, mouth_open, smile)
            if key not in self._patches:
                patch = canvas[window][..., :3].copy()
                paint = _paint_eye if index < 2 else _paint_mouth
                paint(patch, self.person, nearest, self._u[:, window[1]], self._v[window[0]])
                self._patches[key] = patch
            canvas[window][..., :3] = self._patches[key]
        return canvas

    def _shade(self, pose: Pose, light: Light) -> FloatArray:
        """Lambert's law with an ambient part; hollows get less of the latter."""
        # The lamp stays where it is while the head turns, so in the head's axes it turns the other way.
        x, y, z = np.array(light[:3]) / np.linalg.norm(light[:3])
        x, z = x * np.cos(pose.yaw) - z * np.sin(pose.yaw), z * np.cos(pose.yaw) + x * np.sin(pose.yaw)
        y, z = y * np.cos(pose.pitch) + z * np.sin(pose.pitch), z * np.cos(pose.pitch) - y * np.sin(pose.pitch)
        lambert = _float32(cv2.transform(self._normals, np.array([[x, y, z]], np.float32)))
        return _float32(light.ambient * self._openness + (1.12 - light.ambient) * np.maximum(lambert, 0))


def _canvas_grid() -> tuple[FloatArray, FloatArray]:
    """``u`` (1, W) and ``v`` (H, 1) at the canvas's pixels."""
    left, top, right, bottom = CANVAS
    u = np.arange(left, right, 1 / PIXELS_PER_UNIT, dtype=np.float32)
    v = np.arange(top, bottom, 1 / PIXELS_PER_UNIT, dtype=np.float32)
    return u[None, :], v[:, None]


def _look_up(pose: Pose, expression: Expression, area: Area) -> tuple[FloatArray, FloatArray]:
    """The point (``u``, ``v``) of the canvas that is seen at each pixel of ``area``, two arrays (h, w).

    The way back from the picture to the canvas has no closed form, since the depth depends on where one arrives; two
    rounds of substitution are exact to a fraction of a pixel for the small turns drawn here.
    """
    rows, columns = area
    num_rows, num_columns = rows.stop - rows.start, columns.stop - columns.start
    # Both are smooth: every fourth pixel is computed, at the centres that cv2.resize takes them for.
    x = (np.arange(-(-num_columns // 4), dtype=np.float32)[None, :] * 4 + 1.5 + columns.start - pose.x) / pose.scale
    y = (np.arange(-(-num_rows // 4), dtype=np.float32)[:, None] * 4 + 1.5 + rows.start - pose.y) / pose.scale
    cos, sin = np.float32(np.cos(pose.roll)), np.float32(np.sin(pose.roll))
    seen_u, seen_v = x * cos + y * sin, y * cos - x * sin
    u, v = seen_u, seen_v
    for _ in range(2):
        depth = np.sqrt(np.maximum(1 - (u / 1.7) ** 2 - ((v - 0.1) / 2.4) ** 2, 0.05)) - 0.75
        depth += 0.3 * np.exp(-((u / 0.25) ** 2) - ((v - 0.5) / 0.3) ** 2)
        u = (seen_u - depth * np.float32(np.sin(pose.yaw))) / np.float32(np.cos(pose.yaw))
        v = (seen_v + depth * np.float32(np.sin(pose.pitch))) / np.float32(np.cos(pose.pitch))
    # An open mouth lowers the chin; the neck stays.
    v = v - 0.09 * expression.mouth_open * np.exp(-(((v - 1.55) / 0.35) ** 2))
    size = (u.shape[1] * 4, u.shape[0] * 4)
    fine_u, fine_v = (_float32(cv2.resize(_float32(coarse), size))[:num_rows, :num_columns] for coarse in (u, v))
    return fine_u, fine_v


# Painting ----------------------------------------------------------------------------------------------------------


def _float32(array: NDArray[Any]) -> FloatArray:
    """``array`` itself if it is float32 (as OpenCV's results are, though its type stubs do not say so), else cast."""
    return array.astype(np.float32, copy=False)


def _inside(distance: FloatArray, softness: float = 1.5 / PIXELS_PER_UNIT) -> FloatArray:
    """Coverage from a signed distance (negative inside), with a smooth edge that is ``softness`` wide."""
    t = np.clip(0.5 - distance / np.float32(softness), 0, 1)
    return _float32(t * t * (3 - 2 * t))


def _bump(u: FloatArray, v: FloatArray, at_u: float, at_v: float, size_u: float, size_v: float) -> FloatArray:
    """A Gaussian hill of height 1."""
    return _float32(np.exp(-(((u - at_u) / size_u) ** 2) - ((v - at_v) / size_v) ** 2))


def _pair(u: FloatArray, v: FloatArray, at_u: float, at_v: float, size_u: float, size_v: float) -> FloatArray:
    """The same hill on the left and on the right."""
    return _bump(np.abs(u), v, at_u, at_v, size_u, size_v)


def _noise(shape: tuple[int, int], generator: np.random.Generator, blur_u: float, blur_v: float) -> FloatArray:
    """Smooth noise of unit variance; the blurs are in canvas pixels."""
    raw = generator.standard_normal(shape, dtype=np.float32)
    smooth = _float32(cv2.GaussianBlur(raw, (0, 0), sigmaX=blur_u, sigmaY=blur_v))
    return _float32(smooth / smooth.std())


def _blend(canvas: FloatArray, colour: FloatArray | tuple[float, float, float], coverage: FloatArray) -> None:
    """Lay ``colour`` over ``canvas`` in place."""
    canvas += (np.asarray(colour, np.float32) - canvas) * coverage[..., None]


def _outline(person: Person, u: FloatArray, v: FloatArray) -> FloatArray:
    """Signed distance from the edge of skull and jaw, roughly in face units."""
    below = np.clip(v, 0, None) / person.face_height
    half_width = 1 - person.jaw_taper * below**2
    return _float32((np.hypot(u / half_width, v / person.face_height) - 1) * 0.95)


def _relief(person: Person, u: FloatArray, v: FloatArray) -> FloatArray:
    """Height of the face's surface towards the viewer, in face units."""
    tip = person.nose_length - 0.10
    half_eyes = person.eye_distance / 2
    radius2 = (u / 1.06) ** 2 + (v / (person.face_height + 0.08)) ** 2
    height = 0.95 * np.clip(1 - radius2, 0.02, None) ** 0.45
    # The nose: a ridge that rises from the eyes to the tip and falls to the lip, with a wing on either side.
    rise = np.clip((v + 0.08) / (tip + 0.08), 0, 1)
    fall = 1 / (1 + np.exp(np.clip((v - tip - 0.10) / 0.035, -30, 30)))
    ridge_width = 0.085 + 0.05 * rise
    height = height + 0.34 * rise**1.3 * fall * np.exp(-((u / ridge_width) ** 2))
    height += 0.07 * _bump(u, v, 0, tip, 0.13, 0.10)
    height += 0.13 * _pair(u, v, person.nose_width * 0.68, tip + 0.05, 0.085, 0.085)
    height += -0.16 * _pair(u, v, half_eyes * 0.92, 0.0, 0.27, 0.17) - 0.06 * _pair(u, v, 0.21, -0.03, 0.09, 0.12)
    height += 0.08 * _pair(u, v, half_eyes, 0.01, 0.19, 0.11)
    height += 0.08 * _pair(u, v, half_eyes, -person.brow_height, 0.33, 0.10)
    height += 0.07 * _pair(u, v, 0.58, 0.45, 0.26, 0.22)
    # The crease from the nose to the corner of the mouth.
    crease = np.abs(u) - (person.nose_width + 0.08 + 0.22 * np.clip(v - tip, 0, 1))
    height += -0.03 * np.exp(-((crease / 0.05) ** 2)) * _bump(0 * u, v, 0, tip + 0.2, 1, 0.24)
    mouth = _mouth_line(person)
    height += 0.06 * _bump(u, v, 0, mouth, person.mouth_width, 0.20)
    height += 0.05 * _bump(u, v, 0, mouth + 0.09 * person.lip_fullness, person.mouth_width * 0.6, 0.06)
    height += -0.05 * _bump(u, v, 0, mouth + 0.27, 0.22, 0.06) - 0.02 * _bump(u, v, 0, mouth - 0.17, 0.04, 0.08)
    height += 0.09 * _bump(u, v, 0, person.face_height - 0.18, 0.24, 0.14)
    return _float32(height)


def _surface(relief: FloatArray, flatness: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Unit normals (H, W, 3) of a relief, and how open each place is to light from all around (H, W), about 0.6..1.1.

    Where ``flatness`` is 1 (hair, neck) the relief is not followed.
    """
    smooth = np.asarray(cv2.GaussianBlur(relief, (0, 0), 1.2), np.float32)
    slope_v, slope_u = np.gradient(smooth, 1 / PIXELS_PER_UNIT)
    follow = 1 - 0.7 * flatness
    normals = np.dstack([-slope_u * follow, -slope_v * follow, np.ones_like(relief)])
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    around = np.asarray(cv2.GaussianBlur(relief, (0, 0), 0.13 * PIXELS_PER_UNIT), np.float32)
    openness = np.clip(1 + 3.0 * (relief - around) * (1 - flatness), 0.55, 1.12)
    return normals.astype(np.float32), openness.astype(np.float32)


def _mouth_line(person: Person) -> float:
    """Where the lips meet: a third of the way from the nose to the chin."""
    return person.nose_length + 0.36 * (person.face_height - person.nose_length)


def _paint_head(
    person: Person, u: FloatArray, v: FloatArray, generator: np.random.Generator
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Everything that does not move: unlit colours (H, W, 3), coverage (H, W), and where the relief does not count."""
    shape = (v.shape[0], u.shape[1])
    skin = np.array(person.skin, np.float32)
    hair = np.array(person.hair, np.float32)
    outline = _outline(person, u, v)
    face = _inside(outline)
    strands = 1 + 0.16 * _noise(shape, generator, 0.8, 9) + 0.10 * _noise(shape, generator, 4, 14)

    canvas = np.empty((*shape, 3), np.float32)
    canvas[:] = hair * 0.62 * strands[..., None]
    # Hair behind the neck, down to hair_length below the ears.
    crown = np.hypot(u / (1.27 if person.hair_length > 0 else 1.1), np.minimum(v + 0.2, 0) / 1.6) - 1
    behind = _inside(np.maximum(crown, v - 0.2 - person.hair_length), 0.08)
    neck = _inside(np.abs(u) - 0.58 - 0.12 * np.clip(v - 1.5, 0, 1) ** 2) * (v > 0.9)
    neck = neck * _inside(v - 1.9, 0.4)  # it fades into the skin above the collar
    shadow = 0.55 + 0.35 * np.clip((v - person.face_height) / 0.7, 0, 1)
    rounding = 1 - 0.35 * (np.clip(np.abs(u), 0, 0.6) / 0.6) ** 2
    _blend(canvas, skin * (shadow * rounding)[..., None], neck)
    ears = _inside(np.hypot((np.abs(u) - 0.99) / 0.13, (v - 0.16) / 0.30) * 0.13 - 0.13)
    _blend(canvas, skin * np.array([0.88, 0.78, 0.74], np.float32), ears)
    _blend(canvas, _paint_skin(person, u, v, generator), face)
    _paint_brows(canvas, person, u, v, generator)

    # The hairline: an arch over the forehead that runs down in front of the ears.
    ragged = 0.03 * _noise((1, shape[1]), generator, 3, 1)
    arch = v + person.hairline - 0.95 * np.clip(np.abs(u + 0.12) - 0.25, 0, None) ** 2.2 + ragged
    skull = np.hypot(u / 1.12, v / (person.face_height + 0.17)) - 1
    front = _inside(np.maximum(skull, arch), 0.07) * _inside(v, 0.2)
    gloss = 1 + 0.35 * _bump(u, v, -0.3, -1.25, 0.7, 0.22)
    _blend(canvas, hair * (strands * gloss)[..., None], front)

    alpha = np.maximum.reduce([face, ears, neck, front, behind])
    flatness = np.maximum(1 - face, front)
    return canvas, alpha.astype(np.float32), flatness.astype(np.float32)


def _paint_skin(person: Person, u: FloatArray, v: FloatArray, generator: np.random.Generator) -> FloatArray:
    """Unlit skin with all that is flat on it: blush, shadows, freckles, beard, nostrils."""
    shape = (v.shape[0], u.shape[1])
    tip, mouth, half_eyes = person.nose_length - 0.10, _mouth_line(person), person.eye_distance / 2
    blotches = 0.025 * _noise(shape, generator, 7, 7) + 0.018 * _noise(shape, generator, 1.5, 1.5)
    skin = np.array(person.skin, np.float32) * (1 + blotches)[..., None]
    blush = _pair(u, v, 0.55, 0.55, 0.28, 0.22) + 0.8 * _bump(u, v, 0, tip, 0.15, 0.12)
    skin *= 1 + blush[..., None] * np.array([0.02, -0.09, -0.08], np.float32)
    sockets = _pair(u, v, half_eyes * 0.95, -0.02, 0.26, 0.15) + 0.5 * _pair(u, v, half_eyes * 0.9, 0.17, 0.2, 0.06)
    skin *= 1 - sockets[..., None] * np.array([0.17, 0.23, 0.22], np.float32)
    spots = np.clip(_noise(shape, generator, 1.3, 1.3) - 1.6, 0, 1) * (_pair(u, v, 0.45, 0.4, 0.4, 0.25))
    skin *= 1 - person.freckles * 0.5 * spots[..., None]
    jaw = np.clip((np.hypot(u / 0.95, (v - 0.3) / 0.62) - 0.88) / 0.25, 0, 1)
    stubble = jaw * np.clip((v - mouth + 0.28) / 0.2, 0, 1)
    stubble *= 1 - 0.7 * _bump(u, v, 0, mouth + 0.02, person.mouth_width * 1.05, 0.15)
    grain = np.clip(0.75 + 0.25 * _noise(shape, generator, 0.7, 1.6), 0, 1)
    _blend(skin, np.array(person.hair, np.float32) * 0.8, person.beard * stubble * grain)
    # Under the nose little light arrives: a soft shadow, two nostrils, and the folds of the wings.
    dark = 0.25 * _bump(u, v, 0, tip + 0.19, person.nose_width * 0.95, 0.06)
    dark += 0.85 * _pair(u, v, person.nose_width * 0.42, tip + 0.125, 0.062, 0.03)
    wing = np.hypot((np.abs(u) - person.nose_width * 0.62) / 0.13, (v - tip - 0.04) / 0.11)
    dark += 0.28 * np.exp(-(((wing - 1) / 0.22) ** 2)) * (np.abs(u) > person.nose_width * 0.7)
    _blend(skin, np.array(person.skin, np.float32) * np.array([0.30, 0.18, 0.16], np.float32), np.clip(dark, 0, 0.92))
    return _float32(skin)


def _paint_brows(
    canvas: FloatArray, person: Person, u: FloatArray, v: FloatArray, generator: np.random.Generator
) -> None:
    across = (np.abs(u) - person.eye_distance / 2) / 0.33
    middle = -person.brow_height + person.brow_arch * ((across - 0.1) ** 2 - 0.5)
    thickness = person.brow_thickness * np.clip(1.15 - 0.55 * (across + 1) / 2, 0.2, None)
    hairs = np.clip(0.8 + 0.3 * _noise((v.shape[0], u.shape[1]), generator, 1.8, 0.8), 0, 1)
    brow = _inside(_float32(np.abs(v - middle) - thickness), 0.05) * _inside(np.abs(across) - 1, 0.25) * hairs
    _blend(canvas, np.array(person.hair, np.float32) * 0.75, 0.88 * brow)


def _window(u: FloatArray, v: FloatArray, at_u: float, at_v: float, half_u: float, half_v: float) -> Area:
    """Rows and columns of the canvas around a point: what moves is painted there only."""
    rows = slice(*np.searchsorted(v[:, 0], [at_v - half_v, at_v + half_v]))
    columns = slice(*np.searchsorted(u[0], [at_u - half_u, at_u + half_u]))
    return rows, columns


def _paint_eye(canvas: FloatArray, person: Person, expression: Expression, u: FloatArray, v: FloatArray) -> None:
    """The eye that lies in this part of the canvas, unlit, in place."""
    side = 1 if u.mean() > 0 else -1
    # a runs from the inner to the outer corner, b down.
    a = u * side - person.eye_distance / 2
    b = v - person.eye_tilt * a
    arc = np.clip(1 - (a / person.eye_width) ** 2, 0, None)
    opening = 1 - expression.blink
    upper = -person.eye_height * arc * opening + 0.45 * person.eye_height * arc * expression.blink
    lower = 0.6 * person.eye_height * arc
    eyeball = _inside(upper - b) * _inside(b - lower) * _inside(np.abs(a) - person.eye_width)

    lid_skin = np.array(person.skin, np.float32) * np.array([0.80, 0.72, 0.70], np.float32)
    lid = _inside(upper - 0.10 - b, 0.06) * _inside(b - upper, 0.03) * arc**0.5
    _blend(canvas, lid_skin, 0.6 * lid)
    over = np.clip(0.45 + 5.0 * (b - upper), 0.45, 1)  # the lid's shadow
    ball_light = over[..., None]
    _blend(canvas, np.array([222, 212, 204], np.float32) * ball_light, eyeball)
    from_gaze = np.hypot(a * side - expression.gaze_u, b - expression.gaze_v + 0.015)
    radius = 0.092
    spokes = 1 - 0.45 * np.clip(from_gaze / radius, 0, 1) ** 4
    iris = np.array(person.iris, np.float32) * spokes[..., None] * 1.15
    _blend(canvas, iris * ball_light, eyeball * _inside(from_gaze - radius, 0.025))
    _blend(canvas, (12, 10, 10), eyeball * _inside(from_gaze - 0.042, 0.02))
    glint = np.hypot(a * side - expression.gaze_u + 0.028, b - expression.gaze_v + 0.05)
    _blend(canvas, (245, 245, 245), 0.85 * eyeball * _inside(glint - 0.016, 0.02))

    inside_width = _inside(np.abs(a) - person.eye_width * 1.03, 0.05)
    lashes = 0.85 * np.exp(-(((b - upper + 0.006) / 0.021) ** 2)) + 0.35 * np.exp(-(((b - lower) / 0.018) ** 2))
    _blend(canvas, np.array(person.hair, np.float32) * 0.35, np.clip(lashes * inside_width, 0, 1))
    crease = 0.38 * np.exp(-(((b + person.eye_height * arc**0.8 + 0.055) / 0.020) ** 2)) * inside_width
    _blend(canvas, lid_skin * 0.45, crease)
    _blend(canvas, (150, 84, 78), 0.5 * _bump(a, b, -person.eye_width * 0.95, 0.012, 0.03, 0.022))


def _paint_mouth(canvas: FloatArray, person: Person, expression: Expression, u: FloatArray, v: FloatArray) -> None:
    """Lips, teeth and what is behind them, unlit, in place."""
    # Talking narrows the mouth a little, smiling widens it.
    half_width = person.mouth_width * (1 - 0.12 * expression.mouth_open + 0.08 * expression.smile)
    a = u / half_width
    b = v - _mouth_line(person) + 0.10 * (0.55 + expression.smile) * (np.abs(a) ** 2 - 0.3)
    arc = np.clip(1 - a**2, 0, None)
    gap = 0.19 * expression.mouth_open * arc**0.8
    upper_edge, lower_edge = -0.35 * gap, gap
    bow = 1 - 0.22 * np.exp(-((a / 0.13) ** 2)) - 0.12 * a**2
    upper_lip = upper_edge - 0.098 * person.lip_fullness * arc**0.75 * bow
    lower_lip = lower_edge + 0.125 * person.lip_fullness * arc**0.65
    within = _inside(np.abs(a) - 1, 0.06)

    skin = np.array(person.skin, np.float32)
    red = np.array([176, 78, 78], np.float32)
    tint = skin * np.array([0.84, 0.62, 0.60], np.float32)
    tint = tint + person.lip_redness * (0.55 * skin.mean() / 160 + 0.45) * (red * skin.mean() / 170 - tint)
    _blend(canvas, skin * np.array([0.52, 0.40, 0.38], np.float32), 0.30 * _bump(a, b - lower_lip, 0, 0.06, 0.6, 0.045))
    top = _inside(upper_lip - b, 0.03) * _inside(b - upper_edge, 0.02) * within
    bottom = _inside(lower_edge - b, 0.02) * _inside(b - lower_lip, 0.035) * within
    furrows = 1 + 0.05 * np.sin(a * 38 + 2 * np.sin(a * 9))
    _blend(canvas, tint * 0.80 * furrows[..., None], top)
    _blend(canvas, tint * 1.04 * furrows[..., None], bottom)
    _blend(canvas, np.clip(tint * 1.45, 0, 235), 0.38 * bottom * _bump(a, b - lower_edge, -0.1, 0.055, 0.4, 0.025))
    inside = _inside(upper_edge - b, 0.02) * _inside(b - lower_edge, 0.02) * within
    _blend(canvas, (46, 16, 16), inside * np.clip(gap / 0.02, 0, 1))
    teeth = inside * _inside(b - upper_edge - 0.075, 0.03) * _inside(np.abs(a) - 0.72, 0.2) * np.clip(gap / 0.06, 0, 1)
    _blend(canvas, np.array([206, 198, 184], np.float32), 0.9 * teeth)
    closed = 0.75 * np.exp(-((b / 0.014) ** 2)) * within * (1 - 0.8 * min(1.0, 4 * expression.mouth_open))
    _blend(canvas, tint * np.array([0.32, 0.22, 0.22], np.float32), closed)
    corners = 0.5 * _pair(a, b, 1.0, 0.01, 0.07, 0.03)
    _blend(canvas, skin * np.array([0.40, 0.28, 0.26], np.float32), corners)
