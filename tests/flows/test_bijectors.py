"""One table of constructors; every bijector obeys the same laws."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm import testing
from ntm.config import TransformerConfig
from ntm.flows import autoregressive, bijector, coupling
from ntm.models import build
from ntm.nn.numerics import Numerics
from ntm.typing import Condition
from tests.helpers import tiny

_CONFIG = TransformerConfig(layers=1, width=16, num_heads=2, num_kv_heads=1, mlp_ratio=2)
_DEEP = dataclasses.replace(_CONFIG, layers=2)
_SHAPE = (2, 6, 2)  # B, N, C


def _block(dtype, config=_CONFIG, grid=(2, 3), num_classes=0):
  return autoregressive.AutoregressiveBlock(
      config, grid, 2, num_classes, numerics=Numerics(dtype, dtype))


def _coupling(dtype, split="checkerboard", num_classes=0):
  # Stored activations: forward-mode Jacobians do not pass a custom_vjp.
  return coupling.CouplingChain(_CONFIG, 3, (2, 3), 2, num_classes, split, reversible=False,
                                numerics=Numerics(dtype, dtype))


def _transporter(dtype, num_blocks=2):
  cfg = tiny.config(model__image_shape=(4, 6, 1), model__patch_shape=(2, 3),
                    model__transporter={"layers": 1, "width": 16, "num_heads": 2,
                                        "num_kv_heads": 1, "num_blocks": num_blocks})
  # 4 tokens of 6 channels against 6 of 2: the laws hold for any shape.
  model = dataclasses.replace(cfg.model, dtype=jnp.dtype(dtype).name)
  return build.transporter(model)


_BIJECTORS = {
    "identity": lambda dtype: bijector.Identity(),
    "flip": lambda dtype: bijector.Flip(),
    "chain": lambda dtype: bijector.Chain([_block(dtype), bijector.Flip(), _block(dtype)]),
    "empty_chain": lambda dtype: bijector.Chain([]),
    "autoregressive": functools.partial(_block, config=_DEEP),
    "autoregressive_1d": functools.partial(_block, grid=(6,)),
    "autoregressive_3d": functools.partial(_block, grid=(1, 2, 3)),
    "autoregressive_class": functools.partial(_block, num_classes=3),
    "autoregressive_steps": _block,
    "coupling": _coupling,
    "coupling_class": functools.partial(_coupling, num_classes=3),
    "coupling_steps": _coupling,
    "coupling_halves": functools.partial(_coupling, split="halves"),
    "transporter": _transporter,
    "no_transporter": functools.partial(_transporter, num_blocks=0),
}


@functools.cache
def _setup(name, precision="float32"):
  """(forward, inverse, params, x); the first two are (params, tokens) → (tokens, log-det)."""
  dtype = jnp.dtype(precision)
  module = _BIJECTORS[name](dtype)
  shape = (2, 4, 6) if "transporter" in name else _SHAPE
  x = jax.random.normal(jax.random.key(3), shape, dtype)
  cond = Condition(time_B=jnp.array([0.02, 0.6], dtype), label_B=jnp.array([0, 3]),
                   num_steps_B=jnp.array([4, 8]) if "steps" in name else None)
  forward = lambda params, x: module.apply(params, x, cond, method="forward_and_log_det")
  inverse = lambda params, u: module.apply(params, u, cond, method="inverse_and_log_det")
  return jax.jit(forward), jax.jit(inverse), _params(module, x, cond, 0.1), x


def _params(module, x, cond, scale=0.2):
  """Perturbed parameters; a bijector without any has none."""
  init = lambda rng: module.init(rng, x, cond, method="forward_and_log_det")
  return {"params": tiny.random_params(init, scale)}


class BijectorTest(parameterized.TestCase):

  @parameterized.product(name=list(_BIJECTORS), precision=("float32", "float64"))
  def test_round_trip(self, name, precision):
    with jax.enable_x64(precision == "float64"):
      forward, inverse, params, x = _setup(name, precision)
      testing.assert_round_trip(functools.partial(forward, params),
                                functools.partial(inverse, params), x, rtol=0)

  @parameterized.parameters(*_BIJECTORS)
  def test_log_det_equals_that_of_the_jacobian(self, name):
    with jax.enable_x64(True):
      forward, inverse, params, x = _setup(name, "float64")
      for function, value in ((forward, x), (inverse, forward(params, x)[0])):
        testing.assert_log_det_matches_jacobian(
            functools.partial(function, params), value)

  @parameterized.parameters("autoregressive", "coupling")
  def test_means_and_scales_are_read_out_apart(self, name):
    # u = (x - mu) / sigma: a larger mean lowers u and costs nothing, a larger scale is paid for.
    forward, _, params, x = _setup(name)
    u, log_det = forward(params, x)

    def raised(part):
      block = params["params"] if name == "autoregressive" else params["params"]["chain"]["blocks"]
      readout = block["readout"]
      changed = {"kernel": readout["kernel"], "bias": readout["bias"].at[..., part, :].add(0.5)}
      if name == "autoregressive":
        return forward({"params": params["params"] | {"readout": changed}}, x)
      # Of the last block alone, whose input is then the same.
      changed["bias"] = readout["bias"].at[-1].set(changed["bias"][-1])
      return forward({"params": {"chain": {"blocks": block | {"readout": changed}}}}, x)

    lowered, same = raised(0)
    self.assertLessEqual((lowered - u).max(), 0)
    self.assertLess((lowered - u).min(), -0.3)
    np.testing.assert_array_equal(same, log_det)
    _, paid = raised(1)
    self.assertLess((paid - log_det).max(), -2)


class AutoregressiveTest(parameterized.TestCase):

  def test_starts_as_the_identity(self):
    module = _block(jnp.float32)
    x = jax.random.normal(jax.random.key(3), _SHAPE)
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
    forward, _, params, x = _setup("autoregressive")
    testing.assert_causal(functools.partial(forward, params), x)
    jacobian = np.asarray(jax.jit(jax.jacrev(lambda x: forward(params, x)[0]))(x))
    for n in range(6):
      self.assertGreater(np.diagonal(jacobian[0, n, :, 0, n]).min(), 0)  # 1 / sigma
      for m in range(n):
        self.assertGreater(np.abs(jacobian[0, n, :, 0, m]).max(), 0)
    # Within a token the map is diagonal.
    np.testing.assert_array_equal(jacobian[0, 2, 0, 0, 2, 1], 0)

  def test_the_first_token_is_learnable(self):
    forward, _, params, x = _setup("autoregressive")
    u, _ = forward(params, x)
    self.assertGreater(np.abs(u[:, 0] - x[:, 0]).max(), 1e-3)

  @parameterized.parameters(_block, _coupling)
  def test_conditions_matter(self, make):
    module = make(jnp.float32, num_classes=3)
    x = jax.random.normal(jax.random.key(3), _SHAPE)
    cond = Condition(jnp.array([0.02, 0.6]), num_steps_B=jnp.array([4, 4]),
                     label_B=jnp.array([1, 1]))
    other = {"time_B": jnp.array([0.3, 0.3]), "num_steps_B": jnp.array([8, 8]),
             "label_B": jnp.array([2, 0])}
    params = _params(module, x, cond)
    run = jax.jit(lambda c: module.apply(params, x, c, method="forward_and_log_det")[0])
    for field, value in other.items():
      changed = run(cond.replace(**{field: value}))
      self.assertGreater(np.abs(changed - run(cond)).max(), 1e-4, field)

  @parameterized.parameters(_block, _coupling)
  def test_the_number_of_steps_is_read_as_one_over_t(self, make):
    # With the parameters of both embeddings equal, a level and a 1 / T may be exchanged.
    module, x = make(jnp.float32), jax.random.normal(jax.random.key(3), _SHAPE)
    a = Condition(jnp.full(2, 0.25), num_steps_B=jnp.full(2, 2))
    b = Condition(jnp.full(2, 0.5), num_steps_B=jnp.full(2, 4))
    params = _params(module, x, a)

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
    x = jax.random.normal(jax.random.key(3), _SHAPE)
    u, _ = bijector.Flip().apply({}, x, Condition(), method="forward_and_log_det")
    np.testing.assert_array_equal(u, np.asarray(x)[:, ::-1])

  def test_log_scale_is_bounded(self):
    forward, _, params, x = _setup("autoregressive")
    _, log_det = forward(tiny.fill(params, 30.0), 100 * x)
    self.assertTrue(np.isfinite(log_det).all())
    self.assertLessEqual(np.abs(log_det).max(), 3.0 * 12)

  def test_affine_arithmetic_stays_float32_under_bfloat16(self):
    module = autoregressive.AutoregressiveBlock(
        _DEEP, (2, 3), 2, numerics=Numerics(jnp.bfloat16))
    x = jax.random.normal(jax.random.key(3), _SHAPE)
    cond = Condition(jnp.array([0.02, 0.6]))
    run = jax.jit(module.apply, static_argnames="method")
    params = _params(module, x, cond)
    u, log_det = run(params, x, cond, method="forward_and_log_det")
    chex.assert_type([u, log_det], jnp.float32)
    back, _ = run(params, u, cond, method="inverse_and_log_det")
    np.testing.assert_allclose(back, x, atol=0.1)  # Two bfloat16 networks differ by rounding.

  def test_the_inverse_compiles_once(self):
    _, inverse, params, x = _setup("autoregressive")
    chex.clear_trace_counter()
    traced = jax.jit(chex.assert_max_traces(lambda u: inverse(params, u), n=1))
    for seed in range(3):
      traced(jax.random.normal(jax.random.key(seed), x.shape))


if __name__ == "__main__":
  absltest.main()
