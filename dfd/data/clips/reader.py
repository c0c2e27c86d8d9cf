"""Reading of a store's clips, which dfd's own encoder wrote, and checks against their record."""

import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from dfd.base.errors import StoreError, UnreadableVideo, VideoTooLarge
from dfd.base.files import file_sha256
from dfd.base.types import FrameArray
from dfd.data.store.folders import read_record
from dfd.data.store.records import TrackRecord
from dfd.video.decode import VideoReader
from dfd.video.encode import PIXEL_FORMATS
from dfd.video.file.container import DEFAULT_LIMITS
from dfd.video.file.formats import codec_name
from dfd.video.file.opening import open_container
from dfd.video.pictures.colours import rows, write_rgb

CODEC = "h264"


def check_clip(clip: Path) -> None:
    """Check a clip against its record before any decoder sees it.

    Compares the file's SHA-256 (absent from records of earlier versions), codec, pixel format, size and number of
    frames. Takes some milliseconds; call it once per run and clip.

    Raises:
        StoreError: the clip has no record or differs from it.
    """
    remedy = f"delete {clip.parent} and run the preprocessing again"
    track = _track_of(clip, remedy)
    try:
        if track.sha256 and file_sha256(clip) != track.sha256:
            raise StoreError(
                f"clip cannot be read: {clip}: it is damaged or was replaced: its SHA-256 is another; {remedy}"
            )
        with open_container(clip) as container:
            problem = _problem(container, track)
    except OSError as error:
        raise StoreError(f"clip cannot be read: {clip}: {error.strerror}; {remedy}") from error
    except (UnreadableVideo, VideoTooLarge) as error:
        raise StoreError(f"clip cannot be read: {error}; {remedy}") from error
    if problem:
        raise StoreError(f"clip cannot be read: {clip}: it is not what its record describes: {problem}; {remedy}")


def _track_of(clip: Path, remedy: str) -> TrackRecord:
    record = read_record(clip.parent)
    tracks = [] if record is None else [track for track in record.tracks if track.file == clip.name]
    if not tracks:
        raise StoreError(f"clip cannot be read: {clip}: there is no record of it in its folder; {remedy}")
    return tracks[0]


def _problem(container: InputContainer, track: TrackRecord) -> str | None:
    """Difference between the clip and its record, or None."""
    if len(container.streams) != 1 or not container.streams.video:
        return f"it has {len(container.streams)} streams, not one of video"
    stream: VideoStream = container.streams.video[0]
    codec, pixels = codec_name(stream), getattr(stream.codec_context, "pix_fmt", None)
    if codec != CODEC or pixels not in PIXEL_FORMATS:
        return f"its codec is {codec} ({pixels}), not {CODEC} ({' or '.join(PIXEL_FORMATS)})"
    if (stream.width, stream.height) != (track.size, track.size):
        return f"its frames have {stream.width} x {stream.height} pixels, not {track.size} x {track.size}"
    num_frames = sum(1 for packet in container.demux(stream) if packet.size)
    if num_frames != track.num_frames:
        return f"it has {num_frames} frames, not {track.num_frames}"
    return None


READER = "decord"
READERS = (READER, "pyav")


def read_frames_of(path: Path, indices: Sequence[int], *, reader: str = READER) -> FrameArray:
    """Read frames of a clip, (T, H, W, 3) RGB.

    Args:
        path: file of the clip.
        indices: ascending frame numbers; repeats are allowed.
        reader: one of :data:`READERS`.

    Raises:
        UnreadableVideo, VideoTooLarge: the clip cannot be read.
        IndexError: the clip has fewer frames.
    """
    return _read_with_decord(path, indices) if reader == "decord" else _read_with_pyav(path, indices)


def reader_version(reader: str) -> str:
    """Name and version of a reader, as used in names of files made from its frames.

    >>> reader_version("pyav").startswith("pyav-")
    True
    """
    return f"{reader}-{version('decord2' if reader == 'decord' else 'av')}"


def _read_with_pyav(path: Path, indices: Sequence[int]) -> FrameArray:
    frames = read_clip(path, indices)
    if frames is not None:
        return frames
    with VideoReader(path) as video:
        return video.frames(indices)


def _read_with_decord(path: Path, indices: Sequence[int]) -> FrameArray:
    if not path.is_file():
        raise UnreadableVideo(f"{path}: no such file")
    decord = load_decord()
    try:
        # fault_tol: no frame may be concealed.
        video = decord.VideoReader(str(path), num_threads=1, fault_tol=1e-9)
        if indices[-1] >= len(video):
            raise IndexError(f"frame {indices[-1]} of {len(video)}")
        frames: FrameArray = video.get_batch(list(indices)).asnumpy()
    except (decord.DECORDError, RuntimeError) as error:
        if "DECORDArrayCopyFromTo" in str(error):
            # Rows of some widths (16, 24, 32, 48 and 96 pixels) are padded, and decord takes the padding for a fourth
            # channel.
            return _read_with_pyav(path, indices)
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UnreadableVideo(f"{path}: cannot be decoded ({reason}); the file is damaged") from None
    return frames


def read_clip(path: Path, indices: Sequence[int]) -> FrameArray | None:
    """Read frames of a clip, (T, H, W, 3), by ascending ``indices``; repeats are allowed.

    Returns:
        The frames, or None if the file was not written by dfd's encoder or lacks some of the frames; then
        :class:`dfd.video.decode.VideoReader`, which scans all packets first, can read it or explain the problem.

    Raises:
        UnreadableVideo: the file cannot be opened, or a frame up to the last one is damaged.
    """
    with open_container(path) as container:
        try:
            pictures = _pictures(path, container, indices)
        except FFmpegError as error:
            raise UnreadableVideo(f"{path}: cannot be decoded ({error.strerror}); the file is damaged") from None
        return None if pictures is None else _to_rgb([pictures[index] for index in indices])


def _pictures(path: Path, container: InputContainer, indices: Sequence[int]) -> dict[int, VideoFrame] | None:
    """Every frame from the first to the last of ``indices``; None if timestamps do not identify the frames."""
    stream = _stream_of_the_encoder(container)
    if stream is None:
        return None
    assert stream.average_rate is not None
    assert stream.time_base is not None
    ticks = 1 / (stream.average_rate * stream.time_base)
    if ticks.denominator != 1:
        return None
    frame_ticks = ticks.numerator
    size = stream.width, stream.height  # from the header; the decoder's own size changes with its frames
    context = stream.codec_context
    context.thread_count = 1
    next_index, last = indices[0], indices[-1]
    start = next_index * frame_ticks
    container.seek(start, stream=stream)
    pictures: dict[int, VideoFrame] = {}
    for packet in container.demux(stream):
        # Before the first wanted frame, only reference frames need decoding.
        on_the_way = packet.pts is not None and packet.pts < start
        context.skip_frame = "NONREF" if on_the_way else "DEFAULT"
        for frame in stream.decode(packet):
            if frame.pts is None or frame.pts % frame_ticks:
                return None
            index = frame.pts // frame_ticks
            if frame.is_corrupt:
                raise UnreadableVideo(f"{path}: frame {index} is damaged: the decoder had to make up parts of it")
            if frame.pts < start:
                continue
            if index != next_index or (frame.width, frame.height) != size:
                return None
            pictures[index] = frame
            if index == last:
                return pictures
            next_index += 1
    return None


def _stream_of_the_encoder(container: InputContainer) -> VideoStream | None:
    """The only stream, if :class:`dfd.video.encode.VideoWriter` may have written it."""
    if len(container.streams) != 1 or not container.streams.video:
        return None
    stream = container.streams.video[0]
    if codec_name(stream) != CODEC or stream.codec_context.pix_fmt not in PIXEL_FORMATS:
        return None
    if stream.width > DEFAULT_LIMITS.max_width or stream.height > DEFAULT_LIMITS.max_height:
        return None
    return stream if stream.average_rate and stream.time_base and not stream.start_time else None


def _to_rgb(pictures: Sequence[VideoFrame]) -> FrameArray:
    rgb: FrameArray = np.empty((len(pictures), pictures[0].height, pictures[0].width, 3), np.uint8)
    converter = VideoReformatter()
    for place, picture in zip(rgb, pictures, strict=True):
        if not write_rgb(picture, place):
            plane = converter.reformat(picture, format="rgb24").planes[0]
            place[...] = rows(plane, plane.width * 3).reshape(place.shape)
    return rgb


def load_decord() -> ModuleType:
    """Import decord without loading GPU libraries, and silence its log.

    For its GPU builds, decord2 loads every library of the ``nvidia`` packages (dependencies of torch) into the whole
    process. One of them, NVBLAS, then replaces torch's BLAS and crashes on the first convolution on a CPU; all of them
    together take 600 MB. Frames are decoded on the CPU here, so the packages are hidden from decord.
    """
    if "decord" not in sys.modules:
        nvidia = sys.modules.get("nvidia")
        sys.modules["nvidia"] = None  # type: ignore[assignment] # makes the import fail as if it were not installed
        try:
            import decord
        finally:
            if nvidia is None:
                del sys.modules["nvidia"]
            else:
                sys.modules["nvidia"] = nvidia
        decord.logging.set_level(decord.logging.QUIET)
    return sys.modules["decord"]
