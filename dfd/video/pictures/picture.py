"""Converts decoded frames to upright RGB pictures in square pixels and BT.709, at a given size."""

from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.filter.context import FilterContext
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from dfd.base.types import FrameArray
from dfd.video.file.container import VideoInfo, shown_size
from dfd.video.pictures.colours import rows, write_rgb
from dfd.video.pictures.hdr import colours_of, needs_mapping, to_sdr


@dataclass(frozen=True, slots=True)
class Shape:
    """Size of the frames of one part of a video, as shown and as decoded.

    ``scale`` is the factor from coordinates in decoded pixels to pixels as shown.
    """

    shown_width: int
    shown_height: int
    width: int
    height: int
    scale: float

    @classmethod
    def of(cls, shown_width: int, shown_height: int, max_side: int | None) -> "Shape":
        """Shape for frames shown at this size: the longest side at most ``max_side``, never enlarged."""
        longest = max(shown_width, shown_height)
        scale = max(1.0, longest / max_side) if max_side is not None else 1.0
        return cls(
            shown_width, shown_height, max(1, round(shown_width / scale)), max(1, round(shown_height / scale)), scale
        )


class Converter:
    """Converts the frames of one video to RGB.

    Args:
        info: gives the rotation and the pixel aspect.
        max_side: see :meth:`Shape.of`.
        transfer: the container's transfer curve by its number in ITU-T H.273, for frames that state none.
        primaries: the container's primaries, likewise.
    """

    def __init__(self, info: VideoInfo, max_side: int | None, *, transfer: int = 2, primaries: int = 2) -> None:
        self._info = info
        self._max_side = max_side
        self._turned = info.mirrored or info.rotation_degrees != 0
        self._stated = transfer, primaries
        self._graph_input: tuple[int, int, str, tuple[int, int]] | None = None
        self._graph: av.filter.Graph | None = None
        self._reformatter = VideoReformatter()

    def shape(self, width: int, height: int, pixel_aspect: Fraction) -> Shape:
        """Shape for frames stored at this size."""
        shown = shown_size(width, height, pixel_aspect)
        if self._info.rotation_degrees % 180 == 90:
            shown = shown[1], shown[0]
        return Shape.of(*shown, self._max_side)

    def write(self, frame: VideoFrame, into: FrameArray) -> None:
        """Write the frame into ``into``, uint8 ``(H, W, 3)``, scaled to its size."""
        colours = colours_of(frame, *self._stated)
        if needs_mapping(*colours):
            into[...] = self._mapped(frame, into.shape[1], into.shape[0], colours)
            return
        as_stored = not self._turned and (frame.height, frame.width) == into.shape[:2]
        if as_stored and write_rgb(frame, into):
            return
        size = into.shape[1], into.shape[0]
        graph_input = (frame.width, frame.height, frame.format.name, size)
        if self._graph is None or graph_input != self._graph_input:
            self._graph_input = graph_input
            self._graph = self._build_graph(frame, size)
        self._graph.push(frame)
        pulled = self._graph.pull()
        assert isinstance(pulled, VideoFrame)
        plane = pulled.planes[0]
        into[...] = rows(plane, plane.width * 3).reshape(into.shape)

    def close(self) -> None:
        """Free the filters."""
        self._graph = None

    def _mapped(self, frame: VideoFrame, width: int, height: int, colours: tuple[int, int]) -> FrameArray:
        """Picture of an HDR or wide-gamut frame in BT.709, rotated and scaled."""
        quarter_turned = self._info.rotation_degrees % 180 == 90
        if quarter_turned:
            width, height = height, width
        # 16-bit RGB by the frame's own matrix, or BT.2020's where it states none, to match its primaries.
        matrix = frame.colorspace if frame.colorspace in tuple(Colorspace) else Colorspace.BT2020
        wide = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="rgb48le",
            src_colorspace=int(matrix),
            dst_colorspace=int(Colorspace.ITU709),
            interpolation=Interpolation.BICUBIC,
        )
        plane = wide.planes[0]
        coded = rows(plane, plane.width * 6).view(np.uint16).reshape(height, width, 3)
        picture = to_sdr(coded, *colours)
        if self._info.mirrored:
            picture = picture[:, ::-1]
        return np.rot90(picture, self._info.rotation_degrees // 90)

    def _build_graph(self, frame: VideoFrame, size: tuple[int, int]) -> "av.filter.Graph":
        """Filters that rotate, scale and convert as decord does, so that pixels equal those of a clip that it reads."""
        graph = av.filter.Graph()
        filters: list[FilterContext] = [
            graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1)
            )
        ]
        if self._info.mirrored:
            filters.append(graph.add("hflip"))
        counterclockwise, clockwise = "2", "1"
        turns = {0: [], 90: [counterclockwise], 180: [clockwise, clockwise], 270: [clockwise]}
        filters += [graph.add("transpose", direction) for direction in turns[self._info.rotation_degrees]]
        filters += [graph.add("scale", f"{size[0]}:{size[1]}"), graph.add("format", "pix_fmts=rgb24")]
        filters.append(graph.add("buffersink"))
        graph.link_nodes(*filters).configure()
        return graph
