"""Blends are plausible: the target outside the mask, something else inside, varied, coherent in time, repeatable."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dfd.data.blend.blending import self_blend
from dfd.data.blend.geometry import BlendedPair, moving_still
from dfd.data.blend.settings import MEAN_LANDMARKS, OUTLINES, BlendSettings

SIDE = 96
UNIT = 30.0  # pixels between the eyes


def face(num_frames: int, *, seed: int = 0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Coloured noise of several scales, and landmarks of a face in its middle that moves by ``shift`` per frame."""
    rng = np.random.default_rng(seed)
    picture = sum(
        rng.uniform(0, 85, (SIDE // step, SIDE // step, 3)).repeat(step, axis=0).repeat(step, axis=1)
        for step in (1, 4, 16)
    )
    frames = np.repeat(np.asarray(picture).astype(np.uint8)[None], num_frames, axis=0)
    landmarks = MEAN_LANDMARKS * UNIT + (SIDE / 2, SIDE / 3)
    moved = landmarks[None] + np.arange(num_frames)[:, None, None] * np.array([shift, 0.0])
    return frames, moved.astype(np.float32)


def pair_of(seed: int, num_frames: int = 1, settings: BlendSettings | None = None, shift: float = 0.0) -> BlendedPair:
    frames, landmarks = face(num_frames, shift=shift)
    return self_blend(frames, landmarks, np.random.default_rng(seed), settings or BlendSettings())


def only(region: str, **values: float) -> BlendSettings:
    return BlendSettings(regions={region: 1.0}, deform=0.0, grow=(1.0, 1.0), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(12))
def test_outside_the_mask_is_the_target_and_inside_it_is_not(seed: int) -> None:
    pair = pair_of(seed, num_frames=3)
    outside, inside = pair.mask == 0, pair.mask > 0.4
    assert outside.any()
    assert inside.any()
    assert np.array_equal(pair.fake[outside], pair.target[outside])
    change = np.abs(pair.fake.astype(int) - pair.target)
    assert change[inside].mean() > 1
    assert pair.mask.min() == 0
    assert pair.mask.max() <= 1
    assert (pair.fake.dtype, pair.fake.shape) == (pair.real.dtype, pair.real.shape) == (np.uint8, (3, SIDE, SIDE, 3))


def test_the_real_clip_and_the_target_are_each_sometimes_the_picture_and_sometimes_its_altered_view() -> None:
    frames, _ = face(1)
    seen = set()
    for seed in range(40):
        pair = pair_of(seed)
        seen.add((bool((pair.real == frames).all()), bool((pair.target == frames).all())))
    assert len(seen) == 4  # so that no pristine picture gives the real one away


def test_away_from_the_mask_no_statistic_tells_the_real_clip_from_the_fake() -> None:
    def areas(settings: BlendSettings) -> list[float]:
        pairs = [pair_of(seed, settings=settings) for seed in range(400)]
        corners = [clip[0, -24:, :8].astype(float) for pair in pairs for clip in (pair.real, pair.fake)]
        found = [
            float(roc_auc_score([0, 1] * len(pairs), [measure(corner) for corner in corners]))
            for measure in (np.mean, np.std, lambda corner: np.abs(np.diff(corner, 2, axis=0)).mean())
        ]
        return [max(area, 1 - area) for area in found]

    small = {"inner": 1.0}
    assert max(areas(BlendSettings(regions=small))) < 0.55
    # If the real one were always as it was found, and the fake altered all over:
    assert max(areas(BlendSettings(regions=small, real_is_altered_prob=0.0, source_prob=0.0))) > 0.6


def test_the_settings_decide_which_view_is_which() -> None:
    frames, _ = face(1)
    for seed in range(5):
        pair = pair_of(seed, settings=BlendSettings(source_prob=1.0, real_is_altered_prob=0.0))
        assert np.array_equal(pair.target, frames)
        assert np.array_equal(pair.real, frames)
        pair = pair_of(seed, settings=BlendSettings(source_prob=0.0, real_is_altered_prob=1.0))
        assert not np.array_equal(pair.target, frames)
        assert np.array_equal(pair.real, pair.target)


def test_one_seed_repeats_and_two_differ() -> None:
    first, again, other = pair_of(1, 4), pair_of(1, 4), pair_of(2, 4)
    for name in ("real", "fake", "mask"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.fake, other.fake)
    assert not np.array_equal(first.mask, other.mask)


def test_masks_vary_in_region_size_softness_and_opacity() -> None:
    pairs = [pair_of(seed) for seed in range(60)]
    assert {pair.region for pair in pairs} >= {"face", "inner", "lower", "mouth"}
    assert {round(float(pair.mask.max()), 2) for pair in pairs} >= {0.5, 0.75, 1.0}
    faces = [pair.mask / pair.mask.max() for pair in pairs if pair.region == "face"]
    areas = [float((mask > 0.5).mean()) for mask in faces]
    assert max(areas) > 1.2 * min(areas)
    borders = [float(((mask > 0.05) & (mask < 0.95)).mean()) for mask in faces]
    assert max(borders) > 3 * min(borders)


@pytest.mark.parametrize("region", OUTLINES)
def test_a_region_lies_where_it_should(region: str) -> None:
    pair = pair_of(0, settings=replace(only(region), feather=(0.02, 0.02), opacity=(1.0,)))
    rows, columns = np.nonzero(pair.mask[0] > 0.5)
    _, landmarks = face(1)
    eyes, nose, mouth = landmarks[0, :2].mean(axis=0), landmarks[0, 2], landmarks[0, 3:].mean(axis=0)
    covers = {
        name: bool(pair.mask[0, round(float(y)), round(float(x))] > 0.5)
        for name, (x, y) in {"left eye": landmarks[0, 0], "nose": nose, "mouth": mouth}.items()
    }
    expected = {
        "face": {"left eye", "nose", "mouth"},
        "inner": {"left eye", "nose", "mouth"},
        "lower": {"nose", "mouth"},
        "mouth": {"mouth"},
        "eyes": {"left eye"},
        "nose": {"nose"},
    }[region]
    assert {name for name, is_covered in covers.items() if is_covered} == expected
    assert abs(columns.mean() - eyes[0]) < 3  # symmetric
    assert (rows.max() - rows.min()) < 3.2 * UNIT


def test_the_mask_follows_the_face_and_turns_with_it() -> None:
    frames, landmarks = face(1)
    centre = landmarks[0].mean(axis=0)
    turned = ((landmarks[0] - centre) @ np.array([[0.0, 1.0], [-1.0, 0.0]]) + centre)[None].astype(np.float32)
    settings = only("eyes")
    upright = self_blend(frames, landmarks, np.random.default_rng(0), settings).mask[0]
    sideways = self_blend(frames, turned, np.random.default_rng(0), settings).mask[0]
    for mask, is_wide in ((upright, True), (sideways, False)):
        rows, columns = np.nonzero(mask > 0.3 * mask.max())
        assert (np.ptp(columns) > np.ptp(rows)) == is_wide
    moving = pair_of(0, num_frames=5, settings=settings, shift=3.0)
    places = [np.nonzero(mask > 0.3)[1].mean() for mask in moving.mask]
    assert np.allclose(np.diff(places), 3.0, atol=0.3)


def difference_in_time(pair: BlendedPair) -> float:
    """How much what was blended in changes from frame to frame, where the picture stands still."""
    change = pair.fake.astype(float) - pair.target
    return float(np.abs(np.diff(change, axis=0)).mean())


def test_a_clip_is_altered_coherently_and_trembles_only_if_it_is_to() -> None:
    steady = pair_of(3, num_frames=6, settings=BlendSettings(steady_prob=1.0, sharpness_prob=0.0, color_prob=1.0))
    assert difference_in_time(steady) == 0  # one draw for all frames
    assert np.array_equal(steady.mask[0], steady.mask[5])
    shaky = BlendSettings(steady_prob=0.0, sharpness_prob=0.0, color_prob=1.0, jitter=0.05, drift=0.0, flicker=0.0)
    assert difference_in_time(pair_of(3, 6, shaky)) > 0.1
    flicker = replace(shaky, jitter=0.0, flicker=6.0)
    pair = pair_of(3, 6, flicker)
    assert difference_in_time(pair) > 0.05
    assert np.array_equal(pair.target[0], pair.target[5])


def test_drift_goes_on_and_jitter_returns() -> None:
    from dfd.data.blend.blending import _motion

    calm = BlendSettings(steady_prob=0.0, shift=0.0, scale=0.0, rotation=0.0, flicker=0.0)

    def ways(settings: BlendSettings) -> np.ndarray:
        moves = [_motion(40, np.random.default_rng(seed), settings)[0] for seed in range(60)]
        return np.array([[move[0, 2] for move in each] for each in moves])

    drift, jitter = ways(replace(calm, jitter=0.0)), ways(replace(calm, drift=0.0))
    assert drift[:, -1].std() > 2 * drift[:, 2].std()
    assert jitter[:, -1].std() < 1.5 * jitter[:, 2].std()
    assert abs(np.corrcoef(drift[:, 20], drift[:, 21])[0, 1]) > 0.9
    assert abs(np.corrcoef(jitter[:, 20], jitter[:, 21])[0, 1]) < 0.7


def test_a_still_becomes_a_clip_whose_landmarks_move_with_it() -> None:
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    spots = np.array([(30, 30), (60, 30), (45, 50), (35, 65), (55, 65)], np.float32)
    for x, y in spots.astype(int):
        picture[y - 2 : y + 3, x - 2 : x + 3] = 255
    frames, landmarks = moving_still(picture, spots, 8, np.random.default_rng(1))
    assert frames.shape == (8, SIDE, SIDE, 3)
    assert not np.array_equal(frames[0], frames[7])
    for frame, points in zip(frames, landmarks, strict=True):
        for x, y in points:
            assert frame[round(float(y)), round(float(x))].mean() > 200
    assert np.abs(landmarks - spots).max() < 0.12 * SIDE
    same, points = moving_still(picture, spots, 1, np.random.default_rng(1))
    assert np.array_equal(same[0], picture)
    assert np.array_equal(points[0], spots)


def test_landmarks_that_fall_together_give_a_small_blend_and_no_error() -> None:
    frames, landmarks = face(2)
    pair = self_blend(frames, np.full_like(landmarks, 50.0), np.random.default_rng(0), BlendSettings())
    assert (pair.mask > 0).mean() < 0.05


def test_landmarks_of_another_number_of_frames_are_refused() -> None:
    frames, landmarks = face(2)
    with pytest.raises(ValueError, match=r"\(2, 5, 2\)"):
        self_blend(frames, landmarks[:1], np.random.default_rng(0), BlendSettings())


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"regions": {"ear": 1.0}}, "ear"),
        ({"regions": {"face": 0.0}}, "regions"),
        ({"opacity": []}, "opacity"),
        ({"opacity": [1.5]}, "opacity"),
        ({"feather": [0.3, 0.1]}, "feather"),
        ({"grow": [0.0, 1.0]}, "grow"),
        ({"color_prob": 1.5}, "color_prob"),
        ({"jitter": -0.1}, "jitter"),
        ({"min_resize": 0}, "min_resize"),
        ({"gamma": 1.0}, "gamma"),
        ({"jitter": "a"}, "jitter must be a number"),
        ({"feather": 0.1}, "feather must be a list"),
        ({"opacity": ["a"]}, "opacity must be a list"),
        ({"regions": 5}, "regions must be weights"),
    ],
)
def test_a_value_out_of_range_is_named(values: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        BlendSettings(**values)  # type: ignore[arg-type]
