from unittest import mock

import numpy as np
from absl.testing import absltest

from ntm.config import DataConfig
from ntm.data import digits
from ntm.evaluation import frechet, sample_metrics
from ntm.evaluation.classifier import Classifier


class JudgeTest(absltest.TestCase):

  def test_figures_are_those_of_the_classifiers_features(self):
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    images = rng.normal(size=(300, 2, 2, 1)) * 0.3 + labels[:, None, None, None]
    reference = sample_metrics.Reference.fit(images, labels)
    itself = reference.metrics(images, labels)
    self.assertAlmostEqual(itself["frechet_distance"], 0, places=4)
    self.assertEqual((itself["precision"], itself["recall"]), (1, 1))
    self.assertGreater(itself["class_accuracy"], 0.95)
    # One class alone is as real as the data, and covers a third of them.
    one = reference.metrics(images[labels == 0], None)
    self.assertEqual(one["precision"], 1)
    self.assertBetween(one["recall"], 0.3, 0.5)
    self.assertGreater(one["frechet_distance"], 0.1)
    self.assertNotIn("class_accuracy", one)


class EndlessTest(absltest.TestCase):

  def test_fresh_draws_are_nearer_than_held_out_digits_and_what_is_no_draw(self):
    data = DataConfig(augment=True)
    train = digits.EndlessDigits("train").batch(np.arange(6000))
    classifier = Classifier.fit(train["image"], train["label"], 20)
    with mock.patch.object(sample_metrics, "_ENDLESS_IMAGES", 3000):
      reference, others = sample_metrics.endless(data, 2000, classifier)
    self.assertEqual([len(batch["image"]) for batch in others.values()], [2000, 2000])
    figures = {kind: reference.metrics(**_renamed(batch)) for kind, batch in others.items()}
    # The reference is the first 3,000 fresh draws, of which the others are not.
    real = digits.EndlessDigits("fresh").batch(np.arange(5000))["image"]
    np.testing.assert_array_equal(others["fresh"]["image"], real[3000:])
    self.assertAlmostEqual(
        figures["fresh"]["frechet_distance"],
        frechet.distance(*np.split(classifier.features(real), [3000])), places=4)
    error = figures["fresh"]["frechet_standard_error"]
    self.assertBetween(error, 0, figures["fresh"]["frechet_distance"])
    self.assertGreater(figures["test"]["frechet_distance"],
                       figures["fresh"]["frechet_distance"] + 5 * error)
    # The digits without maps are another distribution, although every draw is one of them.
    plain = digits.Digits("train").batch(np.arange(1500))
    self.assertGreater(reference.metrics(**_renamed(plain))["frechet_distance"],
                       figures["fresh"]["frechet_distance"] + 5 * error)
    self.assertGreater(figures["fresh"]["class_accuracy"], 0.8)


def _renamed(batch):
  return {"images": batch["image"], "labels": batch["label"]}


if __name__ == "__main__":
  absltest.main()
