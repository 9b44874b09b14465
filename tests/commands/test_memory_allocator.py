import os
import subprocess
import sys

from absl.testing import absltest

_PROGRAM = """
import resource
from ntm.commands import memory_allocator

memory_allocator.keep_freed_memory()
faults = []
for _ in range(5):
  b"x" * 2**26  # Allocated, filled and freed.
  faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[0])
"""


def _page_faults(**environment):
  """Page faults of four allocations of 64 MiB, after a first one."""
  keep = {key: value for key, value in os.environ.items() if key != "GLIBC_TUNABLES"}
  return int(subprocess.run([sys.executable, "-c", _PROGRAM], env=keep | environment, check=True,
                            capture_output=True, text=True).stdout)


@absltest.skipUnless(sys.platform == "linux", "the settings are those of glibc")
class KeepFreedMemoryTest(absltest.TestCase):

  def test_freed_blocks_are_reused_without_page_faults(self):
    self.assertLess(_page_faults(), 1000)

  def test_settings_of_the_environment_are_left_alone(self):
    self.assertGreater(_page_faults(GLIBC_TUNABLES="glibc.malloc.hugetlb=0"), 4 * 2**26 // 4096 - 1)


if __name__ == "__main__":
  absltest.main()
