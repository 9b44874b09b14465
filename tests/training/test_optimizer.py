import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.config import OptimizerConfig
from ntm.training import optimizer
from tests.helpers import tiny

_RATE, _DECAY = 0.01, 0.5


def _config(**changes):
  return OptimizerConfig(**{"peak_learning_rate": _RATE, "final_learning_rate": 1e-3,
                            "warmup_steps": 0, "weight_decay": _DECAY}
                         | changes)


def _update(config, grads, params):
  """(updates, state) of the first step of a long run, at the peak of the learning rate."""
  transformation = optimizer.build(config, 1_000_000)
  return jax.jit(lambda grads, params: transformation.update(
      grads, transformation.init(params), params))(grads, params)


class OptimizerTest(parameterized.TestCase):

  def test_weight_decay_shrinks_kernels_and_nothing_else(self):
    model = tiny.config(model__transporter={
        "layers": 1, "width": 16, "num_heads": 2, "num_kv_heads": 1, "num_blocks": 2,
        "class_conditional": True})
    _, params = tiny.model_and_params(model)
    updates, _ = _update(_config(), jax.tree.map(np.zeros_like, params), params)
    names = set()
    for (path, before), update in zip(jax.tree_util.tree_leaves_with_path(params),
                                      jax.tree.leaves(updates)):
      names.add(path[-1].key)
      shrunk = -_RATE * _DECAY * before if path[-1].key == "kernel" else np.zeros_like(before)
      np.testing.assert_allclose(update, shrunk, rtol=1e-5, err_msg=jax.tree_util.keystr(path))
    # Biases, gains, embeddings, positions and learned tokens are among what stays.
    self.assertContainsSubset({"kernel", "bias", "scale", "table", "start"}, names)

  def test_the_rate_rises_to_its_peak_and_falls_to_its_end(self):
    rate = optimizer.learning_rate(_config(warmup_steps=10), 110)
    np.testing.assert_allclose([rate(step) for step in (0, 5, 10)], [0, _RATE / 2, _RATE],
                               rtol=1e-6)
    # The mean of peak and end half-way down a cosine, then the end for good.
    np.testing.assert_allclose([rate(step) for step in (60, 110, 200)],
                               [(_RATE + 1e-3) / 2, 1e-3, 1e-3], rtol=1e-5)

  @parameterized.parameters(0.5, 2.0)
  def test_gradients_are_clipped_to_a_global_norm(self, norm):
    # Adam's first moment holds (1 - b1) times the gradient it was given.
    config = _config(max_grad_norm=1.0, b1=0.8)
    grads = {"a": jnp.array([0.6 * norm]), "b": jnp.array([0.8 * norm])}
    _, (_, state) = _update(config, grads, jax.tree.map(np.ones_like, grads))
    np.testing.assert_allclose([state[0].mu["a"][0], state[0].mu["b"][0]],
                               0.2 * min(norm, 1) * np.array([0.6, 0.8]), rtol=1e-5)
    np.testing.assert_allclose(state[0].nu["b"][0], (1 - config.b2) * (0.8 * min(norm, 1)) ** 2,
                               rtol=1e-5)


if __name__ == "__main__":
  absltest.main()
