"""Videos drawn from a formula in many containers and codecs, and kinds of damage done to their bytes."""

import random
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np

WIDTH, HEIGHT, NUM_FRAMES = 320, 192, 40

KINDS: dict[str, tuple[str, dict[str, str], str]] = {
    "h264.mp4": ("libx264", {"g": "20"}, "yuv420p"),
    "h264.mkv": ("libx264", {"g": "20"}, "yuv420p"),
    "h264.ts": ("libx264", {"g": "20"}, "yuv420p"),
    "h264.flv": ("libx264", {"g": "20"}, "yuv420p"),
    "cavlc.mp4": ("libx264", {"g": "20", "tune": "fastdecode"}, "yuv420p"),
    "hevc.mp4": ("libx265", {"x265-params": "keyint=20:log-level=none", "preset": "ultrafast"}, "yuv420p"),
    "hevc.mkv": ("libx265", {"x265-params": "keyint=20:log-level=none", "preset": "ultrafast"}, "yuv420p"),
    "vp8.webm": ("libvpx", {"g": "20", "b": "500000", "cpu-used": "8", "deadline": "realtime"}, "yuv420p"),
    "vp9.webm": ("libvpx-vp9", {"g": "20", "b": "500000", "cpu-used": "8", "deadline": "realtime"}, "yuv420p"),
    "av1.mp4": ("libsvtav1", {"g": "20", "preset": "11", "crf": "40"}, "yuv420p"),
    "mpeg4.avi": ("mpeg4", {"g": "12", "b": "800000"}, "yuv420p"),
    "mpeg2.mpg": ("mpeg2video", {"g": "12", "bf": "2", "b": "1500000"}, "yuv420p"),
    "mjpeg.avi": ("mjpeg", {"q": "5"}, "yuvj420p"),
    "anim.gif": ("gif", {}, "rgb8"),
    "prores.mov": ("prores_ks", {}, "yuv422p10le"),
}

DAMAGES = ("bits", "many_bits", "head", "tail", "zeros", "cut_out", "put_in", "short")


@lru_cache(maxsize=1)
def _ground() -> np.ndarray:
    grain = np.random.default_rng(0).integers(0, 255, (HEIGHT // 8, WIDTH // 8, 3))
    return cv2.GaussianBlur(grain.repeat(8, 0).repeat(8, 1).astype(np.uint8), (0, 0), 3)


def scene(number: int) -> np.ndarray:
    """A round face-like patch that sways before a ground that slides."""
    frame = np.roll(_ground(), (number * 2, number * 3), (0, 1)).copy()
    sway = int(30 * np.sin(number / 5))
    cv2.ellipse(frame, (160 + sway, 96), (40, 55), 0, 0, 360, (220, 180, 150), -1)
    for x in (145, 175):
        cv2.circle(frame, (x + sway, 80), 6, (20, 20, 20), -1)
    return frame


def make(folder: Path, name: str) -> Path:
    """The video of this name in :data:`KINDS`."""
    codec, options, pixel_format = KINDS[name]
    path = folder / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.options = WIDTH, HEIGHT, pixel_format, options
        for number in range(NUM_FRAMES):
            frame = av.VideoFrame.from_ndarray(scene(number), format="rgb24").reformat(format=pixel_format)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def damaged(data: bytes, kind: str, seed: str) -> bytes:
    """The bytes of a file with one kind of damage, the same for the same seed."""
    drawn = random.Random(seed)
    mutated, length = bytearray(data), len(data)
    if kind in ("bits", "many_bits"):
        for _ in range(4 if kind == "bits" else 40):
            mutated[drawn.randrange(length)] ^= 1 << drawn.randrange(8)
    elif kind in ("head", "tail"):
        start = drawn.randrange(max(1, length // 10))
        start = start if kind == "head" else length - 16 - start
        mutated[start : start + 16] = drawn.randbytes(16)
    elif kind == "zeros":
        start = drawn.randrange(length - 200)
        mutated[start : start + 200] = bytes(200)
    elif kind == "cut_out":
        start = drawn.randrange(length // 4, length - length // 8)
        del mutated[start : start + drawn.randrange(1, length // 10)]
    elif kind == "put_in":
        start = drawn.randrange(length)
        mutated[start:start] = drawn.randbytes(100)
    else:
        del mutated[drawn.randrange(length // 4, length) :]
    return bytes(mutated)


def visible_difference(one: np.ndarray, other: np.ndarray) -> float:
    """Mean difference, of 255, in the block of 16 x 16 pixels where two frames differ most."""
    if one.shape != other.shape:
        return 255.0
    change = np.abs(one.astype(np.int16) - other).mean(axis=-1)
    rows, columns = change.shape[0] // 16, change.shape[1] // 16
    return float(change[: rows * 16, : columns * 16].reshape(rows, 16, columns, 16).mean(axis=(1, 3)).max())
