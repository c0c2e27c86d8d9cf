"""Whether freed memory is kept: in a process of its own, since it cannot be undone."""

import os
import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from dfd.host_memory import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
import torch
torch.set_num_threads(1)
def faults_of_steps():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        kept = [torch.empty(2**24, dtype=torch.uint8).fill_(1) for _ in range(4)]
        del kept
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults_of_steps()
print(faults_of_steps())
"""


def faults(how: str) -> int:
    command = [sys.executable, "-c", SCRIPT, how]
    small_pages = {**os.environ, "THP_MEM_ALLOC_ENABLE": "0"}
    return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, env=small_pages).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that is told")
def test_memory_of_the_last_step_is_there_for_the_next() -> None:
    # 64 MB at once, ten times: 160,000 pages if each were new.
    assert faults("kept") < 1000 < 100_000 < faults("given back")
