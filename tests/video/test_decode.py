import csv
import gc
import os
import shutil
import stat
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import psutil
import pytest

from dfd.base.errors import DfdError, UnreadableVideo, VideoTooLarge
from dfd.base.types import Status
from dfd.data.clips.reader import load_decord
from dfd.video.decode import VideoReader
from dfd.video.encode import write_video
from dfd.video.file.container import VideoLimits
from dfd.video.file.probe import probe
from dfd.video.frame_decoder import FrameDecoder
from tests.video.patterns import draw, number_of, pattern

# Every way in which the frames that follow a key frame can depend on what came before it.
KINDS = {
    "closed.mp4": {"g": 20, "bf": 3},
    "open.mp4": {"g": 20, "bf": 3, "x264-params": "open-gop=1:scenecut=0"},
    "open.mkv": {"g": 20, "bf": 3, "x264-params": "open-gop=1:scenecut=0"},
    "open.ts": {"g": 20, "bf": 3, "x264-params": "open-gop=1:scenecut=0"},
    "refresh.mp4": {"x264-params": "intra-refresh=1:keyint=20"},
    "vp9.webm": {
        "codec": "libvpx-vp9",
        "g": 30,
        "auto-alt-ref": 1,
        "lag-in-frames": 12,
        "cpu-used": 8,
        "deadline": "realtime",
    },
    "hevc.mp4": {
        "codec": "libx265",
        "preset": "ultrafast",
        "x265-params": "keyint=20:open-gop=1:bframes=3:log-level=none",
    },
    "av1.mp4": {"codec": "libsvtav1", "g": 20, "preset": 10},
    "h264.avi": {"g": 20, "bf": 3},
    "mpeg4.avi": {"codec": "mpeg4", "g": 20, "bf": 2},
    "mpeg2.mpg": {"codec": "mpeg2video", "g": 12, "bf": 2, "q:v": 3, "b": 4000000},
}


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    return {name: draw(folder / name, **options) for name, options in KINDS.items()}


@pytest.fixture(scope="module")
def plain(kinds):
    return kinds["closed.mp4"]


def whole(path, **options):
    with VideoReader(path, **options) as reader:
        return np.concatenate([frames for _, frames in reader.chunks()])


@pytest.mark.parametrize("name", KINDS)
def test_every_frame_is_read_once_and_in_order(kinds, name):
    with VideoReader(kinds[name]) as reader:
        numbers = [number_of(frame) for _, frames in reader.chunks() for frame in frames]
        assert numbers == list(range(90))
        assert reader.num_frames == 90
        assert reader.partial is None


@pytest.mark.parametrize("name", KINDS)
def test_frames_after_a_jump_equal_those_of_a_sequential_read(kinds, name):
    sequence = whole(kinds[name])
    random = np.random.default_rng(0)
    with VideoReader(kinds[name]) as reader:
        for start in random.integers(0, 84, 12):
            indices = [int(start), int(start) + 1, int(start) + 5]
            assert (reader.frames(indices) == sequence[indices]).all(), indices
        ranges = [range(50, 60), range(20, 23), range(81, 200)]
        chunks = list(reader.chunks(ranges, chunk_len=4))
    assert [(first, len(frames)) for first, frames in chunks] == [
        (50, 4), (54, 4), (58, 2), (20, 3), (81, 4), (85, 4), (89, 1),
    ]  # fmt: skip
    assert all((frames == sequence[first : first + len(frames)]).all() for first, frames in chunks)


def test_a_first_jump_gives_what_a_sequential_read_does(shared_data):
    """FFmpeg decodes full chroma of x264 before its build 151 in another way, and the build is in the first packet."""
    path = shared_data / "dev" / "videos" / "dev_001.mp4"
    with VideoReader(path, max_side=160) as reader:
        *_, (start, frames) = reader.chunks()
    with VideoReader(path, max_side=160) as reader:
        assert (reader.frames([start])[0] == frames[0]).all()
        assert reader.partial is None


def test_what_is_passed_over_after_a_jump_is_not_decoded_where_no_other_frame_needs_it(kinds, monkeypatch):
    decoded = []
    number = FrameDecoder._number

    def counted(self, frames):
        return number(self, (decoded.append(frame.pts) or frame for frame in frames))

    monkeypatch.setattr(FrameDecoder, "_number", counted)
    with VideoReader(kinds["closed.mp4"]) as reader:
        key = int(reader._index.key_ranks[1])
        wanted = list(range(key + 12, key + 16))
        assert [number_of(frame) for frame in reader.frames(wanted)] == wanted
    assert 4 + 2 <= len(decoded) <= 4 + 9


@pytest.mark.parametrize("size", [None, (80, 48), (77, 46)])
@pytest.mark.parametrize("display", [None, (180, False)])
def test_the_pixels_are_those_that_decord_gives(tmp_path, size, display):
    """It reads clip stores: what a detector is trained on and what it is asked about are decoded alike."""
    path = draw(tmp_path / "a.mp4", num_frames=6, display=display)
    wanted = {} if size is None else {"width": size[0], "height": size[1]}
    decord = load_decord().VideoReader(str(path), **wanted)
    with_decord = decord.get_batch(range(6)).asnumpy()
    assert (whole(path, max_side=None if size is None else max(size)) == with_decord).all()


@pytest.mark.parametrize(
    ("display", "turn"),
    [
        ((90, False), lambda frame: np.rot90(frame, 1)),
        ((180, False), lambda frame: np.rot90(frame, 2)),
        ((270, False), lambda frame: np.rot90(frame, 3)),
        ((0, True), lambda frame: frame[:, ::-1]),
        ((180, True), lambda frame: frame[::-1]),
    ],
)
def test_frames_are_turned_as_the_display_matrix_says(tmp_path, display, turn):
    path = draw(tmp_path / "a.mp4", num_frames=6, crf=4, pixel_format="yuv444p", display=display)
    expected = turn(pattern(3))
    with VideoReader(path) as reader:
        frame = reader.frames([3])[0]
        assert (reader.height, reader.width) == expected.shape[:2] == frame.shape[:2]
        assert (reader.info.height, reader.info.width) == expected.shape[:2]
    assert np.abs(frame.astype(int) - expected).mean() < 4


def test_indices_may_repeat_and_come_in_any_order(plain):
    with VideoReader(plain) as reader:
        frames = reader.frames([60, 4, 4, 61, 0])
        assert [number_of(frame) for frame in frames] == [60, 4, 4, 61, 0]
        assert reader.frames([]).shape == (0, 96, 160, 3)


def test_frames_are_scaled_to_the_longest_side_and_never_enlarged(plain):
    with VideoReader(plain, max_side=80) as reader:
        assert (reader.width, reader.height, reader.source_scale) == (80, 48, 2.0)
        small = reader.frames([10])[0]
    with VideoReader(plain, max_side=4000) as reader:
        assert (reader.width, reader.height, reader.source_scale) == (160, 96, 1.0)
        full = reader.frames([10])[0]
    halved = full.reshape(48, 2, 80, 2, 3).mean(axis=(1, 3))
    assert small.shape == halved.shape
    assert np.abs(small - halved)[16:].mean() < 6


@pytest.mark.parametrize("size", [(16, 16), (32, 18), (48, 48)])
def test_a_tiny_video_is_read_whole_and_is_not_called_damaged(tmp_path, size):
    path = draw(tmp_path / "a.mp4", num_frames=20, size=size)
    with VideoReader(path) as reader:
        assert sum(len(frames) for _, frames in reader.chunks()) == 20
        assert reader.partial is None


def test_time_stamps_are_those_of_a_variable_frame_rate(tmp_path):
    stamps = [0, 40, 80, 400, 440, 1000, 1040, 2000]
    path = draw(tmp_path / "a.mp4", num_frames=8, timestamps=stamps)
    with VideoReader(path) as reader:
        assert reader.timestamps(range(8)) == pytest.approx([stamp / 1000 for stamp in stamps], abs=1e-3)
        assert [number_of(frame) for frame in reader.frames(range(8))] == list(range(8))


def test_time_stamps_count_from_the_first_frame(kinds):
    with VideoReader(kinds["open.ts"]) as reader:
        assert reader.timestamps([0, 1, 50]) == pytest.approx([0, 0.04, 2.0])


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_cut_file_gives_what_lies_before_the_cut_and_says_so(tmp_path, kept):
    path = draw(tmp_path / "a.mp4", g=20, movflags=None)
    with (
        av.open(str(path)) as source,
        av.open(str(tmp_path / "fast.mp4"), "w", options={"movflags": "faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    data = (tmp_path / "fast.mp4").read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: int(len(data) * kept)])
    sound = whole(path)
    with VideoReader(cut) as reader:
        read = np.concatenate([frames for _, frames in reader.chunks()])
        assert 5 < len(read) < 90
        assert len(read) <= reader.num_frames <= len(read) + 3  # one that refers to what is gone may be missing
        assert "90" in reader.partial
        # The last frames before the cut may refer to what is gone.
        assert (read[: len(read) - 4] == sound[: len(read) - 4]).all()
        with pytest.raises(IndexError, match=f"frame 89 is not in 0..{reader.num_frames - 1}"):
            reader.frames([89])


def test_a_frame_that_cannot_be_decoded_costs_those_that_refer_to_it_and_no_other(tmp_path):
    path = draw(tmp_path / "a.mp4", g=20, bf=0, sc_threshold=0)
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    position, size = packets[50]
    data[position : position + size] = b"\xff" * size
    path.write_bytes(data)
    with VideoReader(path) as reader:
        numbers = [number_of(frame) for _, frames in reader.chunks() for frame in frames]
        assert numbers == [*range(50), *range(60, 90)]
        assert reader.partial.startswith("damaged: 10 frames, at 2.00-2.36 s, cannot be decoded")
        assert reader.num_frames == 90
    with VideoReader(path) as reader, pytest.raises(UnreadableVideo, match="frame 50 cannot be decoded"):
        reader.frames([49, 50, 51])


def test_a_video_without_one_sound_frame_is_unreadable(tmp_path):
    path = draw(tmp_path / "a.mp4", num_frames=20)
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for position, size in packets:
        data[position : position + size] = b"\xff" * size
    path.write_bytes(data)
    for ranges in (None, [range(10, 15)]):
        with VideoReader(path) as reader, pytest.raises(UnreadableVideo, match="no frame can be decoded"):
            list(reader.chunks(ranges))


def test_a_range_past_the_end_just_ends(plain):
    with VideoReader(plain) as reader:
        chunks = list(reader.chunks([range(85, 1000), range(500, 600), range(3, 5)]))
        assert [(first, len(frames)) for first, frames in chunks] == [(85, 5), (3, 2)]
        assert reader.partial is None


def test_an_array_of_large_frames_holds_few_of_them(tmp_path):
    """Whoever keeps a frame keeps the array that it came in."""
    for width, height, most in ((64, 48, 16), (1280, 720, 3), (1920, 1080, 1), (4096, 2304, 1)):
        path = draw(tmp_path / f"{width}.mp4", num_frames=2 * most, size=(width, height))
        with VideoReader(path) as reader:
            assert {len(frames) for _, frames in reader.chunks([range(0, most), range(most, 2 * most)])} == {most}


def test_no_frame_of_a_video_that_was_closed_is_left_for_python_to_find(plain):
    """They piled up: 3 MB for each video of 1920 x 1080, up to a hundred times."""
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            with VideoReader(plain) as reader:
                next(reader.chunks())
        del reader
        assert [type(one) for one in gc.get_objects() if isinstance(one, av.VideoFrame)] == []
    finally:
        gc.enable()


def test_wrong_requests_are_refused(plain):
    with VideoReader(plain) as reader:
        for index in (-1, 90):
            with pytest.raises(IndexError, match=f"frame {index} is not in 0..89"):
                reader.frames([index])
        with pytest.raises(ValueError, match="chunk_len"):
            next(reader.chunks(chunk_len=0))
        with pytest.raises(ValueError, match="count up by one"):
            next(reader.chunks([range(0, 10, 2)]))
    with pytest.raises(ValueError, match="closed"):
        reader.frames([0])
    with pytest.raises(ValueError, match="max_side"):
        VideoReader(plain, max_side=0)


def test_memory_does_not_grow_with_the_length_of_a_video(tmp_path):
    path = draw(tmp_path / "a.mp4", num_frames=400, size=(480, 272), preset="ultrafast", crf=35)
    process = psutil.Process()
    with VideoReader(path) as reader:
        chunks = reader.chunks()
        for _ in range(6):
            next(chunks)
        early = process.memory_info().rss
        peak = max(process.memory_info().rss for _ in chunks)
    assert peak - early < 30 * 2**20  # the frames that remain would take 120 MB


def test_probe_tells_what_the_header_claims(plain):
    info = probe(plain)
    assert (info.width, info.height, info.fps, info.num_frames, info.codec) == (160, 96, 25.0, 90, "h264")
    assert info.duration_seconds == pytest.approx(3.6)
    assert info.rotation_degrees == 0


def test_frames_above_the_limits_are_refused_before_decoding(plain):
    with pytest.raises(VideoTooLarge, match="frames of 160 x 96 pixels exceed the limit of 159 x 4096"):
        probe(plain, limits=VideoLimits(max_width=159))
    with pytest.raises(VideoTooLarge):
        VideoReader(plain, limits=VideoLimits(max_height=95))
    assert probe(plain, limits=VideoLimits(max_width=160, max_height=96)).width == 160


def test_a_codec_that_is_not_allowed_is_refused_by_name(tmp_path):
    path = draw(tmp_path / "a.avi", codec="ffv1", num_frames=3)
    with pytest.raises(UnreadableVideo, match="codec ffv1 is not allowed"):
        probe(path)


def test_what_is_no_video_file_is_refused_with_its_reason(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("this is not a video\n" * 40)
    # A playlist would have FFmpeg open whatever it names.
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n")
    (tmp_path / "concat.mp4").write_text("ffconcat version 1.0\nfile empty.mp4\n")
    av.VideoFrame.from_ndarray(pattern(1), format="rgb24").save(tmp_path / "still.png")
    shutil.copy(tmp_path / "still.png", tmp_path / "still.mp4")
    reasons = {
        "missing.mp4": "no such file",
        ".": "is a directory",
        "empty.mp4": "is empty",
        "text.mp4": "not a",
        "list.mp4": "not a",
        "concat.mp4": "not",
        "still.mp4": "a still picture is not a video",
        "nul\0byte.mp4": "cannot be opened",
    }
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.mp4")
        reasons["pipe.mp4"] = "not a regular file"
    for name, reason in reasons.items():
        for open_it in (probe, VideoReader):
            with pytest.raises(UnreadableVideo, match=reason):
                open_it(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_says_so(plain, tmp_path):
    path = shutil.copy(plain, tmp_path / "a.mp4")
    path.chmod(stat.S_IWUSR)
    with pytest.raises(UnreadableVideo, match="permission denied"):
        probe(path)


def sound_with(container, *, picture):
    """Half a second of silence and, if asked for, a picture as its cover."""
    cover = container.add_stream("mjpeg", rate=1)
    cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
    if picture:
        cover.disposition = av.stream.Disposition.attached_pic
    sound = container.add_stream("aac", rate=16000)
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
    container.mux(sound.encode(frame))
    container.mux(sound.encode(None))
    image = av.VideoFrame.from_ndarray(pattern(1, 64, 64), format="rgb24").reformat(format="yuvj420p")
    image.pts = 0
    container.mux(cover.encode(image))
    container.mux(cover.encode(None))


def test_a_cover_picture_is_not_a_video(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        sound_with(container, picture=True)
    with pytest.raises(UnreadableVideo, match="only a cover picture in it"):
        probe(tmp_path / "a.mp4")


@pytest.mark.parametrize(
    "name", ["with space.mp4", "a:b.mp4", "%03d.mp4", "-x.mp4", "ü日本.mp4", os.fsdecode(b"raw\xff.mp4")]
)
def test_file_names_may_be_odd(plain, tmp_path, monkeypatch, name):
    try:
        shutil.copy(plain, tmp_path / name)
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system does not take the name")
    monkeypatch.chdir(tmp_path)
    with VideoReader(name) as reader:
        assert number_of(reader.frames([7])[0]) == 7


def test_importing_the_reader_does_not_import_decord():
    code = "import dfd.video.decode, dfd.process.pool, sys; assert not {'decord', 'torch', 'cv2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_each_broken_file_gets_the_status_it_must(shared_data):
    wrong = {}
    for row in csv.DictReader((shared_data / "broken" / "expected.csv").open()):
        allowed = set(row["expect"].split("-or-"))
        if row["file"] == "ts.ts":
            allowed.add("ok")  # a cut between two frames, with every counter in order: nothing in the file tells of it
        try:
            with VideoReader(shared_data / "broken" / row["file"]) as reader:
                num_read = sum(len(frames) for _, frames in reader.chunks())
                assert num_read > 0
                found = "ok" if reader.partial is None else "partial"
        except DfdError as error:
            found = str(error.status)
        if found not in allowed:
            wrong[row["file"]] = found
    assert not wrong


def test_a_huge_frame_is_refused_at_once_and_in_little_memory(shared_data):
    before = psutil.Process().memory_info().rss
    with pytest.raises(VideoTooLarge) as caught:
        probe(shared_data / "broken" / "bomb_8192.mp4")
    assert caught.value.status == Status.TOO_LARGE
    assert psutil.Process().memory_info().rss - before < 300 * 2**20


def test_an_edit_list_hides_frames_from_both_count_and_reading(shared_data):
    with VideoReader(shared_data / "broken" / "editlist.mp4") as reader:
        frames = reader.frames(range(reader.num_frames))
        assert len(frames) == 37
        assert all((one != other).any() for one, other in pairwise(frames))


def test_decoding_with_decord_leaves_torch_able_to_compute(tmp_path):
    """decord's import once put NVBLAS in the place of torch's BLAS: the next convolution ended the process."""
    write_video(
        tmp_path / "clip.mp4", np.stack([pattern(number) for number in range(8)]), fps=25, pixel_format="yuv420p"
    )
    code = f"""
import sys
from dfd.data.clips.reader import load_decord
load_decord().VideoReader({str(tmp_path / "clip.mp4")!r}).get_batch([0]).asnumpy()
assert "decord" in sys.modules
import torch
torch.nn.Conv2d(3, 10, 3)(torch.zeros(1, 3, 64, 64)).sum().item()
(torch.ones(300, 300) @ torch.ones(300, 300)).sum().item()
loaded = open("/proc/self/maps").read() if sys.platform == "linux" else ""
assert "nvblas" not in loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True)
