"""Families of pseudo-fakes: the ways in which a fake can be made from a real clip, and their mix.

A family is a function of the clip, its landmarks, a source of draws and settings of its own, with an entry in
:data:`FAMILIES`. Its settings are a frozen dataclass with a default for each field, which refuses what is out of range;
``data.blend.NAME`` in ``conf/data/blend.yaml`` lists them. It makes the whole clip at once, so that the fake is
coherent in time, and draws the real clip of the pair like the fake wherever a difference would give the label away
without the forgery itself (colour, sharpness, compression).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

import numpy as np

from dfd.base.types import FloatArray, FrameArray
from dfd.base.words import did_you_mean
from dfd.data.blend.blending import self_blend
from dfd.data.blend.families.motion import MotionSettings, motion_blend
from dfd.data.blend.families.resynthesis import ResynthesisSettings, resynthesis_blend
from dfd.data.blend.families.warp import WarpSettings, warp_blend
from dfd.data.blend.geometry import BlendedPair, check_landmarks, drawn
from dfd.data.blend.settings import BlendSettings, check_weights

KIND = "self"
"""Family, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Family:
    """One way to make a fake.

    ``method`` is the name in the column ``method``. ``settings`` is the class of its settings. ``make`` is a function
    of the frames, uint8 (T, H, W, 3), the landmarks in pixels, (T, 5, 2), a generator of random draws and the settings.
    """

    method: str
    settings: type[Any]
    make: Callable[[FrameArray, FloatArray, np.random.Generator, Any], BlendedPair]


FAMILIES: dict[str, Family] = {
    "self": Family("self_blend", BlendSettings, self_blend),
    "warp": Family("warp_blend", WarpSettings, warp_blend),
    "resynthesis": Family("resynthesis", ResynthesisSettings, resynthesis_blend),
    "motion": Family("motion", MotionSettings, motion_blend),
}
"""Families by the names that ``data.blend.kind`` takes."""


@dataclass(frozen=True, slots=True)
class Blends:
    """Mix of families, each with its settings.

    Args:
        weights: how often each family is drawn, by its name in :data:`FAMILIES`, with any sum.
        settings: settings of each family of ``weights``, by its name.
    """

    weights: Mapping[str, float]
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, options: Mapping[str, Any] | None = None) -> Self:
        """Read ``data.blend``: ``kind``, options of the family ``self``, and those of the others under their names.

        >>> Blends.of({"kind": "warp", "warp": {"side": [64, 64]}}).settings["warp"].side
        [64, 64]
        >>> sorted(Blends.of({"kind": {"self": 2, "warp": 1}}).weights.items())
        [('self', 2), ('warp', 1)]

        None stands for the default, for all options or for a single one.

        Raises:
            ValueError: an option is unknown or out of range; the message names it.
        """
        given = {name: value for name, value in (options or {}).items() if value is not None}
        kind = given.pop("kind", KIND)
        weights = {kind: 1} if isinstance(kind, str) else kind
        check_weights("kind", weights, FAMILIES)
        own = {name: given.pop(name) for name in [*given] if name in FAMILIES}
        own[KIND] = given
        settings = {name: _settings(name, own.get(name, {})) for name in FAMILIES}
        return cls({name: weight for name, weight in weights.items() if weight}, settings)

    def draw(self, seed: int) -> str:
        """Draw a family; one seed always gives the same one."""
        if len(self.weights) == 1:
            return next(iter(self.weights))
        return drawn(self.weights, np.random.default_rng((seed, 1)))

    def make(self, family: str, frames: FrameArray, landmarks: FloatArray, rng: np.random.Generator) -> BlendedPair:
        """Make a pair of this family from frames, uint8 (T, H, W, 3), and their landmarks in pixels, (T, 5, 2).

        Raises:
            ValueError: there are not five landmarks for each frame.
        """
        check_landmarks(frames, landmarks)
        pair = FAMILIES[family].make(frames, landmarks, rng, self.settings[family])
        return replace(pair, method=FAMILIES[family].method, landmarks=landmarks)

    def facts(self) -> dict[str, Any]:
        """Settings of the drawn families as plain values, those of ``self`` at the top."""
        facts: dict[str, Any] = {"kind": dict(self.weights)}
        for name in self.weights:
            facts |= asdict(self.settings[name]) if name == KIND else {name: asdict(self.settings[name])}
        return facts


def _settings(family: str, options: object) -> Any:
    """Settings of a family from its options.

    Raises:
        ValueError: they are no options of it, or out of range.
    """
    if not isinstance(options, Mapping):
        raise ValueError(f"{family} must be options by name, got {options!r}")
    form = FAMILIES[family].settings
    names = [one.name for one in fields(form)]
    where = "" if family == KIND else f"{family}."
    if unknown := sorted(set(map(str, options)) - set(names)):
        raise ValueError(f"{where}{unknown[0]}: no such option of the family {family}{did_you_mean(unknown[0], names)}")
    try:
        return form(**{name: value for name, value in options.items() if value is not None})
    except ValueError as error:
        raise ValueError(f"{where}{error}") from error
