"""A clip is read only if it is the one that its record describes."""

import shutil
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from dfd.base.errors import StoreError
from dfd.base.files import file_sha256
from dfd.data.clips.dataset import ClipDataset
from dfd.data.clips.reader import check_clip
from dfd.data.store.folders import read_record, write_record
from dfd.data.store.tables import read_index
from tests.data.conftest import SIZE, write_clip


@pytest.fixture
def clip(small_store: Path, tmp_path: Path) -> Path:
    """The first clip of a store of its own."""
    store = Path(shutil.copytree(small_store, tmp_path / "store"))
    return store / read_index(store)["path"][0]


def described_as_it_is(clip: Path) -> None:
    """Write the hash of what is there into the record, as someone could who hands a store on."""
    record = read_record(clip.parent)
    assert record is not None
    tracks = [replace(t, sha256=file_sha256(clip)) if t.file == clip.name else t for t in record.tracks]
    write_record(clip.parents[2], replace(record, tracks=tuple(tracks)))


def test_the_clip_that_was_written_passes(clip: Path) -> None:
    check_clip(clip)


def test_another_file_in_its_place_is_refused(clip: Path) -> None:
    shutil.copyfile(clip.with_name("1.mp4"), clip)
    data = bytearray(clip.read_bytes())
    data[-1] ^= 1
    clip.write_bytes(data)
    with pytest.raises(StoreError, match=rf"{clip}: .*its SHA-256 is another; delete .*run the preprocessing again"):
        check_clip(clip)
    with pytest.raises(StoreError, match="SHA-256"):
        ClipDataset(clip.parents[2], read_index(clip.parents[2]), clip_len=4)[0]


def test_a_clip_without_a_record_is_refused(clip: Path) -> None:
    (clip.parent / "record.json").unlink()
    with pytest.raises(StoreError, match="there is no record of it"):
        check_clip(clip)


@pytest.mark.parametrize(
    ("size", "num_frames", "problem"),
    [(SIZE * 2, 30, "64 x 64 pixels, not 32 x 32"), (SIZE, 29, "29 frames, not 30"), (SIZE, 31, "31 frames, not 30")],
)
def test_a_hash_that_fits_does_not_make_up_for_size_and_number(
    clip: Path, size: int, num_frames: int, problem: str
) -> None:
    write_clip(clip, 0, num_frames, size)
    described_as_it_is(clip)
    with pytest.raises(StoreError, match=problem):
        check_clip(clip)


@pytest.mark.parametrize(
    ("codec", "pixel_format", "problem"),
    [("mpeg4", "yuv420p", "codec is mpeg4"), ("libx264", "yuv422p", r"codec is h264 \(yuv422p\), not h264")],
)
def test_another_codec_is_refused(clip: Path, codec: str, pixel_format: str, problem: str) -> None:
    with av.open(str(clip), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width = stream.height = SIZE
        stream.pix_fmt = pixel_format
        for level in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((SIZE, SIZE, 3), level, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    described_as_it_is(clip)
    with pytest.raises(StoreError, match=problem):
        check_clip(clip)


def test_a_clip_of_an_earlier_version_has_no_hash_and_is_checked_in_the_rest(clip: Path) -> None:
    record = read_record(clip.parent)
    assert record is not None
    write_record(clip.parents[2], replace(record, tracks=tuple(replace(t, sha256="") for t in record.tracks)))
    check_clip(clip)
    write_clip(clip, 0, 20)
    with pytest.raises(StoreError, match="20 frames, not 30"):
        check_clip(clip)
