"""Processes a video in one pass: decodes frames, tracks faces, and assembles the clips that are scored."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dfd.base.errors import NoFaceFound
from dfd.base.types import FloatArray, FrameArray
from dfd.faces.crop import Crop
from dfd.faces.extract import FaceChunk, FaceExtractor, confirmed, shrink
from dfd.faces.found import FaceBoxes, FaceWindow, Found, Thumbnail, View, WindowSettings, frame_picture
from dfd.faces.tracks.appearances import Appearance, Sightings
from dfd.faces.tracks.persons import Persons
from dfd.faces.turned import ENOUGH_FACES, turned, turned_back
from dfd.process.stages import ahead
from dfd.video.decode import VideoReader
from dfd.video.sampling import clip_frame_indices, span_words
from dfd.video.still import StillReader

THUMBNAIL_SIDE = 320
"""Longer side in pixels of the picture that represents a video."""

# Decoded frames that may wait for detection.
_AHEAD_BYTES = 40 * 2**20


class OnePass:
    """One pass over a video, rotated by ``quarter_turns`` counterclockwise; track numbers start at ``first_track``.

    What is shared by the views, such as ``every_frame``, is that of the first one.
    """

    def __init__(
        self,
        reader: VideoReader | StillReader,
        extractor: FaceExtractor,
        views: Sequence[View],
        quarter_turns: int = 0,
        first_track: int = 0,
    ) -> None:
        self.reader, self.extractor = reader, extractor
        self.quarter_turns, self.first_track = quarter_turns, first_track
        self.clips = [_Clips(self, number, view) for number, view in enumerate(views)]
        self._sightings = Sightings()
        shared = self.clips[0].settings
        self._persons = None
        if shared.embedding:
            takes, least = shared.embedding_takes, shared.least_cosine
            self._persons = Persons(Path(shared.embedding), takes=takes, least_cosine=least)

    def run(self) -> Iterator[Found]:
        """Iterate over the results as they are found."""
        reader, extractor, first = self.reader, self.extractor, self.clips[0]
        is_first = self.quarter_turns == 0
        ranges = [range(start, start + clips.settings.clip_span) for clips in self.clips for start in clips.starts]
        looked_at = (
            [range(reader.first_frame, reader.num_frames)]
            if first.settings.every_frame
            else merge_ranges(sorted(ranges, key=lambda item: item.start), max_gap=extractor.settings.key_frame_stride)
        )
        pictures = _Pictures(first.starts[0], first.starts[len(first.starts) // 2] + first.settings.clip_span // 2)
        # If a core is free, the next frames are decoded during detection. Detection runs on key frames only, so the
        # queue must hold several chunks to keep both busy.
        depth = max(1, _AHEAD_BYTES // (reader.chunk_len * reader.height * reader.width * 3))
        decoded = extractor.clock.iterate("decode", reader.chunks(looked_at))
        with closing(ahead(turned(decoded, self.quarter_turns), depth)) as chunks:
            for pieces, settled in extractor.steps(pictures.of(chunks)):
                if is_first:
                    yield from pictures.taken()
                for piece in pieces:
                    self._add(piece)
                    if first.settings.every_frame:
                        boxes = self.in_source(piece.start_frame, piece.boxes_xyxy)
                        yield FaceBoxes(self.first_track + piece.track, piece.start_frame, boxes)
                yield from self._ready(settled)
                yield settled / reader.num_frames if is_first else 1.0
        if is_first:
            yield from pictures.taken()
        yield from self._ready(None)

    @property
    def faces(self) -> set[int]:
        """Tracks that count as faces."""
        return {self.first_track + track.track for track in confirmed(self.extractor.tracks)}

    def appearances(self) -> list[Appearance]:
        """Faces of the video, each from its first to its last frame within a shot; all of them after :meth:`run`."""
        return self._sightings.appearances(
            confirmed(self.extractor.tracks),
            fps=self.reader.fps,
            threshold=getattr(self.extractor.detector, "threshold", 0.0),
            first_track=self.first_track,
            persons=self._persons,
        )

    @property
    def next_track(self) -> int:
        """First track number that this pass does not use."""
        return self.first_track + len(self.extractor.tracks)

    @property
    def has_enough_faces(self) -> bool:
        """Whether so many faces were found that other rotations need not be tried."""
        extractor = self.extractor
        is_scored = any(clips.scored for clips in self.clips)
        return is_scored and extractor.num_with_face >= ENOUGH_FACES * extractor.num_key_frames

    def in_source(self, frame: int, boxes_xyxy: FloatArray) -> FloatArray:
        """Boxes ``(F, 4)`` from this frame on, in pixels of the source as shown."""
        width, height = self.reader.size_at(frame)
        scale = self.reader.scale_at(frame)
        return turned_back(boxes_xyxy, self.quarter_turns, width, height) * np.float32(scale)

    def _add(self, piece: FaceChunk) -> None:
        """Cut out what some view needs of a piece, once for all views with the same crop."""
        with self.extractor.clock("crop"):
            self._sightings.add(piece.track, piece.start_frame, piece.frames, piece.boxes_xyxy)
            if self._persons is not None:
                self._persons.add(piece.track, piece.frames[0], piece.landmarks[0])
            for index, frame in enumerate(piece.frames):
                box, points = piece.boxes_xyxy[index], piece.landmarks[index]
                cut: dict[Crop, FrameArray] = {}
                picture = b""
                for clips in self.clips:
                    for start, place in clips.places(piece.start_frame + index):
                        if clips.crop not in cut:
                            cut[clips.crop] = clips.crop.cut(frame, box, points)
                        if clips is self.clips[0] and clips.settings.frames and not picture:
                            picture = frame_picture(frame, box, quarter_turns=self.quarter_turns)
                        clips.add(start, self.first_track + piece.track, place, _Seen(cut[clips.crop], box, picture))

    def _ready(self, settled: int | None) -> Iterator[FaceWindow]:
        """Windows that end before frame ``settled``, in order; all remaining ones if it is None."""
        live = self.extractor.live_tracks
        known = [*confirmed(self.extractor.tracks), *(track for track in live if track.num_detections >= 2)]
        sure = {self.first_track + track.track for track in known}
        undecided = {self.first_track + track.track for track in live} - sure
        for clips in self.clips:
            yield from clips.ready(settled, sure, undecided)


class _Seen(NamedTuple):
    """A face in one frame: its crop, its box ``(4,)`` in the frame, and a JPEG of the whole frame or nothing."""

    crop: FrameArray
    box: FloatArray
    picture: bytes


class _Clips:
    """Assembles the clips of one view, and yields them when they are final."""

    def __init__(self, one_pass: OnePass, number: int, view: View) -> None:
        self._pass, self._number = one_pass, number
        self.crop, self.settings = view.crop, view.windows
        reader = one_pass.reader
        self.looked_at = frames_in_span(reader, self.settings)
        self.starts = self.settings.starts(self.looked_at.stop, first=self.looked_at.start)
        self._seen: dict[int, dict[int, dict[int, _Seen]]] = {}
        """Faces by start frame, track and place in the clip."""
        self.scored: set[int] = set()
        self.dropped: set[int] = set()
        """Tracks with a window, and tracks that lost one to larger faces."""
        self.num_dropped = 0

    def places(self, frame: int) -> Iterator[tuple[int, int]]:
        """Start of each clip that holds a frame, and the frame's place in it."""
        first = bisect_left(self.starts, frame - self.settings.clip_span + 1)
        for start in self.starts[first : bisect_right(self.starts, frame)]:
            place, off = divmod(frame - start, self.settings.clip_stride)
            if off == 0:
                yield start, place

    def add(self, start: int, track: int, place: int, seen: _Seen) -> None:
        """Keep a face for its place in the clip that begins at ``start``."""
        self._seen.setdefault(start, {}).setdefault(track, {})[place] = seen

    def ready(self, settled: int | None, sure: set[int], undecided: set[int]) -> Iterator[FaceWindow]:
        """Windows that end before frame ``settled``, in order; all remaining ones if it is None."""
        for start in sorted(self._seen):
            waits = settled is not None and (
                start + self.settings.clip_span > settled or undecided & self._seen[start].keys()
            )
            if waits:
                return  # windows are yielded in order
            yield from self._windows(start, self._seen.pop(start), sure)

    def _windows(self, start: int, by_track: Mapping[int, Mapping[int, _Seen]], sure: set[int]) -> Iterator[FaceWindow]:
        reader = self._pass.reader
        # A video shorter than a clip has fewer places: every clip_stride-th of its frames.
        places = ceil((reader.num_frames - reader.first_frame) / self.settings.clip_stride)
        enough = min(self.settings.clip_len, places) / 2
        found = [
            self._window(track, start, seen)
            for track, seen in sorted(by_track.items())
            if track in sure and len(seen) >= enough
        ]
        largest = sorted(found, key=_area, reverse=True)[: self.settings.max_faces]
        self.num_dropped += len(found) - len(largest)
        self.scored |= {window.track for window in largest}
        self.dropped |= {window.track for window in found} - {window.track for window in largest}
        yield from sorted(largest, key=lambda window: window.track)

    def _window(self, track: int, start: int, seen: Mapping[int, _Seen]) -> FaceWindow:
        reader, stride = self._pass.reader, self.settings.clip_stride
        present = sorted(seen)
        order = [present[i] for i in clip_frame_indices(len(present), clip_len=self.settings.clip_len)]
        middle = present[len(present) // 2]
        x1, y1, x2, y2 = self._pass.in_source(start + middle * stride, seen[middle].box[None])[0].tolist()
        seconds = reader.clock_seconds([start + place * stride for place in order])
        return FaceWindow(
            track=track,
            start_frame=start,
            start_seconds=seconds[0],
            end_seconds=seconds[-1] + 1 / reader.fps,
            frame_seconds=tuple(seconds),
            crops=np.stack([seen[place].crop for place in order]),
            box=(x1, y1, x2, y2),
            view=self._number,
            pictures=tuple(seen[place].picture for place in order) if seen[order[0]].picture else (),
        )


def _area(window: FaceWindow) -> float:
    x1, y1, x2, y2 = window.box
    return (x2 - x1) * (y2 - y1)


class _Pictures:
    """Takes thumbnails from the frames that pass through: first at frame ``first``, then at frame ``wanted``."""

    def __init__(self, first: int, wanted: int) -> None:
        self._wanted = [first, wanted]
        self._taken: list[Thumbnail] = []

    def of(self, chunks: Iterable[tuple[int, FrameArray]]) -> Iterator[tuple[int, FrameArray]]:
        """Pass the chunks on unchanged."""
        for start, frames in chunks:
            while self._wanted and start + len(frames) > self._wanted[0]:
                place = max(0, self._wanted.pop(0) - start)
                self._taken.append(Thumbnail(np.ascontiguousarray(shrink(frames[place], THUMBNAIL_SIDE))))
            yield start, frames

    def taken(self) -> Iterator[Thumbnail]:
        """Newest thumbnail since the last call, if any."""
        yield from self._taken[-1:]
        self._taken.clear()


def frames_in_span(reader: VideoReader | StillReader, settings: WindowSettings) -> range:
    """Frames of a video from which clips are taken: all, or those of ``settings.span``, and enough for one clip.

    Raises:
        NoFaceFound: when the video ends before the span starts.
    """
    first, stop = reader.first_frame, reader.num_frames
    if settings.span is None:
        return range(first, stop)

    def seconds(frame: int) -> float:
        return reader.clock_seconds([frame])[0]

    start = bisect_left(range(stop), settings.span[0], lo=first, key=seconds)
    if start == stop:
        end = seconds(stop - 1) + 1 / reader.fps
        raise NoFaceFound(
            f"{reader.path}: the span {span_words(settings.span)} starts after the end of the video, which is "
            f"{end:.1f} s long; name a part of it"
        )
    end_frame = max(bisect_left(range(stop), settings.span[1], lo=first, key=seconds), start + 1)
    return range(max(first, min(start, stop - settings.clip_span)), end_frame)


def merge_ranges(ranges: Iterable[range], *, max_gap: int) -> list[range]:
    """Join ranges, given in order, that are at most ``max_gap`` frames apart: decoding on is cheaper than seeking.

    >>> merge_ranges([range(0, 10), range(12, 22), range(90, 100)], max_gap=10)
    [range(0, 22), range(90, 100)]
    """
    merged: list[range] = []
    for item in ranges:
        if merged and item.start - merged[-1].stop <= max_gap:
            merged[-1] = range(merged[-1].start, max(merged[-1].stop, item.stop))
        else:
            merged.append(item)
    return merged
