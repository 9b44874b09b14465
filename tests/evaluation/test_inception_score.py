import numpy as np
from absl.testing import absltest

from ntm.evaluation import inception_score


class InceptionScoreTest(absltest.TestCase):

  def test_of_sure_and_varied_images_is_the_number_of_classes(self):
    logits = 1000.0 * np.eye(7)[np.arange(70) % 7]
    self.assertAlmostEqual(inception_score.score(logits), 7, places=6)
    self.assertAlmostEqual(inception_score.score(logits[::7]), 1, places=6)

  def test_of_images_that_are_alike_is_one(self):
    logits = np.tile(np.random.default_rng(0).normal(size=(1, 9)), (20, 1))
    self.assertAlmostEqual(inception_score.score(logits), 1, places=12)

  def test_is_the_formula_of_every_part(self):
    logits = np.random.default_rng(0).normal(size=(25, 6)) * 2
    expected = []
    for part in (logits[:10], logits[10:20], logits[20:]):
      p = np.exp(part) / np.exp(part).sum(axis=1, keepdims=True)
      divergence = (p * np.log(p / p.mean(axis=0))).sum(axis=1)
      expected.append(np.exp(divergence.mean()))
    for shift in (0, 1e3):
      self.assertAlmostEqual(inception_score.score(logits + shift, split=10), np.mean(expected),
                             places=9)

  def test_parts_have_five_thousand_images(self):
    logits = 1000.0 * np.eye(2)[np.arange(10_000) // 5000]  # Either part is of one class.
    self.assertAlmostEqual(inception_score.score(logits), 1, places=6)


if __name__ == "__main__":
  absltest.main()
