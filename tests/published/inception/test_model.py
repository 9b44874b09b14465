"""Our Inception against that of torch-fidelity and of pytorch-fid, with their random weights."""

import functools
import sys
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest

from ntm.conversion import converter
from ntm.published.inception import model as inception
from tests.helpers import inception_pair, parity

torch = pytest.importorskip("torch")


@functools.cache
def _images():
  """Noise, and a ramp of colours."""
  shape = (inception.SIDE, inception.SIDE, 3)
  noise = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
  ramp = np.indices(shape).astype(float).sum(axis=0) * np.array([0.4, 0.2, 0.1])
  return np.stack([noise, ramp.astype(np.uint8)])


@functools.cache
def _ours():
  params = converter.load(inception_pair.converted())[2]
  x_BHWC = (jnp.float32(_images()) - 128) / 128
  return jax.jit(inception.Inception().apply)({"params": params}, x_BHWC)


class InceptionTest(absltest.TestCase):

  def test_equals_torch_fidelity(self):
    features = ["768", "2048", "logits_unbiased", "logits"]
    theirs = inception_pair.extractor(features, inception_pair.weights_file())
    blocks = []
    theirs.Mixed_6d.register_forward_hook(lambda module, inputs, output: blocks.append(output))
    _, pool, unbiased, logits = theirs(torch.from_numpy(_images()).permute(0, 3, 1, 2))
    ours = _ours()
    self.assertEqual(ours.spatial_BHWF.shape, (2, 17, 17, 768))
    self.assertEqual(ours.pool_BF.shape, (2, inception.NUM_FEATURES))
    parity.assert_close("spatial", ours.spatial_BHWF, blocks[0].permute(0, 2, 3, 1))
    parity.assert_close("pool", ours.pool_BF, pool)
    parity.assert_close("logits", ours.logits_BL, logits)
    parity.assert_close("unbiased logits", ours.unbiased_logits_BL, unbiased)
    # The images differ by more than the networks do.
    self.assertGreater(float((pool[0] - pool[1]).abs().max() / pool.abs().max()), 1e-2)

  def test_equals_pytorch_fid(self):
    _import_torchvision()
    theirs = pytest.importorskip("pytorch_fid.inception")
    state = torch.load(inception_pair.weights_file())
    with mock.patch.object(theirs, "load_state_dict_from_url", lambda *args, **kwargs: state):
      model = theirs.InceptionV3([3], resize_input=False, normalize_input=False).eval()
    x_BCHW = (torch.from_numpy(_images()).permute(0, 3, 1, 2).float() - 128) / 128
    with torch.no_grad():
      (pool,) = model(x_BCHW)
    parity.assert_close("pool", _ours().pool_BF, pool[..., 0, 0])


def _import_torchvision():
  """torchvision, also where its operators are of another build than PyTorch and do not load.

  Its import needs two of them to exist, and Inception none.
  """
  try:
    return pytest.importorskip("torchvision")
  except RuntimeError:
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
      del sys.modules[name]
    for name in ("nms", "qnms"):
      torch.library.define(f"torchvision::{name}", "(Tensor a, Tensor b, float c) -> Tensor")
    return pytest.importorskip("torchvision")


if __name__ == "__main__":
  absltest.main()
