"""Which containers and codecs are read, and what is said of those that are not: their name, and how to convert them."""

import shlex
from pathlib import Path
from typing import Any

from dfd.errors import UnreadableVideo

ALLOWED_CODECS = frozenset(
    (
        *("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "gif", "prores", "png"),
        "rawvideo",
    )
)
"""Codecs that are decoded. Each decoder is an attack surface; the rare ones of FFmpeg are the badly kept ones."""

CONTAINERS = (
    *("mov", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "gif"),
    # One stream without a container. Lists of other files (HLS, concat) would open what they name: they are not here.
    *("mpegvideo", "h264", "hevc", "yuv4mpegpipe"),
)
"""FFmpeg's names of the containers that are opened."""

DECODER_NAMES = (
    *("h264", "hevc", "libvpx", "vp8", "libvpx-vp9", "vp9", "libdav1d", "av1", "mpeg4", "mpeg2video", "mpeg1video"),
    *("mjpeg", "gif", "prores", "png", "rawvideo"),
    # Sound, whose parameters are looked for when a file is opened, and which is copied into annotated videos.
    *("aac", "mp3", "mp3float", "ac3", "eac3", "opus", "flac", "alac", "vorbis"),
)
"""FFmpeg's names of the decoders that may run, also while it finds out what is in a file."""

CONVERT_IT, ENCRYPTED = "convert it: ffmpeg", "its pictures are encrypted"
"""Words in what is said of files that do hold a video, and that are not read."""

# First bytes, at an offset, of what people have and what is not read. Sources: the formats' own descriptions.
_KNOWN: tuple[tuple[int, bytes, str], ...] = (
    (0, bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "Windows Media (ASF: .wmv, .asf)"),
    (0, b"DHAV", "a Dahua recorder's file (.dav)"),
    (0, b"IMKH", "a Hikvision recorder's file"),
    (0, b".RMF", "RealMedia (.rm, .rmvb)"),
    (0, b"OggS", "Ogg (.ogv, .ogg)"),
    (0, bytes.fromhex("060e2b34"), "MXF"),
    (0, bytes.fromhex("b7d800203749da11a64e0007e95ead8d"), "Windows recorded TV (.wtv)"),
    (0, b"DKIF", "IVF"),
    (0, b"\x1f\x07\x00", "DV (.dv)"),
    (0, bytes.fromhex("000001b0"), "MPEG-4 without a container (.m4v)"),
    (0, bytes.fromhex("12000a"), "AV1 without a container (.obu)"),
)


def is_known_by_name_only(head: bytes) -> str | None:
    """The name of the format that a file with these first bytes has, if it is one that is not read."""
    return next((name for place, magic, name in _KNOWN if head[place : place + len(magic)] == magic), None)


def conversion(path: Path) -> str:
    """What to do: the command that makes an MP4 file of it."""
    target = path.with_suffix(".mp4") if path.suffix.lower() != ".mp4" else path.with_name(f"{path.stem}_h264.mp4")
    return f"{CONVERT_IT} -i {shlex.quote(path.name)} -c:v libx264 -crf 16 {shlex.quote(target.name)}"


def refused_container(path: Path, head: bytes) -> UnreadableVideo:
    """Why a file that is in none of the containers cannot be read."""
    name = is_known_by_name_only(head)
    if name is not None:
        return UnreadableVideo(f"{path}: {name} is not read here; {conversion(path)}")
    return UnreadableVideo(
        f"{path}: not in a container that is read ({', '.join(CONTAINERS)}); a still picture is not a video"
    )


def refused_codec(path: Path, codec: str) -> UnreadableVideo:
    """Why the video stream of a file cannot be read, whose container can."""
    return UnreadableVideo(
        f"{path}: codec {codec} is not allowed ({', '.join(sorted(ALLOWED_CODECS))} are); {conversion(path)}"
    )


def encrypted(path: Path, how: str) -> UnreadableVideo:
    """What is said of a file whose pictures are encrypted."""
    return UnreadableVideo(
        f"{path}: {ENCRYPTED} ({how}), so nothing can be looked at; the file is not damaged: get a copy "
        "without copy protection from whoever made it"
    )


def codec_name(stream: Any) -> str:
    """FFmpeg's name of a stream's codec; ``unknown`` for one that it does not know."""
    context = stream.codec_context  # None for a codec that FFmpeg does not know, whatever the type stubs say
    return "unknown" if context is None else str(context.codec.canonical_name)
