import contextlib
import dataclasses
import pathlib
import re
import sys
from unittest import mock

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from absl.testing import absltest, parameterized

from ntm.conversion import converter, families
from tests.helpers import runs, toy

_DOCS = pathlib.Path(__file__).parents[2] / "docs" / "conversion.md"


class Residual(nn.Module):
  """The model of the documented family: a stem, stacked linear layers and a gain."""

  width: int
  channels: int
  layers: int

  @nn.compact
  def __call__(self, x_BNC):
    h_BND = nn.Dense(self.width, name="stem")(x_BNC)
    blocks = nn.scan(_Block, variable_axes={"params": 0}, split_rngs={"params": True},
                     length=self.layers)
    h_BND, _ = blocks(self.width, name="blocks")(h_BND, None)
    return nn.RMSNorm(name="norm")(h_BND)


class _Block(nn.Module):
  width: int

  @nn.compact
  def __call__(self, h_BND, _):
    return h_BND + nn.Dense(self.width, name="fc")(h_BND), None


class FamiliesTest(toy.ToyTest):

  def test_another_family_is_named(self):
    self.save({"other": np.zeros(2)})
    with self.assertRaisesRegex(ValueError, "not of family toy; it looks like none of flux2"):
      converter.convert(toy.FAMILY, self.source, self.target)
    with mock.patch.object(families, "matching", lambda shapes: ["sit"]):
      with self.assertRaisesRegex(ValueError, "it looks like sit"):
        converter.convert(toy.FAMILY, self.source, self.target)

  @parameterized.parameters(
      ("tarflo", "unknown family 'tarflo'; did you mean 'tarflow'"),
      ("no_such:FAMILY", "'no_such:FAMILY' cannot be imported .*No module .*expected MODULE:NAME"),
      ("tests.helpers.toy:FAMLY", "cannot be imported .*has no attribute 'FAMLY'"),
      ("tests/helpers/toy.py:FAMILY", "cannot be imported"),
      (":FAMILY", "cannot be imported"),
      ("tests.helpers.toy:LAYERS", "'tests.helpers.toy:LAYERS' is of type int; expected an"),
      ("tests.helpers.toy:", "is of type module; expected an"))
  def test_names_that_are_refused(self, name, message):
    with self.assertRaisesRegex(ValueError, f"^[^\n]*{message}[^\n]*$"):
      families.get(name)

  def test_a_family_outside_the_package_there_and_back(self):
    """Its Python path is its name, by which `export` finds it again."""
    family = families.get("tests.helpers.toy:FAMILY")
    self.assertEqual(family, dataclasses.replace(toy.FAMILY, name="tests.helpers.toy:FAMILY"))
    self.save(toy.tensors())
    converter.convert(family, self.source, self.target)
    self.assertEqual(converter.load(self.target)[0], family.name)
    converter.export(self.target, self.directory / "back.safetensors")
    self.assertEqual((self.directory / "back.safetensors").read_bytes(), self.source.read_bytes())

  def test_the_documented_family_is_converted_from_the_command_line(self):
    (text,) = [block for block in re.findall(r"```python\n(.*?)```", _DOCS.read_text(), re.DOTALL)
               if "FAMILY = " in block]
    self.enterContext(mock.patch.dict(sys.modules))
    self.enterContext(mock.patch.object(sys, "path", [*sys.path]))
    self.enterContext(contextlib.chdir(self.directory))
    (self.directory / "my_module.py").write_text(
        f"from {__name__} import Residual as MyModel\n{text}")
    rng = np.random.default_rng(0)
    shapes = {"stem.weight": (4, 3), "stem.bias": (4,), "scale": (4,),
              **{f"blocks.{i}.fc.weight": (4, 4) for i in range(2)},
              **{f"blocks.{i}.fc.bias": (4,) for i in range(2)}}
    state = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    safetensors.numpy.save_file(state, self.source)
    self._convert("--family=my_module:FAMILY", f"--source={self.source}", f"--target={self.target}")
    name, architecture, params = converter.load(self.target)
    self.assertEqual((name, architecture),
                     ("my_module:FAMILY", {"width": 4, "channels": 3, "layers": 2}))
    x = rng.normal(size=(1, 5, 3)).astype(np.float32)
    h = x @ state["stem.weight"].T + state["stem.bias"]
    for i in range(2):
      h = h + h @ state[f"blocks.{i}.fc.weight"].T + state[f"blocks.{i}.fc.bias"]
    expected = h / np.sqrt((h**2).mean(-1, keepdims=True)) * state["scale"]
    ours = Residual(**architecture).apply({"params": params}, jnp.asarray(x))
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
    self._convert("--export", f"--source={self.target}",
                  f"--target={self.directory / 'back.safetensors'}")
    self.assertEqual((self.directory / "back.safetensors").read_bytes(), self.source.read_bytes())

  def _convert(self, *arguments):
    code, stderr = runs.call("convert", *arguments)
    self.assertEqual(code, 0, stderr)


if __name__ == "__main__":
  absltest.main()
