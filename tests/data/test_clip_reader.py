"""Clips of a store, read without a pass over their packets: the reader's frames, or a word about what is wrong."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dfd.base.errors import UnreadableVideo, VideoTooLarge
from dfd.base.types import FrameArray
from dfd.data.clips.reader import READERS, read_clip, read_frames_of
from dfd.video.decode import VideoReader
from dfd.video.encode import write_video

NUM_FRAMES = 40


def moving_colours() -> FrameArray:
    noise = np.random.default_rng(0).normal(0, 6, (NUM_FRAMES, 56, 64, 3))
    y, x = np.mgrid[:56, :64]
    time = np.arange(NUM_FRAMES)[:, None, None]
    waves = [128 + 120 * np.sin((x + 3 * time) / 9 + phase) * np.cos(y / 11 + phase) for phase in range(3)]
    return np.clip(np.stack(waves, axis=-1) + noise, 0, 255).astype(np.uint8)


def as_the_reader(path: Path, indices: list[int]) -> FrameArray:
    with VideoReader(path) as reader:
        return reader.frames(indices)


@pytest.mark.parametrize("indices", [[0, 1, 2], [39], [7, 8, 9, 9, 9], [3, 10, 28], [14, 15, 16], list(range(40))])
@pytest.mark.parametrize("fps", [25, 30000 / 1001, 14.37, 240, 90000, 0.001])
def test_the_frames_are_the_reader_s_to_a_level(tmp_path: Path, indices: list[int], fps: float) -> None:
    write_video(tmp_path / "0.mp4", moving_colours(), fps=fps)
    frames = read_clip(tmp_path / "0.mp4", indices)
    assert frames is not None
    difference = frames.astype(int) - as_the_reader(tmp_path / "0.mp4", indices)
    assert np.abs(difference).max() <= 1
    assert (difference != 0).mean() < 0.1


@pytest.mark.parametrize("side", [16, 48, 96, 111, 112, 113, 224])
def test_both_readers_take_frames_of_any_size(tmp_path: Path, side: int) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (6, 14, 14, 3)).repeat(16, axis=1).repeat(16, axis=2)
    written = frames[:, :side, :side].astype(np.uint8)
    write_video(tmp_path / "0.mp4", np.ascontiguousarray(written), fps=25)
    one, other = (read_frames_of(tmp_path / "0.mp4", [1, 5], reader=reader).astype(int) for reader in READERS)
    assert one.shape == (2, side, side, 3)
    assert np.abs(one - other).max() <= 1


@pytest.mark.parametrize("pixel_format", ["yuv444p", "yuv420p"])
@pytest.mark.parametrize("fps", [25, 30000 / 1001])
def test_both_readers_give_the_same_frames_to_a_level(tmp_path: Path, fps: float, pixel_format: str) -> None:
    path = tmp_path / "0.mp4"
    write_video(path, moving_colours(), fps=fps, pixel_format=pixel_format)
    for indices in ([0, 1, 2], [39], [7, 8, 9, 9, 9], [3, 10, 28], list(range(40))):
        one, other = (read_frames_of(path, indices, reader=reader).astype(int) for reader in READERS)
        assert np.abs(one - other).max() <= 1


@pytest.mark.parametrize("reader", READERS)
def test_what_a_reader_cannot_read_is_an_error_that_names_it(tmp_path: Path, reader: str) -> None:
    path = tmp_path / "0.mp4"
    with pytest.raises(UnreadableVideo, match=r"0\.mp4"):
        read_frames_of(path, [0], reader=reader)
    write_video(path, moving_colours(), fps=25)
    with pytest.raises(IndexError):
        read_frames_of(path, [38, 39, 40], reader=reader)
    path.write_bytes(b"text")
    with pytest.raises(UnreadableVideo, match=r"0\.mp4"):
        read_frames_of(path, [0], reader=reader)


@pytest.mark.parametrize(("pixel_format", "num_frames"), [("yuv420p", NUM_FRAMES), ("yuv444p", 1)])
def test_what_else_the_encoder_writes_is_read(tmp_path: Path, pixel_format: str, num_frames: int) -> None:
    path = tmp_path / "0.mp4"
    write_video(path, moving_colours()[:num_frames], fps=25, pixel_format=pixel_format)
    frames = read_clip(path, [num_frames - 1])
    assert frames is not None
    assert np.abs(frames.astype(int) - as_the_reader(path, [num_frames - 1])).max() <= 1


def test_saturated_colours_are_those_that_were_written(tmp_path: Path) -> None:
    levels = np.array(np.meshgrid([0, 128, 255], [0, 128, 255], [0, 128, 255])).reshape(3, -1).T
    written = np.broadcast_to(levels[:, None, None, :], (len(levels), 64, 64, 3)).astype(np.uint8)
    write_video(tmp_path / "0.mp4", written, fps=25, crf=4, keyframe_interval=1)
    frames = read_clip(tmp_path / "0.mp4", range(len(levels)))
    assert frames is not None
    assert np.abs((frames.astype(float) - written).mean(axis=(1, 2))).max() <= 2


def test_frames_that_are_not_there_are_left_to_the_reader(tmp_path: Path) -> None:
    write_video(tmp_path / "0.mp4", moving_colours(), fps=25)
    assert read_clip(tmp_path / "0.mp4", [38, 39, 40]) is None


def test_another_s_file_is_left_to_the_reader(tmp_path: Path) -> None:
    """Its frames come at uneven times, so that time does not tell their number."""
    path = tmp_path / "0.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 56, "yuv420p"
        for place, picture in enumerate(moving_colours()[:10]):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = 3 * place + place % 2, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert read_clip(path, [0, 1, 2]) is None


def test_what_is_plainly_of_another_encoder_is_left_to_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "0.mp4"
    for codec, pixel_format in (("libx265", "yuv420p"), ("libx264", "yuv420p10le")):
        write_with(path, codec, pixel_format)
        assert read_clip(path, [0, 1]) is None
    data = bytearray(write_with(path, "libx264", "yuv444p").read_bytes())
    data[data.index(b"avc1", data.index(b"stsd")) + 2] = ord("x")  # a codec that FFmpeg does not know
    path.write_bytes(data)
    assert read_clip(path, [0, 1]) is None


def test_frames_beyond_the_limit_are_left_to_the_reader_which_refuses_them(tmp_path: Path) -> None:
    write_video(tmp_path / "0.mp4", np.zeros((2, 16, 4112, 3), np.uint8), fps=25)
    assert read_clip(tmp_path / "0.mp4", [0, 1]) is None
    with pytest.raises(VideoTooLarge, match="exceed the limit"):
        as_the_reader(tmp_path / "0.mp4", [0, 1])


@pytest.mark.parametrize("pixel_format", ["yuv444p", "yuv420p"])
def test_frames_whose_size_changes_are_left_to_the_reader(tmp_path: Path, pixel_format: str) -> None:
    path = joined(tmp_path, pixel_format, sizes=[(64, 56), (96, 80)])
    assert read_clip(path, [1, 3]) is not None
    assert read_clip(path, [2, 14]) is None
    assert read_clip(path, [14]) is None
    assert as_the_reader(path, [2, 5]).shape == (2, 56, 64, 3)
    assert as_the_reader(path, [12, 14]).shape == (2, 80, 96, 3)
    with pytest.raises(UnreadableVideo, match="differ in size"):
        as_the_reader(path, [2, 14])


def test_times_that_do_not_count_up_by_one_are_not_trusted(tmp_path: Path) -> None:
    """One damaged time of presentation moves a frame to the place of its neighbour."""
    path = tmp_path / "0.mp4"
    write_video(path, moving_colours(), fps=25)
    data = path.read_bytes()
    offsets = data.index(b"ctts") + 12
    unlike = 0
    for entry in range(2, 20):
        damaged = bytearray(data)
        damaged[offsets + 8 * entry + 6] ^= 2  # 512 ticks of 1/12800 s, which is a frame
        path.write_bytes(damaged)
        frames = read_clip(path, range(NUM_FRAMES))
        unlike += frames is None
    assert unlike >= 16


def joined(folder: Path, pixel_format: str, *, sizes: Sequence[tuple[int, int]]) -> Path:
    """One file of the packets of several, ten frames of each size."""
    path = folder / "0.mp4"
    with av.open(str(path), "w") as target:
        stream = None
        for number, size in enumerate(sizes):
            part = write_with(folder / f"{number}.h264", "libx264", pixel_format, size=size)
            with av.open(str(part)) as source:
                stream = stream or target.add_stream_from_template(source.streams.video[0])
                for place, packet in enumerate(packet for packet in source.demux(video=0) if packet.size):
                    packet.pts = packet.dts = 10 * number + place
                    packet.time_base, packet.duration, packet.stream = Fraction(1, 25), 1, stream
                    target.mux(packet)
    return path


def write_with(path: Path, codec: str, pixel_format: str, *, size: tuple[int, int] = (64, 56)) -> Path:
    """Ten frames, whose parameters are told with each key frame."""
    own = {"x265-params": "log-level=none"} if codec == "libx265" else {"x264-params": "bframes=0:repeat-headers=1"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=own)
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        for place in range(10):
            picture = np.full((size[1], size[0], 3), 20 * place, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = place, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("fast_decode", [True, False])
def test_damage_on_the_way_is_named(tmp_path: Path, fast_decode: bool) -> None:
    path = tmp_path / "0.mp4"
    write_video(path, moving_colours(), fps=25, fast_decode=fast_decode)
    with av.open(str(path)) as container:
        key = next(p for p in container.demux(video=0) if p.is_keyframe and p.pts)
        start, size = key.pos, key.size
    assert start is not None
    data = bytearray(path.read_bytes())
    middle = start + size // 2
    data[middle : middle + 200] = bytes([255]) * 200  # zeros may be read as a picture by an arithmetic decoder
    path.write_bytes(data)
    assert read_clip(path, [0, 1, 2]) is not None
    with pytest.raises(UnreadableVideo, match=r"0\.mp4: frame 15 is damaged"):
        read_clip(path, [16, 17])


@pytest.mark.parametrize("content", [b"", b"text"])
def test_what_is_no_video_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "0.mp4").write_bytes(content)
    with pytest.raises(UnreadableVideo, match=r"0\.mp4"):
        read_clip(tmp_path / "0.mp4", [0])
    with pytest.raises(UnreadableVideo, match="no such file"):
        read_clip(tmp_path / "1.mp4", [0])
