import numpy as np
import pytest
from PIL import Image

from dfd.faces.crop import CROPS, FivePoints, Letterbox, Native, Square, crop_of
from dfd.faces.extract import ExtractionSettings

POINTS = np.array([(80.0, 40), (120, 44), (99, 60), (82, 78), (116, 82)])
BOX = (60, 10, 140, 95)


def square(box, width=200, height=100, margin=0.25):
    return Square(margin_fraction=margin).square(box, width=width, height=height)


def crop_faces(frames, boxes, *, size, margin_fraction):
    return np.stack([Square(size, margin_fraction).cut(f, b, POINTS) for f, b in zip(frames, boxes, strict=True)])


@pytest.mark.parametrize("box", [(-30, -20, 10, 30), (190, 90, 230, 140), (50, 20, 90, 70), (-50, -50, 300, 300)])
def test_the_square_stays_inside_the_frame(box):
    left, top, side = square(box)
    assert left >= 0
    assert top >= 0
    assert left + side <= 200
    assert top + side <= 100


def test_away_from_the_edges_the_box_is_in_the_middle_of_the_square():
    left, top, side = square((90.5, 40.25, 110.5, 70.25))
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


@pytest.mark.parametrize(("size", "side"), [(32, 20.3), (32, 32.0), (37, 55.7), (8, 31.9), (64, 64.01)])
def test_a_crop_is_what_pillow_makes_of_it(size, side):
    """Values that lie halfway between two levels may be rounded to the other one."""
    frame = np.random.default_rng(0).integers(0, 256, (90, 100, 3), np.uint8)
    for left, top in [(0.0, 0.0), (17.25, 9.5), (100 - side, 90 - side)]:
        box = (left, top, left + side, top + side)
        cut = Square(size, 0.0).cut(frame, box, POINTS)
        made = Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC, box=box)
        difference = np.abs(cut.astype(int) - np.asarray(made))
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.002


def test_cropping_leaves_the_frames_as_they_were():
    frames = np.random.default_rng(0).integers(0, 255, (3, 50, 60, 3), np.uint8)
    before = frames.copy()
    crop_faces(frames, [(10, 10, 30, 30)] * 3, size=16, margin_fraction=0.3)
    assert (frames == before).all()


each_kind = pytest.mark.parametrize("crop", [crop() for crop in CROPS.values()], ids=CROPS)


@each_kind
def test_the_matrix_says_where_a_point_of_the_frame_is_in_the_crop(crop):
    """A bright spot in the frame is found where the matrix says, to within a pixel of the coarser picture."""
    frame = np.zeros((120, 200, 3), np.uint8)
    frame[48:53, 96:101] = 255
    cut = crop.cut(frame, BOX, POINTS)
    matrix = crop.matrix(BOX, POINTS, width=200, height=120)
    y, x = (axis.mean() + 0.5 for axis in np.nonzero(cut[..., 0] > 127))
    expected = matrix[:, :2] @ (98.5, 50.5) + matrix[:, 2]
    assert np.abs(expected - (x, y)).max() <= max(1.0, np.abs(matrix[:, :2]).max())


@each_kind
@pytest.mark.parametrize("box", [(0, 0, 64, 48), (-20.3, -5, 10, 30), (60, 40, 80, 60), (31.2, 22.2, 31.4, 22.4)])
def test_every_kind_crops_every_box_and_leaves_the_frame_as_it_was(crop, box):
    frame = np.random.default_rng(0).integers(1, 255, (48, 64, 3), np.uint8)
    before = frame.copy()
    cut = crop.cut(frame, box, POINTS)
    assert (cut.shape, cut.dtype) == ((crop.size, crop.size, 3), np.uint8)
    assert (frame == before).all()


@each_kind
def test_plain_values_of_a_crop_and_of_settings_are_read_again(crop):
    assert crop_of(crop.to_dict()) == crop
    settings = ExtractionSettings(crop=crop, smoothing=0.0)
    assert ExtractionSettings.from_dict(settings.to_dict()) == settings


def test_settings_of_version_0_1_are_a_square_crop_and_are_written_as_then():
    old = {"crop_size": 96, "margin_fraction": 0.25, "key_frame_stride": 5}
    settings = ExtractionSettings.from_dict(old)
    assert settings.crop == Square(96, 0.25)
    assert list(settings.to_dict())[:3] == list(old)
    assert "crop" not in settings.to_dict()


@pytest.mark.parametrize("fit", ["least_squares", "lmeds"])
def test_five_points_lie_on_the_template_whatever_the_turn_and_size_of_the_face(fit):
    crop = FivePoints(size=256, fit=fit)
    for turn, scale in [(0.0, 1.0), (0.5, 0.4), (-2.0, 3.0)]:
        across = scale * np.exp(1j * turn)
        points = crop.targets @ np.array([[across.real, across.imag], [-across.imag, across.real]]) + (40, 70)
        matrix = crop.matrix(BOX, points, width=640, height=480)
        assert points @ matrix[:, :2].T + matrix[:, 2] == pytest.approx(crop.targets, abs=0.01)


def test_the_templates_are_those_that_were_published():
    """Places after growing by 1.3, as fractions of the side: GenD's own, and ArcFace's as DeepfakeBench uses them."""
    gend = [(0.37692, 0.46923), (0.62308, 0.46923), (0.5, 0.60769), (0.4, 0.74615), (0.6, 0.74615)]
    arcface = [(0.37840, 0.47044), (0.62041, 0.46910), (0.50017, 0.60808), (0.40075, 0.74976), (0.60117, 0.74865)]
    for template, expected in {"gend": gend, "arcface": arcface}.items():
        found = FivePoints(size=100, template=template, scale=1.3).targets / 100
        assert found == pytest.approx(np.array(expected), abs=1e-5)
    assert np.abs(np.subtract(gend, arcface)).max() < 0.0037


def test_the_left_eye_of_the_picture_is_left_in_the_crop():
    left, right = FivePoints().targets[:2]
    assert left[0] < right[0]
    assert left[1] < FivePoints().targets[3, 1]


def test_a_letterbox_keeps_the_shape_and_is_black_above_and_below():
    frame = np.full((300, 400, 3), 200, np.uint8)
    cut = Letterbox(size=380, margin_fraction=0).cut(frame, (50, 50, 250, 150), POINTS)
    rows = np.nonzero(cut.any(axis=(1, 2)))[0]
    assert (rows.min(), rows.max()) == (95, 284)
    assert cut[95:285].min() == 200


def test_a_third_of_the_box_is_added_on_each_side_of_a_letterbox():
    assert Letterbox().region((100, 90, 400, 390), width=1000, height=1000) == (0, 0, 500, 490)


def test_native_pixels_are_never_resampled_and_black_outside_of_the_frame():
    frame = np.random.default_rng(0).integers(1, 255, (48, 64, 3), np.uint8)
    cut = Native(size=32).cut(frame, (0, 0, 20, 20), POINTS)
    assert (cut[6:, 6:] == frame[:26, :26]).all()
    assert not cut[:6].any()
    assert not cut[:, :6].any()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"kind": "square", "size": 0}, "size"),
        ({"kind": "box", "margin_fraction": -0.1}, "margin_fraction"),
        ({"kind": "five_points", "scale": 9}, "scale"),
        ({"kind": "five_points", "filter": "sharp"}, "filter"),
        ({"kind": "native", "filter": "area"}, "filter"),
        ({"kind": "circle"}, "square, five_points"),
        ({}, "kind"),
    ],
)
def test_a_crop_that_cannot_be_is_refused_by_the_name_of_the_option(options, word):
    with pytest.raises(ValueError, match=word):
        crop_of(options)


def test_the_crop_of_the_eyes_is_level_and_as_wide_as_asked() -> None:
    landmarks = np.array([(40, 50), (60, 60), (50, 70), (45, 80), (60, 85)], np.float32)
    crop = crop_of({"kind": "eyes", "size": 80, "scale": 2.0})
    matrix = crop.matrix((0, 0, 1, 1), landmarks, width=100, height=100)
    assert landmarks[:2] @ matrix[:, :2].T + matrix[:, 2] == pytest.approx(np.array([(20, 40), (60, 40)]))
