"""Padding that no one reads is left out, and nothing else changes."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.losses import inputs, task, text_lengths
from ntm.nn import partitioning
from ntm.training import state as state_lib
from ntm.training import step as step_lib
from tests.helpers import runs, tiny, tiny_text_encoder

_HEADS = {"model__predictor__num_kv_heads": 2, "model__transporter__num_kv_heads": 2}


def _learned(**changes):
  """A model that embeds token ids itself."""
  return tiny.config(model__num_classes=0, model__backbone={"text_tokens": 12, "vocab_size": 300},
                     text__tokenizer="scenes", **changes)


def _batch(longest):
  batch = tiny_text_encoder.batch(8)
  lengths = np.random.default_rng(1).integers(1, longest + 1, (8, 1))
  lengths[3] = longest
  return batch | {"mask": np.arange(12) < lengths}


class TextLengthsTest(parameterized.TestCase):

  def test_the_shortest_length_that_holds_every_token_is_taken(self):
    width = jax.jit(lambda mask: text_lengths.at_shortest(
        lambda batch: jnp.full((), batch["ids"].shape[1]), {"ids": mask, "mask": mask}, (4, 6, 12)))
    for longest, expected in ((0, 4), (1, 4), (4, 4), (5, 6), (6, 6), (7, 12), (12, 12)):
      mask = np.zeros((3, 12), bool)
      mask[1, :longest] = True
      self.assertEqual(width(mask), expected)
    self.assertEqual(width(mask[:, ::-1] & (np.arange(12) > 9)), 12)  # Padding on the left.

  def test_without_lengths_a_batch_stays_itself(self):
    batch = {"image": np.zeros(3)}
    self.assertIs(text_lengths.at_shortest(lambda batch: batch, batch, ()), batch)

  @parameterized.parameters(_learned, tiny_text_encoder.config)
  def test_the_loss_does_not_depend_on_padding(self, make_config):
    config = make_config(text__lengths=(4, 12))
    frozen = jax.device_put(inputs.load(config))
    what, rng = task.density(config, frozen), jax.random.key(0)
    params = tiny.random_params(lambda rng: {"params": what.init(rng)})
    loss = jax.jit(lambda batch: what.loss(rng, params, frozen, batch, 0)[0])
    batch = _batch(4)
    whole = loss(batch)
    cut = loss(batch | {name: batch[name][:, :4] for name in ("ids", "mask")})
    np.testing.assert_allclose(cut, whole, rtol=1e-5)
    other = np.where(batch["mask"], batch["ids"], batch["ids"] // 2)
    np.testing.assert_allclose(loss(batch | {"ids": other}), whole, rtol=1e-5)
    # The texts themselves do matter.
    self.assertGreater(abs(float(loss(batch | {"ids": batch["ids"] // 2}) - whole)), 1e-4)

  def test_an_update_is_the_same_in_any_length_on_any_mesh(self):
    results = []
    for sizes, lengths in (({"data": 1}, (12,)), ({"data": 2, "fsdp": 2, "tensor": 2}, (4, 12))):
      config = tiny_text_encoder.config(mesh=sizes, text__lengths=lengths, **_HEADS)
      mesh = partitioning.make_mesh(config.mesh, jax.devices()[:np.prod(list(sizes.values()))])
      what = task.density(config, inputs.load(config, mesh=mesh))
      frozen, step = state_lib.place_frozen(what, mesh), step_lib.make_train_step(
          what, config, mesh)
      for longest in (3, 9):
        state = runs.filled(state_lib.abstract_state(what, config, mesh))
        state, metrics, _ = step(state, partitioning.put_batch(mesh, _batch(longest)), frozen)
        results.append(jax.device_get((metrics.loss, state.opt_state[1][0].mu)))
    for (loss, gradient), (other_loss, other_gradient) in zip(results[:2], results[2:]):
      np.testing.assert_allclose(other_loss, loss, rtol=1e-5)
      norm = sum((leaf ** 2).sum() for leaf in jax.tree.leaves(gradient)) ** 0.5
      jax.tree.map(lambda a, b, norm=norm: np.testing.assert_allclose(
          a, b, rtol=0, atol=1e-5 * norm), gradient, other_gradient)


if __name__ == "__main__":
  absltest.main()
