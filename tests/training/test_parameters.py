"""A run whose own module has changed says which parameters differ, wherever it is loaded."""

import contextlib
import pathlib
import re
import sys
import tempfile

import pytest
from absl.testing import absltest, parameterized

import ntm
from ntm.losses import task
from ntm.training import checkpoint, parameters
from ntm.training import state as state_lib
from tests.helpers import runs

_MODULE = '''
import flax.linen as nn
import jax.numpy as jnp


class Shift(nn.Module):
  """u = x + shift, of every channel."""

  num_channels: int

  def setup(self):
    self.shift = self.param("shift", nn.initializers.zeros_init(), (self.num_channels,))

  def forward_and_log_det(self, x, cond):
    return x + self.shift, jnp.zeros(len(x))

  def inverse_and_log_det(self, u, cond):
    return u - self.shift, jnp.zeros(len(u))


def transporter(config, numerics):
  return Shift(config.num_channels)
'''
_CHANGES = {
    "renamed": (("self.shift", "self.offset"), ('"shift"', '"offset"')),
    "resized": (("(self.num_channels,)", "(1, self.num_channels)"),),
}
_MESSAGES = {
    "renamed": "transporter/offset [64] is new, transporter/shift [64] is gone. ",
    "resized": "transporter/shift is [1, 64], was [64]. ",
}


# Of reads that Orbax abandons.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class ParametersTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.enterContext(contextlib.chdir(self.enterContext(tempfile.TemporaryDirectory())))
    self.addCleanup(setattr, sys, "path", list(sys.path))
    self._write_module()
    self.config = runs.config(transporter={"kind": "shifted:transporter"})
    runs.write("run", self.config)

  def _write_module(self, *changes):
    text = _MODULE
    for old, new in changes:
      text = text.replace(old, new)
    pathlib.Path("shifted.py").write_text(text)
    sys.modules.pop("shifted", None)
    sys.path_importer_cache.pop(str(pathlib.Path.cwd()), None)

  def _resume(self):
    what, mesh = task.density(self.config), runs.mesh(self.config)
    checkpointer = checkpoint.Checkpointer("run", self.config)
    self.addCleanup(checkpointer.close)
    return checkpointer.restore_latest(state_lib.abstract_state(what, self.config, mesh))

  @parameterized.parameters(*_CHANGES)
  def test_changed_parameters_are_named(self, change):
    self.assertEqual(int(self._resume()[0].step), 3)
    self._write_module(*_CHANGES[change])
    message = re.escape(f"has other parameters than its checkpoint: {_MESSAGES[change]}The code of "
                        "'shifted:transporter' or ntm has changed since; bring back the code")
    with self.assertRaisesRegex(ValueError, f"^the model of .*run {message}"):
      self._resume()
    with self.assertRaisesRegex(ValueError, f"^the model of run {message}"):
      ntm.restore("run")
    code, error = runs.call("sample", "--workdir=run")
    self.assertEqual(code, 1)
    self.assertRegex(error, f"error: the model of run {message}")
    self._write_module()
    self.assertEqual(ntm.restore("run").step, 3)
    self.assertEqual([path.name for path in pathlib.Path("run/checkpoints").iterdir()], ["3"])

  def test_many_changes_are_counted(self):
    saved = {f"p{i}": (i,) for i in range(9)}
    self.assertEqual(parameters.changes(saved, saved), "")
    self.assertEqual(parameters.changes(saved, saved | {"p3": (7,)}), "p3 is [7], was [3]")
    self.assertEndsWith(parameters.changes(saved, {}), "p4 [4] is gone and 4 more")


if __name__ == "__main__":
  absltest.main()
