"""Formats that people have: each is read, or refused by its name with what to do, and none is called damaged."""

import subprocess
import sys
from pathlib import Path

import av
import pytest

from dfd.base.errors import UnreadableVideo, VideoTooLarge
from dfd.base.types import Status, VideoScore
from dfd.predictions.inputs import is_no_video
from dfd.video.damage.gif_check import num_wrong_pictures
from dfd.video.damage.payload import PayloadCheck
from dfd.video.decode import VideoReader
from dfd.video.file.probe import probe
from tests.video.mutations import damaged, make
from tests.video.patterns import draw, number_of

READ = {
    "a.mpg": {"codec": "mpeg1video", "g": 12, "bf": 2, "q:v": 3, "b": 4000000},
    "a.m1v": {"codec": "mpeg1video", "g": 12, "bf": 2, "q:v": 3, "b": 4000000},
    "a.h264": {"g": 20, "bf": 2},
    "a.hevc": {"codec": "libx265", "preset": "ultrafast", "x265-params": "keyint=20:log-level=none"},
    "a.y4m": {"codec": "wrapped_avframe"},
}


@pytest.mark.parametrize("name", READ)
def test_streams_without_a_container_and_old_ones_are_read_whole(tmp_path: Path, name: str) -> None:
    path = draw(tmp_path / name, num_frames=40, **READ[name])
    with VideoReader(path) as reader:
        assert [number_of(frame) for _, frames in reader.chunks() for frame in frames] == list(range(40))
        assert reader.partial is None


REFUSED = {
    "a.wmv": ("wmv2", "Windows Media"),
    "a.ogv": ("libtheora", "Ogg"),
    "a.mxf": ("mpeg2video", "MXF"),
    "a.ivf": ("libvpx", "IVF"),
    "a.rm": ("rv20", "RealMedia"),
    "a.m4v": ("mpeg4", "MPEG-4 without a container"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_refused_by_name_with_the_command_that_converts_it(tmp_path: Path, name: str) -> None:
    codec, words = REFUSED[name]
    try:
        made = av.open(str(tmp_path / name), "w", format="m4v" if name.endswith(".m4v") else None)
    except ValueError:
        pytest.skip("this FFmpeg does not write it")
    with made as container:
        try:
            stream = container.add_stream(codec, rate=25)
        except ValueError:
            pytest.skip(f"this FFmpeg has no encoder {codec}")
        stream.width, stream.height, stream.pix_fmt = 176, 144, "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame(176, 144, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(UnreadableVideo, match=rf"{words}.*convert it: ffmpeg -i {name} -c:v libx264") as caught:
        VideoReader(tmp_path / name)
    assert "damaged" not in str(caught.value)


def test_a_recorder_s_file_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "it's a recording.dav"
    path.write_bytes(b"DHAV" + bytes(5000))
    with pytest.raises(UnreadableVideo, match=r"Dahua.*ffmpeg -i 'it'\"'\"'s a recording.dav'"):
        probe(path)


def test_encrypted_files_are_said_to_be_so_and_not_damaged(tmp_path: Path, shared_field: Path) -> None:
    scrambled = bytearray(draw(tmp_path / "a.ts", num_frames=30).read_bytes())
    for at in range(0, len(scrambled), 188):
        if (scrambled[at + 1] & 0x1F) << 8 | scrambled[at + 2] == 0x100:
            scrambled[at + 3] |= 0x80
    (tmp_path / "b.ts").write_bytes(scrambled)
    for path, how in ((tmp_path / "b.ts", "scrambled"), (shared_field / "in15.mp4", "cenc")):
        with pytest.raises(UnreadableVideo, match=rf"encrypted \(.*{how}.*the file is not damaged"):
            probe(path)


def test_a_video_that_cannot_be_looked_at_has_a_row_whatever_its_name_is(tmp_path: Path) -> None:
    def score(name: str, message: str) -> VideoScore:
        return VideoScore(str(tmp_path / name), Status.UNREADABLE, message=message)

    asked = str(tmp_path)
    assert is_no_video(score("notes.txt", "notes.txt: not a video"), asked)
    assert not is_no_video(score("clip.wmv", "whatever"), asked)
    assert not is_no_video(score("clip", "clip: Windows Media; convert it: ffmpeg -i clip"), asked)
    assert is_no_video(score("song.wma", "song.wma: Windows Media; convert it: ffmpeg -i song.wma"), asked)


def test_no_decoder_that_is_not_allowed_runs_while_a_file_is_opened(tmp_path: Path) -> None:
    """FFmpeg decodes the first frame of each stream to find out what it is."""
    with pytest.raises(UnreadableVideo, match=r"codec ffv1 is not allowed .* convert it: ffmpeg -i a\.mkv"):
        probe(draw(tmp_path / "a.mkv", codec="ffv1", num_frames=3))
    path = draw(tmp_path / "a.mkv", codec="ffv1", num_frames=3)
    code = f"""
import av
from pathlib import Path
from dfd.video.file.container import DEFAULT_LIMITS
from dfd.video.file.opening import open_and_listen
av.logging.set_level(av.logging.DEBUG)
container, said = open_and_listen(Path({str(path)!r}), DEFAULT_LIMITS)
lines = [(name, text) for _, name, text in said]
assert any("Codec (ffv1) not on whitelist" in text for _, text in lines), lines
assert all("not on whitelist" in text for name, text in lines if name == "ffv1"), lines
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_frames_that_grow_beyond_the_limits_are_refused_before_they_are_decoded(shared_field: Path) -> None:
    for name, size in (("vp9_8k_x20.webm", "8192 x 8192"), ("png_grows.mkv", "16000 x 16000")):
        with pytest.raises(VideoTooLarge, match=size), VideoReader(shared_field / "bombs" / name) as reader:
            list(reader.chunks())


def test_a_header_that_claims_what_cannot_be_true_is_not_believed(tmp_path: Path, shared_field: Path) -> None:
    with pytest.raises(UnreadableVideo, match="claims 50000000 samples"):
        probe(shared_field / "bombs" / "declared_5e7.mp4")
    with pytest.raises(UnreadableVideo, match="shows other streams"):
        VideoReader(shared_field / "bombs" / "reopen_1.ts")
    data = bytearray(draw(tmp_path / "a.mp4", num_frames=5).read_bytes())
    at = data.index(b"stts") + 8
    data[at : at + 4] = (10**9).to_bytes(4, "big")
    (tmp_path / "b.mp4").write_bytes(data)
    with pytest.raises(UnreadableVideo, match="its stts table claims 1000000000 entries"):
        probe(tmp_path / "b.mp4")


def test_a_gif_whose_pictures_are_not_stored_whole_is_damaged(tmp_path: Path) -> None:
    data = make(tmp_path, "anim.gif").read_bytes()
    assert num_wrong_pictures(tmp_path / "anim.gif") == 0
    found = 0
    for seed in range(8):
        (tmp_path / "b.gif").write_bytes(damaged(data, "bits", f"gif {seed}"))
        found += num_wrong_pictures(tmp_path / "b.gif") > 0
    assert found >= 7
    (tmp_path / "b.gif").write_bytes(damaged(data, "zeros", "gif"))
    with VideoReader(tmp_path / "b.gif") as reader:
        assert "not stored whole" in reader.partial


@pytest.mark.parametrize("name", ["h264.mp4", "hevc.mp4", "vp9.webm"])
def test_a_hole_in_a_file_is_damage(tmp_path: Path, name: str) -> None:
    """What a download has not filled yet is zeros, which a decoder may take for pictures."""
    path = make(tmp_path, name)
    with VideoReader(path) as reader:
        assert reader.partial is None
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        largest = max((packet for packet in container.demux(video=0) if packet.size), key=lambda packet: packet.size)
        start = data.index(bytes(largest)[100:200])
    data[start : start + 200] = bytes(200)
    path.write_bytes(data)
    with VideoReader(path) as reader:
        assert "1 frame holds data that no encoder writes, at " in reader.partial


def test_the_end_of_a_sequence_is_no_damage() -> None:
    unit = bytes(range(1, 60)) + b"\0\0\3\1\xe0"
    avcc = b"\1\x64\0\x1f\xff"
    for tail in (b"", b"\0\0", b"\0\0\0\1\x0a", b"\0\0\1\x0b\0"):
        packet = (len(unit) + len(tail)).to_bytes(4, "big") + unit + tail
        assert not PayloadCheck("h264", avcc).is_wrong(packet), tail
    assert PayloadCheck("h264", avcc).is_wrong(len(unit * 2 + bytes(9)).to_bytes(4, "big") + unit + bytes(9) + unit)
