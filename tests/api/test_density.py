import functools
import tempfile
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest, parameterized

import ntm as package
from ntm import api
from ntm.training import checkpoint
from ntm.training import workdir as workdir_lib
from tests.helpers import runs, tiny


def _model(**changes):
  if not changes:
    return _tiny_model()
  config = tiny.config(**changes)
  return api.Model(config, tiny.model_and_params(config)[1], 0)


@functools.cache
def _tiny_model():
  config = tiny.config()
  return api.Model(config, tiny.model_and_params(config)[1], 0)


def _images(count=3):
  return np.random.default_rng(0).uniform(-1, 1, (count, 4, 4, 1)).astype(np.float32)


class ApiTest(parameterized.TestCase):

  @parameterized.parameters(None, "score")
  def test_samples_are_images_and_a_function_of_the_key(self, refine):
    model = _model()
    draw = lambda seed: model.sample(jax.random.key(seed), labels=[0, 1, 2], refine=refine)
    self.assertEqual((draw(0).shape, draw(0).dtype), ((3, 4, 4, 1), np.float32))
    np.testing.assert_array_equal(draw(0), draw(0))
    self.assertGreater(np.abs(draw(0) - draw(1)).max(), 0.1)

  def test_no_refinement_has_the_name_of_the_command_line_too(self):
    draw = lambda refine: _model().sample(jax.random.key(0), [0, 1, 2], refine=refine)
    np.testing.assert_array_equal(draw("none"), draw(None))

  def test_chunks_do_not_show_except_as_progress(self):
    model = _model()
    labels = np.arange(300) % 3
    progress = mock.Mock()
    images = model.sample(jax.random.key(0), labels, refine=None, progress=progress)
    self.assertEqual(progress.mock_calls, [mock.call(256, 300), mock.call(300, 300)])
    self.assertEqual(images.shape, (300, 4, 4, 1))
    first = model.sample(jax.random.key(0), labels[:256], refine=None)
    np.testing.assert_allclose(images[:256], first, atol=1e-5)
    last = model.sample(jax.random.key(0), labels[256:], refine=None, offset=256)
    np.testing.assert_array_equal(images[256:], last)
    self.assertLen(np.unique(images.reshape(300, -1), axis=0), 300)
    result = model.log_prob(jax.random.key(0), images.clip(-1, 1), labels)
    self.assertEqual(result.step_SB.shape, (3, 300))
    self.assertEqual(result.log_prob_B.shape, (300,))

  def test_trajectories_are_those_that_are_scored(self):
    model, images = _model(), _images(300)
    labels = np.arange(300) % 3
    x_KBD, times_KB, step_SB = model.trajectories(jax.random.key(0), images, labels)
    result = model.log_prob(jax.random.key(0), images, labels)
    np.testing.assert_allclose(step_SB, result.step_SB, rtol=1e-5)
    self.assertEqual(x_KBD.shape, (4, 300, 16))
    np.testing.assert_allclose(times_KB[:, 0], np.linspace(0.02, 1, 4), rtol=1e-6)
    # At t_min a state is its image, flattened, with little noise.
    noise = (x_KBD[0] - 0.98 * images.reshape(300, 16)) / 0.02
    self.assertAlmostEqual(noise.std(), 1, delta=0.05)
    self.assertAlmostEqual(noise.mean(), 0, delta=0.1)

  def test_progress_is_called_after_every_draw(self):
    model, calls = _model(), []
    model.log_weights(jax.random.key(0), _images(), [0, 1, 2], draws=2,
                      progress=lambda *state: calls.append(state))
    self.assertEqual(calls, [(1, 2), (2, 2)])

  def test_several_numbers_of_steps(self):
    model = _model(process__num_steps=(2, 4), model__transporter__num_blocks=1)
    for steps in (2, 4):
      images = model.sample(jax.random.key(0), [0], num_steps=steps)
      self.assertTrue(np.isfinite(images).all())
      result = model.log_prob(jax.random.key(0), _images(1), [0], num_steps=steps)
      self.assertEqual(result.step_SB.shape, (steps, 1))

  def test_uint8_equals_its_scaled_floats(self):
    model = _model()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 1), np.uint8)
    a, b = (model.log_prob(jax.random.key(0), images, [0, 1])
            for images in (pixels, pixels.astype(np.float32) / 127.5 - 1))
    np.testing.assert_array_equal(a.log_prob_B, b.log_prob_B)

  def test_unconditional(self):
    model = _model(model__num_classes=0)
    self.assertEqual(model.sample(jax.random.key(0), num_samples=2).shape, (2, 4, 4, 1))
    self.assertEqual(model.log_prob(jax.random.key(0), _images()).log_prob_B.shape, (3,))
    for call, message in ((lambda: model.sample(jax.random.key(0)), "num_samples is None"),
                          (lambda: model.sample(jax.random.key(0), [1]), "unconditional"),
                          (lambda: model.sample(jax.random.key(0), num_samples=1, guidance=1.0),
                           "unconditional")):
      with self.assertRaisesRegex(ValueError, message):
        call()

  @parameterized.parameters(
      (dict(labels=[3]), "label 3 is out of range; classes are 0 to 2"),
      (dict(labels=[-1]), "label -1 is out of range"),
      (dict(labels=[]), "non-empty list of integers"),
      (dict(labels=[0.5]), "non-empty list of integers"),
      (dict(), "labels is None"),
      (dict(labels=[0], num_samples=2), "num_samples is 2, but there are 1 labels; leave num_sam"),
      (dict(labels=[0], guidance=-0.1), "guidance is -0.1"),
      (dict(labels=[0], guidance="1"), "guidance is '1'; expected a number"),
      (dict(labels=[0], num_steps="3"), "num_steps is '3', but the model was trained for 3"),
      (dict(labels=[0], num_steps=0), "num_steps is 0, but the model was trained for 3"),
      (dict(labels=[0], num_steps=7), "num_steps is 7"),
      (dict(labels=[0], refine="magic"), "refine is 'magic'"),
      (dict(labels=[0], clip_percentile=0.0), "clip_percentile is 0.0"))
  def test_bad_sampling_requests_are_named(self, arguments, message):
    with self.assertRaisesRegex(ValueError, message):
      _model().sample(jax.random.key(0), **arguments)

  @parameterized.parameters(
      (np.zeros((2, 8, 8, 1), np.float32), [0, 1], r"shape \(2, 8, 8, 1\); expected \(batch, 4"),
      (np.zeros((4, 4, 1), np.float32), [0], "images have shape"),
      (np.zeros((0, 4, 4, 1), np.float32), [], "at least one"),
      (np.zeros((1, 4, 4, 1), np.int32), [0], "type int32"),
      (np.full((1, 4, 4, 1), np.nan, np.float32), [0], "16 values that are NaN"),
      (np.full((1, 4, 4, 1), 255, np.float32), [0], "range from 255 to 255"),
      (np.zeros((2, 4, 4, 1), np.float32), [0], "1 labels for 2 images"))
  def test_bad_images_are_named(self, images, labels, message):
    model = _model()
    for score in (model.log_prob, model.log_weights, model.residuals):
      with self.assertRaisesRegex(ValueError, message):
        score(jax.random.key(0), images, labels)

  @parameterized.parameters((dict(draws=0), "draws is 0; expected at least 1"),
                            (dict(level_spacing=0.0), "level_spacing is 0.0; expected a positive"),
                            (dict(level_spacing=np.nan), "level_spacing is nan"))
  def test_bad_weights_are_named(self, arguments, message):
    with self.assertRaisesRegex(ValueError, message):
      _model().log_weights(jax.random.key(0), _images(), **arguments)

  @parameterized.parameters(({"class_conditional": True}, "reads the condition, so the"),
                            ({"features": 3}, "reads the condition through features, so the"))
  def test_guidance_needs_a_class_free_transporter(self, changes, why):
    model = _model(model__transporter={"layers": 1, "width": 16, "num_heads": 2,
                                       "num_kv_heads": 2} | changes)
    with self.assertRaisesRegex(ValueError, why):
      model.sample(jax.random.key(0), [0], guidance=1.0)

  def test_restore_reads_the_averaged_parameters(self):
    config, workdir = tiny.config(), tempfile.mkdtemp()
    state = runs.state(config)
    state = state.replace(ema=tiny.fill(state.ema, seed=8), step=state.step + 5)
    workdir_lib.prepare(workdir, config)
    checkpointer = checkpoint.Checkpointer(workdir, config)
    checkpointer.save(state, {}, {})
    checkpointer.close()
    with self.assertNoLogs("absl", "WARNING"):
      model = package.restore(workdir)
    self.assertEqual((model.step, model.config), (5, config))
    jax.tree.map(np.testing.assert_array_equal, model.params, jax.device_get(state.ema))


if __name__ == "__main__":
  absltest.main()
