import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm import testing
from ntm.config import InverseConfig
from ntm.flows import channels
from ntm.flows.elementwise import Maps
from ntm.models.ntm import standard_normal_log_prob
from ntm.nn.numerics import Numerics
from ntm.performance import flops
from ntm.typing import Condition
from tests.helpers import tiny
from tests.helpers.bijectors import AFFINE, SPLINE, block, features, random_params

_SHAPE = (2, 6, 3)  # B, N, C
_COND = Condition(jnp.array([0.02, 0.6]))


@functools.cache
def _setup(order="ascending", maps=AFFINE, solver="scan", precision="float32",
           head_scale=0.2):
  """(forward, inverse, x); the inverse also returns how it went."""
  dtype = jnp.dtype(precision)
  module = block(dtype, maps=maps, channels=order, num_channels=3).clone(
      inverse=InverseConfig(solver, chunk=3))
  x = jax.random.normal(jax.random.key(3), _SHAPE, dtype)
  params = random_params(module, x, _COND)["params"]
  params = {"params": params | {"head": tiny.fill(params["head"], head_scale)}}

  def inverse(u):
    out, extra = module.apply(params, u, _COND, method="inverse_and_log_det",
                              mutable=["diagnostics"])
    return *out, extra["diagnostics"]["inverse"][0]

  forward = functools.partial(module.apply, params, cond=_COND, method="forward_and_log_det")
  return jax.jit(forward), jax.jit(inverse), x


class ChannelsTest(parameterized.TestCase):

  @parameterized.product(order=("ascending", "descending"), maps=(AFFINE, SPLINE))
  def test_starts_as_the_identity(self, order, maps):
    module = block(jnp.float32, maps=maps, channels=order, num_channels=3)
    x = jax.random.normal(jax.random.key(3), _SHAPE)
    params = nn.unbox(jax.jit(lambda rng: module.init(
        rng, x, _COND, method="forward_and_log_det"))(jax.random.key(0)))
    for method in ("forward_and_log_det", "inverse_and_log_det"):
      testing.assert_starts_as_identity(
          jax.jit(functools.partial(module.apply, params, cond=_COND, method=method)), x)

  @parameterized.product(order=("ascending", "descending"), maps=(AFFINE, SPLINE))
  def test_is_triangular_over_tokens_and_channels_with_exactly_zero_gradients(self, order, maps):
    forward, inverse, x = _setup(order, maps)
    read_CC = np.tri(3, dtype=bool) if order == "ascending" else np.tri(3, dtype=bool).T
    before_NN = np.tri(6, k=-1, dtype=bool)
    # [N, C, N, C]: all channels of the tokens before, and of the same token those before.
    allowed = before_NN[:, None, :, None] | (np.eye(6, dtype=bool)[:, None, :, None]
                                             & read_CC[:, None])
    for function, value in ((forward, x), (lambda u: inverse(u)[:2], forward(x)[0])):
      testing.assert_causal(function, value)
      jacobian = np.asarray(jax.jit(jax.jacrev(lambda x, f=function: f(x)[0]))(value))
      for b in range(2):
        np.testing.assert_array_equal(jacobian[b, :, :, b][~allowed], 0)
        self.assertGreater(np.abs(jacobian[b, :, :, b][allowed]).min(), 0)

  @parameterized.parameters("ascending", "descending")
  def test_means_and_scales_depend_nonlinearly_on_the_channels_before(self, order):
    # Of one entry, x -> u is affine with the earlier channels fixed; of an earlier one it is not.
    forward, _, x = _setup(order, head_scale=0.5)
    first, last = (0, 2) if order == "ascending" else (2, 0)
    u = lambda first_value, last_value: np.asarray(forward(
        x.at[0, 4, first].set(first_value).at[0, 4, last].set(last_value))[0])[0, 4, last]
    rise = np.array([[u(a, b + 1) - u(a, b) for b in (0, 1)] for a in (-2, 0, 2)])
    np.testing.assert_allclose(rise[:, 0], rise[:, 1], rtol=1e-4)
    self.assertGreater(np.ptp(rise[:, 0]), 1e-2)  # The scale reads it,
    mean = np.array([u(a, 0) / (u(a, 1) - u(a, 0)) for a in (-2, 0, 2)])  # -mu
    self.assertGreater(abs(mean[0] - 2 * mean[1] + mean[2]), 1e-2)  # and so does the mean, bent.

  @parameterized.product(solver=("scan", "jacobi", "gs_jacobi"), order=("ascending", "descending"))
  def test_every_solver_finds_the_data(self, solver, order):
    with jax.enable_x64(True):
      forward, inverse, x = _setup(order, SPLINE, solver, "float64")
      u, _ = forward(x)
      testing.assert_round_trip(forward, lambda u: inverse(u)[:2], x, atol=1e-9)
      info = inverse(u)[2]
    self.assertEqual(int(info.fallbacks), 0)
    self.assertLessEqual(int(info.iterations), 6)  # As many as tokens, not tokens times channels.

  @parameterized.parameters("ascending", "descending")
  def test_the_density_of_a_token_integrates_to_one(self, order):
    # Two channels of one token, bent strongly, with features of the noisier state.
    module = block(jnp.float32, grid=(1,), maps=Maps(spline_bins=5, spline_range=3.0),
                   channels=order)
    cond = lambda size: Condition(jnp.full(size, 0.3), features_BNF=jnp.broadcast_to(
        features((1, 1, 2)), (size, 1, 3)))
    params = random_params(module, jnp.zeros((1, 1, 2)), cond(1))

    @jax.jit
    def density(params, x_PC):
      u_BNC, log_det_B = module.apply(params, x_PC[:, None], cond(len(x_PC)),
                                      method="forward_and_log_det")
      return standard_normal_log_prob(u_BNC) + log_det_B

    log_prob = functools.partial(density, params)
    testing.assert_normalised(log_prob, 2, low=-10, high=10, points=401, atol=2e-4)
    # Not a product of two densities.
    log_prob_55 = log_prob(jnp.stack(jnp.meshgrid(*[jnp.linspace(-2, 2, 5)] * 2), -1).reshape(
        25, 2)).reshape(5, 5)
    self.assertGreater(np.abs(np.diff(np.diff(log_prob_55, axis=0), axis=1)).max(), 0.1)

  def test_the_inverse_costs_as_much_as_the_forward_direction(self):
    shape = (4, 7, 5)
    head = channels.ChannelHead(SPLINE, 5)
    h, raw = jnp.zeros((*shape[:2], 20)), jnp.zeros((4, 7, SPLINE.num_parameters, 5))
    params = {"params": tiny.random_params(lambda rng: head.init(rng, h, raw))}
    forward, inverse = (flops.count(lambda x, run=run: run(head.apply(params, h, raw), x),
                                    jnp.zeros(shape))
                        for run in (lambda m, x: m.given(x).forward(x), lambda m, u: m.inverse(u)))
    self.assertEqual(forward, inverse)
    # U of 20 by 20 hidden units; V, 4 units of 5 channels by 5; A, 14 + 2 parameters.
    self.assertEqual(forward, 2 * 28 * (20 * 20 + 5 * 4 * 5 + 5 * 4 * SPLINE.num_parameters))

  def test_bfloat16_networks_leave_the_maps_in_float32(self):
    module = block(jnp.float32, channels="ascending").clone(numerics=Numerics(jnp.bfloat16))
    x = jax.random.normal(jax.random.key(3), (2, 6, 2))
    params = random_params(module, x, _COND)
    run = jax.jit(module.apply, static_argnames="method")
    u, log_det = run(params, x, _COND, method="forward_and_log_det")
    self.assertEqual((u.dtype, log_det.dtype), (jnp.float32, jnp.float32))
    np.testing.assert_allclose(run(params, u, _COND, method="inverse_and_log_det")[0], x, atol=0.1)


if __name__ == "__main__":
  absltest.main()
