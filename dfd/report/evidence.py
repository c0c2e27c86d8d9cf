"""Pictures of a report: made small enough that a page with a thousand videos can be opened and mailed."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from dfd.inputs import EVIDENCE_NAME
from dfd.report.scored import MomentFacts, ScoredVideo

TOTAL_BYTES = 15_000_000
"""Of all pictures of a page, before base64 makes 4 bytes of 3."""
MAX_BYTES_PER_VIDEO = 500_000
MAX_SOURCE_SIDE = 8192


@dataclass(frozen=True, slots=True)
class Picture:
    """A JPEG to be put into a page."""

    data: bytes
    width: int
    height: int

    @property
    def uri(self) -> str:
        """The picture as an address."""
        return "data:image/jpeg;base64," + base64.b64encode(self.data).decode("ascii")


@dataclass(frozen=True, slots=True)
class ShownMoment:
    """A moment with its pictures; ``heatmap`` is the crop with heat over it."""

    facts: MomentFacts
    crop: Picture
    heatmap: Picture | None


@dataclass(frozen=True, slots=True)
class ShownEvidence:
    """What of a video's pictures is in the page: ``moments`` by face, most suspicious first."""

    thumbnail: Picture | None = None
    still: Picture | None = None
    moments: tuple[ShownMoment, ...] = ()
    num_left_out: int = 0
    """Moments whose pictures were found but did not fit."""
    num_missing: int = 0
    """Pictures that are named in the scores and cannot be read."""


@dataclass(frozen=True, slots=True)
class PictureSizes:
    """For each video: how many bytes, longest sides in pixels, JPEG quality. ``still_side`` 0: no large picture."""

    num_bytes: int
    thumbnail_side: int
    still_side: int
    crop_side: int
    quality: int


def picture_sizes(num_videos: int) -> PictureSizes:
    """Large for a few videos, small for many.

    >>> picture_sizes(10).crop_side, picture_sizes(1000).crop_side, picture_sizes(1000).num_bytes
    (224, 96, 15000)
    """
    num_bytes = min(MAX_BYTES_PER_VIDEO, TOTAL_BYTES // max(num_videos, 1))
    if num_videos <= 60:
        return PictureSizes(num_bytes, 160, 480, 224, 85)
    if num_videos <= 250:
        return PictureSizes(num_bytes, 128, 320, 144, 75)
    return PictureSizes(num_bytes, 96, 0, 96, 65)


def embed(video: ScoredVideo, sizes: PictureSizes) -> ShownEvidence:
    """A video's pictures within its bytes: the most suspicious moment of every face comes before any second one."""
    left, num_missing, num_left_out = sizes.num_bytes, 0, 0
    thumbnail = still = None
    if video.thumbnail is not None:
        thumbnail = shrunk(video.folder, video.thumbnail, sizes.thumbnail_side, sizes.quality)
        num_missing += thumbnail is None
        left -= len(thumbnail.data) if thumbnail else 0
    if video.thumbnail is not None and thumbnail and sizes.still_side:
        still = shrunk(video.folder, video.thumbnail, sizes.still_side, sizes.quality)
        left -= len(still.data) if still else 0
    shown = []
    for moment in _by_turns(video.moments):
        crop = shrunk(video.folder, moment.crop, sizes.crop_side, sizes.quality)
        heatmap = shrunk(video.folder, moment.heatmap, sizes.crop_side, sizes.quality) if moment.heatmap else None
        num_missing += (crop is None) + (moment.heatmap is not None and heatmap is None)
        if crop is None:
            continue
        cost = len(crop.data) + (len(heatmap.data) if heatmap else 0)
        if cost > left:
            num_left_out += 1
            continue
        left -= cost
        shown.append(ShownMoment(moment, crop, heatmap))
    return ShownEvidence(thumbnail, still, tuple(shown), num_left_out, num_missing)


def _by_turns(moments: Sequence[MomentFacts]) -> Iterator[MomentFacts]:
    """The first of every face, then the second of every face; a face's most suspicious first."""
    ranked = sorted(moments, key=lambda moment: (-moment.prob_fake, moment.seconds, moment.track))
    turns: dict[int, int] = {}
    numbered = []
    for moment in ranked:
        turns[moment.track] = turns.get(moment.track, 0) + 1
        numbered.append((turns[moment.track], moment))
    yield from (moment for _, moment in sorted(numbered, key=lambda pair: pair[0]))


def shrunk(folder: Path, name: str, side: int, quality: int) -> Picture | None:
    """A picture of the evidence, encoded anew with at most ``side`` pixels; None if there is none that can be read.

    Nothing outside ``folder``'s evidence is ever opened, whatever the name says.
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
