import numpy as np
import pytest

from dfd.faces.crop import crop_faces, square_crop


def crop_of(box, width=200, height=100, margin=0.25):
    return square_crop(box, margin_fraction=margin, frame_width=width, frame_height=height)


@pytest.mark.parametrize("box", [(-30, -20, 10, 30), (190, 90, 230, 140), (50, 20, 90, 70), (-50, -50, 300, 300)])
def test_the_square_stays_inside_the_frame(box):
    left, top, side = crop_of(box)
    assert left >= 0
    assert top >= 0
    assert left + side <= 200
    assert top + side <= 100


def test_away_from_the_edges_the_box_is_in_the_middle_of_the_square():
    left, top, side = crop_of((90.5, 40.25, 110.5, 70.25))
    assert side == pytest.approx(30 * 1.5)
    assert (left + side / 2, top + side / 2) == pytest.approx((100.5, 55.25))


def test_the_crop_shows_what_lies_in_the_square():
    frames = np.zeros((1, 120, 160, 3), np.uint8)
    frames[:, 40:80, 60:100] = (255, 100, 0)
    crop = crop_faces(frames, [(60, 40, 100, 80)], size=64, margin_fraction=0.5)[0]
    assert crop.shape == (64, 64, 3)
    assert (crop[20:44, 20:44] == (255, 100, 0)).all()
    assert (crop[:12] == 0).all()
    assert (crop[:, 52:] == 0).all()


@pytest.mark.parametrize("side", [30.0, 64.0, 90.0, 170.0, 330.0])
def test_a_slowly_moving_box_does_not_make_the_picture_jump(side):
    """Each crop of a smooth picture equals the picture at the crop's pixel centres, wherever the square begins."""
    x = np.arange(640) + 0.5
    wave = lambda x: 127 + 90 * np.sin(2 * np.pi * x / (side / 2))  # noqa: E731
    frame = np.repeat(np.rint(wave(x)).astype(np.uint8)[None, :, None], 400, axis=0).repeat(3, axis=2)
    for shift in np.linspace(0, 1, 7):
        box = (100 + shift, 20, 100 + shift + side, 20 + side)
        crop = crop_faces(frame[None], [box], size=64, margin_fraction=0.0)[0].astype(float)
        expected = wave(box[0] + (np.arange(64) + 0.5) * side / 64)
        assert np.abs(crop[:, :, 0] - expected).max() < 3


@pytest.mark.parametrize("box", [(0, 0, 64, 48), (-20.3, 5, 10, 30), (60, 40, 80, 60), (31.2, 22.2, 31.4, 22.4)])
def test_any_box_gives_a_crop(box):
    frames = np.full((2, 48, 64, 3), 77, np.uint8)
    crops = crop_faces(frames, [box, box], size=32, margin_fraction=0.3)
    assert crops.shape == (2, 32, 32, 3)
    assert (crops == 77).all()


def test_cropping_leaves_the_frames_as_they_were():
    frames = np.random.default_rng(0).integers(0, 255, (3, 50, 60, 3), np.uint8)
    before = frames.copy()
    crop_faces(frames, [(10, 10, 30, 30)] * 3, size=16, margin_fraction=0.3)
    assert (frames == before).all()


def test_no_frames_give_no_crops():
    assert crop_faces(np.zeros((0, 9, 9, 3), np.uint8), np.zeros((0, 4)), size=16, margin_fraction=0).shape == (
        0,
        16,
        16,
        3,
    )
