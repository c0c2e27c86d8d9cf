"""How a process that trains on a CPU keeps its memory: freed pieces are for the next step, not for the system.

A training step takes and frees tensors of tens of megabytes by the hundred. glibc asks the system anew for each of
them, and a first write to each of their pages is a fault: on a virtual machine a quarter of ResNeXt50's step.
"""

import ctypes
import os
import platform

# Of malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Have this process reuse what it frees, and torch ask for large pages; before torch is first used.

    It then holds what it held at most. False where it cannot be told so: elsewhere than with glibc on Linux.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch's own switch, for tensors of 2 MB and more
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_M_MMAP_MAX, 0)) and bool(libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
