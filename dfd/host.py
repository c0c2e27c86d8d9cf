"""How a process uses its machine, to be said before torch is imported: its memory, and how its threads wait."""

import ctypes
import os
import platform

# Of malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def wait_without_spinning() -> None:
    """Have threads that wait for each other sleep; OpenMP's default is to keep their cores busy for a while.

    The cores are wanted by the processes beside, which decode: with two of them on two cores the network took twice as
    long. Who has set the policy by OpenMP's own variables is left with it.
    """
    if "GOMP_SPINCOUNT" not in os.environ and "KMP_BLOCKTIME" not in os.environ:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def keep_freed_memory() -> bool:
    """Have this process reuse what it frees, and torch ask for large pages.

    A training step takes and frees tensors of tens of megabytes by the hundred. glibc asks the system anew for each of
    them, and a first write to each of their pages is a fault: on a virtual machine a quarter of ResNeXt50's step. The
    process then holds what it held at most. False where it cannot be told so: elsewhere than with glibc on Linux.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch's own switch, for tensors of 2 MB and more
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_M_MMAP_MAX, 0)) and bool(libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
