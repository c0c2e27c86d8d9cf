"""The windows of a video, as a stream: chosen over its whole length, decoded and cropped."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from dfd.base.errors import NoFaceFound, UnreadableVideo
from dfd.base.types import FileFacts
from dfd.faces.detect import FaceDetector
from dfd.faces.extract import ExtractionSettings, FaceExtractor
from dfd.faces.found import FaceBoxes, FaceWindow, Found, View, WindowsEnd, WindowSettings
from dfd.faces.no_face import no_face_message
from dfd.faces.one_pass import OnePass
from dfd.faces.turned import WORDS, quarter_turns_with_faces
from dfd.process.stages import StageClock
from dfd.video.decode import VideoReader
from dfd.video.file.formats import VIDEO_SUFFIXES
from dfd.video.sampling import span_words
from dfd.video.still import StillReader, is_still

_HASHED_AT_ONCE = 2**25
# Windows and pieces of boxes that wait for a sure face: some 25 MB of crops.
_MAX_HELD = 64


def stream_windows(
    path: Path,
    detector: FaceDetector,
    extraction: ExtractionSettings,
    settings: WindowSettings,
    others: Sequence[View] = (),
) -> Iterator[Found]:
    """Decode a video and cut the windows of its faces, in the order of their start.

    A window in which a track is seen for less than half of the frames is left out; one that the track leaves early
    repeats its last crop, as short clips do in training. A window comes as soon as its faces are known to be faces: a
    few key frames after its end. The last piece is a :class:`WindowsEnd`, or as many of them as there are views: with
    ``others``, the same decoded frames and tracks give clips for several detectors, each with a crop of its own.

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
        reader: VideoReader | StillReader
        if is_still(path):
            if path.suffix.lower() in VIDEO_SUFFIXES:
                raise UnreadableVideo(
                    f"{path}: a still picture with the name of a video; to have it scored, rename it to .png or .jpg"
                )
            reader = StillReader(path, max_side=settings.max_decode_side, limits=settings.limits)
        else:
            reader = VideoReader(
                path, max_side=settings.max_decode_side, limits=settings.limits, stream=settings.video_stream
            )
    with reader:
        if facts is not None:
            yield _video_facts(facts, reader)
        views = [View(extraction.crop, settings), *others]
        upright = OnePass(reader, FaceExtractor(detector, extraction, clock=clock), views)
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
            passes.append(OnePass(reader, again, views, turns, upright.next_track))
            yield from passes[-1].run()
            words.append(f"the picture {WORDS[turns]}")
        faces = {track for one in passes for track in one.faces}
        if not faces:
            with clock("detect"):
                why = no_face_message(upright.extractor.num_frames, upright.extractor.faceless, detector, extraction)
            raise NoFaceFound("; ".join(part for part in (f"{path}: {why}", reader.partial) if part))
        ends = [
            _end(number, view, reader, passes, faces, words, dict(clock.seconds)) for number, view in enumerate(views)
        ]
        if all(end.no_window for end in ends):
            raise NoFaceFound(f"{path}: {ends[0].no_window}")
        yield from ends


def _end(
    number: int,
    view: View,
    reader: VideoReader | StillReader,
    passes: Sequence[OnePass],
    faces: set[int],
    words: Sequence[str],
    seconds_by_stage: dict[str, float],
) -> WindowsEnd:
    """Summary of a video as one of the views shows it."""
    settings = view.windows
    clips = [one.clips[number] for one in passes]
    scored = {track for one in clips for track in one.scored}
    unscored = len(faces - scored - {track for one in clips for track in one.dropped})
    # Of a damaged video, what the frames that could be decoded hold.
    num_possible = settings.num_possible(reader.num_frames - reader.first_frame)
    looked_at = clips[0].looked_at
    starts = [start for start in clips[0].starts if start < reader.num_frames]
    num_windows = min(num_possible, len(starts))
    num_dropped = sum(one.num_dropped for one in clips)
    remarks = _remarks(settings, num_windows, settings.num_possible(len(looked_at)), num_dropped, unscored)
    no_window = (
        f"{_counted(unscored)} found, but none for half of a clip of {settings.clip_len} frames, "
        f"{settings.clip_stride} frames apart; use a detector with shorter clips"
    )
    return WindowsEnd(
        num_faces=len(faces),
        num_frames=settings.num_frames_of(starts, reader.num_frames),
        num_windows=num_windows,
        num_windows_possible=num_possible,
        duration_seconds=_duration(reader),
        partial=reader.partial,
        message="; ".join((*_video_remarks(reader, settings), *words, *remarks)),
        seconds_by_stage=seconds_by_stage,
        view=number,
        no_window="" if scored else no_window,
    )


def _duration(reader: VideoReader | StillReader) -> float | None:
    """Duration in seconds; None for a still picture."""
    if isinstance(reader, StillReader):
        return None
    return reader.info.duration_seconds or reader.num_frames / reader.fps


def _video_remarks(reader: VideoReader | StillReader, settings: WindowSettings) -> Iterator[str]:
    """What is out of the ordinary in how the file holds its pictures."""
    info = reader.info
    if settings.span is not None:
        yield f"only the part {span_words(settings.span)} was looked at"
    if isinstance(reader, StillReader):
        repeated = f", repeated {settings.clip_len} times: the detector was made for moving faces"
        yield f"a still picture, scored as one frame{repeated if settings.clip_len > 1 else ''}"
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
        is_sparse = settings.sparse_windows is not None
        cap = f"sparse_windows={settings.sparse_windows}" if is_sparse else f"max_windows={settings.max_windows}"
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


def _video_facts(facts: FileFacts, reader: VideoReader | StillReader) -> FileFacts:
    info = reader.info
    return replace(
        facts, width=info.width, height=info.height, fps=info.fps, codec=info.codec, num_frames=reader.num_frames
    )
