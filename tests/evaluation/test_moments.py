import dataclasses
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from ntm.evaluation import moments
from ntm.evaluation.moments import Moments


def _features(count=1000, offset=0.0):
  rng = np.random.default_rng(0)
  return rng.normal(size=(count, 5)) @ rng.normal(size=(5, 5)) + offset


class MomentsTest(parameterized.TestCase):

  def test_are_numpys(self):
    x = _features()
    np.testing.assert_allclose(Moments.of(x).mean, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(Moments.of(x).covariance, np.cov(x, rowvar=False), rtol=1e-10)

  @parameterized.parameters(0.0, 1e6)
  def test_batches_of_any_size_are_the_whole_however_large_the_mean(self, offset):
    x = _features(offset=offset)
    parts = moments.merged(Moments.of(part) for part in np.split(x, [1, 300, 301, 640]))
    whole = Moments.of(x)
    self.assertEqual(parts.count, 1000)
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-14)
    np.testing.assert_allclose(parts.covariance, whole.covariance, rtol=1e-9)

  def test_float32_features_are_summed_in_float64(self):
    x = np.full((3, 2), 1e4, np.float32)
    x[0] += 1e-3
    np.testing.assert_allclose(Moments.of(x).covariance, np.cov(np.float64(x), rowvar=False))

  def test_hosts_are_merged_without_losing_digits(self):
    x = _features(offset=1e6)
    parts = [Moments.of(part) for part in np.split(x, [200])]
    names = iter([field.name for field in dataclasses.fields(Moments)])

    def all_processes(array):
      name = next(names)
      rows = np.stack([np.float64(getattr(part, name)) for part in parts])
      np.testing.assert_array_equal(array, rows[:1])  # This process is the first.
      return rows

    with mock.patch.object(moments.multihost, "allgather_rows", all_processes):
      together = moments.merged_over_hosts(parts[0])
    self.assertEqual(together.count, 1000)
    np.testing.assert_array_equal(together.scatter, parts[0].merge(parts[1]).scatter)
    np.testing.assert_array_equal(moments.merged_over_hosts(parts[0]).scatter, parts[0].scatter)

  def test_too_few_rows_are_refused(self):
    with self.assertRaisesRegex(ValueError, "at least one row"):
      Moments.of(np.zeros((0, 3)))
    with self.assertRaisesRegex(ValueError, "at least two rows"):
      _ = Moments.of(np.zeros((1, 3))).covariance


if __name__ == "__main__":
  absltest.main()
