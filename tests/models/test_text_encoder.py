"""Token ids reach every feature of their own text, padding none."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ntm.config import TransformerConfig
from ntm.models.text_encoder import TextEncoder
from ntm.typing import Condition
from tests.helpers import tiny

_IDS = np.array([[1, 5, 2, 0, 0], [1, 3, 3, 4, 6]], np.int32)
_MASK = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool)
_TEXT = {"text_tokens": 5, "vocab_size": 7}


def _encoder():
  model = TextEncoder(TransformerConfig(2, 16, 2, 1), 7)
  params = tiny.random_params(lambda rng: model.init(rng, _IDS, _MASK))
  return jax.jit(lambda ids, mask: model.apply({"params": params}, ids, mask))


class TextEncoderTest(absltest.TestCase):

  def test_padding_changes_nothing(self):
    encode = _encoder()
    features = encode(_IDS, _MASK)
    self.assertEqual(features.shape, (2, 5, 16))
    other = np.where(_MASK, _IDS, 3)  # Other ids as padding.
    np.testing.assert_array_equal(encode(other, _MASK)[_MASK], features[_MASK])
    np.testing.assert_allclose(encode(_IDS[:1, :3], _MASK[:1, :3])[0], features[0, :3], atol=1e-5)

  def test_the_order_of_tokens_matters(self):
    encode = _encoder()
    swapped = encode(_IDS[:, [0, 2, 1, 3, 4]], _MASK)
    self.assertGreater(np.abs(swapped - encode(_IDS, _MASK))[0, 0].max(), 1e-3)

  def test_a_text_of_padding_alone_is_finite(self):
    self.assertTrue(np.isfinite(_encoder()(_IDS, np.zeros_like(_MASK))).all())


class ModelOfTokensTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    self.config = tiny.config(model__num_classes=0, model__backbone=_TEXT,
                              text={"tokenizer": "scenes"})
    self.model, self.params = tiny.model_and_params(self.config)
    self.trajectory = tiny.trajectory(self.config)

  def _steps(self, params, ids, mask):
    cond = Condition(ids_BM=ids, mask_BM=mask)
    return self.model.apply({"params": params}, self.trajectory.replace(cond=cond),
                            method="log_prob").step_SB

  def test_every_step_reads_the_tokens_of_its_own_text_and_no_padding(self):
    steps = jax.jit(self._steps)
    before = steps(self.params, _IDS, _MASK)
    changed = steps(self.params, np.where(_MASK, _IDS, 3), _MASK)
    np.testing.assert_array_equal(changed, before)
    for place in ((0, 0), (0, 2), (1, 4)):
      ids = _IDS.copy()
      ids[place] = 4 if ids[place] != 4 else 5
      change = np.abs(steps(self.params, ids, _MASK) - before)
      self.assertTrue((change[:, place[0]] > 0).all(), place)
      np.testing.assert_array_equal(change[:, 1 - place[0]], 0)

  def test_only_vectors_of_tokens_that_occur_have_a_gradient(self):
    grads = jax.jit(jax.grad(lambda params: self._steps(params, _IDS, _MASK).sum()))(self.params)
    table = grads["predictor"]["network"]["text_encoder"]["table"]
    moved = np.flatnonzero(np.abs(table).max(axis=1))
    np.testing.assert_array_equal(moved, np.unique(_IDS[_MASK]))
    self.assertTrue(jnp.isfinite(table).all())


if __name__ == "__main__":
  absltest.main()
