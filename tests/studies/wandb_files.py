"""What is in the file of an offline run of W&B, read without W&B's service.

The file is a log in LevelDB's format (its doc/log_format.md) after a header of 7 bytes: blocks of 32 KiB with chunks of
checksum (4 bytes), length (2), type (1: whole, 2: first, 3: middle, 4: last) and data, which is a protobuf message.
"""

from pathlib import Path
from typing import Any

BLOCK, HEADER = 32768, 7


def records(path: Path) -> list[Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    data = path.read_bytes()
    assert data[:4] == b":W&B"
    found, part, at = [], b"", HEADER
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:  # too little of the block is left for a chunk
            at += BLOCK - at % BLOCK
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        part += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):
            record = Record()
            record.ParseFromString(part)
            found.append(record)
            part = b""
        elif kind == 0:
            break
    return found


def offline_run(folder: Path) -> tuple[Any, list[Any]]:
    """The one run below the folder: what it is, and all records."""
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    found = records(path)
    return next(record.run for record in found if record.WhichOneof("record_type") == "run"), found


def has_ended(found: list[Any]) -> bool:
    return any(record.WhichOneof("record_type") == "exit" for record in found)
