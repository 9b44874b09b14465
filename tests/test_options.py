"""Every value of every choice that a config offers, and random combinations of them."""

import dataclasses
import tempfile

import jax
import numpy as np
import pytest
from absl.testing import absltest, parameterized

import ntm
from ntm.data import pipeline
from ntm.data.prompts import Tokens
from tests.helpers import options, tiny


def _distinct():
  """Choices by the run that they make, each run once."""
  runs = {}
  for key, value in options.choices():
    if value == "shards":  # Trained from in tests/data/test_shards.py: they need an autoencoder.
      continue
    runs.setdefault(options.tiny_config(key, value), f"{key}={value}")
  # An option that is a number, with the kinds of blocks and of predictors.
  for key, value in (("model__transporter__kind", "autoregressive"),
                     ("model__transporter__kind", "coupling"),
                     ("model__transporter__autoregressive_channels", True),
                     ("model__predictor__context", "history"),
                     ("model__predictor__output", "velocity"), ("model__backbone__kind", "sit"),
                     ("train__objective", "pair_wise")):
    config = options.tiny_config(key, value, model__transporter__features=4,
                                 model__transporter__spline_bins=4)
    runs.setdefault(config, f"features with {key}={value}")
  plain = options.tiny_config("model__kind", "ntm")
  return [("default" if config == plain else name, config) for config, name in runs.items()]


class OptionsTest(parameterized.TestCase):

  def test_choices_are_found(self):
    found = options.choices()
    self.assertContainsSubset(
        [("model__transporter__kind", "coupling"), ("model__remat", "dots"),
         ("data__source", "tfds"), ("model__predictor__mean_correction", True)], found)

  # Where the data come from, and how the inverse is found, is in no update.
  @parameterized.named_parameters(
      *(run for run in _distinct() if not run[0].startswith(("data", "model__inverse"))))
  def test_an_update_traces(self, config):
    params, _ = options.trace_update(config)
    self.assertNotEmpty(jax.tree.leaves(params))

  @parameterized.named_parameters(*_distinct())
  @pytest.mark.slow
  def test_trains_restores_samples_and_scores(self, config):
    source, workdir = config.data.source, tempfile.mkdtemp()
    iterator = None
    if source in ("folder", "arrays"):
      config = dataclasses.replace(config, data=dataclasses.replace(
          config.data, path=options.write_data(source, config)))
    if source in ("folder", "arrays", "mixture", "scenes", "sounds", "clips"):
      iterator, _ = pipeline.training_data(config)
    config = dataclasses.replace(config, train=dataclasses.replace(
        config.train, steps=2, checkpoint_every=2, log_every=1, sample_every=2))
    options.train(config, workdir, iterator)
    model = ntm.restore(workdir)
    self.assertEqual((model.step, model.config), (2, config))
    cond = tiny.condition(config, 3)
    labels = (Tokens(cond.ids_BM, cond.mask_BM, np.zeros(3, bool)) if config.text.tokenizer
              else next(iter(jax.tree.leaves(cond)), None))
    images = model.sample(jax.random.key(0), labels, num_samples=3 if labels is None else None)
    self.assertEqual(images.shape, (3, *config.model.image_shape))
    self.assertTrue(np.isfinite(images).all())
    if config.model.kind == "ntm":
      result = model.log_prob(jax.random.key(1), np.clip(images, -1, 1), labels)
      self.assertTrue(np.isfinite(result.nats_per_dim_B).all())

  @parameterized.parameters(*range(100))
  @pytest.mark.slow
  def test_random_settings_are_refused_in_a_line_or_run(self, seed):
    drawn = options.random_changes(np.random.default_rng(seed))
    config, why = options.refused(drawn)
    if config is None:
      self.assertRegex(why, r"^[^\n]*\b(expected|change)\b[^\n]*$")
      names = {name for key in drawn for name in key.split("__")[-2:]} - {"model"}
      self.assertTrue(any(name in why for name in names), f"{why} is about none of {names}")
    else:
      options.trace(config)


if __name__ == "__main__":
  absltest.main()
