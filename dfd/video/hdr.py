"""HDR and wide-gamut pictures brought to BT.709 as an SDR screen shows them.

The light that the picture stands for is computed by the curves of Recommendation ITU-R BT.2100-2: HLG by the inverse of
its OETF and its OOTF for a screen of 1000 cd/m² (gamma 1.2), PQ by its EOTF. What counts as white is 203 cd/m², the
level that Report ITU-R BT.2408 gives for HLG and PQ alike; a face is at or below it. The primaries are turned into
BT.709's in linear light. Each channel is then kept as it is up to 0.8 of white, and what is above is rolled off so that
1000 cd/m² are just full; colours outside of BT.709 are cut at its edge. The result is coded by BT.1886 (gamma 2.4).

Wide gamut without HDR (BT.2020 or Display P3 primaries with an SDR curve) has its primaries turned in the same way, and
nothing rolled off.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from dfd.types import FrameArray

# ITU-T H.273: table 3 (transfer), table 2 (primaries).
_PQ, _HLG = 16, 18
_BT2020_PRIMARIES, _P3_D65_PRIMARIES = 9, 12
# CIE 1931 x and y of red, green and blue; white is D65 for all. Sources: BT.709-6, BT.2020-2, SMPTE EG 432-1.
_PRIMARIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    _BT2020_PRIMARIES: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    _P3_D65_PRIMARIES: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_D65 = (0.3127, 0.3290)

PEAK_NITS, WHITE_NITS = 1000.0, 203.0
"""What full HLG is on the screen that is assumed, and what white is, in cd/m²."""
_KNEE = 0.8
_HLG_GAMMA = 1.2  # BT.2100-2, table 5, for 1000 cd/m²
_SDR_GAMMA = 2.4  # BT.1886

Matrix = NDArray[np.float32]


def needs_mapping(transfer: int, primaries: int) -> bool:
    """True for pictures that would look wrong if they were taken for BT.709, by their numbers in ITU-T H.273."""
    return transfer in (_PQ, _HLG) or primaries in (_BT2020_PRIMARIES, _P3_D65_PRIMARIES)


def colours_of(frame: VideoFrame, transfer: int, primaries: int) -> tuple[int, int]:
    """Transfer and primaries of a frame; where it does not say (2, or 0), what its container said."""
    return frame.color_trc if frame.color_trc not in (0, 2) else transfer, (
        frame.color_primaries if frame.color_primaries not in (0, 2) else primaries
    )


def to_sdr(coded: NDArray[np.uint16], transfer: int, primaries: int) -> FrameArray:
    """R'G'B' as coded, uint16 (H, W, 3), full range, as 8 bits of BT.709."""
    import cv2

    light = np.take(_decoding(transfer), coded)
    if transfer == _HLG:
        # The OOTF: the light of the screen is that of the scene times its luminance to the power of gamma - 1.
        luminance = cv2.transform(light, _luminance(primaries))
        light *= cv2.pow(luminance, _HLG_GAMMA - 1).reshape(*luminance.shape[:2], 1) * (PEAK_NITS / WHITE_NITS)
    turned = cv2.transform(light, _to_709(primaries))
    np.clip(turned, 0, _top(transfer), out=turned)
    # By the root, the dark has steps as fine as 8 bits want.
    levels = cv2.sqrt(turned) * np.float32(65535 / np.sqrt(_top(transfer)))
    return np.take(_encoding(transfer), levels.astype(np.uint16))


def _top(transfer: int) -> float:
    """The most light that is told apart, as a multiple of white."""
    return PEAK_NITS / WHITE_NITS if transfer in (_PQ, _HLG) else 1.0


@lru_cache
def _decoding(transfer: int) -> Matrix:
    """(65536,): light by code value. Of HLG that of the scene, 0..1; of all others that of the screen, white = 1."""
    coded = np.linspace(0, 1, 65536)
    if transfer == _HLG:  # BT.2100-2, table 5: inverse of the OETF
        a = 0.17883277
        b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
        light = np.where(coded <= 0.5, coded**2 / 3, (np.exp((coded - c) / a) + b) / 12)
    elif transfer == _PQ:  # BT.2100-2, table 4: EOTF
        m1, m2 = 2610 / 16384, 2523 / 4096 * 128
        c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
        root = coded ** (1 / m2)
        light = 10_000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1) / WHITE_NITS
    else:
        light = coded**_SDR_GAMMA
    return light.astype(np.float32)


@lru_cache
def _encoding(transfer: int) -> NDArray[np.uint8]:
    """(65536,): the 8-bit code by the root of the light over its largest value."""
    top = _top(transfer)
    light = np.linspace(0, 1, 65536) ** 2 * top
    if top > 1:
        # Reinhard's extended curve from the knee on: its slope is 1 there, and ``top`` becomes 1.
        above, most = (np.maximum(light, _KNEE) - _KNEE) / (1 - _KNEE), (top - _KNEE) / (1 - _KNEE)
        light = np.where(light <= _KNEE, light, _KNEE + (1 - _KNEE) * above * (1 + above / most**2) / (1 + above))
    return np.rint(255 * np.clip(light, 0, 1) ** (1 / _SDR_GAMMA)).astype(np.uint8)


def _xyz(primaries: int) -> NDArray[np.float64]:
    """(3, 3): XYZ of R, G, B. Source: SMPTE RP 177."""
    points = _PRIMARIES.get(primaries, _PRIMARIES[1])
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in points]).T
    white = np.array([_D65[0] / _D65[1], 1, (1 - _D65[0] - _D65[1]) / _D65[1]])
    return np.asarray(columns * np.linalg.solve(columns, white))


@lru_cache
def _to_709(primaries: int) -> Matrix:
    return np.asarray(np.linalg.solve(_xyz(1), _xyz(primaries)), np.float32)


@lru_cache
def _luminance(primaries: int) -> Any:
    return np.asarray(_xyz(primaries)[1:2], np.float32)
