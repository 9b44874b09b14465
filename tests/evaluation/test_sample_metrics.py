import numpy as np
from absl.testing import absltest

from ntm.evaluation import sample_metrics


class JudgeTest(absltest.TestCase):

  def test_figures_are_those_of_the_classifiers_features(self):
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    images = rng.normal(size=(300, 2, 2, 1)) * 0.3 + labels[:, None, None, None]
    judge = sample_metrics.Judge({"image": images, "label": labels})
    itself = judge.figures(images, labels)
    self.assertAlmostEqual(itself["frechet_distance"], 0, places=4)
    self.assertEqual((itself["precision"], itself["recall"]), (1, 1))
    self.assertGreater(itself["class_accuracy"], 0.95)
    # One class alone is as real as the data, and covers a third of them.
    one = judge.figures(images[labels == 0], None)
    self.assertEqual(one["precision"], 1)
    self.assertBetween(one["recall"], 0.3, 0.5)
    self.assertGreater(one["frechet_distance"], 0.1)
    self.assertNotIn("class_accuracy", one)


if __name__ == "__main__":
  absltest.main()
