"""Opening video files, with bounds on what their headers may ask for."""

import re
import stat
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError

from dfd.base.errors import MissingVideo, UnreadableVideo
from dfd.base.machine import bounded
from dfd.video.damage.libav_log import LogLine, listening
from dfd.video.file.boxes import read_boxes
from dfd.video.file.container import _MAX_STREAMS, DEFAULT_LIMITS, VideoLimits
from dfd.video.file.encryption import how_encrypted
from dfd.video.file.formats import CONTAINERS, DECODER_NAMES, encrypted, refused_container


def open_container(path: Path, limits: VideoLimits = DEFAULT_LIMITS) -> InputContainer:
    """Open the container of a file.

    Raises:
        UnreadableVideo: when the file cannot be read; the message says what is wrong and what to do.
        VideoTooLarge: when FFmpeg would have to decode frames beyond ``limits`` to identify the streams.
    """
    return open_and_listen(path, limits)[0]


def open_and_listen(path: Path, limits: VideoLimits) -> tuple[InputContainer, list[LogLine]]:
    """Open a file like :func:`open_container`, and return FFmpeg's log lines too."""
    head = _check_file(path)
    options = {
        "format_whitelist": ",".join(CONTAINERS),
        "protocol_whitelist": "file",
        # Opening a file decodes the first frame of each stream that its header does not describe fully: no rare decoder
        # may run for that, and none on a frame that is refused anyway.
        "codec_whitelist": ",".join(DECODER_NAMES),
        "max_pixels": str(limits.max_pixels),
        "max_streams": str(_MAX_STREAMS),
        "probesize": str(5_000_000),
    }
    log: list[LogLine] = []
    try:
        with listening() as log, bounded(limits.opening_bytes):
            # An absolute path is never taken for a URL. Metadata may be in any encoding.
            return av.open(str(path.absolute()), metadata_errors="replace", options=options), log
    except av.error.ArgumentError:
        refuse_huge(path, log, limits)
        raise refused_container(path, head) from None
    except MemoryError:
        raise UnreadableVideo(
            f"{path}: opening it takes more than {limits.opening_bytes // 2**20} MB: it is damaged, or malicious"
        ) from None
    except FFmpegError as error:
        refuse_huge(path, log, limits)
        raise UnreadableVideo(
            f"{path}: not a video, or damaged beyond use ({error.strerror}); try to play it, or get it again"
        ) from None


def refuse_huge(path: Path, log: list[LogLine], limits: VideoLimits) -> None:
    """Refuse a video if a decoder logged that its frames are beyond ``max_pixels``.

    Raises:
        VideoTooLarge: when a decoder did so.
    """
    for _, _, text in log:
        size = re.search(r"(\d+)x(\d+) (?:exceeds specified max pixel|is invalid)", text)
        if size is not None:
            limits.check(path, int(size[1]), int(size[2]))


def _check_file(path: Path) -> bytes:
    """First bytes of a file that may be a video.

    Raises:
        UnreadableVideo: when it cannot be a video, or is encrypted.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UnreadableVideo(f"{path}: is a directory; give a video file")
        if not stat.S_ISREG(status.st_mode):
            # Reading a pipe could block for ever, and a device may have no end.
            raise UnreadableVideo(f"{path}: is not a regular file; save the video to a file first")
        if status.st_size == 0:
            raise UnreadableVideo(f"{path}: is empty (0 bytes); get the file again")
        with path.open("rb") as file:
            head = file.read(64)
        facts = read_boxes(path)
        scheme = how_encrypted(path) if facts.encryption is None else f"common encryption, {facts.encryption}"
    except FileNotFoundError:
        raise MissingVideo(f"{path}: no such file; correct its name in the list, or put the file there") from None
    except PermissionError:
        raise UnreadableVideo(f"{path}: permission denied; make the file readable") from None
    except (OSError, ValueError) as error:
        raise UnreadableVideo(f"{path}: cannot be opened ({error})") from None
    if facts.problem is not None:
        raise UnreadableVideo(f"{path}: damaged beyond use: {facts.problem}; get it again")
    if scheme is not None:
        raise encrypted(path, scheme)
    return head
