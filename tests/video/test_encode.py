import hashlib

import numpy as np
import pytest

from dfd.video.decode import VideoReader
from dfd.video.encode import VideoWriter, write_video


def crops(num_frames=40, side=112, seed=0):
    """Smooth moving colours with fine noise, as a face crop has."""
    noise = np.random.default_rng(seed).normal(0, 4, (num_frames, side, side, 3))
    y, x = np.mgrid[:side, :side]
    time = np.arange(num_frames)[:, None, None]
    waves = [128 + 90 * np.sin((x + 2 * time) / 17 + phase) * np.cos(y / 23 + phase) for phase in (0, 1, 2)]
    return np.clip(np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)


def read(path):
    with VideoReader(path) as reader:
        return reader.frames(range(reader.num_frames))


def test_the_same_frames_give_the_same_bytes(tmp_path):
    clips = [crops(seed=0), crops(seed=1)]
    digests = set()
    for attempt in range(3):
        for seed, frames in enumerate(clips):  # other work in between changes what lies in unused memory
            path = tmp_path / f"{seed}.mp4"
            write_video(path, frames, fps=25)
            read(path)
        digests.add(hashlib.sha256((tmp_path / "0.mp4").read_bytes()).hexdigest())
        assert len(digests) == 1, f"differs at attempt {attempt}"


def test_what_is_read_is_close_to_what_was_written_and_all_of_it(tmp_path):
    frames = crops()
    write_video(tmp_path / "a.mp4", frames, fps=30000 / 1001)
    decoded = read(tmp_path / "a.mp4")
    assert decoded.shape == frames.shape
    error = decoded.astype(float) - frames
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 38
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert reader.fps == pytest.approx(30000 / 1001)
        assert reader.partial is None


def test_colours_come_back_unshifted_the_saturated_ones_too(tmp_path):
    levels = np.array(np.meshgrid([0, 64, 128, 192, 255], [0, 64, 128, 192, 255], [0, 128, 255])).reshape(3, -1).T
    frames = np.broadcast_to(levels[:, None, None, :], (len(levels), 64, 64, 3)).astype(np.uint8)
    write_video(tmp_path / "a.mp4", frames, fps=25, crf=4, keyframe_interval=1)
    shift = (read(tmp_path / "a.mp4").astype(float) - frames).mean(axis=(1, 2))
    assert np.abs(shift.mean(axis=0)).max() < 0.5
    assert np.abs(shift).max() <= 2


def test_a_clip_can_start_cheaply_anywhere(tmp_path):
    write_video(tmp_path / "a.mp4", crops(), fps=25)
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert np.diff([*reader._index.key_ranks, reader.num_frames]).max() <= 15


def test_what_decoders_take_long_for_is_left_out_unless_wanted(tmp_path):
    for fast_decode in (True, False):
        write_video(tmp_path / "a.mp4", crops(), fps=25, fast_decode=fast_decode)
        settings = (tmp_path / "a.mp4").read_bytes()  # x264 writes them into the first packet
        assert (b"cabac=0 " in settings) == fast_decode
        assert (b"deblock=0:" in settings) == fast_decode
        assert b"mbtree=0 " in settings


@pytest.mark.parametrize("size", [(97, 55), (112, 112), (64, 33)])
def test_full_chroma_takes_any_size(tmp_path, size):
    frames = crops(5)[:, : min(size[1], 112), : min(size[0], 112)]
    write_video(tmp_path / "a.mp4", frames, fps=25)
    assert read(tmp_path / "a.mp4").shape == frames.shape


def test_an_odd_size_with_halved_chroma_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"yuv420p needs an even width and height, got 97 x 112; use yuv444p"):
        write_video(tmp_path / "a.mp4", crops(2)[:, :, :97], fps=25, pixel_format="yuv420p")
    assert not (tmp_path / "a.mp4").exists()


@pytest.mark.parametrize(
    "options", [{"fps": 0}, {"fps": float("nan")}, {"crf": 52}, {"keyframe_interval": 0}, {"pixel_format": "rgb24"}]
)
def test_an_option_out_of_range_is_named(tmp_path, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        write_video(tmp_path / "a.mp4", crops(2), **{"fps": 25, **options})


def test_frames_of_another_size_or_type_are_refused(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", width=112, height=112, fps=25) as writer:
        writer.write(crops(2))
        with pytest.raises(ValueError, match="frames must be uint8"):
            writer.write(crops(2).astype(np.float32))
        with pytest.raises(ValueError, match="frames must be uint8"):
            writer.write(crops(2)[:, :64])
    assert len(read(tmp_path / "a.mp4")) == 2


def test_a_failed_or_empty_writer_leaves_no_file(tmp_path):
    def write_and_fail():
        with VideoWriter(tmp_path / "a.mp4", width=112, height=112, fps=25) as writer:
            writer.write(crops(2))
            raise RuntimeError("the caller's")

    with pytest.raises(RuntimeError, match="the caller"):
        write_and_fail()
    with pytest.raises(ValueError, match="at least one frame"):
        write_video(tmp_path / "b.mp4", crops(0), fps=25)
    assert list(tmp_path.iterdir()) == []
