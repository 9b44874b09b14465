import warnings

import numpy as np
from absl.testing import absltest
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from ntm.evaluation import classifier


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


if __name__ == "__main__":
  absltest.main()
