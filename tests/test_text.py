"""Models of texts, from prepared arrays through training to guided samples."""

import os
import pathlib
import subprocess
import sys
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

import ntm as package
from ntm import api
from ntm.data import pipeline
from ntm.losses import task
from ntm.training import loop
from ntm.typing import Condition
from tests.helpers import tiny

_TEXT = {"text_tokens": 3, "text_width": 5}


def _config(**changes):
  return tiny.config(model__num_classes=0, model__backbone=_TEXT, **changes)


def _texts(count, seed=1):
  return np.random.default_rng(seed).normal(size=(count, 3, 5)).astype(np.float32)


class TextTest(parameterized.TestCase):

  def test_every_step_reads_every_feature_of_every_text(self):
    config = _config()
    model, params = tiny.model_and_params(config)
    trajectory = tiny.trajectory(config)

    def steps(text_BMW):
      result = model.apply({"params": params}, trajectory.replace(
          cond=Condition(text_BMW=text_BMW)),
                           method="log_prob")
      return result.step_SB

    sensitivity = jax.jit(jax.jacrev(steps))(trajectory.cond.text_BMW)
    for b in range(2):
      self.assertTrue((sensitivity[:, b, b] != 0).all())
      np.testing.assert_array_equal(sensitivity[:, b, 1 - b], 0)

  def test_guidance_by_text(self):
    config = _config()
    model = api.Model(config, tiny.model_and_params(config)[1], 0)
    texts, null = _texts(300), _texts(1, seed=2)[0]
    draw = lambda **how: model.sample(jax.random.key(0), texts, refine=None, **how)
    plain = draw()
    self.assertEqual(plain.shape, (300, 4, 4, 1))
    self.assertGreater(np.abs(plain - draw(guidance=2.0, null_text=null)).max(), 0.01)
    # Guided by itself, a text is as it was.
    np.testing.assert_allclose(draw(guidance=2.0, null_text=texts[0])[0], plain[0], rtol=1e-5)

  @parameterized.parameters(
      (dict(labels=[0]), r"shape \(1,\); expected \(batch, 3, 5\)"),
      (dict(labels=None), "labels is None, but the model is conditioned on text"),
      (dict(labels=np.ones((1, 3, 5), int)), "type int64; expected finite floats"),
      (dict(labels=np.full((1, 3, 5), np.nan)), "expected finite floats"),
      (dict(labels=_texts(1), guidance=1.0), "null_text is missing"),
      (dict(labels=_texts(1), null_text=_texts(1)[0]), "guidance is 0.0 and null_text is given"),
      (dict(labels=_texts(1), guidance=1.0, null_text=_texts(1)), "text features have shape"))
  def test_mistakes_are_named(self, arguments, message):
    model = api.Model(_config(), {}, 0)
    with self.assertRaisesRegex(ValueError, message):
      model.sample(jax.random.key(0), **arguments)

  @parameterized.parameters(
      (dict(model__num_classes=3), "text_tokens is 3; expected 0 with model.num_classes = 3"),
      (dict(model__predictor__context="history"), "expected 0 with .*context = 'history'"),
      (dict(model__backbone={"text_tokens": 3}), "either with 'dit'"),
      (dict(model__transporter__class_conditional=True), "False for a model without classes"))
  def test_bad_configs_are_named(self, changes, message):
    with self.assertRaisesRegex(ValueError, message):
      tiny.config(**{"model__num_classes": 0, "model__backbone": _TEXT} | changes)

  @pytest.mark.slow
  def test_from_arrays_to_guided_samples(self):
    root = pathlib.Path(tempfile.mkdtemp())
    latents = 3 * np.random.default_rng(0).normal(size=(16, 4, 4, 2)).astype(np.float32)
    np.save(root / "null_text.npy", np.zeros((3, 5)))
    for split in ("train", "test"):
      os.mkdir(root / split)
      np.save(root / split / "image.npy", latents)
      np.save(root / split / "text.npy", _texts(16))
    config = _config(model__image_shape=(4, 4, 2), train__steps=2, train__sample_every=1,
                     mesh={"data": -1}, data={"source": "arrays", "path": str(root)})
    loop.train(task.density, config, root / "run", *pipeline.training_data(config))
    self.assertFalse(list((root / "run").glob("samples/*.png")))  # Latents are no pictures.
    model = package.restore(root / "run")
    samples = model.sample(jax.random.key(0), _texts(2), guidance=1.0, null_text=jnp.zeros((3, 5)))
    self.assertEqual(samples.shape, (2, 4, 4, 2))
    result = model.log_prob(jax.random.key(0), latents, _texts(16))
    self.assertTrue(np.isfinite(result.log_prob_B).all())
    self._sample_from_the_command_line(root)

  def _sample_from_the_command_line(self, root):
    np.savez(root / "texts.npz", text=_texts(2))
    ntm = lambda *flags: subprocess.run(
        [sys.executable, "-m", "ntm.commands.main", "sample", f"--workdir={root / 'run'}", *flags],
        capture_output=True, text=True)
    done = ntm(f"--text={root / 'texts.npz'}", "--num=3", f"--output={root / 'out'}")
    self.assertEqual(done.returncode, 0, done.stderr)
    self.assertEqual(np.load(root / "out.npz")["images"].shape, (6, 4, 4, 2))
    self.assertFalse((root / "out.png").exists())
    for flags, message in (
        ((), "expected features in --text=FILE.npz"),
        ((f"--text={root / 'texts.npz'}", "--guidance=1"), "with guidance, `null_text`"),
        ((f"--text={root / 'texts.npz'}", "--labels=1"), "--labels does not apply")):
      done = ntm(*flags)
      self.assertEqual(done.returncode, 1)
      self.assertIn(message, done.stderr)


if __name__ == "__main__":
  absltest.main()
