"""Augmentation changes a clip, alike in all of its frames, and never its shape."""

import pickle
from typing import Any

import pytest
import torch
from torchvision.transforms import v2

from dfd.data.augment.transforms import clip_augmentation

OFF = {"flip_prob": 0.0, "crop_prob": 0.0, "color_prob": 0.0, "blur_prob": 0.0, "jpeg_prob": 0.0}
STEPS = sorted([*OFF, "gamma_prob", "resize_prob"])
# Their frames are not alike: noise is new in each, and an encoder spends its bits as it likes.
UNEVEN = ["noise_prob", "codec_prob"]


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


@pytest.mark.parametrize("step", UNEVEN)
def test_noise_and_codecs_keep_one_strength_throughout_a_clip(step: str) -> None:
    torch.manual_seed(0)
    original = smooth()
    clip = clip_augmentation(**(OFF | {step: 1.0}))(original)
    assert clip.shape == original.shape
    assert clip.dtype == torch.uint8
    off = (clip.float() - original.float()).square().mean(dim=(1, 2, 3)).sqrt()
    assert off.min() > 0.3
    assert off.max() < 2 * off.min()


def test_what_is_made_smaller_is_encoded_while_it_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def recode(frames: torch.Tensor, **_: Any) -> torch.Tensor:
        sizes.append(frames.shape[-1])
        return frames

    monkeypatch.setattr("dfd.data.augment.changes.recode", recode)
    torch.manual_seed(0)
    augment = clip_augmentation(**OFF, resize_prob=0.5, resize_min_scale=0.5, codec_prob=0.5)
    changed = [bool((augment(still(1)) != still(1)).any()) for _ in range(60)]
    assert 15 < len(sizes) < 45
    assert 4 < sizes.count(48) < 30
    assert all(24 <= size <= 48 for size in sizes)
    assert sum(changed) > 10


def test_new_steps_that_are_off_leave_the_draws_of_the_others_alone() -> None:
    clips = []
    new = dict.fromkeys(("gamma_prob", "noise_prob", "resize_prob", "codec_prob", "chain_prob"), 0.0)
    for more in ({}, new):
        torch.manual_seed(3)
        clips.append(clip_augmentation(**more)(still()))
    assert (clips[0] == clips[1]).all()
    torch.manual_seed(3)
    steps = [type(step).__name__ for step in clip_augmentation()]
    assert steps == ["ResizedCrop", "Mirror", "RandomApply", "RandomApply", "RandomApply"]


@pytest.mark.parametrize("step", [*STEPS, "noise_prob"])
def test_each_step_is_drawn_anew_for_each_clip(step: str) -> None:
    torch.manual_seed(1)
    augment = clip_augmentation(**(OFF | {step: 0.5}))
    changed = [bool((augment(still(1)) != still(1)).any()) for _ in range(40)]
    assert 8 < sum(changed) < 32
    if step != "flip_prob":
        augment = clip_augmentation(**(OFF | {step: 1.0}))
        first = augment(still(1))
        assert any((augment(still(1)) != first).any() for _ in range(3))  # a small picture has few sizes to go to


def smooth(num_frames: int = 6, size: int = 48) -> torch.Tensor:
    """A picture as codecs know them, that moves."""
    wave = torch.arange(size).div(5).sin()
    picture = (128 + 60 * wave[:, None] * wave).expand(3, -1, -1)
    return torch.stack([picture.roll(t, dims=-1) for t in range(num_frames)]).round().to(torch.uint8)


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
    augment = clip_augmentation(**dict.fromkeys([*STEPS, *UNEVEN], 0.7), hue=0.1)
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
        ("gamma", (0.0, 1.0)),
        ("noise_std", (-1.0, 1.0)),
        ("resize_min_scale", 0.0),
        ("codec_prob", 1.1),
        ("codec_crf", (20, 60)),
        ("chain_prob", 1.1),
        ("chain_levels", (0, 3)),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(argument: str, value: Any) -> None:
    with pytest.raises(ValueError, match=argument):
        clip_augmentation(**{argument: value})


def test_formats_are_checked_before_the_first_clip() -> None:
    with pytest.raises(ValueError, match="codec must be one of h264, hevc, got 'av2'"):
        clip_augmentation(codec_prob=0.5, codec_names=["h264", "av2"])
    with pytest.raises(ValueError, match="codec_names"):
        clip_augmentation(codec_prob=0.5, codec_names=[])


@pytest.mark.parametrize("sigma", [0.1, 0.4, 1.5])
def test_blur_is_torchvisions_by_the_same_draw_but_for_rounding(sigma: float) -> None:
    options = {"blur_prob": 1.0, "blur_sigma": (sigma, 1.5)}
    for seed in range(5):
        torch.manual_seed(seed)
        ours = clip_augmentation(**(OFF | options))(still())
        after = torch.rand(())
        torch.manual_seed(seed)
        steps = clip_augmentation(**OFF | options)
        assert isinstance(steps, torch.nn.Sequential)
        steps[3].transforms[0] = v2.GaussianBlur(7, (sigma, 1.5))
        theirs = steps(still())
        assert torch.rand(()) == after
        assert (ours.int() - theirs.int()).abs().max() <= 1
        assert (ours != theirs).float().mean() < 0.001


def test_a_chain_is_drawn_with_its_level_from_the_seed_and_can_be_sent_to_a_process() -> None:
    augment = clip_augmentation(**OFF, chain_prob=1.0, chain_names=["noise", "reupload"])
    augment = pickle.loads(pickle.dumps(augment))  # noqa: S301
    clips = []
    for seed in (0, 0, 1, 2, 3):
        torch.manual_seed(seed)
        clips.append(augment(smooth()))
    assert torch.equal(clips[0], clips[1])
    assert len({clip.numpy().tobytes() for clip in clips}) == 4
    assert all(clip.shape == smooth().shape and clip.dtype == torch.uint8 for clip in clips)
    with pytest.raises(ValueError, match="got fog"):
        clip_augmentation(chain_prob=0.5, chain_names=["fog"])
    clip_augmentation(chain_prob=0.0, chain_names=["fog"])  # a step that is off is not looked up


def marked(size: int = 60) -> dict[str, torch.Tensor]:
    """A clip of black frames with five bright squares, masks of the same squares, and landmarks in their middles."""
    places = torch.tensor([(18, 20), (40, 20), (30, 30), (22, 42), (38, 42)])  # of a face, near the middle
    masks = torch.zeros(2, size, size)
    for x, y in places:
        masks[:, y - 1 : y + 2, x - 1 : x + 2] = 1
    frames = (masks[:, None] * 255).to(torch.uint8).expand(-1, 3, -1, -1).contiguous()
    return {"frames": frames, "masks": masks, "landmarks": (places + 0.5).expand(2, -1, -1).float()}


@pytest.mark.parametrize("step", ["flip_prob", "crop_prob"])
def test_landmarks_and_masks_go_where_the_pixels_go(step: str) -> None:
    augment = clip_augmentation(**(OFF | {step: 1.0}))
    for seed in range(6):
        torch.manual_seed(seed)
        clip = augment.together(marked())
        torch.manual_seed(seed)
        assert torch.equal(augment(marked()["frames"]), clip["frames"])
        assert clip["landmarks"].shape == (2, 5, 2)
        assert not torch.equal(clip["landmarks"], marked()["landmarks"])
        assert (clip["masks"] * 255 - clip["frames"][:, 0]).abs().max() <= 1
        for x, y in clip["landmarks"][1]:  # in the middle of a bright square
            left, top = int(x) - 3, int(y) - 3
            square = clip["masks"][1, top : top + 7, left : left + 7]
            places = torch.arange(7) + 0.5
            assert float((square.sum(0) * places).sum() / square.sum() + left) == pytest.approx(float(x), abs=0.3)
            assert float((square.sum(1) * places).sum() / square.sum() + top) == pytest.approx(float(y), abs=0.3)


def test_a_flip_swaps_left_and_right() -> None:
    flipped = clip_augmentation(**(OFF | {"flip_prob": 1.0})).together(marked())["landmarks"][0]
    left_eye, right_eye, _, left_corner, right_corner = flipped
    assert left_eye[0] < right_eye[0]
    assert left_corner[0] < right_corner[0]


def test_a_chain_takes_no_landmarks() -> None:
    with pytest.raises(ValueError, match="move pixels, not landmarks and masks"):
        clip_augmentation(**OFF, chain_prob=0.5).together(marked())


def test_steps_that_move_no_pixels_leave_landmarks_and_masks() -> None:
    clip = clip_augmentation(**(OFF | {"jpeg_prob": 1.0, "blur_prob": 1.0, "color_prob": 1.0})).together(marked())
    assert torch.equal(clip["landmarks"], marked()["landmarks"])
    assert torch.equal(clip["masks"], marked()["masks"])
    assert not torch.equal(clip["frames"], marked()["frames"])
