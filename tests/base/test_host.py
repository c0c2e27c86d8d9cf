"""How a process uses the machine. What cannot be undone is tried in a process of its own."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dfd.base.machine import leave_in_file, wait_without_spinning

MEMORY_SCRIPT = """
import resource, sys
from dfd.base.machine import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
import torch
torch.set_num_threads(1)
def faults_of_steps():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        kept = [torch.empty(40 * 2**20, dtype=torch.uint8).fill_(1) for _ in range(2)]
        del kept
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults_of_steps()
print(faults_of_steps())
"""


def faults(how: str) -> int:
    command = [sys.executable, "-c", MEMORY_SCRIPT, how]
    small_pages = {**os.environ, "THP_MEM_ALLOC_ENABLE": "0"}
    return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, env=small_pages).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that is told")
def test_memory_of_the_last_step_is_there_for_the_next() -> None:
    # 80 MiB at once, ten times: 200,000 pages if each were new. From 32 MiB on glibc always asks the system.
    assert faults("kept") < 1000 < 100_000 < faults("given back")


# Two threads on one core: whoever waits by spinning takes the core from the one that is waited for.
WAIT_SCRIPT = """
import os, sys, time
if sys.argv[1] == "sleeping":
    from dfd.base.machine import leave_in_file, wait_without_spinning
    wait_without_spinning()
import torch
# Only now: when OpenMP is loaded it looks how many cores there are, and with too few it hardly spins.
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
torch.set_num_threads(2)
x = torch.rand(2**16)
for _ in range(3):
    x.exp()
began = time.process_time()
for _ in range(300):
    x.exp()
print(time.process_time() - began)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs a core less than OpenMP sees",
)
def test_threads_that_wait_leave_the_core_to_others() -> None:
    def seconds(how: str) -> float:
        command = [sys.executable, "-c", WAIT_SCRIPT, how]
        env = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_", "KMP_"))}
        return float(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, env=env).stdout)

    assert seconds("sleeping") < seconds("spinning") / 2


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_a_policy_that_was_chosen_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "1")
    wait_without_spinning()
    assert {key: os.environ.get(key) for key in ("OMP_WAIT_POLICY", name)} == {"OMP_WAIT_POLICY": None} | {name: "1"}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_pages_of_a_file_leave_the_memory_and_come_back_and_other_memory_stays(tmp_path: Path) -> None:
    np.arange(2**20, dtype=np.int64).tofile(tmp_path / "numbers")
    mapped = np.memmap(tmp_path / "numbers", dtype=np.int64, mode="c")
    own = np.arange(2**20, dtype=np.int64)
    total = int(mapped.sum())
    before = _bytes_of_files()
    for array in (mapped, own):
        leave_in_file(array.ctypes.data, array.nbytes)
    assert before - _bytes_of_files() > 7 * 2**20
    assert int(own.sum()) == int(mapped.sum()) == total


def _bytes_of_files() -> int:
    rows = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(row.split()[1]) for row in rows if row.startswith("RssFile"))
