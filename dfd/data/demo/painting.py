"""Paint of drawn faces: skin, hair, eyes and mouth as formulas on a flat canvas.

``u`` (1, W) and ``v`` (H, 1) are the positions of the canvas's pixels in face units; see :mod:`dfd.data.demo.faces`.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dfd.base.types import FloatArray
from dfd.data.demo.person import Expression, Person

PIXELS_PER_UNIT = 60
"""Resolution of the canvas; the heads of the demonstration are a little smaller, which smooths their edges."""


def float32(array: NDArray[Any]) -> FloatArray:
    """``array`` itself if it is float32 (as OpenCV's results are, though its type stubs do not say so), else cast."""
    return array.astype(np.float32, copy=False)


def inside(distance: FloatArray, softness: float = 1.5 / PIXELS_PER_UNIT) -> FloatArray:
    """Coverage from a signed distance (negative inside), with a smooth edge that is ``softness`` wide."""
    t = np.clip(0.5 - distance / np.float32(softness), 0, 1)
    return float32(t * t * (3 - 2 * t))


def _bump(u: FloatArray, v: FloatArray, at_u: float, at_v: float, size_u: float, size_v: float) -> FloatArray:
    """A Gaussian hill of height 1."""
    return float32(np.exp(-(((u - at_u) / size_u) ** 2) - ((v - at_v) / size_v) ** 2))


def _pair(u: FloatArray, v: FloatArray, at_u: float, at_v: float, size_u: float, size_v: float) -> FloatArray:
    """The same hill on the left and on the right."""
    return _bump(np.abs(u), v, at_u, at_v, size_u, size_v)


def _noise(shape: tuple[int, int], generator: np.random.Generator, blur_u: float, blur_v: float) -> FloatArray:
    """Smooth noise of unit variance; the blurs are in canvas pixels."""
    raw = generator.standard_normal(shape, dtype=np.float32)
    smooth = float32(cv2.GaussianBlur(raw, (0, 0), sigmaX=blur_u, sigmaY=blur_v))
    return float32(smooth / smooth.std())


def _blend(canvas: FloatArray, colour: FloatArray | tuple[float, float, float], coverage: FloatArray) -> None:
    """Lay ``colour`` over ``canvas`` in place."""
    canvas += (np.asarray(colour, np.float32) - canvas) * coverage[..., None]


def _outline(person: Person, u: FloatArray, v: FloatArray) -> FloatArray:
    """Signed distance from the edge of skull and jaw, roughly in face units."""
    below = np.clip(v, 0, None) / person.face_height
    half_width = 1 - person.jaw_taper * below**2
    return float32((np.hypot(u / half_width, v / person.face_height) - 1) * 0.95)


def relief(person: Person, u: FloatArray, v: FloatArray) -> FloatArray:
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
    mouth = mouth_line(person)
    height += 0.06 * _bump(u, v, 0, mouth, person.mouth_width, 0.20)
    height += 0.05 * _bump(u, v, 0, mouth + 0.09 * person.lip_fullness, person.mouth_width * 0.6, 0.06)
    height += -0.05 * _bump(u, v, 0, mouth + 0.27, 0.22, 0.06) - 0.02 * _bump(u, v, 0, mouth - 0.17, 0.04, 0.08)
    height += 0.09 * _bump(u, v, 0, person.face_height - 0.18, 0.24, 0.14)
    return float32(height)


def surface(relief: FloatArray, flatness: FloatArray) -> tuple[FloatArray, FloatArray]:
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


def mouth_line(person: Person) -> float:
    """Where the lips meet: a third of the way from the nose to the chin."""
    return person.nose_length + 0.36 * (person.face_height - person.nose_length)


def paint_head(
    person: Person, u: FloatArray, v: FloatArray, generator: np.random.Generator
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Everything that does not move: unlit colours (H, W, 3), coverage (H, W), and where the relief does not count."""
    shape = (v.shape[0], u.shape[1])
    skin = np.array(person.skin, np.float32)
    hair = np.array(person.hair, np.float32)
    outline = _outline(person, u, v)
    face = inside(outline)
    strands = 1 + 0.16 * _noise(shape, generator, 0.8, 9) + 0.10 * _noise(shape, generator, 4, 14)

    canvas = np.empty((*shape, 3), np.float32)
    canvas[:] = hair * 0.62 * strands[..., None]
    # Hair behind the neck, down to hair_length below the ears.
    crown = np.hypot(u / (1.27 if person.hair_length > 0 else 1.1), np.minimum(v + 0.2, 0) / 1.6) - 1
    behind = inside(np.maximum(crown, v - 0.2 - person.hair_length), 0.08)
    neck = inside(np.abs(u) - 0.58 - 0.12 * np.clip(v - 1.5, 0, 1) ** 2) * (v > 0.9)
    neck = neck * inside(v - 1.9, 0.4)  # it fades into the skin above the collar
    shadow = 0.55 + 0.35 * np.clip((v - person.face_height) / 0.7, 0, 1)
    rounding = 1 - 0.35 * (np.clip(np.abs(u), 0, 0.6) / 0.6) ** 2
    _blend(canvas, skin * (shadow * rounding)[..., None], neck)
    ears = inside(np.hypot((np.abs(u) - 0.99) / 0.13, (v - 0.16) / 0.30) * 0.13 - 0.13)
    _blend(canvas, skin * np.array([0.88, 0.78, 0.74], np.float32), ears)
    _blend(canvas, _paint_skin(person, u, v, generator), face)
    _paint_brows(canvas, person, u, v, generator)

    # The hairline: an arch over the forehead that runs down in front of the ears.
    ragged = 0.03 * _noise((1, shape[1]), generator, 3, 1)
    arch = v + person.hairline - 0.95 * np.clip(np.abs(u + 0.12) - 0.25, 0, None) ** 2.2 + ragged
    skull = np.hypot(u / 1.12, v / (person.face_height + 0.17)) - 1
    front = inside(np.maximum(skull, arch), 0.07) * inside(v, 0.2)
    gloss = 1 + 0.35 * _bump(u, v, -0.3, -1.25, 0.7, 0.22)
    _blend(canvas, hair * (strands * gloss)[..., None], front)

    alpha = np.maximum.reduce([face, ears, neck, front, behind])
    flatness = np.maximum(1 - face, front)
    return canvas, alpha.astype(np.float32), flatness.astype(np.float32)


def _paint_skin(person: Person, u: FloatArray, v: FloatArray, generator: np.random.Generator) -> FloatArray:
    """Unlit skin with all that is flat on it: blush, shadows, freckles, beard, nostrils."""
    shape = (v.shape[0], u.shape[1])
    tip, mouth, half_eyes = person.nose_length - 0.10, mouth_line(person), person.eye_distance / 2
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
    return float32(skin)


def _paint_brows(
    canvas: FloatArray, person: Person, u: FloatArray, v: FloatArray, generator: np.random.Generator
) -> None:
    across = (np.abs(u) - person.eye_distance / 2) / 0.33
    middle = -person.brow_height + person.brow_arch * ((across - 0.1) ** 2 - 0.5)
    thickness = person.brow_thickness * np.clip(1.15 - 0.55 * (across + 1) / 2, 0.2, None)
    hairs = np.clip(0.8 + 0.3 * _noise((v.shape[0], u.shape[1]), generator, 1.8, 0.8), 0, 1)
    brow = inside(float32(np.abs(v - middle) - thickness), 0.05) * inside(np.abs(across) - 1, 0.25) * hairs
    _blend(canvas, np.array(person.hair, np.float32) * 0.75, 0.88 * brow)


def paint_eye(canvas: FloatArray, person: Person, expression: Expression, u: FloatArray, v: FloatArray) -> None:
    """The eye that lies in this part of the canvas, unlit, in place."""
    side = 1 if u.mean() > 0 else -1
    # a runs from the inner to the outer corner, b down.
    a = u * side - person.eye_distance / 2
    b = v - person.eye_tilt * a
    arc = np.clip(1 - (a / person.eye_width) ** 2, 0, None)
    opening = 1 - expression.blink
    upper = -person.eye_height * arc * opening + 0.45 * person.eye_height * arc * expression.blink
    lower = 0.6 * person.eye_height * arc
    eyeball = inside(upper - b) * inside(b - lower) * inside(np.abs(a) - person.eye_width)

    lid_skin = np.array(person.skin, np.float32) * np.array([0.80, 0.72, 0.70], np.float32)
    lid = inside(upper - 0.10 - b, 0.06) * inside(b - upper, 0.03) * arc**0.5
    _blend(canvas, lid_skin, 0.6 * lid)
    over = np.clip(0.45 + 5.0 * (b - upper), 0.45, 1)  # the lid's shadow
    ball_light = over[..., None]
    _blend(canvas, np.array([222, 212, 204], np.float32) * ball_light, eyeball)
    from_gaze = np.hypot(a * side - expression.gaze_u, b - expression.gaze_v + 0.015)
    radius = 0.092
    spokes = 1 - 0.45 * np.clip(from_gaze / radius, 0, 1) ** 4
    iris = np.array(person.iris, np.float32) * spokes[..., None] * 1.15
    _blend(canvas, iris * ball_light, eyeball * inside(from_gaze - radius, 0.025))
    _blend(canvas, (12, 10, 10), eyeball * inside(from_gaze - 0.042, 0.02))
    glint = np.hypot(a * side - expression.gaze_u + 0.028, b - expression.gaze_v + 0.05)
    _blend(canvas, (245, 245, 245), 0.85 * eyeball * inside(glint - 0.016, 0.02))

    inside_width = inside(np.abs(a) - person.eye_width * 1.03, 0.05)
    lashes = 0.85 * np.exp(-(((b - upper + 0.006) / 0.021) ** 2)) + 0.35 * np.exp(-(((b - lower) / 0.018) ** 2))
    _blend(canvas, np.array(person.hair, np.float32) * 0.35, np.clip(lashes * inside_width, 0, 1))
    crease = 0.38 * np.exp(-(((b + person.eye_height * arc**0.8 + 0.055) / 0.020) ** 2)) * inside_width
    _blend(canvas, lid_skin * 0.45, crease)
    _blend(canvas, (150, 84, 78), 0.5 * _bump(a, b, -person.eye_width * 0.95, 0.012, 0.03, 0.022))


def paint_mouth(canvas: FloatArray, person: Person, expression: Expression, u: FloatArray, v: FloatArray) -> None:
    """Lips, teeth and what is behind them, unlit, in place."""
    # Talking narrows the mouth a little, smiling widens it.
    half_width = person.mouth_width * (1 - 0.12 * expression.mouth_open + 0.08 * expression.smile)
    a = u / half_width
    b = v - mouth_line(person) + 0.10 * (0.55 + expression.smile) * (np.abs(a) ** 2 - 0.3)
    arc = np.clip(1 - a**2, 0, None)
    gap = 0.19 * expression.mouth_open * arc**0.8
    upper_edge, lower_edge = -0.35 * gap, gap
    bow = 1 - 0.22 * np.exp(-((a / 0.13) ** 2)) - 0.12 * a**2
    upper_lip = upper_edge - 0.098 * person.lip_fullness * arc**0.75 * bow
    lower_lip = lower_edge + 0.125 * person.lip_fullness * arc**0.65
    within = inside(np.abs(a) - 1, 0.06)

    skin = np.array(person.skin, np.float32)
    red = np.array([176, 78, 78], np.float32)
    tint = skin * np.array([0.84, 0.62, 0.60], np.float32)
    tint = tint + person.lip_redness * (0.55 * skin.mean() / 160 + 0.45) * (red * skin.mean() / 170 - tint)
    _blend(canvas, skin * np.array([0.52, 0.40, 0.38], np.float32), 0.30 * _bump(a, b - lower_lip, 0, 0.06, 0.6, 0.045))
    top = inside(upper_lip - b, 0.03) * inside(b - upper_edge, 0.02) * within
    bottom = inside(lower_edge - b, 0.02) * inside(b - lower_lip, 0.035) * within
    furrows = 1 + 0.05 * np.sin(a * 38 + 2 * np.sin(a * 9))
    _blend(canvas, tint * 0.80 * furrows[..., None], top)
    _blend(canvas, tint * 1.04 * furrows[..., None], bottom)
    _blend(canvas, np.clip(tint * 1.45, 0, 235), 0.38 * bottom * _bump(a, b - lower_edge, -0.1, 0.055, 0.4, 0.025))
    hole = inside(upper_edge - b, 0.02) * inside(b - lower_edge, 0.02) * within
    _blend(canvas, (46, 16, 16), hole * np.clip(gap / 0.02, 0, 1))
    teeth = hole * inside(b - upper_edge - 0.075, 0.03) * inside(np.abs(a) - 0.72, 0.2) * np.clip(gap / 0.06, 0, 1)
    _blend(canvas, np.array([206, 198, 184], np.float32), 0.9 * teeth)
    closed = 0.75 * np.exp(-((b / 0.014) ** 2)) * within * (1 - 0.8 * min(1.0, 4 * expression.mouth_open))
    _blend(canvas, tint * np.array([0.32, 0.22, 0.22], np.float32), closed)
    corners = 0.5 * _pair(a, b, 1.0, 0.01, 0.07, 0.03)
    _blend(canvas, skin * np.array([0.40, 0.28, 0.26], np.float32), corners)
