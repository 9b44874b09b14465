"""Sizes, and positions that turn queries and keys."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.published.flux2 import blocks as flux2_blocks
from ntm.published.flux2 import model as flux2

_CONFIG = flux2_blocks.Flux2Config(
    width=32, num_heads=2, double_layers=1, single_layers=1, text_width=24, axes=(4, 4, 4, 4))


class SizesTest(absltest.TestCase):

  def test_sizes_must_fit(self):
    with self.assertRaisesRegex(ValueError, "heads"):
      dataclasses.replace(_CONFIG, num_heads=3)
    with self.assertRaisesRegex(ValueError, "axes"):
      dataclasses.replace(_CONFIG, axes=(4, 4, 4))


class RotationTest(parameterized.TestCase):

  def _rotated(self, x_E, ids):
    angles = flux2_blocks.rotary_angles(ids, (4, 4, 4, 4), 2000.0)
    x_1M1E = np.broadcast_to(x_E, (1, len(ids), 1, 16))
    return flux2_blocks.rotate(x_1M1E, np.cos(angles), np.sin(angles))[0, :, 0]

  def test_scores_depend_on_differences_of_positions(self):
    query, key = np.random.default_rng(0).normal(size=(2, 16)).astype(np.float32)
    ids = np.random.default_rng(1).integers(0, 20, (2, 6, 4))
    scores = [(self._rotated(query, ids[0] + shift) * self._rotated(key, ids[1] + shift)).sum(-1)
              for shift in ([0, 0, 0, 0], [10, 3, 5, 7])]
    np.testing.assert_allclose(*scores, atol=1e-5)
    self.assertGreater(np.ptp(scores[0]), 0.1)

  def test_keeps_norms_and_type(self):
    x = np.random.default_rng(0).normal(size=16).astype(np.float32)
    out = self._rotated(x, flux2.text_ids(3))
    np.testing.assert_allclose(np.linalg.norm(out, axis=-1), np.linalg.norm(x), rtol=1e-6)
    np.testing.assert_array_equal(out[0], x)
    self.assertEqual(self._rotated(x.astype(jnp.bfloat16), flux2.text_ids(3)).dtype, jnp.bfloat16)


if __name__ == "__main__":
  absltest.main()
