import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm import config as config_lib
from ntm.losses import flow_matching, inputs, task
from ntm.models import autoencoder, prompt_encoder
from ntm.nn import partitioning
from ntm.training import state as state_lib
from ntm.training import step as step_lib
from tests.helpers import runs, tiny, tiny_autoencoder, tiny_text_encoder


def _plain(config):
  """The same run without its autoencoder, of latents."""
  return dataclasses.replace(config, autoencoder=config_lib.AutoencoderConfig())


def _moments(config, frozen, batch):
  """Mean and standard deviation in place of the pixels, by the published module itself."""
  module = autoencoder.codec(config).module
  mean, logvar = jax.jit(lambda params, image: module.apply(
      {"params": params}, image, method="encode"))(frozen.autoencoder, batch["image"])
  return {"label": batch["label"], "mean": mean, "std": jnp.exp(logvar / 2)}


class InputsTest(parameterized.TestCase):

  @parameterized.product(which=("kl", "flux2"), objective=("end_to_end", "pair_wise"))
  def test_the_loss_is_that_of_latents_encoded_by_hand_with_the_same_noise(self, which, objective):
    config, frozen = tiny_autoencoder.config(which, train__objective=objective), (
        tiny_autoencoder.frozen(which))
    self._assert_loss_is_of_encoded(config, frozen, task.density, which)

  def test_flow_matching_reads_the_same_latents(self):
    config = tiny_autoencoder.config("kl", model__kind="flow_matching")
    self._assert_loss_is_of_encoded(config, tiny_autoencoder.frozen("kl"), flow_matching.velocity,
                                    "kl")

  def _assert_loss_is_of_encoded(self, config, frozen, make_task, which):
    batch, rng = tiny_autoencoder.batch(8), jax.random.key(3)
    moments = _moments(config, frozen, batch)
    # The key of the noise; its shape is that of the raw latents.
    noise = jax.random.normal(jax.random.fold_in(rng, 2**31 - 1), moments["mean"].shape)
    raw = moments["mean"] + moments["std"] * noise
    if which == "kl":
      latents = raw * 0.18215
    else:
      p = frozen.autoencoder
      patches = raw.reshape(8, 2, 2, 2, 2, 8).transpose(0, 1, 3, 5, 2, 4).reshape(8, 2, 2, 32)
      latents = (patches - p["latent_mean"]) / np.sqrt(p["latent_var"] + 1e-4)
    what, by_hand = make_task(config, frozen), make_task(_plain(config))
    params = tiny.random_params(lambda rng: {"params": what.init(rng)})
    latents = {"image": latents, "label": batch["label"]}
    for ours, theirs in ((lambda b: what.loss(rng, params, frozen, b, 0)[0],
                          lambda b: by_hand.loss(rng, params, None, b, 0)[0]),
                         (lambda b: what.evaluate(params, frozen, b, rng).loss,
                          lambda b: by_hand.evaluate(params, None, b, rng).loss)):
      expected = jax.jit(theirs)(latents)
      np.testing.assert_allclose(jax.jit(ours)(batch), expected, rtol=1e-5)
      # Moments prepared ahead get the same noise.
      np.testing.assert_allclose(jax.jit(ours)(moments), expected, rtol=1e-5)

  def test_without_an_autoencoder_a_batch_stays_itself(self):
    batch = {"image": np.zeros(3), "label": np.zeros(3)}
    self.assertIs(inputs.encode(None, None, batch, tiny.config()), batch)
    self.assertIsNone(inputs.load(tiny.config()))
    self.assertEqual(inputs.load(tiny.config(), {"a": 1}), inputs.Frozen({"a": 1}))

  def test_the_noise_is_a_function_of_the_key_and_the_moments_matter(self):
    config, frozen = tiny_autoencoder.config(), tiny_autoencoder.frozen("kl")
    encode = jax.jit(lambda key, b: inputs.encode(key, frozen, b, config)["image"])
    moments = {"mean": np.full((4, 4, 4, 4), 2.0, np.float32),
               "std": np.zeros((4, 4, 4, 4), np.float32)}
    np.testing.assert_allclose(encode(jax.random.key(0), moments), 2 * 0.18215, rtol=1e-6)
    moments["std"] += 0.5
    a, b, c = (encode(jax.random.key(i), moments) for i in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    self.assertGreater(np.abs(a - c).max(), 0.01)

  def test_prompts_are_features_of_the_text_encoder(self):
    config, frozen = tiny_text_encoder.config(), tiny_text_encoder.frozen()
    batch, rng = tiny_text_encoder.batch(8), jax.random.key(3)
    encoder = prompt_encoder.encoder(config)
    text = jax.jit(lambda params: encoder.module.apply(
        {"params": params}, batch["ids"], batch["mask"]))(frozen.text_encoder)
    by_hand = dataclasses.replace(config, text=config_lib.TextConfig())
    features = {"image": batch["image"], "text": text}
    for make_task, kind in ((task.density, "ntm"), (flow_matching.velocity, "flow_matching")):
      ours, theirs = (make_task(dataclasses.replace(c, model=dataclasses.replace(
          c.model, kind=kind))) for c in (config, by_hand))
      params = tiny.random_params(lambda rng, theirs=theirs: {"params": theirs.init(rng)})
      expected = jax.jit(lambda p, b, t=theirs: t.loss(rng, p, None, b, 0)[0])(params, features)
      found = jax.jit(lambda p, f, b, t=ours: t.loss(rng, p, f, b, 0)[0])(params, frozen, batch)
      np.testing.assert_allclose(found, expected, rtol=1e-5)
    # A sample grid has the first texts; padding is not read.
    cond, shape = task.grid_condition(config, frozen, batch)
    self.assertEqual(shape, (2, 4, 4, 4, 1))
    np.testing.assert_allclose(cond.text_BMW, text, atol=1e-5)

  def test_the_text_encoder_is_in_pieces_and_the_features_are_the_same(self):
    results = []
    for sizes in ({"data": 1}, {"data": 2, "fsdp": 2, "tensor": 2}):
      config = tiny_text_encoder.config(mesh=sizes, model__predictor__num_kv_heads=2,
                                        model__transporter__num_kv_heads=2)
      mesh = partitioning.make_mesh(config.mesh, jax.devices()[:np.prod(list(sizes.values()))])
      what = task.density(config, inputs.load(config, mesh=mesh))
      frozen = state_lib.place_frozen(what, mesh)
      kernel = frozen.text_encoder["layers"]["mlp"]["up"]["kernel"]
      pieces = sizes.get("fsdp", 1) * sizes.get("tensor", 1)
      self.assertEqual(kernel.addressable_shards[0].data.size * pieces, kernel.size)
      params = tiny.fill(jax.eval_shape(
          lambda rng, what=what: nn.unbox(what.init(rng)), jax.random.key(0)))
      evaluate = step_lib.make_eval_step(what, mesh)
      batch = partitioning.put_batch(mesh, tiny_text_encoder.batch(8))
      results.append(float(evaluate(params, frozen, batch, 0).loss))
    np.testing.assert_allclose(*results, rtol=1e-5)

  def test_networks_are_read_into_the_shards_that_an_update_has_them_in(self):
    sizes = {"data": 2, "fsdp": 2, "tensor": 2}
    for config in (tiny_text_encoder.config(mesh=sizes, model__predictor__num_kv_heads=2,
                                            model__transporter__num_kv_heads=2),
                   tiny_autoencoder.config("flux2", mesh=sizes, model__predictor__num_kv_heads=2,
                                           model__transporter__num_kv_heads=2)):
      mesh, on_host = partitioning.make_mesh(config.mesh), inputs.load(config)
      read, placed = (state_lib.place_frozen(task.density(config, frozen), mesh)
                      for frozen in (inputs.load(config, mesh=mesh), on_host))
      for ours, theirs, numbers in zip(*map(jax.tree.leaves, (read, placed, on_host))):
        self.assertEqual(ours.dtype, numbers.dtype)
        self.assertTrue(ours.sharding.is_equivalent_to(theirs.sharding, ours.ndim))
        np.testing.assert_array_equal(ours, numbers)
    # What is where it belongs is not copied.
    frozen = inputs.load(config, mesh=mesh)
    again = state_lib.place_frozen(task.density(config, frozen), mesh)
    for ours, theirs in zip(*map(jax.tree.leaves, (frozen, again))):
      self.assertIs(ours, theirs)

  def test_a_network_that_the_mesh_does_not_split_is_named(self):
    config = tiny_text_encoder.config()
    mesh = partitioning.make_mesh(config_lib.MeshConfig(1, 1, 8))
    with self.assertRaisesRegex(ValueError, "layers/attention/key/kernel .* mesh axis 'tensor'"):
      inputs.load(config, mesh=mesh)

  def test_samples_are_decoded(self):
    config, frozen = tiny_autoencoder.config("flux2"), tiny_autoencoder.frozen("flux2")
    what, plain = task.density(config, frozen), task.density(_plain(config))
    params = tiny.random_params(lambda rng: {"params": what.init(rng)}, 0.05)
    codec = autoencoder.codec(config)
    drawn, latents = what.samples(params, frozen), plain.samples(params, None)
    self.assertEqual(drawn["refined"].shape, (3, 10, 8, 8, 3))
    self.assertEqual(drawn["trajectory"].shape, (3, 5, 8, 8, 3))
    for name in drawn:
      flat = latents[name].reshape(-1, 2, 2, 32)
      expected = jnp.clip(codec.module.apply({"params": frozen.autoencoder}, flat,
                                             method="denormalise_and_decode"), -1, 1)
      np.testing.assert_allclose(drawn[name].reshape(expected.shape), expected, atol=1e-4)

  def test_sharded_equals_unsharded(self):
    results = []
    for sizes in ({"data": 1}, {"data": 4, "fsdp": 2}):
      config = tiny_autoencoder.config("kl", mesh=sizes)
      what = task.density(config, inputs.load(config))
      mesh = partitioning.make_mesh(config.mesh, jax.devices()[:np.prod(list(sizes.values()))])
      frozen = state_lib.place_frozen(what, mesh)
      for leaf in jax.tree.leaves(frozen):
        self.assertLen(leaf.sharding.device_set, mesh.size)
      state = runs.filled(state_lib.abstract_state(what, config, mesh))
      step = step_lib.make_train_step(what, config, mesh)
      state, metrics, _ = step(
          state, partitioning.put_batch(mesh, tiny_autoencoder.batch(8)), frozen)
      results.append(jax.device_get((metrics.loss, state.opt_state[1][0].mu)))
    (loss, gradient), (sharded_loss, sharded_gradient) = results
    np.testing.assert_allclose(sharded_loss, loss, rtol=1e-5)
    norm = sum((leaf ** 2).sum() for leaf in jax.tree.leaves(gradient)) ** 0.5
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * norm),
                 gradient, sharded_gradient)

  def test_networks_that_are_missing_are_refused(self):
    config = tiny_autoencoder.config()
    with self.assertRaisesRegex(ValueError, "the task has no frozen autoencoder; make it with"):
      inputs.encode(jax.random.key(0), None, tiny_autoencoder.batch(1), config)
    gone = dataclasses.replace(config, autoencoder=config_lib.AutoencoderConfig("/nowhere"))
    with self.assertRaisesRegex(ValueError, "autoencoder.path is /nowhere, but .*`ntm convert"):
      inputs.load(gone)
    self.assertEqual(list(inputs.missing(gone)), ["/nowhere"])
    self.assertEmpty(inputs.missing(config))
    config = tiny_text_encoder.config()
    with self.assertRaisesRegex(ValueError, "the task has no frozen text_encoder; make it with"):
      inputs.encode(jax.random.key(0), None, tiny_text_encoder.batch(1), config)


if __name__ == "__main__":
  absltest.main()
