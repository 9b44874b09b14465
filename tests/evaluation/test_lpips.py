"""LPIPS: pairs of samples without any network, distances by the package with random weights."""

import functools
import pathlib
import sys
import tempfile
from unittest import mock

import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ntm.evaluation import lpips
from ntm.evaluation.lpips import Lpips


class PairsTest(parameterized.TestCase):

  @parameterized.parameters(0, 1, 2, 50)
  def test_both_have_the_same_condition_and_none_is_in_two(self, count):
    conditions = np.random.default_rng(0).integers(0, 5, count)
    found = lpips.pairs(conditions)
    self.assertEqual(found.shape[1:], (2,))
    np.testing.assert_array_equal(conditions[found[:, 0]], conditions[found[:, 1]])
    self.assertLen(np.unique(found), found.size)
    # As many as there can be.
    self.assertLen(found, (np.bincount(conditions, minlength=5) // 2).sum())

  def test_captions_are_conditions_and_those_that_differ_make_no_pair(self):
    self.assertEqual(lpips.pairs(["a", "b", "a", "a", "b", "c"]).tolist(), [[0, 2], [1, 4]])
    self.assertEqual(lpips.pairs(["a", "b", "c"]).shape, (0, 2))

  def test_fewer_are_some_of_all_classes(self):
    conditions = np.arange(1000) % 10
    found = lpips.pairs(conditions, limit=100)
    self.assertLen(found, 100)
    counts = np.bincount(conditions[found[:, 0]], minlength=10)
    self.assertBetween(counts.min(), 3, counts.max())
    self.assertLess(counts.max(), 20)
    np.testing.assert_array_equal(lpips.pairs(conditions, limit=100), found)
    self.assertLen(np.unique(found), 200)
    np.testing.assert_array_equal(lpips.pairs(conditions, limit=500), lpips.pairs(conditions))


class RefusalsTest(parameterized.TestCase):

  def test_another_network(self):
    with self.assertRaisesRegex(ValueError, "network of LPIPS is 'resnet'; expected one of"):
      Lpips("resnet")

  def test_the_extra_is_named(self):
    with (mock.patch.dict(sys.modules, {"lpips": None}),
          self.assertRaisesRegex(ImportError, r"pip install 'ntm\[eval\]'")):
      Lpips("alex")

  def test_torchvision_of_another_build_is_named(self):
    pytest.importorskip("torch")
    directory = pathlib.Path(tempfile.mkdtemp())
    (directory / "lpips.py").write_text("import torchvision")
    (directory / "torchvision.py").write_text("raise RuntimeError('nms does not exist')")
    others = {name: module for name, module in sys.modules.items()
              if name.partition(".")[0] not in ("lpips", "torchvision")}
    with (mock.patch.dict(sys.modules, others, clear=True),
          mock.patch.object(sys, "path", [str(directory), *sys.path]),
          self.assertRaisesRegex(ImportError, r"another build of PyTorch \(nms does not exist\)")):
      Lpips("alex")


class DistanceTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.tiny = pytest.importorskip("tests.helpers.tiny_lpips")

  def _images(self, count=20, side=32, channels=3):
    rng = np.random.default_rng(0)
    return rng.uniform(-1.2, 1.2, (2, count, side, side, channels)).astype(np.float32)

  @functools.cache  # noqa: B019
  def _alex(self):
    with self.tiny.cached("alex"):
      return Lpips("alex")

  @parameterized.parameters(*lpips.NETWORKS)
  def test_it_is_that_of_the_package_of_rounded_pictures(self, network):
    with self.tiny.cached(network):
      ours = Lpips(network)
    images = self._images(2 if network == "vgg" else 20)
    rounded = (images.clip(-1, 1) * 127.5 + 127.5).round() / 127.5 - 1
    with self.tiny.torch.no_grad():
      expected = self.tiny.theirs(network)(*(
          self.tiny.torch.tensor(part, dtype=self.tiny.torch.float32).permute(0, 3, 1, 2)
          for part in rounded)).flatten().numpy()
    self.assertGreater(expected.min(), 1e-3)
    np.testing.assert_allclose(ours(*images), expected, rtol=1e-5)
    self.assertEqual((ours.record["lpips_network"], ours.record["lpips_version"]), (network, "0.1"))
    self.assertLen(ours.record["lpips_sha256"], 64)

  @parameterized.parameters(("alex", 31), ("vgg", 16), ("squeeze", 17))
  def test_the_smallest_pictures_are_those_that_the_package_takes(self, network, side):
    with self.tiny.cached(network):
      ours, theirs = Lpips(network), self.tiny.theirs(network)
    self.assertGreater(ours(*self._images(1, side))[0], 0)
    with self.assertRaisesRegex(ValueError, f"reduces .* at least {side} pixels per side"):
      ours(*self._images(1, side - 1))
    too_small = self.tiny.torch.zeros(1, 3, side - 1, side - 1)
    with self.assertRaises(RuntimeError):
      theirs(too_small, too_small)

  def test_it_is_symmetric_and_zero_for_equal_pictures(self):
    first, second = self._images()
    np.testing.assert_allclose(self._alex()(first, second), self._alex()(second, first), rtol=1e-5)
    np.testing.assert_array_equal(self._alex()(first, first), np.zeros(20))
    self.assertEmpty(self._alex()(first[:0], second[:0]))

  def test_grey_pictures_and_bytes_are_what_they_show(self):
    grey = self._images(3, channels=1)
    found = self._alex()(*grey)
    np.testing.assert_array_equal(self._alex()(*grey.repeat(3, axis=4)), found)
    pixels = (grey.clip(-1, 1) * 127.5 + 127.5).round().astype(np.uint8)
    np.testing.assert_array_equal(self._alex()(*pixels), found)

  def test_reports(self):
    reports = []
    self._alex()(*self._images(), lambda *done: reports.append(done))
    self.assertEqual(reports, [(16, 20), (20, 20)])

  def test_pictures_that_do_not_do_are_named(self):
    with self.assertRaisesRegex(ValueError, "'alex' reduces pictures of 8 x 8 .* at least 31 p"):
      self._alex()(*self._images(2, side=8))
    with self.assertRaisesRegex(ValueError, "pictures of pairs have shapes .*; expected equal"):
      self._alex()(self._images(2)[0], self._images(3)[0])

  def test_weights_that_cannot_be_had_are_named(self):
    no_network = mock.patch("torch.hub.urlopen", side_effect=OSError("no network"))
    with (self.tiny.cached(), no_network, self.assertRaisesRegex(
        ValueError, r"'squeeze' cannot be loaded \(no network\); put the file of "
                    rf"https://\S+/{self.tiny.FILES['squeeze']} into \S+/checkpoints\.")):
      Lpips("squeeze")

  def test_no_memory_is_named(self):
    full = mock.Mock(side_effect=self.tiny.torch.OutOfMemoryError("full"))
    with (mock.patch.object(self._alex(), "_model", full),
          self.assertRaisesRegex(ValueError, "no memory for LPIPS next to JAX; set XLA_")):
      self._alex()(*self._images(2))


if __name__ == "__main__":
  absltest.main()
