"""An autoregressive affine map with its inverse, and a test case for both precisions."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

LENGTH = 4
# Token n has mean and log-scale of the tokens before it.
_MIX = np.tril(np.random.default_rng(0).normal(size=(2, LENGTH, LENGTH)), -1)


def forward(x, leak=0.0):
  """An autoregressive affine map of x [B, N, ...]; a leak lets token 1 read token 3."""
  mix = jnp.asarray(_MIX, x.dtype).at[:, 1, 3].set(leak)
  mean, raw = jnp.einsum("inm,bm...->ibn...", mix, jnp.tanh(x))
  log_scale = 0.5 * jnp.tanh(raw)
  return (x - mean) * jnp.exp(-log_scale), -log_scale.reshape(len(x), -1).sum(axis=1)


def inverse(u):
  """The inverse of `forward` without a leak."""
  x = jnp.zeros_like(u)
  for _ in range(LENGTH):
    mean, raw = jnp.einsum("inm,bm...->ibn...", jnp.asarray(_MIX, u.dtype), jnp.tanh(x))
    log_scale = 0.5 * jnp.tanh(raw)
    x = u * jnp.exp(log_scale) + mean
  return x, log_scale.reshape(len(x), -1).sum(axis=1)


def log_scale(x):
  """Log-scale of every entry, which reads the tokens before it."""
  return 0.5 * jnp.tanh(jnp.einsum("nm,bm...->bn...", jnp.asarray(_MIX[1], x.dtype), jnp.tanh(x)))


def data(precision, event=(LENGTH, 2)):
  """Three random examples."""
  return jax.random.normal(jax.random.key(1), (3, *event), jnp.dtype(precision))


class PrecisionTest(parameterized.TestCase):
  """Tests in float32, and in float64 where a subclass says so; `x` is a batch."""

  precision = "float32"

  def setUp(self):
    super().setUp()
    self.enterContext(jax.enable_x64(self.precision == "float64"))
    self.x = data(self.precision)
    self.tolerance = {"float32": "1e-05", "float64": "1e-10"}[self.precision]

  def assert_fails(self, message, law, *args, error=AssertionError, **kwargs):
    """Asserts that a law ends with this message, a regular expression."""
    with self.assertRaisesRegex(error, message):
      law(*args, **kwargs)
