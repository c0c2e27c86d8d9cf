"""FFmpeg's decoders, chosen and configured to report damage, with limits set before they start."""

import av
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from dfd.video.file.container import VideoLimits
from dfd.video.file.formats import codec_name

# FFmpeg's own decoders for these conceal errors silently; libvpx refuses the frame. Of 28 VP9 files with flipped bits,
# FFmpeg showed 26 wrong and reported 7; libvpx showed 3 wrong, and reported 2 of these and all others.
_STRICTER = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# Makes dav1d check where the symbols of a tile end: of 28 damaged files 16 were shown wrong without it, 1 with it.
_OPTIONS = {"av1": {"strict": "1"}}


def new_decoder(stream: VideoStream, limits: VideoLimits) -> VideoCodecContext:
    """Decoder for the packets of a stream from which nothing has been decoded yet.

    It runs in one thread, so that damage does not spread and FFmpeg's log arrives in the listening thread.
    """
    codec = codec_name(stream)
    context = stream.codec_context
    in_8_bits = context.pix_fmt is not None and context.format is not None and context.format.components[0].bits == 8
    if in_8_bits and _STRICTER.get(codec) in av.codecs_available:  # PyAV's libvpx supports 8 bits only
        extradata = context.extradata
        stricter = av.CodecContext.create(_STRICTER[codec], "r")
        assert isinstance(stricter, VideoCodecContext)
        context = stricter
        if extradata:
            context.extradata = extradata
    context.thread_count = 1
    context.options = {"max_pixels": str(limits.max_pixels), **_OPTIONS.get(codec, {})}
    return context
