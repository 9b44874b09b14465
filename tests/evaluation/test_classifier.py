import os
import tempfile
import warnings

import numpy as np
from absl.testing import absltest, parameterized
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from ntm.evaluation.classifier import Classifier


def _images(classes, count=300):
  rng = np.random.default_rng(0)
  labels = np.arange(count) % classes + 3
  return rng.normal(size=(count, 2, 2, 1)) * 0.3 + labels[:, None, None, None], labels


class ClassifierTest(parameterized.TestCase):

  def test_features_are_those_behind_the_prediction(self):
    images, labels = _images(3)
    model = Classifier.fit(images, labels)
    self.assertGreater(model.accuracy(images, labels), 0.8)
    features = model.features(images)
    self.assertEqual(features.shape, (300, 128))
    logits = features @ model.output_weights + model.output_biases
    np.testing.assert_array_equal(logits.argmax(1) + 3, model.predict(images))

  @parameterized.parameters(2, 3)
  def test_it_is_the_classifier_that_is_documented(self, classes):
    images, labels = _images(classes, 60)
    with warnings.catch_warnings():
      warnings.simplefilter("ignore", ConvergenceWarning)
      documented = MLPClassifier((128,), max_iter=400, random_state=0)
      documented.fit(np.float32(images).reshape(60, 4), labels)
    ours = Classifier.fit(images, labels)
    for found, expected in zip((ours.hidden_weights, ours.output_weights, ours.hidden_biases,
                                ours.output_biases), documented.coefs_ + documented.intercepts_):
      np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(ours.predict(images),
                                  documented.predict(np.float32(images).reshape(60, 4)))

  def test_so_many_passes_and_no_more(self):
    # Labels that cannot be learned, so that no early stop hides the number of passes.
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(40, 2, 2, 1)), rng.integers(0, 2, 40)
    with warnings.catch_warnings():
      warnings.simplefilter("ignore", ConvergenceWarning)
      three = MLPClassifier((128,), max_iter=3, random_state=0).fit(
          np.float32(images).reshape(40, 4), labels)
    np.testing.assert_array_equal(Classifier.fit(images, labels, 3).hidden_weights,
                                  three.coefs_[0])
    self.assertFalse(np.array_equal(Classifier.fit(images, labels).hidden_weights,
                                    three.coefs_[0]))

  @parameterized.parameters(2, 3)
  def test_a_saved_one_is_the_same(self, classes):
    images, labels = _images(classes)
    model = Classifier.fit(images, labels, 5)
    path = os.path.join(tempfile.mkdtemp(), "classifier.npz")
    model.save(path)
    loaded = Classifier.load(path)
    np.testing.assert_array_equal(loaded.features(images), model.features(images))
    np.testing.assert_array_equal(loaded.predict(images), model.predict(images))


if __name__ == "__main__":
  absltest.main()
