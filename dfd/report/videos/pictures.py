"""Pictures of a report, small enough that a page of a thousand videos can be opened and mailed."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from PIL import Image, ImageChops

from dfd.predictions.layout import EVIDENCE_NAME
from dfd.report.videos.scored import MomentFacts, ScoredVideo

TOTAL_BYTES = 15_000_000
"""Size of all pictures of a page, before base64 adds a third."""
MAX_BYTES_PER_VIDEO = 500_000
MAX_SOURCE_SIDE = 8192
VISIBLE = 20
"""Difference of two grey values, 0 to 255, that is seen and does not come of JPEG."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A JPEG to embed in a page."""

    data: bytes
    width: int
    height: int

    @property
    def uri(self) -> str:
        """Data URI of the picture."""
        return "data:image/jpeg;base64," + base64.b64encode(self.data).decode("ascii")


@dataclass(frozen=True, slots=True)
class ShownMoment:
    """A moment with its pictures; ``heatmap`` is the crop with the heat map over it, ``frame`` the frame with a box."""

    facts: MomentFacts
    crop: Picture
    heatmap: Picture | None
    frame: Picture | None = None

    @property
    def has_heat(self) -> bool:
        """Whether the heat map has any colour that can be seen."""
        return self.heatmap is not None and differ(self.crop, self.heatmap)


@dataclass(frozen=True, slots=True)
class ShownEvidence:
    """Pictures of a video that are in the page; ``moments`` take turns by face, most suspicious first."""

    thumbnail: Picture | None = None
    still: Picture | None = None
    moments: tuple[ShownMoment, ...] = ()
    num_left_out: int = 0
    """Number of moments left out because their pictures did not fit."""
    num_missing: int = 0
    """Number of pictures that the scores name but that cannot be read."""


@dataclass(frozen=True, slots=True)
class PictureSizes:
    """Limits per video: bytes, longest sides in pixels (0: no such picture), and JPEG quality."""

    num_bytes: int
    thumbnail_side: int
    still_side: int
    crop_side: int
    frame_side: int
    quality: int


def picture_sizes(num_videos: int) -> PictureSizes:
    """Limits for a number of videos: large pictures for a few, small ones for many.

    >>> picture_sizes(10).crop_side, picture_sizes(1000).crop_side, picture_sizes(1000).num_bytes
    (224, 96, 15000)
    """
    num_bytes = min(MAX_BYTES_PER_VIDEO, TOTAL_BYTES // max(num_videos, 1))
    if num_videos <= 60:
        return PictureSizes(num_bytes, 160, 480, 224, 320, 85)
    if num_videos <= 250:
        return PictureSizes(num_bytes, 128, 320, 144, 240, 75)
    return PictureSizes(num_bytes, 96, 0, 96, 0, 65)


def embed(video: ScoredVideo, sizes: PictureSizes) -> ShownEvidence:
    """Choose a video's pictures within its limit; every face's most suspicious moment precedes any second one.

    Whole frames take what the faces have left of it.
    """
    num_missing = num_left_out = 0

    def picture(name: str | None, side: int) -> Picture | None:
        return shrunk(video.folder, name, side, sizes.quality) if name is not None and side else None

    thumbnail = picture(video.thumbnail, sizes.thumbnail_side)
    num_missing += video.thumbnail is not None and thumbnail is None
    still = picture(video.thumbnail, sizes.still_side) if thumbnail else None
    left = sizes.num_bytes - _size(thumbnail) - _size(still)
    shown = []
    for moment in _by_turns(video.moments):
        crop, heatmap = picture(moment.crop, sizes.crop_side), picture(moment.heatmap, sizes.crop_side)
        num_missing += (crop is None) + (moment.heatmap is not None and heatmap is None)
        if crop is not None and (cost := _size(crop) + _size(heatmap)) <= left:
            left -= cost
            shown.append(ShownMoment(moment, crop, heatmap))
        else:
            num_left_out += crop is not None
    for number, one in enumerate(shown):
        frame = picture(one.facts.frame, sizes.frame_side)
        num_missing += bool(one.facts.frame and sizes.frame_side) and frame is None
        if frame is not None and _size(frame) <= left:
            left -= _size(frame)
            shown[number] = replace(one, frame=frame)
    return ShownEvidence(thumbnail, still, tuple(shown), num_left_out, num_missing)


def _size(picture: Picture | None) -> int:
    return len(picture.data) if picture else 0


def _by_turns(moments: Sequence[MomentFacts]) -> Iterator[MomentFacts]:
    """Yield the most suspicious moment of every face, then the second of every face, and so on."""
    by_track: dict[int, list[MomentFacts]] = {}
    for moment in sorted(moments, key=lambda moment: (-moment.prob_fake, moment.seconds, moment.track)):
        by_track.setdefault(moment.track, []).append(moment)
    for turn in zip_longest(*by_track.values()):
        ranked = (moment for moment in turn if moment is not None)
        yield from sorted(ranked, key=lambda moment: (-moment.prob_fake, moment.seconds, moment.track))


def differ(one: Picture, other: Picture) -> bool:
    """Whether two pictures differ by more than what their encoding did, in more than one pixel of 200."""
    first, second = (Image.open(io.BytesIO(picture.data)).convert("RGB") for picture in (one, other))
    if first.size != second.size:
        return True
    difference = ImageChops.difference(first, second).convert("L")
    return sum(difference.histogram()[VISIBLE:]) > first.width * first.height / 200


def shrunk(folder: Path, name: str, side: int, quality: int) -> Picture | None:
    """Re-encode a picture of the evidence with at most ``side`` pixels; None if it cannot be read.

    Nothing outside the evidence in ``folder`` is opened, whatever the name.
    """
    try:
        path = (folder / name).resolve()
        if not path.is_relative_to((folder / EVIDENCE_NAME).resolve()):
            return None
        with Image.open(path, formats=("JPEG",)) as source:
            if max(source.size) > MAX_SOURCE_SIDE:
                return None
            picture = source.convert("RGB")
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, optimize=True)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    return Picture(buffer.getvalue(), *picture.size)
