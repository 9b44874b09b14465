import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm import testing
from ntm.flows import autoregressive, bijector
from ntm.nn.numerics import Numerics
from ntm.typing import Condition
from tests.helpers import tiny
from tests.helpers.bijectors import (
    DEEP,
    SHAPE,
    block,
    coupling_chain,
    features,
    random_params,
    setup,
)


class AutoregressiveTest(parameterized.TestCase):

  def test_starts_as_the_identity(self):
    module = block(jnp.float32)
    x = jax.random.normal(jax.random.key(3), SHAPE)
    cond = Condition(jnp.array([0.02, 0.6]))

    @jax.jit
    def run(rng):
      params = module.init(rng, x, cond, method="forward_and_log_det")["params"]
      return [module.apply({"params": params}, x, cond, method=method)
              for method in ("forward_and_log_det", "inverse_and_log_det")], params["start"]

    both, start = run(jax.random.key(0))
    self.assertBetween(float(jnp.abs(start.value).max()), 1e-3, 0.1)  # Small next to a token.
    for out, log_det in both:
      np.testing.assert_array_equal(out, x)
      np.testing.assert_array_equal(log_det, 0)

  def test_is_causal_with_exactly_zero_gradients(self):
    forward, _, params, x = setup("autoregressive")
    testing.assert_causal(functools.partial(forward, params), x)
    jacobian = np.asarray(jax.jit(jax.jacrev(lambda x: forward(params, x)[0]))(x))
    for n in range(6):
      self.assertGreater(np.diagonal(jacobian[0, n, :, 0, n]).min(), 0)  # 1 / sigma
      for m in range(n):
        self.assertGreater(np.abs(jacobian[0, n, :, 0, m]).max(), 0)
    # Within a token the map is diagonal.
    np.testing.assert_array_equal(jacobian[0, 2, 0, 0, 2, 1], 0)

  def test_features_of_a_token_are_read_for_it_and_for_later_ones(self):
    forward, _, params, x = setup("autoregressive_features")
    testing.assert_causal(functools.partial(forward, params), x)
    module, cond = block(jnp.float32), Condition(jnp.array([0.02, 0.6]))
    of_features = lambda h: module.apply(params, x, cond.replace(features_BNF=h),
                                         method="forward_and_log_det")
    reach_BNN = testing.token_dependence(of_features, features(SHAPE)) > 0
    np.testing.assert_array_equal(reach_BNN, np.tri(6, dtype=bool)[None].repeat(2, axis=0))

  def test_the_first_token_is_learnable(self):
    forward, _, params, x = setup("autoregressive")
    u, _ = forward(params, x)
    self.assertGreater(np.abs(u[:, 0] - x[:, 0]).max(), 1e-3)

  @parameterized.parameters(block, coupling_chain)
  def test_conditions_matter(self, make):
    module = make(jnp.float32, num_classes=3)
    x = jax.random.normal(jax.random.key(3), SHAPE)
    cond = Condition(jnp.array([0.02, 0.6]), num_steps_B=jnp.array([4, 4]),
                     label_B=jnp.array([1, 1]), features_BNF=features(SHAPE))
    other = {"time_B": jnp.array([0.3, 0.3]), "num_steps_B": jnp.array([8, 8]),
             "label_B": jnp.array([2, 0]), "features_BNF": -features(SHAPE)}
    params = random_params(module, x, cond)
    run = jax.jit(lambda c: module.apply(params, x, c, method="forward_and_log_det")[0])
    for field, value in other.items():
      changed = run(cond.replace(**{field: value}))
      self.assertGreater(np.abs(changed - run(cond)).max(), 1e-4, field)

  @parameterized.parameters(block, coupling_chain)
  def test_the_number_of_steps_is_read_as_one_over_t(self, make):
    # With the parameters of both embeddings equal, a level and a 1 / T may be exchanged.
    module, x = make(jnp.float32), jax.random.normal(jax.random.key(3), SHAPE)
    a = Condition(jnp.full(2, 0.25), num_steps_B=jnp.full(2, 2))
    b = Condition(jnp.full(2, 0.5), num_steps_B=jnp.full(2, 4))
    params = random_params(module, x, a)

    def shared(tree):
      if "time" in tree:
        return tree | {"steps": tree["time"]}
      return {key: shared(value) if isinstance(value, dict) else value
              for key, value in tree.items()}

    run = jax.jit(lambda params, cond: module.apply(
        params, x, cond, method="forward_and_log_det")[0])
    self.assertGreater(np.abs(run(params, a) - run(params, b)).max(), 1e-4)
    params = shared(params)
    np.testing.assert_allclose(run(params, a), run(params, b), atol=1e-5)

  def test_flip_reverses_the_tokens(self):
    x = jax.random.normal(jax.random.key(3), SHAPE)
    u, _ = bijector.Flip().apply({}, x, Condition(), method="forward_and_log_det")
    np.testing.assert_array_equal(u, np.asarray(x)[:, ::-1])

  def test_log_scale_is_bounded(self):
    forward, _, params, x = setup("autoregressive")
    _, log_det = forward(tiny.fill(params, 30.0), 100 * x)
    self.assertTrue(np.isfinite(log_det).all())
    self.assertLessEqual(np.abs(log_det).max(), 3.0 * 12)

  def test_affine_arithmetic_stays_float32_under_bfloat16(self):
    module = autoregressive.AutoregressiveBlock(
        DEEP, (2, 3), 2, numerics=Numerics(jnp.bfloat16))
    x = jax.random.normal(jax.random.key(3), SHAPE)
    cond = Condition(jnp.array([0.02, 0.6]))
    run = jax.jit(module.apply, static_argnames="method")
    params = random_params(module, x, cond)
    u, log_det = run(params, x, cond, method="forward_and_log_det")
    chex.assert_type([u, log_det], jnp.float32)
    back, _ = run(params, u, cond, method="inverse_and_log_det")
    np.testing.assert_allclose(back, x, atol=0.1)  # Two bfloat16 networks differ by rounding.

  def test_the_inverse_compiles_once(self):
    _, inverse, params, x = setup("autoregressive")
    chex.clear_trace_counter()
    traced = jax.jit(chex.assert_max_traces(lambda u: inverse(params, u), n=1))
    for seed in range(3):
      traced(jax.random.normal(jax.random.key(seed), x.shape))


if __name__ == "__main__":
  absltest.main()
