"""Portraits of invented people, drawn from formulas: no photograph and no trained network is behind them.

A face is painted flat, on a canvas in *face units*: 1 is half the width of the face (about 7 cm), ``u`` points to the
right of the picture, ``v`` down, and the origin lies between the eyes. Proportions are those of adults (Farkas,
"Anthropometry of the Head and Face", 1994), rounded. :meth:`Portrait.render` then turns the canvas in space, so
one portrait serves for every frame of a video.
"""

import cv2
import numpy as np

from dfd.base.types import FloatArray
from dfd.data.demo import painting
from dfd.data.demo.painting import PIXELS_PER_UNIT, float32, inside
from dfd.data.demo.person import Expression, Light, Person, Pose

CANVAS = (-1.55, -1.95, 1.55, 2.35)
"""Left, top, right and bottom of the canvas in face units: hair at the sides and above, the neck below."""

INNER_FACE = (-1.0, -0.75, 1.0, 1.7)
"""The same of a part that holds all that a face swap replaces."""

FINENESS = Expression(mouth_open=16, smile=8, blink=8, gaze_u=100, gaze_v=100)
"""Number of states that are painted in each unit of an expression."""

Area = tuple[slice, slice]
"""Rows and columns of a picture or of the canvas."""


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

        def span(center: float, low: float, high: float, size: int) -> slice:
            first, last = (int(center + end * pose.scale) for end in (low - margin, high + margin))
            return slice(max(0, first), min(size, last + 1))

        self.area: Area = span(pose.y, top, bottom, height), span(pose.x, left, right, width)
        self._u, self._v = _look_up(pose, expression, self.area)

    def show(self, canvas: FloatArray) -> FloatArray:
        """A canvas-shaped array as seen in ``area``; 0 where the canvas does not reach."""
        map_x, map_y = (self._u - CANVAS[0]) * PIXELS_PER_UNIT, (self._v - CANVAS[1]) * PIXELS_PER_UNIT
        return float32(cv2.remap(canvas, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT))

    def inner_face(self, *, softness: float, grow: float = 0.0) -> FloatArray:
        """Coverage (h, w, 1) of ``area`` by what a face swap replaces: from the brows to below the mouth.

        ``softness`` is the width of its edge and ``grow`` how far it is pushed out, both in face units.
        """
        distance = (np.hypot(self._u / 0.82, (self._v - 0.48) / 0.98) - 1) * 0.85 - grow
        return inside(distance, softness)[..., None]


class Portrait:
    """A person's face, painted once; :meth:`render` shows it in any pose, light and expression."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self._u, self._v = _canvas_grid()
        generator = np.random.default_rng(person.texture_seed)
        colours, coverage, flatness = painting.paint_head(person, self._u, self._v, generator)
        self._unlit = float32(np.dstack([colours, coverage]))
        self._normals, self._openness = painting.surface(painting.relief(person, self._u, self._v), flatness)
        half_eyes, mouth = person.eye_distance / 2, painting.mouth_line(person)
        self._eyes = [_window(self._u, self._v, side * half_eyes, 0, person.eye_width * 1.35, 0.27) for side in (-1, 1)]
        self._mouth = _window(self._u, self._v, 0, mouth, person.mouth_width * 1.25, 0.45)
        self._patches: dict[tuple[int, ...], FloatArray] = {}

    def render(self, view: View, light: Light) -> tuple[FloatArray, FloatArray]:
        """The head in the pose and expression of ``view``: RGB (h, w, 3) in 0..255, coverage (h, w, 1) in 0..1."""
        shade = self._shade(view.pose, light)
        every = cv2.merge([shade, shade, shade, np.ones_like(shade)])
        seen = view.show(float32(cv2.multiply(self._with_expression(view.expression), every)))
        return seen[..., :3], seen[..., 3:]

    def _with_expression(self, expression: Expression) -> FloatArray:
        """The unlit canvas, RGB and coverage, with eyes and mouth in the state of ``expression``.

        Eyes and mouth have a few dozen states, less than a pixel of the video apart, and each is painted once.
        """
        canvas = self._unlit.copy()
        steps = [round(value * fine) for value, fine in zip(expression, FINENESS, strict=True)]
        nearest = Expression(*(step / fine for step, fine in zip(steps, FINENESS, strict=True)))
        for index, window in enumerate((*self._eyes, self._mouth)):
            key = (index, *steps[2:]) if index < 2 else (index, *steps[:2])
            if key not in self._patches:
                patch = canvas[window][..., :3].copy()
                paint = painting.paint_eye if index < 2 else painting.paint_mouth
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
        lambert = float32(cv2.transform(self._normals, np.array([[x, y, z]], np.float32)))
        return float32(light.ambient * self._openness + (1.12 - light.ambient) * np.maximum(lambert, 0))


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
    fine_u, fine_v = (float32(cv2.resize(float32(coarse), size))[:num_rows, :num_columns] for coarse in (u, v))
    return fine_u, fine_v


def _window(u: FloatArray, v: FloatArray, at_u: float, at_v: float, half_u: float, half_v: float) -> Area:
    """Rows and columns of the canvas around a point: what moves is painted there only."""
    rows = slice(*np.searchsorted(v[:, 0], [at_v - half_v, at_v + half_v]))
    columns = slice(*np.searchsorted(u[0], [at_u - half_u, at_u + half_u]))
    return rows, columns
