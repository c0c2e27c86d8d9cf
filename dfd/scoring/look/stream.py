"""The windows of a video, as a stream: chosen over its whole length, decoded and cropped."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from dfd.base.errors import NoFaceFound
from dfd.base.types import FileFacts
from dfd.faces.detect import FaceDetector
from dfd.faces.extract import ExtractionSettings, FaceExtractor
from dfd.faces.found import FaceBoxes, FaceWindow, Found, WindowsEnd, WindowSettings
from dfd.faces.no_face import no_face_message
from dfd.faces.one_pass import OnePass
from dfd.faces.turned import WORDS, quarter_turns_with_faces
from dfd.process.stages import StageClock
from dfd.video.decode import VideoReader

_HASHED_AT_ONCE = 2**25
# Windows and pieces of boxes that wait for a sure face: some 25 MB of crops.
_MAX_HELD = 64


def stream_windows(
    path: Path, detector: FaceDetector, extraction: ExtractionSettings, settings: WindowSettings
) -> Iterator[Found]:
    """Decode a video and cut the windows of its faces, in the order of their start.

    A window in which a track is seen for less than half of the frames is left out; one that the track leaves early
    repeats its last crop, as short clips do in training. A window comes as soon as its faces are known to be faces: a
    few key frames after its end. The last piece is a :class:`WindowsEnd`.

    Where few frames show a face, faces are looked for in the picture turned by quarters too, and if there are, the
    video is gone through once more, turned so; the windows of that pass follow, with tracks of their own. Where no face
    is as sure as upright ones are, windows are held back, and given up if faces in turned pictures are surer.

    Raises:
        UnreadableVideo, VideoTooLarge: from the reader.
        NoFaceFound: no track was confirmed, or none fills half a window.
    """
    clock = StageClock()
    facts = None
    for facts in clock.iterate("hash", file_facts(path)):
        yield facts or 0.0
    with clock("decode"):
        reader = VideoReader(
            path, max_side=settings.max_decode_side, limits=settings.limits, stream=settings.video_stream
        )
    with reader:
        if facts is not None:
            info = reader.info
            size: dict[str, Any] = {"width": info.width, "height": info.height}
            yield replace(facts, **size, fps=info.fps, codec=info.codec, num_frames=reader.num_frames)
        starts = settings.starts(reader.num_frames, first=reader.first_frame)
        upright = OnePass(reader, FaceExtractor(detector, extraction, clock=clock), settings, starts)
        held: list[Found] = []
        is_held = True  # until a face is sure, or too much would be kept in memory
        for found in upright.run():
            is_held &= not upright.extractor.is_sure and len(held) < _MAX_HELD
            if not is_held:
                yield from held
                held.clear()
            if is_held and isinstance(found, FaceWindow | FaceBoxes):
                held.append(found)
            else:
                yield found
        if upright.extractor.num_frames == 0:
            reason = f": {reader.partial}" if reader.partial else ""
            raise NoFaceFound(f"{path}: no frame could be decoded from the windows looked at{reason}")
        passes, words, turns = [upright], [], 0
        with clock("detect"):
            if held:
                pictures, scores = upright.extractor.small_unsure(), [score for _, score in upright.extractor.unsure]
                turns = quarter_turns_with_faces(pictures, detector, upright_scores=scores)
                if turns:
                    passes.clear()
            if not turns and not upright.has_enough_faces:
                turns = quarter_turns_with_faces(upright.extractor.small_faceless(), detector)
        if passes:
            yield from held
        if turns:
            again = FaceExtractor(detector, extraction, clock=clock)
            passes.append(OnePass(reader, again, settings, starts, turns, upright.next_track))
            yield from passes[-1].run()
            words.append(f"the picture {WORDS[turns]}")
        faces = {track for one in passes for track in one.faces}
        scored = {track for one in passes for track in one.scored}
        unscored = len(faces - scored - {track for one in passes for track in one.dropped})
        if not scored:
            if faces:
                raise NoFaceFound(
                    f"{path}: {_counted(unscored)} found, but none for half of a clip of {settings.clip_len} frames, "
                    f"{settings.clip_stride} frames apart; use a detector with shorter clips"
                )
            with clock("detect"):
                why = no_face_message(upright.extractor.num_frames, upright.extractor.faceless, detector, extraction)
            raise NoFaceFound("; ".join(part for part in (f"{path}: {why}", reader.partial) if part))
        # Of a damaged video, what the frames that could be decoded hold.
        num_possible = settings.num_possible(reader.num_frames - reader.first_frame)
        num_windows = min(num_possible, sum(start < reader.num_frames for start in starts))
        num_dropped = sum(one.num_dropped for one in passes)
        yield WindowsEnd(
            num_faces=len(faces),
            num_frames=upright.extractor.num_frames,
            num_windows=num_windows,
            num_windows_possible=num_possible,
            duration_seconds=reader.info.duration_seconds or reader.num_frames / reader.fps,
            partial=reader.partial,
            message="; ".join(
                (*_video_remarks(reader), *words, *_remarks(settings, num_windows, num_possible, num_dropped, unscored))
            ),
            seconds_by_stage=dict(clock.seconds),
        )


def _video_remarks(reader: VideoReader) -> Iterator[str]:
    """What is out of the ordinary in how the file holds its pictures."""
    info = reader.info
    if info.num_streams > 1:
        note = "they count from 0; video_stream=N takes another"
        yield f"video stream {info.stream} of {info.num_streams} was looked at ({note})"
    if len(reader.sizes) > 1:
        sizes = [f"{width} x {height}" for _, width, height in reader.sizes]
        moment = reader.clock_seconds([min(reader.sizes[1][0], reader.num_frames - 1)])[0]
        yield f"the picture changes its size, first at {moment:.2f} s: {', then '.join(sizes[:4])}"


def _remarks(
    settings: WindowSettings, num_windows: int, num_possible: int, num_dropped: int, num_unscored: int
) -> Iterator[str]:
    if num_windows < num_possible:
        cap = f"max_windows={settings.max_windows}"
        yield f"{num_windows} of {num_possible} windows were looked at, evenly spaced ({cap})"
    if num_unscored:
        yield f"{_counted(num_unscored)} seen for less than half of a clip and not scored"
    if num_dropped:
        yield f"{num_dropped} clips of smaller faces were not scored (max_faces={settings.max_faces})"


def file_facts(path: Path) -> Iterator[FileFacts | None]:
    """Size and hash of a regular file, after a None for each part that was read: a sign of life.

    Nothing for anything else and for what may not be read: the reader says why.
    """
    try:
        if not path.is_file():
            return
        digest = hashlib.sha256()
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            while part := file.read(_HASHED_AT_ONCE):
                digest.update(part)
                if len(part) == _HASHED_AT_ONCE:
                    yield None
        yield FileFacts(status.st_size, digest.hexdigest(), modified_seconds=status.st_mtime)
    except (OSError, ValueError):
        return


def _counted(num_faces: int) -> str:
    """The beginning of a sentence about faces.

    >>> _counted(1), _counted(3)
    ('1 face was', '3 faces were')
    """
    return f"{num_faces} face was" if num_faces == 1 else f"{num_faces} faces were"
