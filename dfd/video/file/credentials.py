"""Content Credentials (C2PA): whether a file holds a signed statement of its making, by whom, and whether it fits.

That one is there is seen without any library. With ``pip install 'dfd[credentials]'`` it is checked too, by c2pa-python
(MIT or Apache-2.0). Nothing is fetched from the network for it, whatever addresses a file names. A signature that fits
says that the file is as its signer left it. Whether the signer may be trusted depends on whom one trusts: it is told if
the environment variable :data:`TRUST_VARIABLE` names a trust list.

Source: C2PA technical specification 2.2, A.3 (embedding in JPEG, PNG, RIFF and ISO base media files).
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from dfd.base.untrusted import parse_json
from dfd.video.file.boxes import _boxes

NOT_CHECKED = "there are some; not checked, for which pip install 'dfd[credentials]' is needed"
NOT_READ = "there are some; not checked, since the trust list"
FITS = "there are some, and their signature fits the file"
UNKNOWN, TRUSTED, UNTRUSTED = (
    "whether the signer may be trusted was not checked",
    "the signer is on the trust list of this installation",
    "the signer is not on the trust list of this installation",
)
TRUST_VARIABLE = "DFD_C2PA_TRUST"
"""Names a PEM file with the certificates of the authorities that are trusted, such as the C2PA's own trust list."""
_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_MAX_PARTS = 10_000
_MAX_FAILURES = 3


def read_credentials(path: Path) -> dict[str, str]:
    """Facts about a file's Content Credentials by name, each a text from the file; empty if it has none.

    ``content_credentials`` says whether they fit, ``signed_by`` who signed, ``claimed_by`` which program wrote them.

    Raises:
        OSError: when the file cannot be read.
    """
    if not has_credentials(path):
        return {}
    try:
        import c2pa
    except ImportError:
        return {"content_credentials": NOT_CHECKED}
    anchors = os.environ.get(TRUST_VARIABLE, "")
    try:
        settings = json.dumps(_settings(anchors))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no text"  # without the folder, which a page must not show
        return {"content_credentials": f"{NOT_READ} {Path(anchors).name} cannot be read ({why})"}
    try:
        with c2pa.Context(c2pa.Settings.from_json(settings)) as context, c2pa.Reader(path, context=context) as reader:
            found = parse_json(reader.json())
    except (c2pa.C2paError, OSError, RuntimeError, TypeError, ValueError) as error:
        return {"content_credentials": f"there are some; they cannot be read ({error})"}
    return dict(_facts(found, has_list=bool(anchors))) if isinstance(found, dict) else {}


def _settings(anchors: str) -> dict[str, Any]:
    """Settings of c2pa-python: no network, and whom the PEM file ``anchors`` trusts, or nobody's trust is asked."""
    verify = {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": bool(anchors)}
    trust = {"trust": {"trust_anchors": Path(anchors).expanduser().read_text("utf-8")}} if anchors else {}
    return {"verify": verify, **trust}


def has_credentials(path: Path) -> bool:
    """Whether a JPEG, PNG, WebP, MP4 or QuickTime file holds a C2PA manifest; reads a few kilobytes.

    Raises:
        OSError: when the file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(16)
        if head.startswith(b"\xff\xd8"):
            return any(kind == 0xEB and b"c2pa" in content for kind, content in _jpeg_segments(file))
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            return any(kind == b"caBX" for kind in _chunks(file, 8, size, extra=4, order="big", kind_first=False))
        if head[:4] == b"RIFF":
            return any(kind == b"C2PA" for kind in _chunks(file, 12, size, extra=0, order="little", kind_first=True))
        if head[4:8] not in (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip"):
            return False
        for kind, start, _ in _boxes(file, 0, size):
            if kind == b"uuid":
                file.seek(start)
                if file.read(16) == _UUID:
                    return True
        return False


def _facts(found: Mapping[str, Any], *, has_list: bool) -> Iterator[tuple[str, str]]:
    results = found.get("validation_results")
    active = results.get("activeManifest") if isinstance(results, dict) else None
    failures = active.get("failure") if isinstance(active, dict) else None
    codes = [str(one.get("code")) for one in failures or [] if isinstance(one, dict)]
    codes = [code for code in codes if code != "signingCredential.untrusted"]
    if codes or found.get("validation_state") == "Invalid":
        shown = ", ".join(dict.fromkeys(codes[:_MAX_FAILURES])) or "no reason given"
        yield "content_credentials", f"there are some, and they do not fit the file: {shown}"
    else:
        trust = (TRUSTED if found.get("validation_state") == "Trusted" else UNTRUSTED) if has_list else UNKNOWN
        yield "content_credentials", f"{FITS}; {trust}"
    manifests, name = found.get("manifests"), found.get("active_manifest")
    manifest = manifests.get(name) if isinstance(manifests, dict) else None
    if not isinstance(manifest, dict):
        return
    signature = manifest.get("signature_info")
    if isinstance(signature, dict):
        signers = [str(signature[key]) for key in ("common_name", "issuer") if signature.get(key)]
        when = f", {signature['time']}" if signature.get("time") else ""
        if signers:
            yield "signed_by", f"{', '.join(dict.fromkeys(signers))}{when}"
    infos = manifest.get("claim_generator_info")
    first = infos[0] if isinstance(infos, list) and infos and isinstance(infos[0], dict) else {}
    program = " ".join(str(first[key]) for key in ("name", "version") if first.get(key))
    if program := program or str(manifest.get("claim_generator") or ""):
        yield "claimed_by", program


def _jpeg_segments(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Marker and beginning of the content of each segment before the picture's data."""
    place = 2
    for _ in range(_MAX_PARTS):
        file.seek(place)
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] == 0xDA:
            return
        yield head[1], file.read(64)
        place += 2 + max(2, int.from_bytes(head[2:], "big"))


def _chunks(file: BinaryIO, place: int, size: int, *, extra: int, order: Any, kind_first: bool) -> Iterator[bytes]:
    """Kind of each chunk of a PNG or RIFF file; ``extra`` bytes follow the content of each."""
    for _ in range(_MAX_PARTS):
        file.seek(place)
        head = file.read(8)
        if len(head) < 8 or place >= size:
            return
        kind, length = (head[:4], head[4:]) if kind_first else (head[4:], head[:4])
        yield kind
        number = int.from_bytes(length, order)
        place += 8 + number + (number % 2 if kind_first else 0) + extra
