"""How the C library hands memory to XLA on CPU.

XLA allocates the temporary buffers of a program anew at every call. By default
the C library maps such large blocks from the kernel and gives them back, page
fault by page fault, which at times takes longer than the computation. Kept in
one arena that never shrinks, in huge pages, they are faulted in once.
"""

import os
import sys

_TUNABLES = ("glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.arena_max=1:"
             "glibc.malloc.trim_threshold=17179869184")


def keep_memory(arguments: list[str]) -> None:
  """Starts Python again with `arguments` and these settings, which are read at a start.

  Does nothing the second time, outside Linux, or where GLIBC_TUNABLES is set.
  """
  if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
    os.execve(sys.executable, [sys.executable, *arguments],
              os.environ | {"GLIBC_TUNABLES": _TUNABLES})
