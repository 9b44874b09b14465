import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm import testing
from ntm.config import InverseConfig
from ntm.nn.numerics import Numerics
from ntm.published.tarflow import model as tarflow
from ntm.typing import Condition
from tests.helpers import tiny

_CONFIG = tarflow.TarFlowConfig(num_blocks=2, layers=2, width=16, num_heads=2, num_tokens=6,
                                patch_size=1, image_channels=2, mlp_ratio=2, num_classes=3)
_SHIFTS_ONLY = dataclasses.replace(_CONFIG, scales=False, num_classes=0, layers=1)
_SOLVERS = {
    "scan": InverseConfig("scan"),
    "scan_in_segments": InverseConfig("scan", segment=2),
    "jacobi": InverseConfig("jacobi", tolerance=1e-13),
    "gs_jacobi": InverseConfig("gs_jacobi", chunk=3, tolerance=1e-13),
    "gs_jacobi_in_segments": InverseConfig("gs_jacobi", chunk=2, segment=2, tolerance=1e-13),
}


def _setup(config=_CONFIG, dtype=jnp.float32, label=(0, 2, -1), **options):
  model = tarflow.TarFlow(config, Numerics(dtype, dtype), **options)
  x = jax.random.normal(jax.random.key(0), (3, config.num_tokens, config.num_channels), dtype)
  cond = Condition(jnp.zeros(3, dtype), label_B=None if label is None else jnp.array(label))
  init = lambda rng: model.init(rng, x, cond, method="forward_and_log_det")
  params = tiny.random_params(init)
  params["var"] = jnp.exp(params["var"])
  return model, {"params": params}, x, cond


@functools.cache
def _compiled(model, method):
  return jax.jit(functools.partial(model.apply, method=method))


def _run(model, params, x, cond, method="forward_and_log_det"):
  return _compiled(model, method)(params, x, cond)


@functools.cache
def _value_and_grad(**options):
  """(params, x, cond) → a loss and its gradient, compiled once."""
  def loss(*args):
    u, log_det = tarflow.TarFlow(_CONFIG, Numerics(jnp.float64, jnp.float64, **options)).apply(
        *args, method="forward_and_log_det")
    return (u ** 2).sum() - log_det.sum()

  return jax.jit(jax.value_and_grad(loss))


class TarFlowTest(parameterized.TestCase):

  @parameterized.parameters(*((solver, _CONFIG) for solver in _SOLVERS), ("scan", _SHIFTS_ONLY))
  def test_inverse_undoes_forward(self, solver, config):
    with jax.enable_x64(True):
      plain = _setup(config, jnp.float64)[0]
      model, params, x, cond = _setup(config, jnp.float64, inverse=_SOLVERS[solver])
      forward = lambda x: _run(plain, params, x, cond)
      self.assertGreater(np.abs(forward(x)[0] - x).max(), 0.1)
      testing.assert_round_trip(
          forward, lambda u: _run(model, params, u, cond, "inverse_and_log_det"), x)

  @parameterized.parameters(_CONFIG, _SHIFTS_ONLY)
  def test_log_det_is_that_of_the_jacobian(self, config):
    with jax.enable_x64(True):
      model, params, x, cond = _setup(config, jnp.float64)
      testing.assert_log_det_matches_jacobian(lambda x: _run(model, params, x, cond), x)

  def test_a_token_is_transformed_by_those_before_it(self):
    block = tarflow.TarFlowBlock(_CONFIG)
    _, params, x, _ = _setup()
    c = jnp.ones((1, 1, _CONFIG.width))
    for part in ("mean", "log_scale"):
      run = lambda x, part=part: getattr(block.apply(
          {"params": params["params"]["block_0"]}, x, c, method="parallel"), part)
      testing.assert_causal(run, x[:1], strict=True)
      reach_NN = testing.token_dependence(run, x[:1])[0]
      self.assertTrue((reach_NN[np.tril_indices(6, -1)] > 0).all())

  @parameterized.parameters(0, 1)
  def test_blocks_alternate_direction(self, number):
    # The other blocks do nothing; what is left depends on one side alone.
    model, params, x, cond = _setup()
    for i in set(range(_CONFIG.num_blocks)) - {number}:
      block = params["params"][f"block_{i}"]
      block["readout"] = jax.tree.map(jnp.zeros_like, block["readout"])
    reach_NN = testing.token_dependence(lambda x: tarflow.TarFlow(_CONFIG).apply(
        params, x, Condition(jnp.zeros(1)), method="forward_and_log_det"), x[:1])[0] > 0
    one_side = np.tril(np.ones((6, 6), bool))
    np.testing.assert_array_equal(reach_NN, one_side if number == 0 else one_side.T)
    u = _run(model, params, x, cond)[0] * jnp.sqrt(params["params"]["var"])
    first = 0 if number == 0 else -1
    np.testing.assert_allclose(u[:, first], x[:, first], rtol=1e-6)

  def test_starts_as_the_identity(self):
    model, _, x, cond = _setup()
    run = jax.jit(lambda rng, x: model.init_with_output(
        rng, x, cond, method="forward_and_log_det")[0])
    testing.assert_starts_as_identity(functools.partial(run, jax.random.key(0)), x)

  def test_the_null_class_is_the_mean_of_the_classes(self):
    model, params, x, cond = _setup()
    forward = jax.jit(lambda params, label: model.apply(
        params, x, Condition(cond.time_B, label_B=label), method="forward_and_log_det")[0])
    null = forward(params, None)
    for label in (-1, 3):
      np.testing.assert_allclose(forward(params, jnp.full(3, label)), null, rtol=1e-4, atol=1e-4)
    self.assertGreater(np.abs(forward(params, jnp.full(3, 1)) - null).max(), 1e-2)
    for i in range(_CONFIG.num_blocks):
      block = params["params"][f"block_{i}"]
      block["label"] = jnp.broadcast_to(block["label"].mean(axis=0), block["label"].shape)
    np.testing.assert_allclose(forward(params, jnp.full(3, 1)), null, rtol=1e-4, atol=1e-4)

  @parameterized.parameters(dict(remat="full"), dict(remat="dots", unroll=2))
  def test_remat_and_unroll_change_nothing(self, **options):
    with jax.enable_x64(True):
      _, *args = _setup(dtype=jnp.float64)
      plain, other = _value_and_grad()(*args), _value_and_grad(**options)(*args)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), plain, other)
    np.testing.assert_array_equal(plain[1]["params"]["var"], np.zeros((6, 2)))


if __name__ == "__main__":
  absltest.main()
