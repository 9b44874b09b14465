"""Likelihoods that `ntm evaluate` prints."""

import pathlib
import tempfile

import jax
import numpy as np
from absl.testing import absltest

import ntm
from ntm.commands import scoring
from tests.helpers import runs


class NllTest(absltest.TestCase):

  def test_is_the_mean_over_images_and_draws_of_log_prob(self):
    workdir = pathlib.Path(tempfile.mkdtemp())
    runs.write(workdir, runs.config())
    model, rng = ntm.restore(workdir), jax.random.key(0)
    images = np.random.default_rng(0).uniform(-1, 1, (4, 8, 8, 1)).astype(np.float32)
    batch = {"image": images, "label": np.arange(4)}
    train = {"image": images[:2], "label": np.arange(2)}
    result = scoring.nll(model, rng, train, batch, None, 3)
    nll_KS = [-model.log_prob(key, images, labels=np.arange(4)).step_SB.mean(axis=1) / 64
              for key in jax.random.split(rng, 3)]
    np.testing.assert_allclose(result["nll_per_step"], np.mean(nll_KS, axis=0), rtol=1e-5)
    np.testing.assert_allclose(result["nll_nats_per_dim"], np.mean(nll_KS), rtol=1e-5)
    self.assertEqual(result["num_steps"], len(result["train_nll_per_step"]))
    again = scoring.nll(model, rng, batch, train, None, 3)
    np.testing.assert_allclose(again["train_nll_per_step"], result["nll_per_step"], rtol=1e-6)


if __name__ == "__main__":
  absltest.main()
