"""Augmentation changes a clip, alike in all of its frames, and never its shape."""

from typing import Any

import pytest
import torch

from dfd.data.transforms import clip_augmentation

OFF = {"flip_prob": 0.0, "crop_prob": 0.0, "color_prob": 0.0, "blur_prob": 0.0, "jpeg_prob": 0.0}
STEPS = sorted(OFF)


def still(num_frames: int = 6, size: int = 48) -> torch.Tensor:
    """One noisy picture, shown for the length of a clip."""
    picture = torch.randint(0, 256, (1, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return picture.expand(num_frames, -1, -1, -1).contiguous()


@pytest.mark.parametrize("step", STEPS)
def test_each_step_changes_every_frame_alike(step: str) -> None:
    torch.manual_seed(0)
    augment = clip_augmentation(**(OFF | {step: 1.0}))
    for _ in range(5):
        clip = augment(still())
        assert clip.shape == (6, 3, 48, 48)
        assert clip.dtype == torch.uint8
        assert (clip == clip[:1]).all()
        assert (clip != still()).any()


@pytest.mark.parametrize("step", STEPS)
def test_each_step_is_drawn_anew_for_each_clip(step: str) -> None:
    torch.manual_seed(1)
    augment = clip_augmentation(**(OFF | {step: 0.5}))
    changed = [bool((augment(still(1)) != still(1)).any()) for _ in range(40)]
    assert 8 < sum(changed) < 32
    if step != "flip_prob":
        augment = clip_augmentation(**(OFF | {step: 1.0}))
        assert (augment(still(1)) != augment(still(1))).any()


def test_a_probability_of_zero_changes_nothing() -> None:
    assert (clip_augmentation(**OFF)(still()) == still()).all()


def test_motion_survives() -> None:
    torch.manual_seed(0)
    moving = torch.stack([still(1)[0].roll(3 * index, dims=-1) for index in range(6)])
    clip = clip_augmentation(**dict.fromkeys(OFF, 1.0))(moving)
    assert all((clip[index] != clip[index + 1]).float().mean() > 0.5 for index in range(5))


def test_clips_that_are_not_square_keep_their_shape() -> None:
    clip = torch.zeros(3, 3, 40, 56, dtype=torch.uint8)
    assert clip_augmentation(**dict.fromkeys(OFF, 1.0))(clip).shape == clip.shape


def test_the_same_seed_gives_the_same_clip() -> None:
    augment = clip_augmentation(**dict.fromkeys(OFF, 0.7), hue=0.1)
    clips = []
    for _ in range(2):
        torch.manual_seed(5)
        clips.append(torch.stack([augment(still()) for _ in range(5)]))
    assert (clips[0] == clips[1]).all()


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("flip_prob", 1.5),
        ("jpeg_prob", -0.1),
        ("crop_min_area", 0.0),
        ("crop_max_stretch", 0.9),
        ("brightness", 2.0),
        ("hue", 0.6),
        ("blur_sigma", (0.0, 1.0)),
        ("blur_sigma", (2.0, 1.0)),
        ("jpeg_quality", (0, 50)),
        ("jpeg_quality", (50,)),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(argument: str, value: Any) -> None:
    with pytest.raises(ValueError, match=argument):
        clip_augmentation(**{argument: value})
