import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.nn import attention, rotary
from tests.helpers import tiny


class AttentionTest(parameterized.TestCase):

  def _build(self, num_kv_heads=2, length=6, width=16, causal=False):
    module = attention.Attention(num_heads=4, num_kv_heads=num_kv_heads, causal=causal)
    angles = rotary.rotary_angles(rotary.grid_positions((length,)), width // 4)
    x = jax.random.normal(jax.random.key(0), (2, length, width))
    params = {"params": tiny.random_params(lambda rng: module.init(rng, x, angles))}
    return module, params, x, angles

  @parameterized.product(num_kv_heads=(1, 2, 4), chunk=(1, 3))
  def test_cached_equals_uncached(self, num_kv_heads, chunk):
    module, params, x, angles = self._build(num_kv_heads, causal=True)

    @jax.jit
    def run(params, x):
      cache, outs = attention.init_cache(2, chunk, num_kv_heads, 4, jnp.float32), []
      for n in range(0, 6, chunk):
        new = slice(n, n + chunk)
        out, cache = module.apply(params, x[:, new], angles[new], None, cache.grow(n + chunk),
                                  jnp.int32(n))
        outs.append(out)
      return module.apply(params, x, angles)[0], jnp.concatenate(outs, axis=1)

    full, cached = run(params, x)
    np.testing.assert_allclose(cached, full, atol=1e-5)

  @parameterized.parameters(1, 5, 6)
  def test_causal_equals_a_triangular_mask(self, length):
    module, params, x, angles = self._build(length=length)
    mask = np.tril(np.ones((length, length), bool))[None, None]
    causal = self._build(length=length, causal=True)[0]
    run = jax.jit(lambda params, x: (causal.apply(params, x, angles)[0],
                                     module.apply(params, x, angles, mask)[0]))
    np.testing.assert_allclose(*run(params, x), atol=1e-6)

  def test_without_angles_tokens_have_no_place(self):
    module = attention.Attention(num_heads=4, num_kv_heads=2, qk_norm=False)
    x = jax.random.normal(jax.random.key(0), (2, 6, 16))
    params = {"params": tiny.random_params(lambda rng: module.init(rng, x, None))}
    self.assertEqual(set(params["params"]), {"query", "key", "value", "out"})
    run = jax.jit(lambda x: module.apply(params, x, None)[0])
    np.testing.assert_allclose(run(x[:, ::-1]), run(x)[:, ::-1], atol=1e-5)

  @parameterized.parameters(1, 2, 4)
  def test_equals_that_of_jax(self, num_kv_heads):
    rngs = jax.random.split(jax.random.key(0), 3)
    query = jax.random.normal(rngs[0], (2, 5, 4, 8))
    key, value = (jax.random.normal(rng, (2, 5, num_kv_heads, 8)) for rng in rngs[1:])
    mask = np.tril(np.ones((5, 5), bool))[None, None]
    run = jax.jit(lambda query, key, value: (
        attention._attend(query, attention._to_cache(key, value), mask),
        jax.nn.dot_product_attention(query, key, value, mask=mask)))
    np.testing.assert_allclose(*run(query, key, value), atol=1e-5)

  def test_a_mask_of_examples_equals_shorter_texts(self):
    rngs = jax.random.split(jax.random.key(0), 3)
    query = jax.random.normal(rngs[0], (2, 5, 4, 8))
    key, value = (jax.random.normal(rng, (2, 5, 2, 8)) for rng in rngs[1:])
    mask = (np.arange(5) < np.array([[5], [3]]))[:, None, None]
    out = attention.dot_product_attention(query, key, value, jnp.asarray(mask))
    short = attention.dot_product_attention(query[1:], key[1:, :3], value[1:, :3])
    np.testing.assert_allclose(out[1:], short, atol=1e-6)
    np.testing.assert_allclose(
        out[:1], attention.dot_product_attention(query[:1], key[:1], value[:1]), atol=1e-6)

  def test_grouped_heads_equal_repeated_ones(self):
    module, params, x, angles = self._build(num_kv_heads=2)
    repeated = jax.tree.map(lambda a: a, params)
    for name in ("key", "value"):
      for leaf in ("kernel", "bias"):
        repeated["params"][name][leaf] = jnp.repeat(params["params"][name][leaf], 2, axis=-2)
    full = attention.Attention(num_heads=4, num_kv_heads=4)
    run = jax.jit(lambda params, repeated, x: (module.apply(params, x, angles)[0],
                                               full.apply(repeated, x, angles)[0]))
    np.testing.assert_allclose(*run(params, repeated, x), atol=1e-5)

  def test_masked_keys_have_exactly_no_influence(self):
    module, params, x, angles = self._build()
    mask = np.ones((1, 1, 6, 6), bool)
    mask[..., 2] = False
    out = lambda x: module.apply(params, x, angles, mask)[0][:, jnp.array([0, 1, 3, 4, 5])]
    grad = jax.jit(jax.grad(lambda x: (out(x) ** 2).sum()))(x)
    np.testing.assert_array_equal(grad[:, 2], 0)
    self.assertTrue(np.all(np.abs(grad[:, 3]).max() > 0))


if __name__ == "__main__":
  absltest.main()
