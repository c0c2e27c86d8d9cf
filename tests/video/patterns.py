"""Videos drawn from a formula: each frame shows its own number, and is known pixel by pixel."""

from fractions import Fraction
from functools import lru_cache

import av
import numpy as np

NUM_BITS = 12


@lru_cache(maxsize=512)
def pattern(number, width=160, height=96):
    """Smooth colours that move, with ``number`` in black and white blocks along the top."""
    y, x = np.mgrid[:height, :width]
    frame = np.stack([(x + 3 * number) % 256, (2 * y + number) % 256, np.full_like(x, number * 7 % 256)], -1)
    frame = frame.astype(np.uint8)
    block = width // NUM_BITS
    for bit in range(NUM_BITS):
        frame[: height // 4, bit * block : (bit + 1) * block] = 255 * (number >> bit & 1)
    frame.flags.writeable = False  # it is handed out again
    return frame


def number_of(frame):
    """The number that a decoded frame shows."""
    height, width = frame.shape[:2]
    block = width // NUM_BITS
    middles = [frame[height // 8, bit * block + block // 2].mean() > 127 for bit in range(NUM_BITS)]
    return sum(int(on) << bit for bit, on in enumerate(middles))


def draw(
    path,
    *,
    codec="libx264",
    num_frames=90,
    size=(160, 96),
    fps=25,
    pixel_format="yuv420p",
    display=None,
    timestamps=None,
    **options,
):
    """Write a video of patterns 0, 1, 2, ... ``display`` is (degrees, hflip); ``timestamps`` are in 1/1000 s."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        stream.options = {key: str(value) for key, value in options.items()}
        if display is not None:
            stream.set_display_rotation(display[0], hflip=display[1])
        if timestamps is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(pattern(number, *size), format="rgb24")
            frame.pts = number if timestamps is None else timestamps[number]
            frame.time_base = Fraction(1, fps) if timestamps is None else Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
