import numpy as np
from absl.testing import absltest

from ntm.evaluation import comparison, frechet, inception_score, neighbours
from ntm.evaluation.features import Features
from ntm.evaluation.frechet import Gaussian
from ntm.evaluation.moments import Moments


def _features(seed, count=60, shift=0.0):
  rng = np.random.default_rng(seed)
  return Features(rng.normal(size=(count, 4)) + shift,
                  Moments.of(rng.normal(size=(count, 9)) + shift), rng.normal(size=(count, 5)))


class ComparisonTest(absltest.TestCase):

  def test_metrics_are_those_of_the_parts(self):
    real, samples = _features(0), _features(1, shift=0.5)
    metrics = comparison.Reference.of(real).metrics(samples)
    spatial = [Gaussian.of_moments(x.spatial) for x in (real, samples)]
    precision, recall = neighbours.precision_recall(real.pool, samples.pool)
    expected = {
        "frechet_distance": frechet.distance(real.pool, samples.pool),
        "frechet_standard_error": frechet.standard_error(Gaussian.fit(real.pool), samples.pool),
        "precision": precision, "recall": recall,
        "spatial_frechet_distance": frechet.between(*spatial),
        "inception_score": inception_score.score(samples.logits)}
    self.assertEqual(metrics.keys(), expected.keys())
    for name, value in expected.items():
      self.assertAlmostEqual(metrics[name], value, places=10, msg=name)

  def test_features_without_places_or_classes_have_no_metrics_of_them(self):
    reference = comparison.Reference.of(Features(_features(0).pool))
    self.assertEqual(reference.metrics(Features(_features(1).pool)).keys(),
                     {"frechet_distance", "frechet_standard_error", "precision", "recall"})

  def test_known_gaussians_replace_those_of_the_images(self):
    real, larger, samples = _features(0), _features(2, count=500, shift=1.0), _features(1)
    reference = comparison.Reference.of(
        real, Gaussian.fit(larger.pool), Gaussian.of_moments(larger.spatial))
    found, images = reference.metrics(samples), comparison.Reference.of(real).metrics(samples)
    self.assertAlmostEqual(found["frechet_distance"], frechet.distance(larger.pool, samples.pool))
    self.assertGreater(found["spatial_frechet_distance"], images["spatial_frechet_distance"] + 3)
    self.assertEqual(found["precision"], images["precision"])

  def test_without_images_there_are_no_precision_and_recall(self):
    real = _features(0)
    reference = comparison.Reference(Gaussian.fit(real.pool))
    self.assertNotIn("precision", reference.metrics(_features(1)))


if __name__ == "__main__":
  absltest.main()
