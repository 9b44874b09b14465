import hashlib
import pathlib
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from ntm.evaluation import features, frechet, references
from ntm.evaluation.features import Features

_WIDTH = 20  # In place of the 2,048 features of Inception.


class _Corners:
  """The first pixel of every channel; or as wide as Inception's features."""

  def __init__(self, resize="tf1", width=3):
    self.record, self._width = {"features": "corners", "resize": resize}, width

  def __call__(self, images):
    return Features(np.resize(images[:, 0, 0], (len(images), self._width)))


def _pixels(count=6):
  return np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), np.uint8)


def _floats(pixels):
  return pixels.astype(np.float32) / 127.5 - 1


class ReferencesTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.path = pathlib.Path(tempfile.mkdtemp())
    self.enterContext(mock.patch.object(references.inception, "NUM_FEATURES", _WIDTH))

  def _load(self, extract=None, **arrays):
    np.savez(self.path / "ref.npz", **arrays)
    return references.load(extract or _Corners(), str(self.path / "ref.npz"), (4, 4, 3))

  def test_images_of_a_file(self):
    reference, about = self._load(arr_0=_pixels())
    np.testing.assert_array_equal(reference.pool, _floats(_pixels())[:, 0, 0])
    digest = hashlib.sha256((self.path / "ref.npz").read_bytes()).hexdigest()
    self.assertEqual(about, {
        "reference": str(self.path / "ref.npz"), "reference_sha256": digest, "num_reference": 6,
        "reference_moments": "of these images"})

  def test_a_folder_is_all_its_images(self):
    for i, pixels in enumerate(_pixels()):
      (self.path / "images").mkdir(exist_ok=True)
      Image.fromarray(pixels).save(self.path / "images" / f"{i}.png")
    reference, about = references.load(_Corners(), str(self.path / "images"), (4, 4, 3))
    np.testing.assert_array_equal(reference.pool, _floats(_pixels())[:, 0, 0])
    self.assertEqual(about["num_reference"], 6)
    self.assertEqual(about["reference_sha256"],
                     hashlib.sha256(_floats(_pixels()).tobytes()).hexdigest())

  def test_stored_moments_are_those_of_inception_with_tf1(self):
    rng = np.random.default_rng(0)
    mu, root = rng.normal(size=_WIDTH), rng.normal(size=(_WIDTH, 2))
    arrays = {"mu": mu, "sigma": root @ root.T}
    reference, about = self._load(_Corners(width=_WIDTH), arr_0=_pixels(), **arrays)
    self.assertEqual(about["reference_moments"], "mu and sigma of the file")
    self.assertAlmostEqual(frechet.between(reference.gaussian, frechet.Gaussian(mu, root)), 0,
                           places=6)
    self.assertLen(reference.pool, 6)
    # Precision needs images, and the moments of the file its resize.
    self.assertIsNone(self._load(_Corners(width=_WIDTH), **arrays)[0].pool)
    _, about = self._load(_Corners("antialiased", _WIDTH), arr_0=_pixels(), **arrays)
    self.assertEqual(about["reference_moments"], "of these images")
    with self.assertRaisesRegex(ValueError, "no images; .*resize antialiased. Expected images"):
      self._load(_Corners("antialiased", _WIDTH), **arrays)

  @parameterized.parameters(
      (dict(other=_pixels()), "has neither images, arr_0, nor mu and sigma"),
      (dict(arr_0=_floats(_pixels())), "type float32 and shape .*expected uint8 images"),
      (dict(arr_0=_pixels()[0]), "expected uint8 images"),
      (dict(mu=np.zeros(5), sigma=np.eye(5)), r"shapes \(5,\) and \(5, 5\); expected \(20,\)"),
      (dict(arr_0=_pixels(3)), "3 images have no 3 neighbours each"))
  def test_other_files_are_refused(self, arrays, message):
    with self.assertRaisesRegex(ValueError, message):
      self._load(**arrays)

  def test_a_check_reads_no_images(self):
    def check(extract=None, shape=(4, 4, 3), **arrays):
      np.savez(self.path / "ref.npz", **arrays)
      references.check(str(self.path / "ref.npz"), shape, extract)

    images, moments = np.zeros((4, 4, 4, 3), np.uint8), dict(mu=np.zeros(1), sigma=np.eye(1))
    for extract in (None, _Corners(), _Corners("antialiased")):
      check(extract, arr_0=images)
      check(extract, (4, 4, 1), arr_0=images)
      with self.assertRaisesRegex(ValueError, r"shape \(4, 4, 3\), and the samples \(8, 8, 3\)"):
        check(extract, (8, 8, 3), arr_0=images)
      with self.assertRaisesRegex(ValueError, "--reference is .*ref.npz, with 3 images; expected"):
        check(extract, arr_0=images[1:])
    check(_Corners(), **moments)
    for extract, found in ((None, "those of a classifier"),
                           (_Corners("none"), "corners, resize none")):
      with self.assertRaisesRegex(ValueError, f"and no images; the features are {found}. Expected"):
        check(extract, **moments)
    with mock.patch.object(references, "OfInception", _Corners):  # It resizes.
      check(_Corners(), (8, 8, 3), arr_0=images)
    with self.assertRaisesRegex(ValueError, "has type float32 and shape"):
      check(arr_0=images.astype(np.float32))
    with self.assertRaisesRegex(ValueError, "has neither images"):
      check(other=np.zeros(1))

  def test_a_check_counts_the_images_of_a_folder(self):
    check = lambda: references.check(str(self.path), (4, 4, 3), None)
    with self.assertRaisesRegex(ValueError, "a folder without images"):
      check()
    for i in range(4):
      if i:
        with self.assertRaisesRegex(ValueError, f"with {i} images; expected at least 4"):
          check()
      Image.fromarray(_pixels()[0]).save(self.path / f"{i}.png")
    check()

  def test_what_is_neither_is_refused(self):
    (self.path / "ref.npz").write_text("no archive")
    np.save(self.path / "array.npy", np.zeros(3))
    for path in (self.path / "ref.npz", self.path / "none", self.path / "array.npy"):
      with self.assertRaisesRegex(ValueError, "cannot be read as a reference .*expected a folder"):
        references.load(_Corners(), str(path), (4, 4, 3))

  def test_an_export_is_a_reference_of_the_same_images(self):
    grey = _pixels()[..., :1]
    references.export_adm(str(self.path / "out.npz"), grey)
    with np.load(self.path / "out.npz") as file:
      self.assertEqual(list(file), ["arr_0"])
      self.assertEqual((file["arr_0"].dtype, file["arr_0"].shape), (np.uint8, (6, 4, 4, 3)))
    reference, _ = references.load(_Corners(), str(self.path / "out.npz"), (4, 4, 1))
    # Grey again for features of grey samples, and of three channels for those of coloured ones.
    np.testing.assert_array_equal(reference.pool, _Corners()(_floats(grey)).pool)
    reference, _ = references.load(_Corners(), str(self.path / "out.npz"), (4, 4, 3))
    np.testing.assert_array_equal(reference.pool, _floats(np.repeat(grey, 3, -1))[:, 0, 0])

  def test_images_of_a_source_are_spaced_over_it(self):
    source = [{"image": image} for image in _floats(_pixels(600))]  # More than at a time.
    reference, about = references.of_source(_Corners(), source, "training images")
    np.testing.assert_array_equal(reference.pool, _floats(_pixels(600))[:, 0, 0])
    self.assertEqual((about["reference"], about["num_reference"]), ("training images", 600))
    whole, again = references.of_batches(_Corners(), [_floats(_pixels(600))], "training images")
    self.assertEqual(again, about)
    self.assertAlmostEqual(frechet.between(whole.gaussian, reference.gaussian), 0, places=9)

  def test_the_classifier_refuses_a_reference_of_another_shape(self):
    classifier = features.Classifier(
        np.zeros((16, 128)), np.zeros(128), np.zeros((128, 2)), np.zeros(2), np.arange(2))
    with self.assertRaisesRegex(ValueError, "48 values, and the classifier .* reads 16"):
      self._load(features.OfClassifier(classifier), arr_0=_pixels())


if __name__ == "__main__":
  absltest.main()
