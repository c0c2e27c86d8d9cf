"""Copies the sound of a video into another file without decoding it."""

import os
from collections.abc import Iterator
from fractions import Fraction
from math import inf
from pathlib import Path
from typing import Any, Self

from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError

from dfd.video.file.formats import codec_name
from dfd.video.file.opening import open_container

MP4_CODECS = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"})
"""Codecs that MP4 files hold and players play. FFmpeg would also write PCM, Vorbis and others, which few play."""

# Sound may start this long before the first frame (encoder delay, which players skip); earlier packets are dropped.
_LEAD_SECONDS = 0.1


class SoundCopy:
    """Context manager that copies the sound of ``source`` into a file that is being written.

    Attributes:
        message: why not all of the sound was copied; empty if all was, or if there is none.

    Args:
        source: the file with the sound.
        start_seconds: time on the clock of ``source`` that becomes time 0.

    Raises:
        UnreadableVideo: when ``source`` cannot be opened.
    """

    def __init__(self, source: str | os.PathLike[str], *, start_seconds: Fraction = Fraction(0)) -> None:
        self.message = ""
        self._start = start_seconds
        self._container = open_container(Path(source))
        best = self._container.streams.best("audio")
        self._source = best if isinstance(best, AudioStream) else None
        if self._source is not None:
            codec = codec_name(self._source)
            if codec not in MP4_CODECS:
                self.leave_out(f"its codec {codec} is not played from MP4 files")
        self._output: OutputContainer | None = None
        self._waiting: Iterator[tuple[float, Any]] = iter(())
        self._next: tuple[float, Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting = iter(())
        self._container.close()

    @property
    def is_copied(self) -> bool:
        """Whether there is sound that will be copied."""
        return self._source is not None

    def leave_out(self, reason: str) -> None:
        """Copy no sound, and keep the reason in ``message``."""
        self._source = None
        self.message = f"the sound was left out: {reason}"

    def join(self, output: OutputContainer) -> None:
        """Add a stream for the sound to ``output``; its other streams must exist already."""
        if self._source is not None:
            self._output = output
            self._waiting = self._packets(self._source, output.add_stream_from_template(self._source))
            self._next = next(self._waiting, None)

    def copy_until(self, seconds: float = inf) -> None:
        """Copy packets that begin before ``seconds``; call it in step with the pictures, or these pile up in memory."""
        while self._output is not None and self._next is not None and self._next[0] < seconds:
            self._output.mux(self._next[1])
            self._next = next(self._waiting, None)

    def _packets(self, source: AudioStream, target: AudioStream) -> Iterator[tuple[float, Any]]:
        """Packets on the new clock with their times in seconds; those out of order are dropped."""
        time_base = source.time_base or Fraction(1, 1000)
        shift = round(self._start / time_base)
        last_dts: int | None = None
        seconds = 0.0
        try:
            for packet in self._container.demux(source):
                if packet.pts is None or packet.dts is None or packet.size == 0:
                    continue
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                if packet.pts * time_base < -_LEAD_SECONDS or (last_dts is not None and packet.dts <= last_dts):
                    continue
                last_dts = packet.dts
                seconds = float(packet.pts * time_base)
                packet.stream = target
                yield seconds, packet
        except FFmpegError as error:
            self.message = f"the sound is damaged after {max(0.0, seconds):.1f} seconds ({error.strerror or error})"
