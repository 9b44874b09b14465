"""Code outside of `ntm` is found, and what cannot be loaded is named."""

import contextlib
import pathlib
import sys
import tempfile

from absl.testing import absltest, parameterized

from ntm.config import extension
from tests.helpers import tiny

_MODULES = {
    "good": "def flow(config, numerics):\n  return config, numerics\n",
    "bad": "NUMBER = 3\n",
    "lacking": "import not_there\n",
    "failing": "import jax\njax.nothing_of_that_name\n",
}


class ExtensionTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.enterContext(contextlib.chdir(self.enterContext(tempfile.TemporaryDirectory())))
    self.addCleanup(setattr, sys, "path", list(sys.path))
    for name, text in _MODULES.items():
      pathlib.Path(f"{name}.py").write_text(text)
      self.addCleanup(sys.modules.pop, name, None)

  @parameterized.parameters(
      ("nowhere:flow", "cannot be imported .No module named 'nowhere'.; start where"),
      ("good:nothing", "'good:nothing' is not a function or class of .*good.py"),
      ("bad:NUMBER", "'bad:NUMBER' is not a function or class"),
      ("lacking:flow", "its module needs 'not_there', which is not installed"),
      ("failing:flow", "its module fails with AttributeError"))
  def test_what_cannot_be_loaded_is_named(self, path, message):
    with self.assertRaisesRegex(ValueError, message):
      extension.load(path)

  def test_a_function_is_called_with_as_many_arguments_as_it_takes(self):
    self.assertEqual(extension.call("good:flow", 1, 2), (1, 2))
    with self.assertRaisesRegex(
        ValueError, r"'good:flow' cannot be called with the arguments \(int\): missing"):
      extension.call("good:flow", 1)

  def test_those_of_a_config_are_found_by_their_keys(self):
    self.assertEmpty(extension.named_in(tiny.config()))
    keys = ("model.transporter.kind", "model.backbone.kind", "data.source", "train.objective")
    config = tiny.config(**{key.replace(".", "__"): f"good:{i}" for i, key in enumerate(keys)})
    self.assertEqual(extension.named_in(config), {key: f"good:{i}" for i, key in enumerate(keys)})


if __name__ == "__main__":
  absltest.main()
