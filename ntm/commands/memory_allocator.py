"""Memory settings of the C library, which make XLA faster on CPU.

XLA allocates the temporary buffers of a program anew in every call. By default the C
library maps such large blocks from the kernel and returns them when they are freed, so
every call faults all their pages in again: 59,000 page faults, and a quarter of the CPU
time, per update of configs/digits.py. Blocks that stay in the process are reused as they are.
"""

import ctypes
import os
import sys

# Parameters of mallopt, from malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> None:
  """Keeps freed memory in the process, in one arena that all threads share.

  Call it before the first allocations of other threads. It does nothing outside Linux,
  without glibc, or where the environment has GLIBC_TUNABLES.
  """
  if sys.platform != "linux" or "GLIBC_TUNABLES" in os.environ:
    return
  mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
  if mallopt:
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_M_ARENA_MAX, 1)
