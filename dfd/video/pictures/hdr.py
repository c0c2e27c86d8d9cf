"""Converts HDR and wide-gamut pictures to BT.709, as an SDR screen shows them.

The light of the picture is computed by Recommendation ITU-R BT.2100-2: for HLG by the inverse of its OETF and its OOTF
for a screen of 1000 cd/m² (gamma 1.2), for PQ by its EOTF. White is 203 cd/m², the level that Report ITU-R BT.2408
gives for both; a face is at or below it. The primaries are converted to BT.709's in linear light. Each channel is then
kept up to 0.8 of white, and rolled off above so that 1000 cd/m² become full level; colours outside of BT.709 are
clipped. The result is coded by BT.1886 (gamma 2.4).

Wide gamut without HDR (BT.2020 or Display P3 primaries with an SDR curve) is converted in the same way, without the
roll-off.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from dfd.base.types import FrameArray

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
"""Light of full HLG on the assumed screen, and of white, in cd/m²."""
_KNEE = 0.8
_HLG_GAMMA = 1.2  # BT.2100-2, table 5, for 1000 cd/m²
_SDR_GAMMA = 2.4  # BT.1886

Matrix = NDArray[np.float32]


def needs_mapping(transfer: int, primaries: int) -> bool:
    """Whether a picture with these numbers (ITU-T H.273) would look wrong if treated as BT.709."""
    return transfer in (_PQ, _HLG) or primaries in (_BT2020_PRIMARIES, _P3_D65_PRIMARIES)


def colours_of(frame: VideoFrame, transfer: int, primaries: int) -> tuple[int, int]:
    """Transfer and primaries of a frame; those of its container where the frame does not specify them (0 or 2)."""
    return frame.color_trc if frame.color_trc not in (0, 2) else transfer, (
        frame.color_primaries if frame.color_primaries not in (0, 2) else primaries
    )


def to_sdr(coded: NDArray[np.uint16], transfer: int, primaries: int) -> FrameArray:
    """Convert coded R'G'B', uint16 (H, W, 3), full range, to 8 bits of BT.709."""
    import cv2

    light = np.take(_decoding(transfer), coded)
    if transfer == _HLG:
        # OOTF: the light of the screen is that of the scene times its luminance to the power of gamma - 1.
        luminance = cv2.transform(light, _luminance(primaries))
        light *= cv2.pow(luminance, _HLG_GAMMA - 1).reshape(*luminance.shape[:2], 1) * (PEAK_NITS / WHITE_NITS)
    turned = cv2.transform(light, _to_709(primaries))
    np.clip(turned, 0, _top(transfer), out=turned)
    # The square root gives dark levels steps fine enough for 8 bits.
    levels = cv2.sqrt(turned) * np.float32(65535 / np.sqrt(_top(transfer)))
    return np.take(_encoding(transfer), levels.astype(np.uint16))


def _top(transfer: int) -> float:
    """Largest light level that is kept, as a multiple of white."""
    return PEAK_NITS / WHITE_NITS if transfer in (_PQ, _HLG) else 1.0


@lru_cache
def _decoding(transfer: int) -> Matrix:
    """Light by code value, (65536,): of the scene for HLG, 0..1; of the screen for all others, white = 1."""
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
    """8-bit code, (65536,), by the square root of the light relative to its maximum."""
    top = _top(transfer)
    light = np.linspace(0, 1, 65536) ** 2 * top
    if top > 1:
        # Reinhard's extended curve above the knee: its slope is 1 at the knee, and ``top`` maps to 1.
        above, most = (np.maximum(light, _KNEE) - _KNEE) / (1 - _KNEE), (top - _KNEE) / (1 - _KNEE)
        light = np.where(light <= _KNEE, light, _KNEE + (1 - _KNEE) * above * (1 + above / most**2) / (1 + above))
    return np.rint(255 * np.clip(light, 0, 1) ** (1 / _SDR_GAMMA)).astype(np.uint8)


def _xyz(primaries: int) -> NDArray[np.float64]:
    """Matrix (3, 3) from R, G, B to XYZ. Source: SMPTE RP 177."""
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
