import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm import config as config_lib
from ntm.nn import partitioning
from ntm.nn.numerics import Numerics
from ntm.published.qwen import model as qwen
from tests.helpers import parity, qwen_pair

torch = qwen_pair.torch

_LENGTH, _ALL = 9, (0, 1, 2, 3)
_IDS = np.random.default_rng(0).integers(0, 46, (2, _LENGTH))
# The first row is full; of the second four tokens are padding.
_MASKS = {"none": None, "right": np.arange(_LENGTH) < np.array([[_LENGTH], [5]]),
          "left": np.arange(_LENGTH) >= np.array([[0], [4]])}


@functools.cache
def _run(config, hidden_states, **options):
  """(parameters of all layers, ids, mask) → features, compiled once."""
  model = qwen.Qwen(config, hidden_states, Numerics(**options))

  def run(params, ids, mask=None):
    return model.apply({"params": qwen.first_layers(params, config, hidden_states)}, ids, mask)

  return jax.jit(run)


class QwenTest(parameterized.TestCase):

  @parameterized.product(family=qwen_pair.FAMILIES, padding=list(_MASKS))
  def test_every_hidden_state_equals_that_of_transformers(self, family, padding):
    theirs, config, params = qwen_pair.pair(family)
    mask = _MASKS[padding]
    with torch.no_grad():
      expected = theirs(
          input_ids=torch.from_numpy(_IDS), output_hidden_states=True, use_cache=False,
          attention_mask=None if mask is None else torch.from_numpy(mask).long()).hidden_states
    ours = np.split(_run(config, _ALL)(params, _IDS, mask), len(_ALL), axis=-1)
    for place, (one, other) in enumerate(zip(ours, expected, strict=True)):
      parity.assert_close(f"{family}, padding {padding}, hidden state {place}", one, other, 1e-5)

  def test_long_texts_equal_transformers(self):
    theirs, config, params = qwen_pair.pair("qwen3")
    ids = np.random.default_rng(1).integers(0, 50, (1, 512))
    with torch.no_grad():
      expected = theirs(input_ids=torch.from_numpy(ids), output_hidden_states=True).hidden_states
    parity.assert_close("qwen3, 512 tokens", _run(config, (3,))(params, ids), expected[-1], 1e-5)

  @parameterized.parameters((2, 1), (0,), (1, 3, 0))
  def test_chosen_layers_need_no_parameters_beyond_them(self, *chosen):
    _, config, params = qwen_pair.pair("qwen3")
    first = qwen.first_layers(params, config, chosen)
    shapes = jax.eval_shape(lambda: qwen.Qwen(config, chosen).init(jax.random.key(0), _IDS))
    chex.assert_trees_all_equal_shapes(
        first, jax.tree.map(lambda a: a.value, shapes["params"],
                            is_leaf=lambda a: hasattr(a, "value")))
    every = np.split(_run(config, _ALL)(params, _IDS), len(_ALL), axis=-1)
    np.testing.assert_allclose(_run(config, chosen)(first, _IDS),
                               np.concatenate([every[i] for i in chosen], axis=-1), atol=1e-6)

  @parameterized.parameters(*qwen_pair.FAMILIES)
  def test_later_tokens_are_not_seen(self, family):
    _, config, params = qwen_pair.pair(family)
    changed = np.concatenate([_IDS[:, :6], (_IDS[:, 6:] + 1) % 46], axis=1)
    one, other = (_run(config, (2,))(params, ids) for ids in (_IDS, changed))
    np.testing.assert_array_equal(one[:, :6], other[:, :6])
    self.assertGreater(np.abs(one[:, 6:] - other[:, 6:]).max(), 0.1)

  @parameterized.parameters("left", "right")
  def test_padding_changes_no_token_of_the_text(self, side):
    _, config, params = qwen_pair.pair("qwen3")
    mask = _MASKS[side]
    text_ids = _IDS[1][mask[1]]
    padded = _run(config, (2,))(params, _IDS, mask)[1][mask[1]]
    np.testing.assert_allclose(padded, _run(config, (2,))(params, text_ids[None])[0], atol=2e-5)
    other = np.where(mask, _IDS, (_IDS + 3) % 46)
    np.testing.assert_array_equal(_run(config, (2,))(params, other, mask)[1][mask[1]], padded)

  def test_bfloat16_is_close(self):
    _, config, params = qwen_pair.pair("qwen3")
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), params)
    expected = _run(config, (1, 2))(params, _IDS, _MASKS["left"])
    options = dict(dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
    ours = _run(config, (1, 2), **options)(half, _IDS, _MASKS["left"])
    self.assertEqual(ours.dtype, jnp.bfloat16)
    parity.assert_close("qwen3 in bfloat16", ours.astype(jnp.float32), expected, 0.05)

  @parameterized.parameters(("full", 2), ("attention", 1))
  def test_remat_and_unroll_change_nothing(self, remat, unroll):
    _, config, params = qwen_pair.pair("qwen3")

    def gradient(**options):
      run = _run(config, (2,), **options)
      return jax.grad(lambda params: (run(params, _IDS, _MASKS["right"]) ** 2).sum())(params)

    expected = gradient()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max() + 1e-9),
                 gradient(remat=remat, unroll=unroll), expected)

  def test_sharded_equals_unsharded(self):
    _, config, params = qwen_pair.pair("qwen3")
    model = qwen.Qwen(config, (1, 3))
    mesh = partitioning.make_mesh(config_lib.MeshConfig(data=2, fsdp=2, tensor=2))
    boxed = jax.eval_shape(lambda: model.init(jax.random.key(0), _IDS))
    split = jax.device_put(params, partitioning.from_logical(mesh, boxed["params"]))
    for path, leaf in jax.tree_util.tree_leaves_with_path(split):
      self.assertEqual(leaf.sharding.is_fully_replicated, path[-1].key == "scale", path)
    ids, mask = jax.device_put((np.tile(_IDS, (2, 1)), np.tile(_MASKS["right"], (2, 1))),
                               partitioning.batch_sharding(mesh))
    with partitioning.activations(mesh):
      ours = jax.jit(lambda params, *args: model.apply({"params": params}, *args))(
          split, ids, mask)
    expected = _run(config, (1, 3))(params, _IDS, _MASKS["right"])
    np.testing.assert_allclose(ours, np.tile(expected, (2, 1, 1)), atol=1e-5)

  @parameterized.parameters(
      ((4,), _IDS, None, "hidden_states is .4,.; expected numbers from 0"),
      ((), _IDS, None, "hidden_states is"),
      ((-1,), _IDS, None, "hidden_states is"),
      ((1,), _IDS / 2, None, "token ids have type float"),
      ((1,), _IDS, np.ones(_LENGTH), "the mask .* must have the shape of the token ids"))
  def test_arguments_that_are_refused(self, hidden_states, ids, mask, message):
    _, config, params = qwen_pair.pair("qwen3")
    with self.assertRaisesRegex(ValueError, message):
      _run(config, hidden_states)(params, ids, mask)

  def test_sizes_must_fit(self):
    with self.assertRaisesRegex(ValueError, "num_kv_heads=3 does not divide num_heads=32"):
      dataclasses.replace(qwen.QWEN3_4B, num_kv_heads=3)
    with self.assertRaisesRegex(ValueError, "head_width=7 is odd"):
      dataclasses.replace(qwen.QWEN3_4B, head_width=7)

  @parameterized.parameters((qwen.QWEN3_4B, 7680), (qwen.QWEN3_8B, 12288))
  def test_features_of_klein_have_the_width_of_its_transformer(self, config, width):
    model = qwen.Qwen(config, qwen.KLEIN_HIDDEN_STATES)
    ids = jax.ShapeDtypeStruct((3, 512), jnp.int32)
    features, params = jax.eval_shape(model.init_with_output, jax.random.key(0), ids, ids)
    self.assertEqual(features.shape, (3, 512, width))
    self.assertNotIn("norm", params["params"])


if __name__ == "__main__":
  absltest.main()
