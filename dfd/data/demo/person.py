"""Invented people: what they look like, and what their heads do in a frame."""

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, get_type_hints

import numpy as np

from dfd.base.types import FloatArray

SKIN_TONES = np.array(
    [[244, 208, 184], [230, 184, 152], [214, 162, 124], [186, 132, 96], [150, 100, 70], [116, 76, 54]], np.float32
)
HAIR_COLOURS = np.array(
    [[34, 28, 26], [52, 36, 28], [86, 56, 36], [128, 84, 48], [186, 146, 90], [112, 52, 30], [142, 138, 134]],
    np.float32,
)
IRIS_COLOURS = np.array([[74, 46, 28], [98, 68, 38], [84, 110, 132], [98, 116, 84], [52, 34, 24]], np.float32)


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
    """The looks of an invented person. Lengths are in face units, colours RGB in 0..255.

    Beside a feature is the range that it is drawn from; if there are two, of a feminine and of a masculine face.
    """

    skin: tuple[float, float, float]
    hair: tuple[float, float, float]
    iris: tuple[float, float, float]
    face_height: Annotated[float, (1.48, 1.68)]
    jaw_taper: Annotated[float, (0.16, 0.34)]
    eye_distance: Annotated[float, (0.84, 0.96)]
    eye_width: Annotated[float, (0.21, 0.25)]
    eye_height: Annotated[float, (0.085, 0.115)]
    eye_tilt: Annotated[float, (-0.10, 0.02)]
    brow_height: Annotated[float, (0.27, 0.36)]
    brow_thickness: Annotated[float, (0.028, 0.05), (0.045, 0.075)]
    brow_arch: Annotated[float, (0.02, 0.06)]
    nose_width: Annotated[float, (0.22, 0.31)]
    nose_length: Annotated[float, (0.62, 0.74)]
    mouth_width: Annotated[float, (0.34, 0.44)]
    lip_fullness: Annotated[float, (0.8, 1.35)]
    lip_redness: Annotated[float, (0.3, 0.7), (0.1, 0.35)]
    hairline: Annotated[float, (0.84, 1.08)]
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
        # Light hair on dark skin is rare; the darker half of the palette fits everyone.
        hair = colour(HAIR_COLOURS if tone < 2.5 else HAIR_COLOURS[:3], 0.12)
        iris = colour(IRIS_COLOURS if tone < 2.5 else IRIS_COLOURS[[0, 4]], 0.08)
        drawn: dict[str, Any] = {}
        for name, kind in get_type_hints(cls, include_extras=True).items():
            if ranges := getattr(kind, "__metadata__", ()):
                drawn[name] = between(*(ranges[-1] if masculine else ranges[0]))
        return cls(
            skin=(red, green, blue),
            hair=hair,
            iris=iris,
            **drawn,
            hair_length=-0.2 if masculine else between(0.5, 2.1),
            beard=float(masculine) * max(0.0, between(-0.5, 0.8)),
            freckles=max(0.0, between(-1.0, 1.0)),
            texture_seed=int(generator.integers(2**31)),
        )
