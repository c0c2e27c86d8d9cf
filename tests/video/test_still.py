"""Photographs are read as shown, bounded, and refused with a reason."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dfd.base.errors import UnreadableVideo, VideoTooLarge
from dfd.video.file.container import VideoLimits
from dfd.video.still import SequenceReader, StillReader

PICTURE = np.random.default_rng(0).integers(0, 255, (24, 40, 3), np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff"])
def test_a_picture_is_one_frame(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(PICTURE).save(path)
    with StillReader(path) as reader:
        ((start, frames),) = reader.chunks([range(150)])
        assert start == 0
        assert np.array_equal(frames[0], PICTURE)
        assert list(reader.chunks([range(3, 5)])) == []
        assert (reader.info.width, reader.info.height, reader.info.num_frames) == (40, 24, 1)
        assert reader.partial is None


def test_a_picture_is_shown_upright_and_in_colour(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    Image.fromarray(PICTURE).save(tmp_path / "turned.png", exif=exif)
    ((_, frames),) = StillReader(tmp_path / "turned.png").chunks()
    assert np.array_equal(frames[0], np.rot90(PICTURE, -1))
    Image.fromarray(PICTURE[..., 0]).save(tmp_path / "grey.png")
    ((_, frames),) = StillReader(tmp_path / "grey.png").chunks()
    assert frames.shape == (1, 24, 40, 3)


def test_a_grey_picture_of_16_bits_is_not_white(tmp_path: Path) -> None:
    grey = PICTURE[..., 0]
    for name in ("deep.png", "deep.tiff"):
        Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / name)
        ((_, frames),) = StillReader(tmp_path / name).chunks()
        assert np.array_equal(frames[0], np.repeat(grey[..., None], 3, axis=-1))


def test_a_large_picture_is_shrunk_or_refused(tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    reader = StillReader(tmp_path / "a.png", max_side=20)
    ((_, frames),) = reader.chunks()
    assert frames.shape == (1, 12, 20, 3)
    assert reader.source_scale == 2
    with pytest.raises(VideoTooLarge, match=r"a\.png: 40 x 24 pixels"):
        StillReader(tmp_path / "a.png", limits=VideoLimits(32, 32))


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(UnreadableVideo, match=r"text\.jpg: not a supported picture"):
        StillReader(tmp_path / "text.jpg")
    with pytest.raises(UnreadableVideo, match=r"absent\.jpg"):
        StillReader(tmp_path / "absent.jpg")
    Image.fromarray(PICTURE).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:600])
    with pytest.raises(UnreadableVideo, match=r"cut\.png"):
        StillReader(tmp_path / "cut.png")
    frames = [Image.fromarray(PICTURE), Image.fromarray(255 - PICTURE)]
    frames[0].save(tmp_path / "moves.webp", save_all=True, append_images=frames[1:])
    with pytest.raises(UnreadableVideo, match="several pictures"):
        StillReader(tmp_path / "moves.webp")


def test_a_folder_of_pictures_is_a_video_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        Image.fromarray(np.full((8, 12, 3), number, np.uint8)).save(tmp_path / f"f{number}.png")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no picture")
    with SequenceReader(tmp_path) as reader:
        assert [int(frames[0, 0, 0, 0]) for _, frames in reader.chunks()] == [1, 2, 10]
        assert [start for start, _ in reader.chunks([range(1, 2)])] == [1]
        assert (reader.info.width, reader.info.height, reader.num_frames) == (12, 8, 3)
        assert reader.partial is None


def test_a_damaged_picture_of_a_sequence_is_counted_and_the_others_close_up(tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(PICTURE).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:60])
    reader = SequenceReader(tmp_path, max_side=20)
    chunks = list(reader.chunks())
    assert [(start, frames.shape) for start, frames in chunks] == [(0, (1, 12, 20, 3)), (1, (1, 12, 20, 3))]
    assert reader.partial == "1 of 3 pictures are damaged (1.png)"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnreadableVideo, match="a folder without pictures"):
        SequenceReader(tmp_path / "empty")
