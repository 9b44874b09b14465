"""A reader who opens ntm/x/y.py finds its laws in tests/x/test_y.py."""

import pathlib

from absl.testing import absltest

_ROOT = pathlib.Path(__file__).parents[1]
# What has no laws of its own.
_EXCEPTIONS = {
    "__init__.py",  # Names alone; that of `ntm.config` is in tests/config/test_config.py.
}


class LayoutTest(absltest.TestCase):

  def test_every_module_has_its_test_file(self):
    modules = sorted((_ROOT / "ntm").rglob("*.py"))
    self.assertGreater(len(modules), 100)
    missing = []
    for path in modules:
      inner = path.relative_to(_ROOT / "ntm")
      if inner.name not in _EXCEPTIONS:
        mirrored = _ROOT / "tests" / inner.with_name(f"test_{inner.name}")
        if not mirrored.exists():
          missing.append(str(mirrored.relative_to(_ROOT)))
    self.assertEmpty(missing)

  def test_every_test_file_is_a_package_member_and_asserts_something(self):
    for path in sorted((_ROOT / "tests").rglob("test_*.py")):
      self.assertTrue((path.parent / "__init__.py").exists(), path)
      self.assertRegex(path.read_text(), r"\bassert", path)

  def test_marks_stand_below_parameters(self):
    for path in sorted((_ROOT / "tests").rglob("test_*.py")):  # Above them a mark is lost.
      self.assertNotRegex(path.read_text(), r"@pytest\.mark\.[^\n]*\n *@parameterized\.", path)


if __name__ == "__main__":
  absltest.main()
