"""Chains of disturbances, as what happens to a video on its way through an app, a screen or another's account."""

from dataclasses import dataclass

Levels = tuple[float, float, float, float, float]
"""Strength at levels 1 to 5."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Disturbances one after another: the name of each, as in ``DISTURBANCES``, with its strengths.

    Raises:
        ValueError: there are not 2 to 4 steps.
    """

    name: str
    steps: tuple[tuple[str, Levels], ...]

    def __post_init__(self) -> None:
        if not 2 <= len(self.steps) <= 4:
            raise ValueError(f"{self.name} must have 2 to 4 steps, got {len(self.steps)}")


# The order is that in which it happens. No platform states its settings; these lie in the range of the single
# disturbances, and are weaker there than alone, because they add up.
CHAINS = (
    # Made smaller and encoded by the app, then forwarded, which encodes it again.
    Chain(
        "messenger",
        (("platform", (0.8, 0.667, 0.5, 0.4, 0.3)), ("h264", (26, 28, 31, 34, 37))),
    ),
    # Cut to the app's shape, a caption and stickers put on top, encoded at the app's frame rate and size.
    Chain(
        "short_video",
        (
            ("crop", (0.95, 0.9, 0.85, 0.75, 0.65)),
            ("overlay", (0.04, 0.08, 0.12, 0.18, 0.25)),
            ("frame_rate", (1, 0.8, 0.667, 0.5, 0.5)),
            ("platform", (0.8, 0.667, 0.5, 0.444, 0.333)),
        ),
    ),
    # Shown at another size and brightness, recorded with lost frames, encoded in real time.
    Chain(
        "screen_recording",
        (
            ("scale", (0.8, 0.7, 0.6, 0.5, 0.4)),
            ("gamma", (1.1, 1.15, 1.25, 1.4, 1.6)),
            ("frame_drop", (0.05, 0.1, 0.2, 0.3, 0.4)),
            ("h264", (24, 27, 30, 33, 36)),
        ),
    ),
    # Downloaded, mirrored, cropped and framed, so that it is not recognised, and encoded by two platforms.
    Chain(
        "reupload",
        (
            ("mirror_crop", (0.95, 0.9, 0.8, 0.7, 0.6)),
            ("overlay", (0.03, 0.05, 0.08, 0.12, 0.16)),
            ("h264", (24, 26, 28, 31, 34)),
            ("platform", (0.8, 0.667, 0.5, 0.444, 0.333)),
        ),
    ),
)
"""Chains that detectors are tested under, in the order of tables and figures."""
CHAIN_NAMES = tuple(chain.name for chain in CHAINS)
