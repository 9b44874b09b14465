import warnings

import numpy as np
import scipy.linalg
from absl.testing import absltest, parameterized
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from ntm.evaluation import classifier, frechet, neighbours, sample_metrics


class FrechetTest(absltest.TestCase):

  def test_is_zero_for_equal_sets_and_symmetric(self):
    a, b = np.random.default_rng(0).normal(size=(2, 500, 6))
    self.assertAlmostEqual(frechet.distance(a, a), 0, places=8)
    self.assertAlmostEqual(frechet.distance(a, b), frechet.distance(b, a), places=8)

  def test_equals_the_matrix_square_root_formula(self):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6))
    b = rng.normal(size=(400, 6)) @ rng.normal(size=(6, 6)) + 1
    (m1, s1), (m2, s2) = frechet.moments(a), frechet.moments(b)
    expected = ((m1 - m2) ** 2).sum() + np.trace(s1 + s2 - 2 * scipy.linalg.sqrtm(s1 @ s2).real)
    self.assertAlmostEqual(frechet.distance(a, b), expected, places=6)

  def test_a_shift_costs_its_square_even_for_dead_features(self):
    a = np.random.default_rng(0).normal(size=(500, 6))
    a[:, 3] = 0
    self.assertAlmostEqual(frechet.distance(a, a + 2), 6 * 4, places=6)

  def test_one_row_is_refused(self):
    with self.assertRaisesRegex(ValueError, "at least two rows"):
      frechet.moments(np.zeros((1, 3)))


class NeighboursTest(parameterized.TestCase):

  @parameterized.parameters(
      # Balls around 0, 1, 10, 12 to the nearest other point: [-1, 2] and [8, 14].
      (1, [-1, 2, 8, 14], 1.0), (1, [-1.5, 2.5, 7.5, 14.5], 0.0), (1, [-2, 0.5, 5, 9], 0.5),
      # To the second nearest: radii 10, 9, 9, 11, from -10 to 23.
      (2, [-10, 4, 6, 23], 1.0), (2, [-10.5, 4, 6, 23.5], 0.5))
  def test_a_ball_reaches_to_the_kth_other_point(self, k, samples, precision):
    data = np.array([[0.0], [1], [10], [12]])
    samples = np.array(samples, float)[:, None]
    self.assertEqual(neighbours.precision_recall(data, samples, k)[0], precision)
    self.assertEqual(neighbours.precision_recall(samples, data, k)[1], precision)

  def test_equal_sets_are_covered(self):
    a = np.random.default_rng(0).normal(size=(200, 4))
    self.assertEqual(neighbours.precision_recall(a, a), (1, 1))

  def test_a_collapsed_sample_has_precision_without_recall(self):
    rng = np.random.default_rng(0)
    data = rng.normal(size=(1000, 4))
    collapsed = 0.1 * rng.normal(size=(1000, 4))
    precision, recall = neighbours.precision_recall(data, collapsed)
    self.assertGreater(precision, 0.9)
    self.assertLess(recall, 0.1)

  def test_far_samples_have_neither(self):
    data = np.random.default_rng(0).normal(size=(100, 4))
    self.assertEqual(neighbours.precision_recall(data, data + 100), (0, 0))


class ClassifierTest(absltest.TestCase):

  def test_features_are_those_behind_the_prediction(self):
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    images = rng.normal(size=(300, 2, 2, 1)) * 0.1 + labels[:, None, None, None]
    model = classifier.Classifier(images, labels)
    self.assertGreater(model.accuracy(images, labels), 0.95)
    features = model.features(images)
    self.assertEqual(features.shape, (300, 128))
    logits = features @ model._model.coefs_[1] + model._model.intercepts_[1]
    np.testing.assert_array_equal(logits.argmax(1), model._model.predict(images.reshape(300, -1)))


  def test_it_is_the_classifier_that_is_documented(self):
    # Labels that cannot be learned, so that no early stop hides the number of iterations.
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(40, 2, 2, 1)), rng.integers(0, 2, 40)
    with warnings.catch_warnings():
      warnings.simplefilter("ignore", ConvergenceWarning)
      ours = classifier.Classifier(images, labels)._model
      documented = MLPClassifier((128,), max_iter=400, random_state=0)
      documented.fit(np.float32(images).reshape(40, 4), labels)
    self.assertEqual(ours.n_iter_, 400)
    for found, expected in zip(ours.coefs_, documented.coefs_):
      np.testing.assert_array_equal(found, expected)


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
