"""Whether a clip is what its record says: a store may come from a stranger, or from a disk with bad sectors."""

from pathlib import Path
from typing import Any

from av.container import InputContainer
from av.video.stream import VideoStream

from dfd.data.store import TrackRecord, read_record
from dfd.errors import StoreError, UnreadableVideo, VideoTooLarge
from dfd.video.container import open_container
from dfd.video.encode import PIXEL_FORMATS
from dfd.weights import file_sha256

CODEC = "h264"


def check_clip(clip: Path) -> None:
    """Refuse a clip that is not the one that its record describes, before any decoder sees it.

    Compared are the file's SHA-256 (if the record has one: records of earlier versions do not), codec and kind of
    pixels, size, and number of frames. It takes some milliseconds, and is to be done once in a run.

    Raises:
        StoreError: there is no record of the clip, or they differ.
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
    """What differs, or None."""
    if len(container.streams) != 1 or not container.streams.video:
        return f"it has {len(container.streams)} streams, not one of video"
    stream: VideoStream = container.streams.video[0]
    context: Any = stream.codec_context  # None for a codec that FFmpeg does not know, whatever the type stubs say
    codec = context.codec.canonical_name if context else "unknown"
    if codec != CODEC or context.pix_fmt not in PIXEL_FORMATS:
        return f"its codec is {codec} ({getattr(context, 'pix_fmt', None)}), not {CODEC} ({' or '.join(PIXEL_FORMATS)})"
    if (stream.width, stream.height) != (track.size, track.size):
        return f"its frames have {stream.width} x {stream.height} pixels, not {track.size} x {track.size}"
    num_frames = sum(1 for packet in container.demux(stream) if packet.size)
    if num_frames != track.num_frames:
        return f"it has {num_frames} frames, not {track.num_frames}"
    return None
