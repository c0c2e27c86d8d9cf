"""FFmpeg's decoders, chosen and set so that they say what is damaged, and bounded before they begin."""

import av
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from dfd.video.container import VideoLimits
from dfd.video.formats import codec_name

# FFmpeg's own decoders of these make up what they cannot read in silence; libvpx refuses the frame. Of VP9 with
# flipped bits, FFmpeg's showed 26 of 28 files wrong, and told of 7; libvpx showed 3, and told of 2 and of the rest.
_STRICTER = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# dav1d then checks where the symbols of a tile end: 16 of 28 damaged files were shown wrong without, 1 with it.
_OPTIONS = {"av1": {"strict": "1"}}


def new_decoder(stream: VideoStream, limits: VideoLimits) -> VideoCodecContext:
    """A decoder for the packets of a stream that nothing was decoded of yet.

    One thread: damage then stays where it is, and what FFmpeg says of it comes in the thread that listens.
    """
    codec = codec_name(stream)
    context = stream.codec_context
    in_8_bits = context.pix_fmt is not None and context.format is not None and context.format.components[0].bits == 8
    if in_8_bits and _STRICTER.get(codec) in av.codecs_available:  # PyAV's libvpx knows no more than 8 bits
        extradata = context.extradata
        stricter = av.CodecContext.create(_STRICTER[codec], "r")
        assert isinstance(stricter, VideoCodecContext)
        context = stricter
        if extradata:
            context.extradata = extradata
    context.thread_count = 1
    context.options = {"max_pixels": str(limits.max_pixels), **_OPTIONS.get(codec, {})}
    return context
