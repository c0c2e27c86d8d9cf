"""Signs of encryption in transport streams and Matroska files, whose pictures would otherwise look damaged."""

from pathlib import Path

_PACKET, _SYNC = 188, 0x47
_NUM_PACKETS = 2000
_NO_PAYLOAD_PIDS = frozenset({0, 0x1FFF})
_HEAD = 2**16
_CLUSTER = bytes.fromhex("1f43b675")
# Matroska's ContentEncodings, ContentEncoding and ContentEncryption (RFC 9559, 5.1.4.1.31), each within the one before.
_ENCRYPTION = (bytes.fromhex("6d80"), bytes.fromhex("6240"), bytes.fromhex("5035"))


def how_encrypted(path: Path) -> str | None:
    """Description of the encryption; None if the file is not encrypted, or has another format.

    Raises:
        OSError: when the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
        if head.startswith(bytes.fromhex("1a45dfa3")):
            return "Matroska ContentEncryption" if _in_order(head.partition(_CLUSTER)[0]) else None
        if len(head) < 2 * _PACKET or head[0] != _SYNC or head[_PACKET] != _SYNC:
            return None
        data = head + file.read(_NUM_PACKETS * _PACKET - len(head))
    packets = [data[at : at + 4] for at in range(0, len(data) - 4, _PACKET)]
    scrambled = counted = 0
    for sync, high, low, flags in packets:
        if sync == _SYNC and ((high & 0x1F) << 8 | low) not in _NO_PAYLOAD_PIDS and flags & 0x10:
            counted += 1
            scrambled += (flags >> 6 & 3) in (2, 3)  # ISO/IEC 13818-1, 2.4.3.3: transport_scrambling_control
    return "scrambled transport stream" if scrambled > counted / 2 else None


def _in_order(header: bytes) -> bool:
    at = 0
    for identifier in _ENCRYPTION:
        at = header.find(identifier, at) + 1
        if at == 0:
            return False
    return True
