import dataclasses
import hashlib
import tempfile
from unittest import mock

import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ntm import config as config_lib
from ntm.commands import sample_comparison
from ntm.data import pipeline
from ntm.evaluation import features, references
from ntm.evaluation.classifier import Classifier
from ntm.evaluation.features import Features, OfClassifier
from tests.helpers import runs


class _Levels:
  """Two values of an image, as features."""

  record = {"features": "levels", "features_sha256": "0", "resize": "none", "rounding": "nearest"}

  def __call__(self, images):
    return Features(images[:, 1:3, 4, 0])


class ComparisonTest(parameterized.TestCase):

  @parameterized.parameters(
      (None, (96, 64, 3), {}, "too large for the small classifier; expected --features"),
      (None, (8, 8, 1), {"image": 0}, "no images of two or more classes"),
      ("classifier", (8, 8, 1), {"image": 0, "label": np.zeros(5)}, "two or more classes"),
      (None, (8, 8, 1), {"mean": 0, "label": np.arange(5)}, "two or more classes"))
  def test_data_without_a_classifier_are_refused(self, name, shape, train, message):
    with self.assertRaisesRegex(ValueError, message):
      sample_comparison.uses_classifier(name, shape, train)

  def test_the_classifier_is_that_of_small_images(self):
    train = {"image": 0, "label": np.arange(5)}
    self.assertTrue(sample_comparison.uses_classifier(None, (64, 64, 3), train))
    self.assertTrue(sample_comparison.uses_classifier("classifier", (256, 256, 3), train))
    self.assertFalse(sample_comparison.uses_classifier("runs/inception", (8, 8, 1), {}))

  def test_any_features_against_the_training_images(self):
    config = runs.config()
    _, test, _ = pipeline.evaluation_data(config, 200)
    samples = pipeline.load_split(config, "train")[5]["image"][None].repeat(40, axis=0)
    samples = samples + np.random.default_rng(0).normal(size=samples.shape) / 50
    with self.assertLogs("ntm", "WARNING") as logs:
      result = sample_comparison.against_data(_Levels(), config, None, samples, None, test)
    self.assertRegex(logs.output[0], "40 samples and 1500 images of the reference, fewer than 50000"
                     ": a covariance of few images is too narrow")
    self.assertContainsSubset(_Levels.record, result)
    self.assertEqual((result["reference"], result["num_reference"]), ("training images", 1500))
    self.assertLess(result["recall"], 0.1)  # All samples are of one image.
    self.assertGreater(result["test_recall"], 0.7)
    self.assertLess(result["test_frechet_distance"], result["frechet_distance"])
    self.assertNotIn("class_accuracy", result)

  def test_progress_of_features_has_a_total(self):
    config, reports = runs.config(), mock.MagicMock()
    _, test, _ = pipeline.evaluation_data(config, 30)
    with mock.patch.object(sample_comparison, "progress", reports):
      sample_comparison.against_data(_Levels(), config, None, np.repeat(test["image"], 20, axis=0),
                                     None, test)
    self.assertEqual(
        [call.args[0] for call in reports.call_args_list],
        ["measuring the reference", "measuring the samples", "measuring the test images"])
    self.assertEqual(
        [call.args for call in reports().__enter__().call_args_list],
        [(512, 1500), (1024, 1500), (1500, 1500), (512, 600), (600, 600), (30, 30)])

  def test_the_classifier_says_what_the_samples_show_also_of_bytes(self):
    config = runs.config()
    train, test, _ = pipeline.evaluation_data(config, 300)
    extract = OfClassifier(Classifier.fit(train["image"], train["label"], epochs=10))
    pixels = (test["image"] * 127.5 + 127.5).round().astype(np.uint8)
    with mock.patch.object(references, "LIMIT", 300):
      result = sample_comparison.against_data(extract, config, None, pixels, test["label"], test)
    self.assertAlmostEqual(result["class_accuracy"], result["test_class_accuracy"], delta=0.02)
    self.assertAlmostEqual(result["frechet_distance"], result["test_frechet_distance"], places=1)
    self.assertEqual(result["num_reference"], 300)

  def test_scenes_without_captions_have_a_reference_of_some_of_them(self):
    config = runs.config(image_shape=(32, 32, 3), patch_shape=(32, 32), num_classes=6,
                         data={"source": "scenes"})
    samples = np.random.default_rng(0).normal(size=(30, 32, 32, 3))
    with mock.patch.object(sample_comparison, "_ENDLESS_LIMIT", 20):
      result = sample_comparison.against_data(_Levels(), config, None, samples, None, {})
    self.assertEqual(result["num_reference"], 20)

  def test_endless_digits_are_compared_with_fresh_draws(self):
    config = dataclasses.replace(runs.config(), data=config_lib.DataConfig(augment=True))
    samples = np.random.default_rng(0).normal(size=(30, 8, 8, 1))
    _, test, _ = pipeline.evaluation_data(config, 30)
    with mock.patch.object(sample_comparison.sample_metrics, "_ENDLESS_IMAGES", 100):
      result = sample_comparison.against_data(_Levels(), config, None, samples, None, test)
    self.assertEqual(result["reference"], "fresh draws of the data")
    self.assertEqual(result["num_reference"], 100)
    self.assertContainsSubset({"fresh_precision", "test_recall"}, result)
    self.assertGreater(result["frechet_distance"], result["fresh_frechet_distance"])


class InceptionTest(absltest.TestCase):

  @pytest.mark.slow
  def test_grey_samples_that_are_the_reference_are_at_distance_zero(self):
    inception_pair = pytest.importorskip("tests.helpers.inception_pair")
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), np.uint8)
    path = f"{tempfile.mkdtemp()}/same.npz"
    references.export_adm(path, pixels)
    extract = features.load(str(inception_pair.converted()), "antialiased")
    measure = lambda images: sample_comparison.against_data(
        extract, runs.config(), path, images, None, {})
    same, other = measure(pixels), measure(pixels // 2)
    weights = hashlib.sha256(inception_pair.weights_file().read_bytes()).hexdigest()
    self.assertContainsSubset(
        {"features": "inception", "features_sha256": weights, "resize": "antialiased",
         "rounding": "nearest", "reference": path, "num_reference": 6, "precision": 1.0}, same)
    for name in ("frechet_distance", "spatial_frechet_distance"):
      self.assertLess(same[name], 1e-6 * other[name])
    self.assertBetween(same["inception_score"], 1, 6)


class FitTest(absltest.TestCase):

  def test_endless_digits_have_their_own_classifier(self):
    config = dataclasses.replace(runs.config(), data=config_lib.DataConfig(augment=True))
    made = Classifier(*(np.zeros(3) for _ in range(5)))
    with mock.patch.object(sample_comparison.sample_metrics, "fit_endless", lambda data: made):
      self.assertIs(sample_comparison.fit_classifier(config, {}).classifier, made)
    with mock.patch.object(Classifier, "fit", lambda images, labels: made):
      fitted = sample_comparison.fit_classifier(runs.config(), {"image": 0, "label": 0})
    self.assertIs(fitted.classifier, made)
    self.assertEqual(fitted.record["features"], "classifier")
    self.assertLen(features.sha256(np.zeros(1)), 64)


if __name__ == "__main__":
  absltest.main()
