import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ntm import testing
from ntm.config import TransformerConfig
from ntm.flows import coupling
from ntm.nn.numerics import Numerics
from ntm.typing import Condition
from tests.helpers import tiny

_CONFIG = TransformerConfig(layers=1, width=16, num_heads=2, num_kv_heads=1, mlp_ratio=2)


def _setup(dtype=jnp.float32, features=False, **changes):
  module = coupling.CouplingChain(_CONFIG, **{"num_blocks": 4} | changes, grid_shape=(2, 3),
                                  num_channels=2, numerics=Numerics(dtype, dtype))
  x = jax.random.normal(jax.random.key(0), (2, 6, 2), dtype)
  cond = Condition(jnp.array([0.02, 0.6], dtype), features_BNF=jax.random.normal(
      jax.random.key(1), (2, 6, 3), dtype) if features else None)
  init = lambda rng: module.init(rng, x, cond, method="forward_and_log_det")
  return module, {"params": tiny.random_params(init)}, x, cond


class CouplingTest(parameterized.TestCase):

  def test_hidden_tokens_start_small(self):
    module, _, x, cond = _setup()
    init = lambda rng: module.init(rng, x, cond, method="forward_and_log_det")
    hidden = jax.jit(init)(jax.random.key(0))["params"]["chain"]["blocks"]["hidden"].value
    self.assertBetween(float(jnp.abs(hidden).max()), 1e-3, 0.1)

  def test_starts_as_the_identity(self):
    module, _, x, cond = _setup()
    run = jax.jit(lambda rng, x: module.init_with_output(
        rng, x, cond, method="forward_and_log_det")[0])
    testing.assert_starts_as_identity(functools.partial(run, jax.random.key(0)), x)

  @parameterized.parameters(("checkerboard", [0, 2, 4]), ("halves", [0, 1, 2]))
  def test_two_blocks_transform_every_token_by_others(self, split, kept):
    module, params, x, cond = _setup(num_blocks=2, split=split, reversible=False)
    forward = lambda x: module.apply(params, x, cond, method="forward_and_log_det")
    dependence_BNN = testing.token_dependence(forward, x)
    # The first block transforms the others by those kept, the second one those kept by the others.
    read_NN = np.eye(6, dtype=bool)
    read_NN[kept] = read_NN[:, kept] = True
    np.testing.assert_array_equal(dependence_BNN[:, ~read_NN], 0)
    self.assertGreater(dependence_BNN[:, read_NN].min(), 1e-3)

  def test_rebuilt_activations_obey_the_laws(self):
    with jax.enable_x64(True):
      module, params, x, cond = _setup(jnp.float64, reversible=True)
      forward, inverse = (
          jax.jit(functools.partial(module.apply, params, cond=cond, method=method))
          for method in ("forward_and_log_det", "inverse_and_log_det"))
      testing.assert_round_trip(forward, inverse, x)
      testing.assert_log_det_matches_jacobian(forward, x)

  @parameterized.parameters(False, True)
  def test_rebuilt_activations_give_the_stored_ones_gradients(self, features):
    with jax.enable_x64(True):
      grads = []
      for reversible in (False, True):
        module, params, x, cond = _setup(jnp.float64, reversible=reversible, features=features)

        def loss(params, x, h, module=module, cond=cond):
          u, log_det = module.apply(params, x, cond.replace(features_BNF=h),
                                    method="forward_and_log_det")
          return (u ** 3).sum() + (log_det ** 2).sum()

        grads.append(jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(params, x, cond.features_BNF))
      jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8), *grads)
      for grad in grads[0][1:2 + features]:
        self.assertGreater(np.abs(grad).max(), 0.1)

  @pytest.mark.slow
  def test_memory_does_not_grow_with_the_blocks(self):
    def temporaries(reversible, num_blocks):
      module, params, _, _ = _setup(reversible=reversible, num_blocks=num_blocks)
      x, cond = jnp.zeros((64, 6, 2)), Condition(jnp.full(64, 0.3))
      loss = lambda params: module.apply(params, x, cond, method="forward_and_log_det")[1].sum()
      # Gradients of the parameters are outputs, no temporaries.
      analysis = jax.jit(jax.grad(loss)).lower(params).compile().memory_analysis()
      return analysis.temp_size_in_bytes

    rebuilt = [temporaries(True, n) for n in (2, 16)]
    stored = [temporaries(False, n) for n in (2, 16)]
    self.assertLess(rebuilt[1], 1.1 * rebuilt[0])
    self.assertGreater(stored[1], 3 * stored[0])

  def test_a_model_of_coupling_blocks_scores(self):
    config = tiny.config(model__transporter={"kind": "coupling", "layers": 1, "width": 16,
                                             "num_heads": 2, "num_kv_heads": 1, "num_blocks": 2})
    model, params = tiny.model_and_params(config)
    trajectory = tiny.trajectory(config)
    score = jax.jit(lambda p: model.apply({"params": p}, trajectory, method="log_prob"))
    result = score(params)
    self.assertTrue(np.isfinite(result.total_B).all())
    self.assertGreater(np.abs(result.log_det_SB).max(), 1e-3)


if __name__ == "__main__":
  absltest.main()
