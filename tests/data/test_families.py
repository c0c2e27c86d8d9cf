"""Families of pseudo-fakes keep one contract; warped faces lose detail, and nothing else does."""

from typing import Any

import cv2
import numpy as np
import pytest

from dfd.data.blend.families import FAMILIES, Blends
from dfd.data.blend.families.warp import WARP_OUTLINES, WarpSettings, warp_blend
from dfd.data.blend.geometry import BlendedPair
from dfd.data.blend.settings import MEAN_LANDMARKS

SIDE, UNIT = 256, 70.0  # pixels: the crop, and between the eyes


def face(num_frames: int = 1, *, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Detail of all scales, the finer the weaker, as in photographs; landmarks that move by ``shift`` per frame."""
    rng = np.random.default_rng(5)
    spectrum = np.fft.rfft2(rng.normal(size=(3, SIDE, SIDE)))
    distance = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    picture = np.fft.irfft2(spectrum / np.maximum(distance, 1 / SIDE))
    picture = 128 + 40 * picture / picture.std()
    frames = np.repeat(picture.clip(0, 255).astype(np.uint8).transpose(1, 2, 0)[None], num_frames, axis=0)
    points = MEAN_LANDMARKS * UNIT + (SIDE / 2, 90)
    return frames, (points + np.arange(num_frames)[:, None, None] * np.array([shift, 0.0])).astype(np.float32)


def blended(name: str, seed: int, num_frames: int = 1, shift: float = 0.0) -> BlendedPair:
    frames, landmarks = face(num_frames, shift=shift)
    return Blends.of({"kind": name}).make(name, frames, landmarks, np.random.default_rng(seed))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_fake_is_its_target_outside_the_mask_and_something_else_inside(name: str) -> None:
    for seed in range(4):
        pair = blended(name, seed, num_frames=2)
        outside, inside = pair.mask == 0, pair.mask > 0.9 * pair.mask.max()
        assert np.array_equal(pair.fake[outside], pair.target[outside])
        assert np.abs(pair.fake.astype(int) - pair.target)[inside].mean() > 0.5
        for frames in (pair.fake, pair.real):
            assert frames.dtype == np.uint8
            assert frames.shape == (2, SIDE, SIDE, 3)
        assert 0 <= pair.mask.min() <= pair.mask.max() <= 1


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_seed_makes_the_same_bytes_and_another_one_others(name: str) -> None:
    first, again, other = (blended(name, seed) for seed in (3, 3, 4))
    assert np.array_equal(first.fake, again.fake)
    assert np.array_equal(first.real, again.real)
    assert not np.array_equal(first.fake, other.fake)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_fake_says_how_it_was_made(name: str) -> None:
    assert blended(name, 0).method == FAMILIES[name].method


def test_a_mix_draws_its_families_by_weight() -> None:
    blends = Blends.of({"kind": {"self": 3, "warp": 1}})
    drawn = [blends.draw(seed) for seed in range(400)]
    assert set(drawn) == {"self", "warp"}
    assert 0.65 < drawn.count("self") / len(drawn) < 0.85
    assert drawn == [blends.draw(seed) for seed in range(400)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "wrap"}, r"kind: there is no 'wrap', only self, warp, resynthesis, motion"),
        ({"kind": {"self": 0}}, "kind must have weights"),
        ({"warp": {"sides": [32, 64]}}, r"warp\.sides: no such option of the family warp; did you mean 'side'"),
        ({"warp": {"blur": 4}}, r"warp\.blur must be an odd whole number"),
        ({"warp": {"side": [64]}}, r"warp\.side must be a range"),
        ({"warp": {"masks": {"face": 1}}}, r"warp\.masks: there is no 'face', only square, hull"),
        ({"warp": 3}, "warp must be options by name"),
        ({"fether": [0, 1]}, r"fether: no such option of the family self; did you mean 'feather'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Blends.of(options)


def plain(**values: Any) -> WarpSettings:
    """Settings without colours, other views, soft or bent borders: the warp alone."""
    bare: dict[str, Any] = {"color_prob": 0.0, "altered_prob": 0.0, "deform": 0.0, "grow": (1.0, 1.0)}
    return WarpSettings(**(bare | {"feather": (0.0, 0.0), "masks": {"square": 1.0}} | values))


def warped(settings: WarpSettings, num_frames: int = 1, shift: float = 0.0, seed: int = 0) -> BlendedPair:
    frames, landmarks = face(num_frames, shift=shift)
    return warp_blend(frames, landmarks, np.random.default_rng(seed), settings)


def fine_energy(frame: np.ndarray, cycles_per_pixel: float) -> float:
    """Energy of a frame's middle above a frequency."""
    middle = frame[64:192, 64:192].astype(np.float64).mean(axis=-1)
    window = np.hanning(128)
    spectrum = np.abs(np.fft.fft2((middle - middle.mean()) * window[:, None] * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128)[None])
    return float(spectrum[frequency > cycles_per_pixel].sum())


def test_a_warped_face_loses_the_detail_that_its_small_square_cannot_hold() -> None:
    pair = warped(plain(side=(64, 64)))
    nyquist = 0.5 * 64 / (2.9 * UNIT)
    lost_db = 10 * np.log10(fine_energy(pair.real[0], nyquist) / fine_energy(pair.fake[0], nyquist))
    assert lost_db >= 8


def test_the_smaller_the_square_the_softer_the_face() -> None:
    energies = [fine_energy(warped(plain(side=(side, side))).fake[0], 0.1) for side in (32, 64, 128)]
    assert energies == sorted(energies)
    assert energies[0] < 0.5 * energies[2]


def test_a_square_of_the_face_s_own_size_without_blur_changes_nothing() -> None:
    unit = 40.0
    frames, _ = face()
    upright = (MEAN_LANDMARKS * unit + (128, 80)).astype(np.float32)[None]
    # The square's corner falls on a pixel, so that no pixel is interpolated.
    upright += np.round(upright[0, 0]) - upright[0, 0] + (0.0, -0.8)
    pair = warp_blend(frames, upright, np.random.default_rng(0), plain(side=(2.9 * unit, 2.9 * unit), blur=1))
    inside = cv2.erode((pair.mask[0] > 0).astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    assert inside.sum() > 10_000
    assert np.abs(pair.fake[0].astype(int) - frames[0])[inside].max() <= 1


def test_outside_the_mask_a_warped_fake_is_the_real_frame_to_the_bit() -> None:
    pair = warped(plain(masks={"hull": 1.0}), num_frames=2)
    outside = pair.mask == 0
    assert np.array_equal(pair.fake[outside], pair.real[outside])
    assert not np.array_equal(pair.fake, pair.real)


def test_a_small_face_is_never_enlarged() -> None:
    frames, _ = face()
    small = (MEAN_LANDMARKS * 15 + 128).astype(np.float32)[None]  # a square of 43 pixels
    first, second = (
        warp_blend(frames, small, np.random.default_rng(0), plain(side=(side, side))).fake for side in (64, 128)
    )
    assert np.array_equal(first, second)


def test_a_warp_is_coherent_over_a_clip_and_follows_the_face() -> None:
    still = warped(WarpSettings(), num_frames=3)
    assert all(np.array_equal(still.fake[0], frame) for frame in still.fake)
    moving = warped(WarpSettings(altered_prob=0.0), num_frames=2, shift=8.0)
    assert np.abs(np.roll(moving.mask[0], 8, axis=1) - moving.mask[1])[:, 40:-40].max() < 0.02


def test_colours_change_alike_in_the_real_and_the_fake_clip() -> None:
    frames, _ = face()
    shown = [warped(plain(color_prob=1.0, masks={"hull": 1.0}), seed=seed) for seed in range(4)]
    for pair in shown:
        outside = pair.mask == 0
        assert not np.array_equal(pair.real, frames)
        assert np.array_equal(pair.fake[outside], pair.real[outside])


def test_the_real_clip_and_the_target_are_each_sometimes_of_another_sharpness() -> None:
    frames, landmarks = face()
    frames, landmarks = frames[:, ::4, ::4], (landmarks / 4).astype(np.float32)
    settings = WarpSettings(color_prob=0.0)
    pairs = [warp_blend(frames, landmarks, np.random.default_rng(seed), settings) for seed in range(60)]
    assert len({(np.array_equal(pair.real, frames), np.array_equal(pair.target, frames)) for pair in pairs}) == 4


def test_each_mask_is_drawn() -> None:
    assert {warped(WarpSettings(), seed=seed).region for seed in range(12)} == set(WARP_OUTLINES)
