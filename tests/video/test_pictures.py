"""Pictures as their file means them: pixels that are not square, sizes that change, fields, HDR, missing beginnings."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dfd.base.errors import UnreadableVideo, VideoTooLarge
from dfd.video.decode import VideoReader
from dfd.video.file.container import VideoLimits
from dfd.video.pictures.hdr import to_sdr
from tests.video.patterns import draw, number_of, pattern


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2)))


def everything(path: Path, **options: object) -> list[np.ndarray]:
    with VideoReader(path, **options) as reader:
        return [frame for _, frames in reader.chunks() for frame in frames]


@pytest.mark.parametrize(("aspect", "shown"), [("2", (320, 96)), ("1/2", (80, 96)), ("64/45", (226, 96))])
@pytest.mark.parametrize("turn", [0, 90])
def test_frames_are_shown_in_square_pixels(tmp_path: Path, aspect: str, shown: tuple[int, int], turn: int) -> None:
    path = draw(tmp_path / "a.mp4", num_frames=4, display=(turn, False) if turn else None)
    path = with_aspect(path, Fraction(aspect))
    with VideoReader(path) as reader:
        frame = reader.frames([3])[0]
        size = shown if turn == 0 else shown[::-1]
        assert (reader.width, reader.height) == (reader.info.width, reader.info.height) == size
        assert frame.shape == (size[1], size[0], 3)
        upright = np.rot90(frame, -1) if turn else frame
        assert number_of(upright) == 3
    with VideoReader(path, max_side=40) as reader:
        assert max(reader.frames([3]).shape[1:3]) == 40


def test_a_pixel_shape_that_no_camera_has_is_not_believed(tmp_path: Path) -> None:
    path = with_aspect(draw(tmp_path / "a.mp4", num_frames=2), Fraction(200))
    with VideoReader(path) as reader:
        assert (reader.width, reader.height) == (160, 96)


def test_limits_hold_for_the_picture_as_it_is_shown(tmp_path: Path) -> None:
    path = with_aspect(draw(tmp_path / "a.mp4", num_frames=2), Fraction(4))
    with pytest.raises(VideoTooLarge, match=r"limits\.max_width=640 allows"):
        VideoReader(path, limits=VideoLimits(max_width=639))


def test_each_part_of_a_video_that_changes_its_size_comes_in_its_own_shape(tmp_path: Path) -> None:
    path = joined(tmp_path / "a.mkv", [(160, 96), (96, 160), (320, 192)])
    with VideoReader(path) as reader:
        chunks = list(reader.chunks(chunk_len=7))
        assert [frames.shape[1:3] for _, frames in chunks] == [(96, 160)] * 2 + [(160, 96)] * 2 + [(192, 320)] * 3
        assert sum(len(frames) for _, frames in chunks) == 30
        assert reader.sizes == [(0, 160, 96), (10, 96, 160), (20, 320, 192)]
        assert [number_of(frames[0]) for start, frames in chunks if start in (0, 10, 20)] == [0, 0, 0]
        assert reader.partial is None
    with VideoReader(path, max_side=160) as reader:
        list(reader.chunks())
        assert [reader.scale_at(index) for index in (0, 15, 29)] == [1, 1, 2]
    with (
        VideoReader(path, limits=VideoLimits(max_width=319)) as reader,
        pytest.raises(VideoTooLarge, match="320 x 192"),
    ):
        list(reader.chunks())


def test_pixels_that_change_their_shape_on_the_way_change_the_shape_of_the_picture(tmp_path: Path) -> None:
    path = joined(tmp_path / "a.mkv", [(160, 96), (160, 96)], aspects=["1/1", "2/1"])
    with VideoReader(path) as reader:
        shapes = [frame.shape[:2] for _, frames in reader.chunks() for frame in frames]
    assert shapes == [(96, 160)] * 10 + [(96, 320)] * 10


def test_a_file_without_a_key_frame_at_its_start_keeps_its_times(tmp_path: Path) -> None:
    whole = draw(tmp_path / "a.mkv", g=30, bf=2, sc_threshold=0)
    path = without_packets(whole, tmp_path / "b.mkv", set(range(8)))
    with VideoReader(path) as reader:
        assert 20 <= reader.first_frame <= 22
        shown = {start + at: frame for start, frames in reader.chunks() for at, frame in enumerate(frames)}
        assert min(shown) == reader.first_frame
        for index, frame in shown.items():
            assert reader.clock_seconds([index])[0] == pytest.approx(number_of(frame) / 25, abs=0.002)
        assert f"the first {reader.first_frame} frames, up to 1.20 s, cannot be decoded" in reader.partial
        with pytest.raises(UnreadableVideo, match="frame 0 cannot be decoded"):
            reader.frames([0, 1])


def test_a_hole_in_the_middle_moves_no_frame(tmp_path: Path) -> None:
    whole = draw(tmp_path / "a.mkv", g=10, bf=0, sc_threshold=0)
    path = without_packets(whole, tmp_path / "b.mkv", set(range(40, 50)))
    with VideoReader(path) as reader:
        for start, frames in reader.chunks():
            for index, frame in enumerate(frames, start):
                assert reader.clock_seconds([index])[0] == pytest.approx(number_of(frame) / 25, abs=0.002)


def test_a_picture_that_begins_after_the_sound_is_not_called_short(tmp_path: Path) -> None:
    """Matroska's DURATION of a stream is when it ends."""
    path = draw(tmp_path / "a.mkv", num_frames=50, timestamps=[3000 + 40 * number for number in range(50)])
    with VideoReader(path) as reader:
        assert reader.partial is None
        assert reader.info.duration_seconds == pytest.approx(2.0, abs=0.05)
        assert reader.clock_seconds([0]) == pytest.approx([3.0], abs=0.01)


def test_another_video_stream_is_read_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=25) for _ in range(2)]
        for place, stream in enumerate(streams):
            stream.width, stream.height, stream.pix_fmt = 160 + 32 * place, 96, "yuv420p"
        for number in range(10):
            for place, stream in enumerate(streams):
                frame = av.VideoFrame.from_ndarray(pattern(number + 50 * place, stream.width, 96), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    for number, width in ((0, 160), (1, 192)):
        with VideoReader(path, stream=number) as reader:
            assert (reader.info.stream, reader.info.num_streams, reader.width) == (number, 2, width)
            assert number_of(reader.frames([7])[0]) == 7 + 50 * number
    with pytest.raises(UnreadableVideo, match="it has 2 video streams, but no number 2"):
        VideoReader(path, stream=2)


def test_interlaced_frames_come_deinterlaced_one_for_one(tmp_path: Path) -> None:
    """Each frame holds two moments, line by line; a bar that moves then has a comb for an edge."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.options = {"x264-params": "tff=1:keyint=10", "flags": "+ildct+ilme"}
        for number in range(30):
            fields = [np.full((96, 160, 3), 40, np.uint8) for _ in range(2)]
            for half, picture in enumerate(fields):
                left = 10 + 4 * number + 2 * half
                picture[:, left : left + 20] = 220
            woven = fields[0].copy()
            woven[1::2] = fields[1][1::2]
            frame = av.VideoFrame.from_ndarray(woven, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

    def combing(frame: np.ndarray) -> float:
        lines = frame.mean(axis=-1)
        return float(np.abs(2 * lines[1:-1] - lines[:-2] - lines[2:]).mean())

    with av.open(str(path)) as container:
        stored = [frame for frame in container.decode(video=0)]
        assert all(frame.interlaced_frame for frame in stored)
        woven = stored[15].to_ndarray(format="rgb24")
    frames = everything(path)
    assert len(frames) == 30
    assert combing(frames[15]) < combing(woven) / 4
    lefts = [int(np.argmax(frame[48].mean(axis=-1) > 130)) for frame in frames[1:-1]]
    assert np.abs(np.diff(lefts) - 4).max() <= 1
    with VideoReader(path) as reader:
        for index in (25, 13, 29, 0):
            assert (reader.frames([index])[0] == frames[index]).all(), index


def test_hdr_looks_as_the_same_light_does_in_sdr() -> None:
    """Reference values by BT.2100: HLG 0.75 is white by BT.2408, and so is PQ's code for 203 cd/m²."""
    grey = np.array([[[0.75] * 3], [[0.5] * 3], [[0.0] * 3]])
    hlg = to_sdr(np.rint(grey * 65535).astype(np.uint16), 18, 9)
    assert hlg[0, 0].tolist() == pytest.approx([244] * 3, abs=4)  # white, rolled off a little
    light = (0.5**2 / 3) ** 1.2 * 1000 / 203  # scene light, the OOTF, against white
    assert hlg[1, 0].tolist() == pytest.approx([255 * light ** (1 / 2.4)] * 3, abs=1)
    assert hlg[2, 0].tolist() == [0, 0, 0]
    pq = to_sdr(np.full((1, 1, 3), round(0.5081 * 65535), np.uint16), 16, 9)  # 100 cd/m²
    assert pq[0, 0].tolist() == pytest.approx([255 * (100 / 203) ** (1 / 2.4)] * 3, abs=1)
    assert to_sdr(np.full((1, 1, 3), 65535, np.uint16), 16, 9).min() == 255


def test_wide_gamut_is_turned_into_the_usual_one() -> None:
    red = np.array([[[40000, 20000, 20000]]], np.uint16)
    wide, p3 = to_sdr(red, 1, 9)[0, 0], to_sdr(red, 1, 12)[0, 0]
    plain = 255 * red[0, 0] / 65535
    assert wide[0] > p3[0] > plain[0]  # the same numbers mean a stronger red there
    grey = to_sdr(np.full((1, 1, 3), 30000, np.uint16), 1, 9)[0, 0]
    assert grey.tolist() == pytest.approx([255 * 30000 / 65535] * 3, abs=1)


def test_a_phone_s_hdr_video_looks_as_a_reference_makes_it(shared_field: Path) -> None:
    ours = everything(shared_field / "in05_hlg.mov")
    reference = everything(shared_field / "in05_hlg_to_sdr.mp4")
    assert len(ours) == len(reference) == 50
    assert min(psnr(one, other) for one, other in zip(ours, reference, strict=True)) > 32


def test_a_real_video_in_odd_pixels_looks_as_in_square_ones(shared_field: Path) -> None:
    ours = everything(shared_field / "in06_sar.mp4")
    square = everything(shared_field / "in06_sar_made_square.mp4")
    assert ours[0].shape == square[0].shape == (480, 852, 3)
    assert min(psnr(one, other) for one, other in zip(ours, square, strict=True)) > 30


def test_each_damaged_real_file_is_called_so_and_its_original_is_not(shared_field: Path) -> None:
    said = {}
    for path in sorted((shared_field / "damaged").iterdir()):
        with VideoReader(path) as reader:
            list(reader.chunks())
            said[path.name] = reader.partial
    assert [name for name, words in said.items() if words is None] == ["clean_a.mkv", "clean_a.mp4"]
    assert len(said) == 25
    assert all(" s" in words or "checksum" in words for words in said.values() if words is not None)


def with_aspect(path: Path, aspect: Fraction) -> Path:
    """The same packets in a file that says that a pixel is so many times as wide as high."""
    target = path.with_name(f"aspect_{path.name}")
    with av.open(str(path)) as source, av.open(str(target), "w") as container:
        given = source.streams.video[0]
        stream = container.add_stream_from_template(given)
        stream.sample_aspect_ratio = aspect
        for packet in source.demux(given):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    return target


def joined(path: Path, sizes: list[tuple[int, int]], aspects: list[str] | None = None) -> Path:
    """One stream of ten frames of each size, and of pixels of each aspect."""
    with av.open(str(path), "w") as container:
        stream = None
        for part, size in enumerate(sizes):
            sar = {"x264-params": f"sar={aspects[part]}"} if aspects else {}
            piece = draw(path.with_name(f"part{part}.mkv"), num_frames=10, size=size, bf=0, **sar)
            with av.open(str(piece)) as source:
                given = source.streams.video[0]
                if stream is None:
                    stream = container.add_stream_from_template(given)
                headers = annex_b(given.codec_context.extradata)
                for number, packet in enumerate(source.demux(given)):
                    if packet.size:
                        data = bytes(packet)
                        moved = av.Packet(headers + data if number == 0 else data)
                        moved.pts = moved.dts = part * 400 + number * 40
                        moved.time_base, moved.stream = Fraction(1, 1000), stream
                        moved.is_keyframe = packet.is_keyframe
                        container.mux(moved)
    return path


def annex_b(avcc: bytes) -> bytes:
    """The parameter sets of an avcC record as units with their length before them (ISO/IEC 14496-15)."""
    at, units = 6, b""
    for counted in (avcc[5] & 31, None):
        count = counted
        if count is None:
            count, at = avcc[at], at + 1
        for _ in range(count):
            length = int.from_bytes(avcc[at : at + 2], "big")
            units += length.to_bytes(4, "big") + avcc[at + 2 : at + 2 + length]
            at += 2 + length
    return units


def without_packets(path: Path, target: Path, dropped: set[int]) -> Path:
    """The same file without some of its packets."""
    with av.open(str(path)) as source, av.open(str(target), "w") as container:
        given = source.streams.video[0]
        stream = container.add_stream_from_template(given)
        for number, packet in enumerate(packet for packet in source.demux(given) if packet.size):
            if number not in dropped:
                packet.stream = stream
                container.mux(packet)
    return target
