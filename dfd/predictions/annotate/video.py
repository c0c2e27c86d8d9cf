"""A video with its scores drawn in: each face's box and score, and below the picture the verdict and a time line.

A solid box has the score of the window that covers this very frame. Of a frame between windows only the corners are
drawn and the label is dim: its score is that of the face's nearest window. Nothing is drawn where a face was not looked
for, and a face that was followed but not scored is said to be so. Words stand before every score, since one frame may
be passed on without the rest.
"""

import os
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from av.error import FFmpegError

from dfd.base.files import written_whole
from dfd.base.types import VideoScore
from dfd.predictions.annotate.face import Clock, FaceBoxes, Rules
from dfd.predictions.annotate.painter import Painter
from dfd.video.decode import VideoReader
from dfd.video.encode import VideoWriter
from dfd.video.file.container import DEFAULT_LIMITS, VideoLimits
from dfd.video.sound import SoundCopy

# A CRF of 20 looks like the source; x264's own default is 23.
_ENCODING: dict[str, Any] = {
    **{"crf": 20, "pixel_format": "yuv420p", "preset": "veryfast"},
    **{"fast_decode": False, "timed": True, "faststart": True},
}
_CHUNK = 8  # frames held at once: 22 MB at 1280 x 720


@dataclass(frozen=True, slots=True)
class AnnotatedVideo:
    """What was written. ``message`` says what of the source is not in it, and why; empty if all is."""

    num_frames: int
    message: str


def annotate_video(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    score: VideoScore,
    boxes: Mapping[int, FaceBoxes],
    *,
    rules: Rules,
    max_side: int = 1280,
    limits: VideoLimits | None = None,
    video_stream: int | None = None,
) -> AnnotatedVideo:
    """Write ``source`` with ``score`` drawn in to ``target``, an MP4 file (H.264), frames at their own times.

    Memory does not grow with the length of the video. Of a damaged video what can be read is written, from the first
    frame that can be decoded on. Where the size changes on the way, later parts are fitted into the first one's, in
    their own shape. The sound is copied as it is, if MP4 can hold it. The file gets its name when it is whole; on
    failure none is left.

    Args:
        source: the video that was scored.
        target: the file to write; overwritten if it exists.
        score: of the video, with its tracks.
        boxes: by track, for the frames that were looked at.
        rules: by which scores are told.
        max_side: longest side of the picture in pixels; the strip below it comes on top.
        limits: see :class:`dfd.video.decode.VideoReader`.
        video_stream: which of the file's video streams, from 0; None: the one that players show.

    Raises:
        UnreadableVideo, VideoTooLarge: from the reader.
        ValueError: ``target`` is ``source`` or does not end in .mp4, or boxes do not belong to frames.
        OSError: ``target`` cannot be written.
    """
    steps = annotate_steps(
        *(source, target, score, boxes), rules=rules, max_side=max_side, limits=limits, video_stream=video_stream
    )
    while True:
        try:
            next(steps)
        except StopIteration as end:
            done: AnnotatedVideo = end.value
            return done


def annotate_steps(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    score: VideoScore,
    boxes: Mapping[int, FaceBoxes],
    *,
    rules: Rules,
    max_side: int = 1280,
    limits: VideoLimits | None = None,
    video_stream: int | None = None,
) -> Generator[float, None, AnnotatedVideo]:
    """Do what :func:`annotate_video` does step by step; yields the share of the frames that are written.

    If it is closed before its end, no file is left.
    """
    source, target = Path(source), Path(target)
    if target.suffix.lower() != ".mp4":
        raise ValueError(f"{target}: an annotated video is an MP4 file; let its name end in .mp4")
    if target.exists() and source.exists() and target.samefile(source):
        raise ValueError(f"{target}: would overwrite the video it is made of; give another name")
    if max_side < 2:
        raise ValueError(f"max_side must be 2 pixels or more, got {max_side}")

    limits = limits or DEFAULT_LIMITS
    with (
        written_whole(target) as unfinished,
        VideoReader(source, max_side=max_side, limits=limits, stream=video_stream) as reader,
    ):
        clock = Clock(reader)
        painter = Painter(reader, clock, clock.shifted(score), boxes, rules)
        with SoundCopy(source, start_seconds=clock.zero) as sound:
            try:
                num_frames = yield from _write(unfinished, reader, clock, painter, sound)
                message = sound.message
            except FFmpegError as error:
                if not sound.is_copied:
                    raise
                # Sound that a muxer chokes on is found out when it is written, interleaved with the pictures.
                num_frames = yield from _write(unfinished, reader, clock, painter, None)
                message = f"the sound was left out: it cannot be copied ({error.strerror or error})"
        return AnnotatedVideo(num_frames, "; ".join(part for part in (reader.partial, message) if part))


def _write(
    path: Path, reader: VideoReader, clock: Clock, painter: Painter, sound: SoundCopy | None
) -> Generator[float, None, int]:
    num_frames = 0
    with VideoWriter(
        path,
        width=painter.width,
        height=painter.height,
        fps=reader.fps,
        keyframe_interval=max(1, round(2 * reader.fps)),
        sound=sound,
        **_ENCODING,
    ) as writer:
        for start, frames in reader.chunks(chunk_len=_CHUNK):
            indices = range(start, start + len(frames))
            times = clock.seconds(indices)
            for index, seconds, frame in zip(indices, times, frames, strict=True):
                writer.write(painter.paint(index, seconds, frame)[None], seconds=[seconds])
            num_frames += len(frames)
            yield min(1.0, (start + len(frames)) / max(1, reader.num_frames))
    return num_frames
