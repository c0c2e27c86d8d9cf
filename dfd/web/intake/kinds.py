"""Recognises the kind of a file by its first bytes, so that what cannot be scored is refused in its own words."""

# Offset and bytes that identify containers: https://en.wikipedia.org/wiki/List_of_file_signatures and, for the first
# box of an ISO file, ISO/IEC 14496-12 and the QuickTime file format.
_VIDEOS: tuple[tuple[int, tuple[bytes, ...]], ...] = (
    (4, (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp", b"moof")),
    (0, (b"\x1a\x45\xdf\xa3",)),  # Matroska, WebM
    (0, (b"FLV\x01", b"OggS", b"GIF87a", b"GIF89a", b"YUV4MPEG2", b"DKIF")),
    (0, (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",)),  # ASF: WMV
    (0, (b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3")),  # MPEG programme and video streams
    (0, (b"\x06\x0e\x2b\x34\x02\x05\x01\x01",)),  # MXF
)
_PACKETS = ((0, 188), (4, 192))  # first sync byte and distance in MPEG transport streams and those of Blu-ray cameras
_STILLS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
# Brands of ISO files that hold pictures or sound only: ISO/IEC 23008-12, AV1 Image File Format, and Apple's.
_PICTURE_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif")
_SOUND_BRANDS = (b"M4A ", b"M4B ", b"M4P ")
_OTHER_PICTURES = (
    *(b"BM", b"II*\0", b"MM\0*", b"8BPS", b"\0\0\x01\0", b"qoif", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
    *(b"\0\0\0\x0cJXL ", b"\xff\x0a", b"<svg"),
)
_SOUNDS = (b"ID3", b"fLaC", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"\xff\xf1", b"\xff\xf9", b"#!AMR", b"FORM", b".snd")
_LINKS = (b"http://", b"https://", b"www.", b"[InternetShortcut]", b"[{000214A0")

NO_VIDEO = "this is not a video: its first bytes are not those of a known video format"
IS_EMPTY = "the file is empty"
OTHER_PICTURE = (
    "this is a picture in a format that is not looked at here; send a JPEG, PNG or WebP, if possible the original file"
)
SOUND = "this is sound, and only faces are examined here: nothing can be said about a voice"
LINK = "this is an address and not a video: addresses are not opened here; download the video and send the file"


def looks_like_video(head: bytes) -> bool:
    r"""Whether a file that starts with ``head`` is a container that may hold a video.

    >>> looks_like_video(b"\0\0\0\x20ftypisom"), looks_like_video(b"Dear editor, "), looks_like_video(b"")
    (True, False, False)
    """
    if any(head[at:].startswith(signs) for at, signs in _VIDEOS):
        return True
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return True
    return any(len(head) > at + 2 * step and head[at : at + 2 * step + 1 : step] == b"GGG" for at, step in _PACKETS)


def looks_like_still(head: bytes) -> bool:
    r"""Whether a file that starts with ``head`` is a picture of a format that is scored: JPEG, PNG or WebP.

    >>> looks_like_still(b"\x89PNG\r\n\x1a\n"), looks_like_still(b"BM6")
    (True, False)
    """
    return head.startswith(_STILLS) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")


def why_refused(head: bytes) -> str | None:
    r"""Reason to refuse a file that starts with ``head``, as a clause; None if it may hold a video or is a still.

    >>> why_refused(b"\xff\xd8\xff\xe0"), why_refused(b"ID3\x04") == SOUND, why_refused(b"https://example.org") == LINK
    (None, True, True)
    """
    if head[4:8] == b"ftyp" and head[8:12] in _PICTURE_BRANDS:
        return OTHER_PICTURE
    is_wave = head.startswith((b"RIFF", b"RF64")) and head[8:12] == b"WAVE"
    if is_wave or head.startswith(_SOUNDS) or (head[4:8] == b"ftyp" and head[8:12] in _SOUND_BRANDS):
        return SOUND
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(_LINKS):
        return LINK
    if looks_like_video(head) or looks_like_still(head):
        return None
    return OTHER_PICTURE if head.startswith(_OTHER_PICTURES) else NO_VIDEO
