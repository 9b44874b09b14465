import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm import testing
from ntm.config import InverseConfig, TransformerConfig
from ntm.flows import autoregressive, solvers
from ntm.nn.numerics import Numerics
from ntm.typing import Condition
from tests.helpers import tiny

_CONFIG = TransformerConfig(layers=1, width=16, num_heads=2, num_kv_heads=1, mlp_ratio=2)
_SOLVERS = {
    "scan": InverseConfig("scan"),
    "scan_in_segments": InverseConfig("scan", segment=3),
    "jacobi": InverseConfig("jacobi"),
    "gs_jacobi": InverseConfig("gs_jacobi", chunk=4),
    "gs_jacobi_in_segments": InverseConfig("gs_jacobi", chunk=2, segment=6),
    "gs_jacobi_of_one_token": InverseConfig("gs_jacobi", chunk=1),
    "jacobi_falls_back": InverseConfig("jacobi", max_iterations=2),
    "gs_jacobi_falls_back": InverseConfig("gs_jacobi", chunk=6, max_iterations=2),
}


def _block(dtype, **options):
  return autoregressive.AutoregressiveBlock(
      _CONFIG, (3, 4), 2, numerics=Numerics(dtype, dtype), **options)


@functools.cache
def _data(precision):
  """(params, condition, latent tokens, tokens, log-det), the same for every solver."""
  dtype = jnp.dtype(precision)
  module = _block(dtype)
  x = jax.random.normal(jax.random.key(3), (3, 12, 2), dtype)
  cond = Condition(jnp.array([0.02, 0.3, 0.6], dtype))
  init = lambda rng: module.init(rng, x, cond, method="forward_and_log_det")
  params = {"params": tiny.random_params(init, 0.25)}
  u, log_det = jax.jit(lambda params, x: module.apply(
      params, x, cond, method="forward_and_log_det"))(params, x)
  return params, cond, u, x, log_det


@functools.cache
def _setup(config, precision="float32"):
  module = _block(jnp.dtype(precision), inverse=config)
  params, cond, u, x, log_det = _data(precision)

  @jax.jit
  def invert(params, u):
    (x, log_det), extra = module.apply(params, u, cond, method="inverse_and_log_det",
                                       mutable=["diagnostics"])
    return x, log_det, extra["diagnostics"]["inverse"][0]

  return functools.partial(invert, params), u, x, log_det


class SolversTest(parameterized.TestCase):

  @parameterized.parameters(
      *((name, "float32") for name in _SOLVERS),
      *((name, "float64") for name in ("scan_in_segments", "jacobi", "gs_jacobi_in_segments")))
  def test_finds_the_data(self, name, precision):
    with jax.enable_x64(precision == "float64"):
      tolerance = {"float32": 1e-6, "float64": 1e-11}[precision]
      invert, u, x, log_det = _setup(
          dataclasses.replace(_SOLVERS[name], tolerance=tolerance), precision)
      info = invert(u)[2]
      bound = {"float32": 1e-4, "float64": 1e-9}[precision]
      testing.assert_round_trip(lambda x: (u, log_det), lambda u: invert(u)[:2], x, atol=bound,
                                rtol=0)
      self.assertEqual(int(info.fallbacks), int("falls_back" in name))
      if "falls_back" in name:  # Its own iterations, then those of the scan.
        tried = {"jacobi_falls_back": 2, "gs_jacobi_falls_back": 4}[name]
        self.assertEqual(int(info.iterations), tried + 12)

  def test_jacobi_is_exact_after_as_many_iterations_as_tokens(self):
    # No change is below this tolerance, so every token takes its full count.
    config = InverseConfig("jacobi", tolerance=1e-30)
    invert, u, x, _ = _setup(config)
    found, _, info = invert(u)
    np.testing.assert_allclose(found, x, atol=1e-4)
    self.assertLessEqual(int(info.iterations), 12)
    self.assertEqual(int(info.fallbacks), 0)

  @parameterized.parameters((1, 12), (3, 12), (4, 12))
  def test_counts_iterations(self, chunk, most):
    invert, u, _, _ = _setup(InverseConfig("gs_jacobi", chunk=chunk))
    _, _, info = invert(u)
    self.assertBetween(int(info.iterations), 12 // chunk, most)

  def test_an_overflow_falls_back_to_the_scan(self):
    # Far from the solution the scales explode; the scan meets only good tokens.
    invert, u, x, _ = _setup(InverseConfig("jacobi"))
    scan, _, _, _ = _setup(InverseConfig("scan"))
    bad = u.at[0, 5, 0].set(jnp.inf)
    found, _, info = invert(bad)
    self.assertEqual(int(info.fallbacks), 1)
    # The same tokens as the scan's, not finite ones included.
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(scan(bad)[0]))
    np.testing.assert_allclose(found[:, :5], x[:, :5], atol=1e-4)

  @parameterized.parameters((256, 128, 128), (225, 128, 75), (17, 128, 17), (1024, 128, 128),
                            (12, 5, 6), (12, 1, 1))
  def test_segments_are_even_and_near_their_target(self, number, target, divisor):
    self.assertEqual(solvers._nearest_divisor(number, target), divisor)


if __name__ == "__main__":
  absltest.main()
