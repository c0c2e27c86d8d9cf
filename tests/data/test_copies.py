"""Copies of one video: equal, or encoded anew, smaller, trimmed, mirrored; and what is none."""

import base64
from dataclasses import replace
from pathlib import Path
from time import monotonic

import cv2
import numpy as np
import pytest

from dfd.base.types import FloatArray, FrameArray
from dfd.data.copies.compare import BYTES, NEAR, PICTURES, Copy, Seen, compare, find_copies, parse_copies
from dfd.data.copies.content import MAX_SECONDS, RATE, VERSION, Fingerprint, FrameWatcher
from dfd.video.decode import VideoReader
from dfd.video.encode import write_video
from tests.data.films import FPS, film


def fingerprint(frames: FrameArray, *, fps: float = FPS, chunk_len: int = 7) -> Fingerprint:
    watcher = FrameWatcher(fps)
    for start in range(0, len(frames), chunk_len):
        for _ in watcher.watch([(start, frames[start : start + chunk_len])]):
            pass
    return watcher.fingerprint()


def vectors(frames: FrameArray, *, fps: float = FPS) -> FloatArray:
    return fingerprint(frames, fps=fps).vectors()


def recoded(path: Path, frames: FrameArray, *, crf: int, fps: float = FPS, size: int | None = None) -> FloatArray:
    if size:
        frames = np.stack([cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in frames])
    write_video(path, frames, fps=fps, crf=crf, pixel_format="yuv420p")
    with VideoReader(path) as reader:
        watcher = FrameWatcher(reader.fps)
        for _ in watcher.watch(reader.chunks()):
            pass
    return watcher.fingerprint().vectors()


def seen(video_id: str, frames: FrameArray, *, sha256: str = "") -> Seen:
    return Seen(video_id, sha256 or video_id, fingerprint(frames))


@pytest.mark.parametrize(
    ("crf", "size"), [(18, None), (35, None), (28, 64), (28, 320)], ids=["fine", "crf 35", "smaller", "larger"]
)
def test_what_is_encoded_anew_or_scaled_is_a_copy(tmp_path: Path, crf: int, size: int | None) -> None:
    likeness, shift = compare(vectors(film(1)), recoded(tmp_path / "copy.mp4", film(1), crf=crf, size=size))
    assert likeness > 0.9
    assert shift == 0


@pytest.mark.parametrize("seconds", [0.4, 1.0, 2.5, 3.0])
def test_what_is_trimmed_is_a_copy_as_long_as_three_seconds_are_common(tmp_path: Path, seconds: float) -> None:
    trimmed = film(1, num_frames=250)[round(seconds * FPS) :][:150]
    likeness, shift = compare(vectors(film(1)), recoded(tmp_path / "copy.mp4", trimmed, crf=28))
    assert likeness > 0.8
    assert abs(shift - seconds) <= 1 / RATE
    assert abs(compare(recoded(tmp_path / "copy.mp4", trimmed, crf=28), vectors(film(1)))[1] + seconds) <= 1 / RATE


def test_too_little_in_common_is_no_copy() -> None:
    assert compare(vectors(film(1)), vectors(film(1, num_frames=250)[round(4.5 * FPS) :]))[0] == 0
    assert compare(vectors(film(1)), vectors(film(1)[:40]))[0] == 0
    assert compare(vectors(film(1)), vectors(film(1)[:60]))[0] > 0.9


def test_another_frame_rate_is_a_copy(tmp_path: Path) -> None:
    frames = film(1)[np.arange(round(len(film(1)) * 30 / FPS) - 5) * FPS // 30]
    assert compare(vectors(film(1)), recoded(tmp_path / "copy.mp4", frames, crf=28, fps=30))[0] > 0.9


def test_another_take_before_the_same_background_is_none() -> None:
    takes = [seen(f"take{number}", film(number)) for number in range(12)]
    assert find_copies(takes) == []


def test_other_people_are_none() -> None:
    assert find_copies([seen(f"{number}", film(number, background=number)) for number in range(12)]) == []


def test_where_nothing_moves_nothing_is_told() -> None:
    still = film(1)[:1].repeat(150, axis=0)
    noise = np.random.default_rng(0).integers(-2, 3, still.shape)
    noisy = np.clip(still.astype(int) + noise, 0, 255).astype(np.uint8)
    assert compare(vectors(still), vectors(noisy))[0] == 0


def test_a_cut_in_both_at_the_same_moment_makes_no_copy() -> None:
    """Two pieces of a talk show, each cut from one camera to the other."""
    one, other = film(1), film(2)
    one[75:], other[75:] = film(3, background=5)[75:], film(4, background=5)[75:]
    assert find_copies([seen("one", one), seen("other", other)]) == []


def test_a_mirrored_copy_is_found_and_called_so() -> None:
    [copy] = find_copies([seen("a", film(1)), seen("b", np.ascontiguousarray(film(1)[:, :, ::-1]))])
    assert (copy.kind, copy.mirrored, copy.shift_seconds) == (NEAR, True, 0)
    assert "mirrored" in str(copy)


def test_equal_files_and_equal_frames_are_told_from_near_copies() -> None:
    original = film(1)
    near = np.clip(original.astype(int) + 1, 0, 255).astype(np.uint8)
    videos = [seen("a", original, sha256="x"), seen("b", original, sha256="x"), seen("c", original, sha256="y")]
    found = find_copies([*videos, seen("d", near)])
    assert [(copy.video_id, copy.copy_id, copy.kind) for copy in found] == [
        ("a", "b", BYTES),
        ("a", "c", PICTURES),
        ("a", "d", NEAR),
        ("b", "d", NEAR),
        ("c", "d", NEAR),
    ]


def test_photographs_are_compared_by_bytes_and_pixels_alone() -> None:
    photo, brighter = film(1)[:1], film(1)[:1] + 1
    found = find_copies([seen("a", photo), seen("b", photo), seen("c", brighter)])
    assert [(copy.video_id, copy.copy_id, copy.kind) for copy in found] == [("a", "b", PICTURES)]


def test_a_patch_altered_for_half_a_second_is_not_equal() -> None:
    changed = film(1)
    changed[70:83, 60:64, 60:64] ^= 1
    assert fingerprint(changed).pixels_sha256 != fingerprint(film(1)).pixels_sha256


def test_a_fingerprint_does_not_depend_on_how_the_frames_come() -> None:
    assert len({fingerprint(film(1), chunk_len=chunk_len) for chunk_len in (1, 8, 150)}) == 1


def test_a_fingerprint_has_a_vector_for_each_eighth_of_a_second_and_an_end() -> None:
    frames = film(1, num_frames=50)
    assert len(vectors(frames)) == 16
    assert len(vectors(frames, fps=4)) == 99  # 12.25 s from the first frame's beginning to the last's
    assert len(vectors(film(1)[:2].repeat(200, axis=0), fps=4)) == MAX_SECONDS * RATE


def test_a_fingerprint_of_another_version_is_compared_with_none() -> None:
    assert fingerprint(film(1)).version == VERSION
    later = replace(fingerprint(film(1)), version=VERSION + 1, pixels_sha256="other")
    assert find_copies([seen("a", film(1)), Seen("b", "y", later)]) == []


def test_a_damaged_fingerprint_is_refused() -> None:
    with pytest.raises(ValueError, match="reshape"):
        replace(fingerprint(film(1)), motion="AAAA")


def test_the_table_of_copies_is_read_as_it_was_written_and_refused_if_damaged() -> None:
    text = "video_id,copy_id,kind,shift_seconds,likeness,mirrored\na,b,near,-1.375,0.981,True\n"
    assert parse_copies(text) == [Copy("a", "b", NEAR, -1.375, 0.981, mirrored=True)]
    with pytest.raises(ValueError, match="columns"):
        parse_copies("path\n")


def test_a_thousand_videos_are_compared_in_seconds() -> None:
    prints = [fingerprint(film(number, background=number)) for number in range(10)]
    generator = np.random.default_rng(0)
    videos = []
    for number in range(1000):
        mean = np.frombuffer(generator.normal(0, 40, 63).astype("<i2").tobytes(), "<i2")
        changed = replace(
            prints[number % 10],
            mean=base64.b64encode(mean.tobytes()).decode(),
            pixels_sha256=str(number),
        )
        videos.append(Seen(f"{number:04}", f"file {number}", changed))
    videos.append(Seen("twin", "file", replace(videos[500].fingerprint, pixels_sha256="twin")))
    start = monotonic()
    [copy] = find_copies(videos)
    assert (copy.video_id, copy.copy_id, copy.likeness) == ("0500", "twin", 1)
    assert monotonic() - start < 20
