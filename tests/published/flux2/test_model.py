import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm import config as config_lib
from ntm.nn import partitioning
from ntm.nn.numerics import Numerics
from ntm.published.flux2 import model as flux2
from tests.helpers import flux2_pair, parity

torch = flux2_pair.torch

_GRID, _LENGTH = (3, 2), 5
_RNG = np.random.default_rng(0)
_X = _RNG.normal(size=(2, 6, 8)).astype(np.float32)
_TEXT = _RNG.normal(size=(2, _LENGTH, 24)).astype(np.float32)
_WEIGHT = _RNG.normal(size=(2, 6, 8)).astype(np.float32)
_T = np.float32([0.83, 0.07])
_IDS = (flux2.image_ids(_GRID), flux2.text_ids(_LENGTH))
# An image of two rows, then a reference image of one.
_REFERENCE_IDS = (np.concatenate([flux2.image_ids((2, 2)), flux2.image_ids((1, 2), time=10)]),
                  flux2.text_ids(_LENGTH))


def _assert_close(ours, theirs, rtol=2e-5):
  """Largest error over largest entry."""
  np.testing.assert_allclose(ours, theirs, rtol=0, atol=rtol * np.abs(theirs).max())


@functools.cache
def _model(config, reference=False, **options):
  """(params, x, t, text) → (velocity, hidden), compiled once."""
  model, ids = flux2.Flux2(config, Numerics(**options)), _REFERENCE_IDS if reference else _IDS
  return jax.jit(lambda params, *args: model.apply({"params": params}, *args, *ids))


@functools.cache
def _pull_back(config, reference):
  """(params, x, text) → (velocity, gradients of its weighted sum), compiled once."""
  def run(params, x, text):
    velocity, pull_back = jax.vjp(
        lambda x, text: _model(config, reference)(params, x, _T, text)[0], x, text)
    return velocity, *pull_back(jnp.asarray(_WEIGHT))

  return jax.jit(run)


@functools.cache
def _gradient(config, **options):
  """params → gradient of the weighted sum of the velocity, compiled once."""
  return jax.jit(jax.grad(lambda params: (
      _model(config, **options)(params, _X, _T, _TEXT)[0] * _WEIGHT).sum()))


class Flux2Test(parameterized.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.torch_model = flux2_pair.transformer()
    cls.tensors = flux2_pair.tensors(cls.torch_model)
    cls.config, cls.params = flux2_pair.read_tree(cls.tensors)

  def _run(self, x=_X, t=_T, text=_TEXT, params=None, **options):
    return _model(self.config, **options)(params or self.params, x, t, text)

  @parameterized.product(layout=("diffusers", "original"), reference=(False, True))
  def test_equals_diffusers(self, layout, reference):
    ids = _REFERENCE_IDS if reference else _IDS
    x, text = (torch.tensor(a, requires_grad=True) for a in (_X, _TEXT))
    theirs = self.torch_model(
        hidden_states=x, encoder_hidden_states=text, timestep=torch.from_numpy(_T),
        img_ids=torch.from_numpy(ids[0]), txt_ids=torch.from_numpy(ids[1]), return_dict=False)[0]
    (theirs * torch.from_numpy(_WEIGHT)).sum().backward()
    params = self.params if layout == "diffusers" else flux2_pair.read_tree(
        flux2_pair.original_layout(self.tensors))[1]
    velocity, of_x, of_text = _pull_back(self.config, reference)(params, _X, _TEXT)
    parity.assert_close("FLUX.2 velocity", velocity, theirs.detach(), 2e-5)
    parity.assert_close("FLUX.2 gradient by the image", of_x, x.grad, 2e-5)
    parity.assert_close("FLUX.2 gradient by the text", of_text, text.grad, 2e-5)

  def test_velocity_is_a_readout_of_the_hidden_state(self):
    velocity, hidden = self._run()
    self.assertEqual(hidden.shape, (2, 6, 32))
    _assert_close(velocity, hidden @ self.params["readout"]["kernel"], 1e-6)

  def test_examples_do_not_mix(self):
    changed = self._run(np.stack([_X[0], -_X[1]]), np.float32([_T[0], 0.5]))[0]
    np.testing.assert_array_equal(changed[0], self._run()[0][0])

  def test_neighbouring_levels_differ_in_bfloat16(self):
    # 0.5 and 0.501 are one number in bfloat16, and 500 and 501 are too.
    half, next_to_it = (self._run(t=np.full(2, t, np.float32), dtype=jnp.bfloat16)[0]
                        for t in (0.5, 0.501))
    self.assertGreater(np.abs(half - next_to_it).max(), 0)

  def test_bfloat16_is_close(self):
    velocity, hidden = self._run(dtype=jnp.bfloat16)
    self.assertEqual((velocity.dtype, hidden.dtype), (jnp.float32, jnp.bfloat16))
    _assert_close(velocity, self._run()[0], 0.05)

  def test_float64_is_close(self):
    expected = self._run()[0]
    with jax.enable_x64(True):
      params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), self.params)
      velocity, _ = self._run(*(jnp.asarray(a, jnp.float64) for a in (_X, _T, _TEXT)),
                              params=params, dtype=jnp.float64, param_dtype=jnp.float64)
      self.assertEqual(velocity.dtype, jnp.float64)
      _assert_close(velocity, expected)

  def test_remat_and_unroll_change_nothing(self):
    jax.tree.map(_assert_close, _gradient(self.config, remat="full", unroll=2)(self.params),
                 _gradient(self.config)(self.params))

  def test_starts_at_zero(self):
    model = flux2.Flux2(self.config)
    velocity, hidden = jax.jit(lambda rng: model.init_with_output(rng, _X, _T, _TEXT, *_IDS)[0])(
        jax.random.key(0))
    np.testing.assert_array_equal(velocity, 0)
    self.assertGreater(np.abs(hidden).max(), 0.1)

  def test_sharded_equals_unsharded(self):
    model = flux2.Flux2(self.config)
    mesh = partitioning.make_mesh(config_lib.MeshConfig(data=2, fsdp=2, tensor=2))
    boxed = jax.eval_shape(lambda: model.init(jax.random.key(0), _X, _T, _TEXT, *_IDS))
    params = jax.device_put(self.params, partitioning.from_logical(mesh, boxed["params"]))
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
      self.assertEqual(leaf.sharding.is_fully_replicated, path[-1].key == "scale")
    inputs = jax.device_put((_X, _T, _TEXT), partitioning.replicated(mesh))
    _assert_close(self._run(*inputs, params=params)[0], self._run()[0])

  def test_ids_must_match_the_tokens(self):
    run = lambda *ids: jax.eval_shape(lambda: flux2.Flux2(self.config).apply(
        {"params": self.params}, _X, _T, _TEXT, *ids))
    with self.assertRaisesRegex(ValueError, "text ids .* one position per token"):
      run(_IDS[0], flux2.text_ids(4))
    with self.assertRaisesRegex(ValueError, "text ids .* one position per token"):
      run(_IDS[0], flux2.text_ids(6))
    with self.assertRaisesRegex(ValueError, "image ids"):
      run(_IDS[0][:, :2], _IDS[1])


if __name__ == "__main__":
  absltest.main()
