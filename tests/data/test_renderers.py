"""Resynthesised faces carry the traces of their up-samplers; moving parts move while the background rests."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dfd.data.blend.families import Blends
from dfd.data.blend.families.motion import MotionSettings, motion_blend
from dfd.data.blend.families.resynthesis import (
    REGIONS,
    UPSAMPLERS,
    ResynthesisSettings,
    drawn_again,
    resynthesis_blend,
)
from dfd.data.blend.geometry import BlendedPair
from dfd.models.networks.systems.autoencoder import (
    Autoencoder,
    AutoencoderCard,
    AutoencoderFacts,
    Autoencoders,
    write_autoencoders,
)
from tests.data.test_families import face


def small_face(num_frames: int = 1) -> tuple[np.ndarray, np.ndarray]:
    frames, landmarks = face(num_frames)
    return np.ascontiguousarray(frames[:, ::2, ::2]), landmarks / 2


def mirrored_energy(frame: np.ndarray) -> float:
    """Share of a picture's detail that its copy of half the size, mirrored in frequency, explains."""
    grey = frame.astype(np.float64).mean(axis=-1)
    spectrum = np.abs(np.fft.fft2(grey - grey.mean()))
    side = len(grey)
    low, high = spectrum[4 : side // 4, 4 : side // 4], spectrum[side // 2 + 4 : 3 * side // 4, 4 : side // 4]
    return float(np.corrcoef(low.ravel(), high.ravel())[0, 1])


@pytest.mark.parametrize("upsampler", UPSAMPLERS)
def test_an_upsampler_keeps_the_picture_and_loses_its_finest_detail(upsampler: str) -> None:
    frames, _ = small_face()
    again = drawn_again(frames, upsampler)
    error = again.astype(float) - frames
    assert again.shape == frames.shape
    assert 1 < np.sqrt((error**2).mean()) < 0.5 * frames.std()
    twice = drawn_again(frames, upsampler, times=2)
    assert ((twice.astype(float) - frames) ** 2).mean() > (error**2).mean()


def test_a_trained_upsampler_is_better_than_enlarging() -> None:
    import cv2

    frames, _ = small_face()
    side = frames.shape[1]
    half = cv2.resize(frames[0], (side // 2, side // 2), interpolation=cv2.INTER_AREA)
    plain = cv2.resize(half, (side, side), interpolation=cv2.INTER_NEAREST)
    errors = [
        np.abs(one.astype(float) - frames[0]).mean() for one in (drawn_again(frames, "nearest", ridge=1e-6)[0], plain)
    ]
    assert errors[0] < errors[1]


def test_poorly_trained_upsamplers_leave_a_copy_of_the_spectrum() -> None:
    frames, _ = small_face()
    traces = [mirrored_energy(drawn_again(frames, "nearest", ridge=ridge)[0]) for ridge in (1e-6, 1.0)]
    assert traces[1] > traces[0]


def test_one_upsampler_draws_all_frames_of_a_clip() -> None:
    frames, _ = small_face()
    clip = np.concatenate([frames, frames[:, ::-1], frames])
    again = drawn_again(clip, "shuffle")
    assert np.array_equal(again[0], again[2])
    # Trained on the first frame alone, whatever follows.
    assert np.array_equal(again[:1], drawn_again(frames, "shuffle"))


def test_sides_need_not_be_divisible() -> None:
    frames, _ = small_face()
    assert drawn_again(frames[:, :61, :77], "transposed", times=2).shape == (1, 61, 77, 3)


def test_every_part_is_drawn_again_and_a_mouth_leaves_the_rest_alone() -> None:
    frames, landmarks = small_face()
    pairs = [
        resynthesis_blend(frames, landmarks, np.random.default_rng(seed), ResynthesisSettings()) for seed in range(12)
    ]
    assert {pair.region for pair in pairs} == set(REGIONS)
    shares = {pair.region: float((pair.mask > 0).mean()) for pair in pairs}
    assert shares["mouth"] < shares["face"] < shares["whole"] == 1


def test_an_autoencoder_of_a_file_draws_faces_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "autoencoders.safetensors"
    networks = {4: Autoencoder(4).eval()}
    write_autoencoders(path, Autoencoders(networks, AutoencoderCard({"4": AutoencoderFacts(0, None)}, "0", {}, {})))
    settings = ResynthesisSettings(upsamplers={"autoencoder": 1}, regions={"whole": 1}, weights=str(path))
    frames, landmarks = small_face(2)
    pair = resynthesis_blend(frames, landmarks, np.random.default_rng(0), settings)
    assert np.array_equal(pair.fake[0], pair.fake[1])
    assert not np.array_equal(pair.fake, pair.target)


def test_an_autoencoder_without_weights_is_refused_with_the_command_that_makes_them() -> None:
    with pytest.raises(ValueError, match=r"resynthesis\.weights must name a file .*dfd fingerprint"):
        Blends.of({"kind": "resynthesis", "resynthesis": {"upsamplers": {"autoencoder": 1}}})


def moved(kind: str, num_frames: int, seed: int = 0) -> tuple[np.ndarray, BlendedPair]:
    frames, landmarks = small_face(num_frames)
    rng = np.random.default_rng(9)
    frames = np.clip(frames + rng.normal(0, 6, frames.shape), 0, 255).astype(np.uint8)  # a camera's noise
    settings = MotionSettings(kinds={kind: 1}, altered_prob=0.0)
    return frames, motion_blend(frames, landmarks, np.random.default_rng(seed), settings)


def test_the_background_of_an_animated_still_rests_and_the_face_moves_smoothly() -> None:
    frames, pair = moved("still", 12)
    rests = pair.mask[0] == 0
    assert rests.mean() > 0.1
    assert (pair.fake[:, rests] == frames[0, rests]).all()
    assert not np.array_equal(pair.real[0], pair.real[1])
    apart = [float(np.abs(pair.fake[i].astype(float) - pair.fake[0]).mean()) for i in (1, 5)]
    assert 0 < apart[0] < apart[1]


def test_a_lagging_part_shows_another_frame_with_another_brightness() -> None:
    frames, pair = moved("lag", 12)
    inside = pair.mask[0] > 0.99
    found = set()
    for i in range(4, 8):
        # Without the brightness, the frame that is shown is told by its noise.
        part = pair.fake[i][inside].astype(float)
        likeness = [
            np.corrcoef((part - part.mean(0)).ravel(), frames[j][inside].astype(float).ravel())[0, 1] for j in range(12)
        ]
        found.add(int(np.argmax(likeness)) - i)
    assert len(found) == 1
    assert 1 <= abs(found.pop()) <= 3


def test_a_dubbed_mouth_is_of_another_moment() -> None:
    _, pair = moved("mouth", 12)
    inside, outside = pair.mask > 0.99, pair.mask == 0
    assert np.array_equal(pair.fake[outside], pair.real[outside])
    assert np.abs(pair.fake.astype(float) - pair.real)[inside].mean() > 2
