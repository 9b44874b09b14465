import chex
import jax
from absl.testing import absltest, parameterized

from ntm.nn import kernels


def _inputs(length=128, heads=2, kv_heads=1):
  keys = jax.random.split(jax.random.key(0), 3)
  return [jax.random.normal(key, (2, length, n, 128))
          for key, n in zip(keys, (heads, kv_heads, kv_heads))]


class KernelsTest(parameterized.TestCase):

  @parameterized.product(causal=(False, True), kv_heads=(1, 2))
  def test_splash_and_its_gradient_are_those_of_plain_attention(self, causal, kv_heads):
    inputs = _inputs(kv_heads=kv_heads)
    weight = jax.random.normal(jax.random.key(1), inputs[0].shape)

    def both(attend):
      return jax.jit(lambda *a: (attend(*a), jax.grad(
          lambda *a: (attend(*a) * weight).sum(), argnums=(0, 1, 2))(*a)))(*inputs)

    ours = both(lambda *a: kernels.splash(*a, causal=causal, interpret=True))
    plain = both(lambda *a: jax.nn.dot_product_attention(*a, is_causal=causal))
    chex.assert_trees_all_close(ours, plain, atol=2e-5)

  def test_none_on_a_cpu(self):
    self.assertIsNone(kernels.attend(*_inputs(1024), causal=False))


if __name__ == "__main__":
  absltest.main()
