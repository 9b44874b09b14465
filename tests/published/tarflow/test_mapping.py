import contextlib
import dataclasses
import functools
import pathlib
import re
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
import torch
from absl.testing import absltest, parameterized

from ntm.conversion import converter
from ntm.nn import patchify
from ntm.published.tarflow import mapping as conversion
from ntm.published.tarflow import model as tarflow
from ntm.typing import Condition
from tests.helpers import in_memory, parity, torch_tarflow

_TINY = dict(num_blocks=2, layers=2, width=32, num_heads=2, num_tokens=10, patch_size=2,
             image_channels=3, mlp_ratio=3, num_classes=0, scales=True)
_CLASSES = {**_TINY, "num_classes": 5}


def _random_model(architecture):
  torch.manual_seed(0)
  model = torch_tarflow.TarFlow(**architecture)
  with torch.no_grad():
    for parameter in model.parameters():
      parameter.normal_(0, 0.15)
    for block in model.blocks:
      # Alpha is not bounded: samples of a wilder model overflow.
      block.proj_out.weight.mul_(0.3)
    model.var.uniform_(0.5, 2)
  return model


def _tokens(image):
  return patchify.patchify(jnp.moveaxis(jnp.asarray(image.numpy()), 1, -1), (2, 2))


@functools.partial(jax.jit, static_argnums=0)
def _forward_and_inverse(model, params, cond, x, u):
  return [model.apply({"params": params}, value, cond, method=method)
          for method, value in (("forward_and_log_det", x), ("inverse_and_log_det", u))]


class TarFlowConversionTest(parameterized.TestCase):

  @parameterized.named_parameters(
      ("unconditional", _TINY, None),
      ("volume_preserving", {**_TINY, "scales": False}, None),
      ("classes", _CLASSES, (0, 4, 2)),
      ("some_without_class", _CLASSES, (3, -1, 1)),
      ("none_with_class", _CLASSES, None))
  def test_equals_pytorch(self, architecture, label):
    model = _random_model(architecture)
    image = torch.rand(3, 3, 4, 10) * 2 - 1
    labels = None if label is None else torch.tensor(label)
    with torch.no_grad():
      z, mean_log_det = model(image, labels)
      # Their latent patches as images, so that ours can be cut from them.
      fold = lambda a: torch.nn.functional.fold(a.mT, (4, 10), 2, stride=2)
      u = fold(z / model.var.sqrt())
      log_det = z[0].numel() * mean_log_det - 0.5 * model.var.log().sum()
      noise = torch.randn_like(image)
      sample = fold(model.reverse(model.cut(noise), labels))

    ours = tarflow.TarFlow(tarflow.TarFlowConfig(**architecture))
    params = in_memory.read(conversion.FAMILY, architecture, in_memory.state_of(model))
    cond = Condition(jnp.zeros(3), label_B=None if label is None else jnp.asarray(label))
    (ours_u, ours_log_det), (ours_sample, _) = _forward_and_inverse(
        ours, params, cond, _tokens(image), _tokens(noise))
    for name, a, b in (("z", ours_u, _tokens(u)), ("log-determinant", ours_log_det, log_det),
                       ("sample", ours_sample, _tokens(sample))):
      parity.assert_close(f"TarFlow {name}", a, b)

  @parameterized.parameters(_TINY, _CLASSES, {**_TINY, "scales": False})
  def test_writes_back_every_bit_but_the_masks(self, **architecture):
    model = _random_model(architecture)
    state = in_memory.state_of(model)
    params = in_memory.read(conversion.FAMILY, architecture, state)
    written = in_memory.write(conversion.FAMILY, architecture, params)
    ignored = conversion.ignored(architecture)
    self.assertEqual(set(written), set(state) - set(ignored))
    for name, array in written.items():
      np.testing.assert_array_equal(array, state[name], err_msg=name)
      self.assertEqual(array.dtype, state[name].dtype)
    missing, unexpected = model.load_state_dict(
        {name: torch.tensor(array) for name, array in written.items()}, strict=False)
    self.assertEqual((set(missing), unexpected), (set(ignored), []))

  def test_files_there_and_back(self):
    state = in_memory.state_of(_random_model({**_CLASSES, "width": 64, "num_heads": 1,
                                              "num_tokens": 16}))
    directory = pathlib.Path(tempfile.mkdtemp())
    safetensors.numpy.save_file(state, directory / "model.safetensors")
    converter.convert(conversion.FAMILY, directory / "model.safetensors", directory / "ours")
    family, architecture, params = converter.load(directory / "ours")
    self.assertEqual((family, architecture["num_classes"]), ("tarflow", 5))
    jax.tree.map(np.testing.assert_array_equal, params,
                 in_memory.read(conversion.FAMILY, architecture, state))
    converter.export(directory / "ours", directory / "back.safetensors")
    back = safetensors.numpy.load_file(directory / "back.safetensors")
    self.assertEqual(set(back), set(state))  # The masks too, which the model ignores.
    for name, array in state.items():
      np.testing.assert_array_equal(back[name], array, err_msg=name)

  def test_the_documented_snippet_is_a_round_trip(self):
    """As printed in docs/conversion.md, on a converted file."""
    text = (pathlib.Path(__file__).parents[3] / "docs" / "conversion.md").read_text()
    (snippet,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
                  if "inverse_and_log_det" in block]
    state = in_memory.state_of(_random_model({**_CLASSES, "width": 64,
                                              "num_heads": 1, "num_tokens": 10}))
    directory = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    safetensors.numpy.save_file(state, directory / "model.safetensors")
    converter.convert(conversion.FAMILY, directory / "model.safetensors",
                      directory / "runs/tarflow")
    self.enterContext(contextlib.chdir(directory))
    images = np.random.default_rng(0).uniform(-1, 1, (3, 4, 10, 3)).astype(np.float32)
    names = {"images": images, "labels": jnp.asarray([0, 4, 2])}
    forward = snippet.partition("x, log_det =")[0]
    exec(snippet, names)
    np.testing.assert_allclose(names["restored"], images, atol=1e-4)
    log_det_B = names["log_det"]
    exec(forward, names)
    np.testing.assert_allclose(names["log_det"], -log_det_B, rtol=1e-4)
    self.assertGreater(np.abs(names["z"] - names["x"]).max(), 0.1)

  @parameterized.parameters(
      # Of the paper: ImageNet 64 with patches of 2 and of 4, without and with classes.
      dict(num_blocks=8, layers=8, width=768, num_tokens=1024, patch_size=2, num_classes=0),
      dict(num_blocks=8, layers=8, width=1024, num_tokens=256, patch_size=4, num_classes=1000),
      dict(num_blocks=2, layers=3, width=128, num_tokens=49, patch_size=4, image_channels=1),
      dict(num_blocks=2, layers=1, width=64, num_tokens=16, patch_size=1, scales=False))
  def test_recognises_what_shapes_tell(self, width, **fields):
    config = tarflow.TarFlowConfig(width=width, num_heads=width // 64, **fields)
    with torch.device("meta"):
      state = torch_tarflow.TarFlow(**dataclasses.asdict(config)).state_dict()
    architecture = conversion.recognise({name: tuple(a.shape) for name, a in state.items()})
    self.assertEqual(tarflow.TarFlowConfig(**architecture), config)
    in_memory.check(conversion.FAMILY, architecture, state)

  def test_does_not_guess(self):
    with torch.device("meta"):
      state = torch_tarflow.TarFlow(**{**_TINY, "width": 64}).state_dict()
    shapes = {name: tuple(a.shape) for name, a in state.items()}
    self.assertIsNone(conversion.recognise({"weight": (3, 4)}))
    self.assertIsNone(conversion.recognise({k: v for k, v in shapes.items() if k != "var"}))
    with self.assertRaisesRegex(ValueError, "heads"):
      conversion.recognise({**shapes, "blocks.0.proj_in.weight": (96, 12)})
    with self.assertRaisesRegex(ValueError, "patch"):
      conversion.recognise({**shapes, "var": (10, 20)})


if __name__ == "__main__":
  absltest.main()
