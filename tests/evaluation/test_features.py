import pathlib
import tempfile
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ntm.conversion import converter
from ntm.evaluation import features
from ntm.evaluation.classifier import Classifier
from ntm.evaluation.features import Features
from ntm.evaluation.moments import Moments
from ntm.published.inception.model import Activations
from ntm.sampling import pictures
from tests.helpers import parity


def channel_means(images):
  """Features that are known: bytes are what is given, and their mean per channel."""
  assert images.dtype == np.uint8
  return images.mean(axis=(1, 2))


def transposed(images):
  """Not features of the images."""
  return channel_means(images).T


def _images(count=5, side=6, channels=3):
  return np.random.default_rng(0).uniform(-1.2, 1.2, (count, side, side, channels)).astype("f4")


class FeaturesTest(parameterized.TestCase):

  def test_batches_are_the_whole(self):
    extract = mock.Mock(side_effect=lambda x: Features(
        x.mean(axis=(1, 2)), Moments.of(x.reshape(len(x), -1)), x[:, 0, 0]))
    whole, parts = extract(_images()), features.measure(extract, np.split(_images(), [1, 3]))
    np.testing.assert_array_equal(parts.pool, whole.pool)
    np.testing.assert_array_equal(parts.logits, whole.logits)
    np.testing.assert_allclose(parts.spatial.covariance, whole.spatial.covariance, atol=1e-12)
    self.assertIsNone(features.join([Features(whole.pool)] * 2).spatial)

  @parameterized.parameters(
      (lambda x: 1 / 0, "fails for uint8 images of shape .2, 4, 4, 1.: ZeroDivisionError"),
      (lambda x: np.zeros((1, 3)), "features of shape .1, 3. for 2 images; expected .2, F."),
      (lambda x: np.full((2, 3), np.nan), "gives features that are NaN or infinite"))
  def test_a_function_that_does_not_do_is_named(self, function, message):
    extract = features.OfFunction(f"{__name__}:channel_means")
    extract._function = function
    with self.assertRaisesRegex(ValueError, f"{__name__}:channel_means {message}|{message}"):
      extract(np.zeros((2, 4, 4, 1), np.float32))

  def test_processes_measure_a_share_each_and_have_the_whole(self):
    images, gathered = pictures.to_uint8(_images(7)), []
    extract = features.OfFunction(f"{__name__}:channel_means")
    whole = features.measure_over_hosts(extract, images, size=3).pool
    np.testing.assert_array_equal(whole, channel_means(images))

    def allgather(rows):
      gathered.append(rows)
      return rows

    for process in range(2):
      with (mock.patch.object(jax, "process_count", lambda: 2),
            mock.patch.object(jax, "process_index", lambda process=process: process),
            mock.patch.object(features.multihost, "allgather_rows", allgather)):
        features.measure_over_hosts(extract, images, size=3)
        # One image is too few for two.
        np.testing.assert_array_equal(
            features.measure_over_hosts(extract, images[:1]).pool, whole[:1])
    np.testing.assert_array_equal(np.concatenate(gathered), whole)

  def test_a_saved_classifier(self):
    images, labels = _images(30), np.arange(30) % 3
    classifier = Classifier.fit(images, labels, epochs=2)
    path = pathlib.Path(tempfile.mkdtemp()) / "classifier.npz"
    classifier.save(path)
    loaded, fitted = features.load(str(path), "tf1"), features.OfClassifier(classifier)
    np.testing.assert_array_equal(loaded(images).pool, classifier.features(images))
    self.assertEqual(loaded.record["features_sha256"], fitted.record["features_sha256"])
    self.assertEqual((loaded.record["resize"], loaded.record["rounding"]), ("none", "none"))
    other = Classifier.fit(images, labels[::-1], epochs=2)
    self.assertNotEqual(features.OfClassifier(other).record["features_sha256"],
                        fitted.record["features_sha256"])
    with self.assertRaisesRegex(ValueError, r"shape \(7, 7, 3\), 147 values, .* reads 108"):
      loaded(_images(side=7))
    np.savez(path, arr_0=images)
    with self.assertRaisesRegex(ValueError, "is not a classifier; .*--reference"):
      features.load(str(path), "tf1")

  def test_a_function_is_given_the_nearest_bytes(self):
    extract = features.load(f"{__name__}:channel_means", "tf1")
    self.assertEqual(extract.record["rounding"], "nearest")
    images = np.array([-1, 1, 7, 0.25 / 127.5, -1 / 127.5])[:, None, None, None]
    np.testing.assert_array_equal(extract(images).pool[:, 0], [0, 255, 255, 128, 126])

  def test_what_is_no_feature_is_refused(self):
    extract = features.load(f"{__name__}:transposed", "tf1")
    with self.assertRaisesRegex(ValueError, r"shape \(3, 5\) for 5 images; expected .*\(5, F\)"):
      extract(_images())
    with self.assertRaisesRegex(ValueError, "is not a function or class"):
      features.load(f"{__name__}:nothing", "tf1")

  @parameterized.parameters(1, 3)
  def test_inception_is_given_colours_at_its_scale_and_size_in_full_batches(self, channels):
    """Of an Inception that gives mean and corner of what it reads."""
    given = []

    def apply(self, variables, x):
      given.append(x.shape)
      corner = jnp.broadcast_to(x[:, :1, :1, :1], (len(x), 17, 17, 768))
      return Activations(x.mean(axis=(1, 2)), corner, None, x[:, 0, 0])

    directory = pathlib.Path(tempfile.mkdtemp())
    made = {"source": [{"sha256": "6726825c"}]}
    with (self.assertLogs("ntm", "WARNING") as logs,
          mock.patch.object(converter, "load", lambda path: ("inception", {}, {})),
          mock.patch.object(features.conversion_record, "read", lambda path: made),
          mock.patch.object(features.inception.Inception, "apply", apply),
          mock.patch.object(features, "_AT_A_TIME", 2)):
      extract = features.load(str(directory), "tf1")
      images = np.clip(_images(channels=channels), -1, 1)
      found = extract(images)
    self.assertEqual(given, [(2, 299, 299, 3)])  # Traced once, of five images.
    self.assertEqual(extract.record["features_sha256"], "6726825c")
    self.assertRegex(logs.output[0], "SHA-256 6726825c..., and FID's weights have 6726825d")
    corner = np.broadcast_to((images[:, 0, 0] * 127.5 + 127.5).round(), (5, 3))
    np.testing.assert_allclose(found.logits, (corner - 128) / 128, atol=1e-6)
    np.testing.assert_allclose(found.spatial.mean[0], found.logits[:, 0].mean(), atol=1e-6)
    self.assertEqual(found.spatial.count, 5)
    self.assertLen(found.spatial.mean, features.NUM_SPATIAL)

  def test_latents_and_other_models_are_refused(self):
    with self.assertRaisesRegex(ValueError, r"shape \(6, 6, 4\); expected \(height, width, 1 or 3"):
      features.colour(_images(channels=4))
    directory = pathlib.Path(tempfile.mkdtemp())
    with mock.patch.object(converter, "load", lambda path: ("sit", {}, {})):
      with self.assertRaisesRegex(ValueError, "of family sit; expected the target of"):
        features.load(str(directory), "tf1")
    with self.assertRaisesRegex(FileNotFoundError, "not the target of `ntm convert`"):
      features.load(str(directory), "tf1")


class RealInceptionTest(absltest.TestCase):

  @pytest.mark.slow
  def test_of_small_images_equals_torch_fidelity_from_bytes_to_features(self):
    torch = pytest.importorskip("torch")
    inception_pair = pytest.importorskip("tests.helpers.inception_pair")
    names = ["2048", "logits_unbiased"]
    theirs = inception_pair.extractor(names, inception_pair.weights_file())
    images = _images(3, side=32)
    pixels = torch.from_numpy((images.clip(-1, 1) * 127.5 + 127.5).round().astype(np.uint8))
    pool, logits = theirs(pixels.permute(0, 3, 1, 2))
    found = features.load(str(inception_pair.converted()), "tf1")(images)

    parity.assert_close("pool", found.pool, pool)
    parity.assert_close("logits", found.logits, logits)


if __name__ == "__main__":
  absltest.main()
