"""Containers and codecs that are read, and errors that name the others and say how to convert them."""

import shlex
from pathlib import Path
from typing import Any

from dfd.base.errors import UnreadableVideo

NO_SOUND = "none"
"""How a file without sound states it."""
ALLOWED_CODECS = frozenset(
    (
        *("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "gif", "prores", "png"),
        "rawvideo",
    )
)
"""Codecs that are decoded. Every decoder is an attack surface, and FFmpeg's rare ones are poorly maintained."""

CONTAINERS = (
    *("mov", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "gif"),
    # One stream without a container. Playlists (HLS, concat) are left out: they would open the files that they name.
    *("mpegvideo", "h264", "hevc", "yuv4mpegpipe"),
)
"""FFmpeg's names of the containers that are opened."""

DECODER_NAMES = (
    *("h264", "hevc", "libvpx", "vp8", "libvpx-vp9", "vp9", "libdav1d", "av1", "mpeg4", "mpeg2video", "mpeg1video"),
    *("mjpeg", "gif", "prores", "png", "rawvideo"),
    # Sound: probed when a file is opened, and copied into annotated videos.
    *("aac", "mp3", "mp3float", "ac3", "eac3", "opus", "flac", "alac", "vorbis"),
)
"""FFmpeg's names of the decoders that may run, also while a file is opened."""

VIDEO_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif", ".mpg", ".mpeg", ".mts", ".m2ts", ".ts", ".3gp"),
        *(".3g2", ".flv", ".wmv", ".ogv", ".vob", ".mxf", ".y4m", ".asf", ".dav", ".h264", ".264", ".hevc", ".h265"),
        *(".265", ".m1v", ".m2v", ".mpv", ".m2p", ".m2t", ".tp", ".trp", ".divx", ".f4v", ".qt", ".rm", ".rmvb"),
        *(".wtv", ".dv", ".ivf", ".obu", ".ogm", ".mod", ".tod", ".dvr-ms"),
    )
)
"""Usual endings of the names of videos. A file with one always gets a row, any other if a video is in it."""

CONVERT_IT, ENCRYPTED = "convert it: ffmpeg", "its pictures are encrypted"
"""Phrases in errors about files that hold a video but are not read."""

# Offset, first bytes and name of common formats that are not read. Sources: the formats' own descriptions.
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
    """Name of the format of a file with these first bytes, if it is a known one that is not read."""
    return next((name for place, magic, name in _KNOWN if head[place : place + len(magic)] == magic), None)


def conversion(path: Path) -> str:
    """Command that converts the file to MP4."""
    target = path.with_suffix(".mp4") if path.suffix.lower() != ".mp4" else path.with_name(f"{path.stem}_h264.mp4")
    return f"{CONVERT_IT} -i {shlex.quote(path.name)} -c:v libx264 -crf 16 {shlex.quote(target.name)}"


def refused_container(path: Path, head: bytes) -> UnreadableVideo:
    """Error for a file whose container is not read."""
    name = is_known_by_name_only(head)
    if name is not None:
        return UnreadableVideo(f"{path}: {name} is not read here; {conversion(path)}")
    return UnreadableVideo(
        f"{path}: its container is not supported ({', '.join(CONTAINERS)} are); a still picture is not a video"
    )


def refused_codec(path: Path, codec: str) -> UnreadableVideo:
    """Error for a file whose container is read, but not its codec."""
    return UnreadableVideo(
        f"{path}: codec {codec} is not allowed ({', '.join(sorted(ALLOWED_CODECS))} are); {conversion(path)}"
    )


def encrypted(path: Path, how: str) -> UnreadableVideo:
    """Error for a file whose pictures are encrypted."""
    return UnreadableVideo(
        f"{path}: {ENCRYPTED} ({how}) and cannot be analysed; the file is not damaged: get a copy "
        "without copy protection from whoever made it"
    )


def codec_name(stream: Any) -> str:
    """FFmpeg's name of a stream's codec; ``unknown`` if FFmpeg does not know it."""
    context = stream.codec_context  # None for a codec that FFmpeg does not know, whatever the type stubs say
    return "unknown" if context is None else str(context.codec.canonical_name)
