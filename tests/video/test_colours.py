"""RGB made here is FFmpeg's to a level, and nothing is made of frames of another kind."""

from typing import Any

import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace

from dfd.video.pictures.colours import full_chroma_frame, rows, write_rgb

UNKNOWN, LIMITED, FULL = 0, 1, 2
HEIGHT, WIDTH = 37, 50  # FFmpeg pads rows of such a width


def frame(pixel_format: str = "yuv444p", *, colorspace: int, color_range: int = LIMITED, scale: int = 1) -> VideoFrame:
    """All that the limited range allows for, impossible colours too. Past it, FFmpeg makes black of the brightest."""
    made = VideoFrame(WIDTH * scale, HEIGHT * scale, pixel_format)
    random = np.random.default_rng(0)
    for plane in made.planes:
        plane.update(random.integers(16, 236, plane.buffer_size, dtype=np.uint8).tobytes())
    made.colorspace, made.color_range = colorspace, color_range
    return made


@pytest.mark.parametrize("color_range", [UNKNOWN, LIMITED])
@pytest.mark.parametrize("colorspace", [1, 2, 5, 6])
@pytest.mark.parametrize("scale", [1, 9])
def test_colours_are_those_of_the_scaler_to_a_level(colorspace: int, color_range: int, scale: int) -> None:
    made = frame(colorspace=colorspace, color_range=color_range, scale=scale)
    rgb = np.zeros((HEIGHT * scale, WIDTH * scale, 3), np.uint8)
    assert write_rgb(made, rgb)
    expected = made.to_ndarray(format="rgb24").astype(int)
    assert np.abs(rgb - expected).max() <= 1
    assert (rgb != expected).mean() < 0.1


def test_the_two_matrices_differ() -> None:
    bt709, bt601 = np.zeros((2, HEIGHT, WIDTH, 3), np.uint8)
    assert write_rgb(frame(colorspace=1), bt709)
    assert write_rgb(frame(colorspace=5), bt601)
    assert np.abs(bt709.astype(int) - bt601).max() > 20


def test_a_picture_survives_full_chroma_to_the_rounding_of_its_levels() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    made = full_chroma_frame(picture)
    scaled = VideoFrame.from_ndarray(picture, format="rgb24").reformat(
        format="yuv444p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
    )
    planes = [np.stack([rows(plane, WIDTH) for plane in each.planes]).astype(int) for each in (made, scaled)]
    assert np.abs(planes[0] - planes[1]).max() <= 1
    back = np.empty_like(picture)
    assert write_rgb(made, back)
    assert np.abs(back.astype(int) - picture).max() <= 3  # a level of blue is 1.8 of its difference to luma


@pytest.mark.parametrize(
    "other",
    [
        {"pixel_format": "yuv420p", "colorspace": 1},
        {"pixel_format": "yuv444p10le", "colorspace": 1},
        {"colorspace": 1, "color_range": FULL},
        {"colorspace": 9},
    ],
    ids=["subsampled", "10 bits", "full range", "BT.2020"],
)
def test_other_frames_are_left_to_the_scaler(other: dict[str, Any]) -> None:
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    assert not write_rgb(frame(**other), rgb)
    assert not rgb.any()


@pytest.mark.parametrize("into", [np.zeros((HEIGHT, WIDTH, 3), np.float32), np.zeros((WIDTH, HEIGHT, 3), np.uint8)])
def test_an_array_that_does_not_fit_is_refused(into: Any) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        write_rgb(frame(colorspace=1), into)
