"""One clip through a stranger's ONNX file, in a process that may be ended and that gets no more than its memory.

A file without loops can still ask for any amount of both: a single operator makes a tensor of a size that it names.
Whatever happens to the process, the one that scores has not run the file yet.
"""

import os
import subprocess
import sys
from pathlib import Path

from dfd.errors import CheckpointError

SPARE_BYTES = 4 * 10**9
BYTES_PER_BYTE = 4
"""Beside SPARE_BYTES, so much for each byte of the file: its weights, and as onnxruntime orders them."""
SPARE_SECONDS = 60.0
BYTES_PER_SECOND = 10e6
"""Beside SPARE_SECONDS, a second for so many bytes of the file."""

_CODE = """
import sys
sys.path[:] = sys.argv[5:]
import time
import numpy
import onnxruntime
content = sys.stdin.buffer.read()
num_frames, side, num_bytes, num_threads = map(int, sys.argv[1:5])
try:
    import resource
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + num_bytes, used + num_bytes))
except (ImportError, OSError):
    pass  # not on Linux
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = num_threads
options.log_severity_level = 4
frames = numpy.zeros((1, num_frames, 3, side, side), numpy.uint8)
session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
began = time.monotonic()
session.run(None, {session.get_inputs()[0].name: frames})
print(time.monotonic() - began)
"""


def seconds_for_one_clip(content: bytes, *, name: str, num_frames: int, side: int, num_threads: int) -> float:
    """How long onnxruntime takes for a clip on the CPU.

    Raises:
        CheckpointError: it fails, takes too long or too much memory.
    """
    num_bytes = SPARE_BYTES + BYTES_PER_BYTE * len(content)
    deadline = SPARE_SECONDS + len(content) / BYTES_PER_SECOND
    numbers = map(str, (num_frames, side, num_bytes, num_threads))
    places = [*filter(None, sys.path), str(Path(__file__).resolve().parents[1])]
    # Nothing of this process's environment is the file's business.
    kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "HOME") if key in os.environ}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _CODE, *numbers, *places],
            input=content,
            capture_output=True,
            timeout=deadline,
            env=kept,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CheckpointError(
            f"{name}: does not score a clip of {num_frames} frames within {deadline:.0f} seconds"
        ) from error
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise CheckpointError(
            f"{name}: onnxruntime cannot run it, or not within {num_bytes / 1e9:.1f} GB ({lines[-1][:300]})"
        )
    return float(done.stdout)
