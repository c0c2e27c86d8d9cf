"""Identifies a video by its headers and its first frame."""

import os
from pathlib import Path

from dfd.video.file.container import DEFAULT_LIMITS, VideoInfo, VideoLimits, stored_info, video_stream
from dfd.video.file.first_frame import look_at_first  # which imports this module
from dfd.video.file.opening import open_container


def probe(path: str | os.PathLike[str], *, limits: VideoLimits = DEFAULT_LIMITS) -> VideoInfo:
    """Claims of the file's header, checked before its first frame is decoded; no other frame is.

    Raises:
        UnreadableVideo: when the file does not exist, or holds no video stream with an allowed codec.
        VideoTooLarge: when the frames exceed ``limits``.
    """
    path = Path(path)
    with open_container(path, limits) as container:
        stream = video_stream(path, container)
        return look_at_first(stored_info(path, container, stream, limits), container, stream, limits).info
