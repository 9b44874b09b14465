import dataclasses
import hashlib
import tempfile
from unittest import mock

import jax
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ntm import config as config_lib
from ntm.commands import sample_comparison
from ntm.data import pipeline
from ntm.data.scenes import Scenes
from ntm.evaluation import features, references
from ntm.evaluation.classifier import Classifier
from ntm.evaluation.features import Features, OfClassifier
from tests.helpers import runs


class _Model:
  """Noise, of which some samples are NaN."""

  def __init__(self, broken=()):
    self._broken, self.calls = broken, []

  def sample(self, rng, labels, num_samples, guidance, progress):
    del progress
    self.calls.append((labels, num_samples, guidance))
    images = np.array(jax.random.normal(rng, (num_samples, 2, 2, 1)))
    images[[i for i in self._broken if i < num_samples], 0, 1] = np.nan
    return images


class _Levels:
  """Two values of an image, as features."""

  record = {"features": "levels", "features_sha256": "0", "resize": "none", "rounding": "nearest"}

  def __call__(self, images):
    return Features(images[:, 1:3, 4, 0])


def _draw(model, count=10, labels=None, as_uint8=False):
  return sample_comparison.draw(model, jax.random.key(0), labels, count, as_uint8, guidance=0.5)


class DrawTest(absltest.TestCase):

  def test_what_is_not_finite_is_counted_and_left_out_and_never_drawn_again(self):
    model = _Model(broken=(1, 7))
    with self.assertLogs("ntm", "WARNING") as logs:
      images, finite = _draw(model)
    self.assertRegex(logs.output[0], "2 of 10 samples hold NaN .*left out")
    np.testing.assert_array_equal(np.flatnonzero(~finite), [1, 7])
    np.testing.assert_array_equal(images, _draw(_Model())[0][finite])
    self.assertEqual(model.calls, [(None, 10, 0.5)])

  def test_too_few_finite_ones_are_an_error(self):
    with self.assertRaisesRegex(FloatingPointError, "7 of 10 samples hold NaN"):
      _draw(_Model(broken=range(7)))
    self.assertEqual(_draw(_Model(), count=2)[1].sum(), 2)

  def test_parts_have_other_noise_and_their_own_labels(self):
    model = _Model(broken=(1,))
    with mock.patch.object(sample_comparison, "_PART", 4):
      images, finite = _draw(model, labels=np.arange(10))
    self.assertEqual([call[0].tolist() for call in model.calls],
                     [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]])
    np.testing.assert_array_equal(np.flatnonzero(~finite), [1, 5, 9])
    self.assertLen(np.unique(images[:, 0, 0, 0]), 7)
    # The first part is the same as alone.
    np.testing.assert_array_equal(images[:3], _draw(_Model(), count=4)[0][[0, 2, 3]])

  def test_processes_have_shares_of_other_noise(self):
    shares = []
    for process in range(2):
      model = _Model()
      with (mock.patch.object(jax, "process_count", lambda: 2),
            mock.patch.object(jax, "process_index", lambda process=process: process),
            mock.patch.object(sample_comparison.multihost, "allgather_rows", lambda rows: rows)):
        shares.append(_draw(model, count=9, labels=np.arange(9))[0])
      self.assertEqual(model.calls[0][0].tolist(), [[0, 1, 2, 3, 4], [5, 6, 7, 8]][process])
    self.assertLen(np.unique(np.concatenate(shares)[:, 0, 0, 0]), 9)

  def test_bytes_are_the_nearest(self):
    images, _ = _draw(_Model(), as_uint8=True)
    np.testing.assert_array_equal(
        images, (_draw(_Model())[0].clip(-1, 1) * 127.5 + 127.5).round().astype(np.uint8))
    self.assertEqual(images.dtype, np.uint8)


class LabelsTest(absltest.TestCase):

  def test_uniform_as_in_training_or_none(self):
    labels, about = sample_comparison.labels(runs.config(), "uniform", 25)
    np.testing.assert_array_equal(labels, np.arange(25) % 10)
    self.assertEqual(about, "uniform")
    source = [{"label": label} for label in [3] * 90 + [5] * 10]
    with mock.patch.object(pipeline, "load_split", lambda config, split: source):
      for count in (50, 100, 200):
        labels, about = sample_comparison.labels(runs.config(), "training", count)
        self.assertLen(labels, count)
        self.assertAlmostEqual((labels == 5).mean(), 0.1, delta=0.021)
        self.assertIn(5, labels[:count // 2])  # In no order, though the source is in that of class.
    self.assertEqual(about, "as in training")
    self.assertEqual(sample_comparison.labels(runs.config(num_classes=0), "uniform", 5),
                     (None, "none"))

  def test_a_model_of_captions_is_given_those_of_held_out_examples(self):
    config = runs.config(
        num_classes=0, image_shape=(32, 32, 3), patch_shape=(16, 16),
        backbone={"text_tokens": 16, "vocab_size": 54}, data={"source": "scenes"},
        text={"tokenizer": "scenes"})
    captions, about = sample_comparison.labels(config, "uniform", 3)
    source = Scenes("test", 32)
    rows = pipeline.spaced(len(source), 3)
    self.assertCountEqual(captions, [source.scene(int(row)).caption for row in rows])
    self.assertEqual(about, "captions of held-out examples")


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
