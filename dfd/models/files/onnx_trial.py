"""Runs one clip through a stranger's ONNX file in a process with limited time and memory.

Even a file without loops can need any amount of both: a single operator makes a tensor of the size that it names. The
process that scores videos does not run the file before this trial.
"""

import os
import subprocess

from dfd.base.errors import CheckpointError
from dfd.base.machine import python_command

SPARE_BYTES = 4 * 10**9
BYTES_PER_BYTE = 4
"""Bytes of memory per byte of the file, added to SPARE_BYTES: its weights, and onnxruntime's reordered copies."""
SPARE_SECONDS = 60.0
BYTES_PER_SECOND = 10e6
"""Bytes of the file per second, added to SPARE_SECONDS."""

_CODE = """
import time
import numpy
import onnxruntime
content = sys.stdin.buffer.read()
num_frames, side, num_bytes, num_threads = map(int, sys.argv[1:])
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
    """Time in seconds that onnxruntime takes for one clip on the CPU.

    Raises:
        CheckpointError: when it fails, or takes too much time or memory.
    """
    num_bytes = SPARE_BYTES + BYTES_PER_BYTE * len(content)
    deadline = SPARE_SECONDS + len(content) / BYTES_PER_SECOND
    numbers = map(str, (num_frames, side, num_bytes, num_threads))
    # Nothing of this process's environment is the file's business.
    kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "HOME") if key in os.environ}
    try:
        done = subprocess.run(
            python_command(_CODE, *numbers),
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
