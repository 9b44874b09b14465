import importlib.util
import os
import subprocess
import sys
from unittest import mock

import chex
import jax
import numpy as np
import pytest
from absl.testing import absltest, parameterized
from jax.sharding import Mesh

from ntm.nn import kernels, partitioning

_PROGRAM_OF_A_TPU = """
import jax, jax.numpy as jnp
from jax.experimental import topologies
from ntm import config
from ntm.nn import kernels, partitioning

devices = topologies.get_topology_desc("v5e:2x2", platform="tpu").devices
mesh = partitioning.make_mesh(config.MeshConfig(data=1, fsdp=2, tensor=2), devices)

def loss(x, when):
  with partitioning.activations(mesh):
    return kernels.attend(x, x, x, causal=True, when=when).astype(jnp.float32).sum()

for length, head_width, when in ((1024, 128, "auto"), (256, 100, "always")):
  x = jax.ShapeDtypeStruct((4, length, 2, head_width), jnp.bfloat16,
                           sharding=partitioning.batch_sharding(mesh))
  gradient = jax.jit(jax.grad(loss), static_argnums=1)
  print(gradient.lower(x, when).compile().as_text().count('"tpu_custom_call"'))
"""


def _inputs(length=128, heads=2, kv_heads=1, head_width=128):
  keys = jax.random.split(jax.random.key(0), 3)
  return [jax.random.normal(key, (2, length, n, head_width))
          for key, n in zip(keys, (heads, kv_heads, kv_heads))]


class KernelsTest(parameterized.TestCase):

  @parameterized.parameters((False, 1, 128), (True, 1, 128), (True, 2, 128), (False, 2, 100),
                            (True, 1, 136))
  def test_splash_and_its_gradient_are_those_of_plain_attention(self, causal, kv_heads,
                                                                head_width):
    inputs = _inputs(kv_heads=kv_heads, head_width=head_width)
    weight = jax.random.normal(jax.random.key(1), inputs[0].shape)

    def both(attend):
      return jax.jit(lambda *a: (attend(*a), jax.grad(
          lambda *a: (attend(*a) * weight).sum(), argnums=(0, 1, 2))(*a)))(*inputs)

    ours = both(lambda *a: kernels.splash(*a, causal=causal, interpret=True))
    plain = both(lambda *a: jax.nn.dot_product_attention(*a, is_causal=causal))
    chex.assert_trees_all_close(ours, plain, atol=2e-5)

  @parameterized.parameters(
      (1024, 128, "tpu", "auto", True), (1024, 128, "cpu", "auto", False),
      (512, 128, "tpu", "auto", False), (1100, 128, "tpu", "auto", False),
      (1024, 100, "tpu", "auto", False), (512, 128, "tpu", "always", True),
      (512, 100, "tpu", "always", True), (500, 128, "tpu", "always", False),
      (512, 128, "cpu", "always", False), (1024, 128, "tpu", "never", False))
  def test_where_splash_applies(self, length, head_width, platform, when, applies):
    with (mock.patch.object(kernels, "_platform", return_value=platform),
          mock.patch.object(kernels, "splash", side_effect=lambda q, k, v, causal: q) as splash):
      out = kernels.attend(*_inputs(length, head_width=head_width), causal=True, when=when)
    self.assertEqual((out is not None, splash.called), (applies, applies))

  @parameterized.parameters((2, True), (3, False))
  def test_over_a_mesh_every_device_has_its_examples_and_heads(self, heads, applies):
    mesh = Mesh(np.asarray(jax.devices()[:4]).reshape(1, 2, 2), partitioning.AXES,
                axis_types=partitioning.AXIS_TYPES)
    seen = []

    def splash(query, key, value, causal):
      seen.append(query.shape)
      return query

    def attend(*arrays):
      with partitioning.activations(mesh):
        return kernels.attend(*arrays, causal=True)

    with (mock.patch.object(kernels, "_platform", return_value="tpu"),
          mock.patch.object(kernels, "splash", splash)):
      out = jax.eval_shape(attend, *_inputs(1024, heads, heads))
    self.assertEqual(seen, [(1, 1024, 1, 128)] if applies else [])
    self.assertEqual(out is not None, applies)

  @pytest.mark.slow
  def test_a_program_for_a_tpu_calls_it(self):
    if importlib.util.find_spec("libtpu") is None:
      self.skipTest("libtpu is not installed")
    env = os.environ | {"TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
    done = subprocess.run([sys.executable, "-c", _PROGRAM_OF_A_TPU], env=env, text=True,
                          capture_output=True)
    self.assertEqual(done.returncode, 0, done.stderr)
    # Forward, and the gradient of queries and of keys.
    self.assertEqual(done.stdout.split(), ["3", "3"])


if __name__ == "__main__":
  absltest.main()
