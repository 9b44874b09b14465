import numpy as np
from absl.testing import absltest

from ntm.likelihood import anomaly


class AnomalyTest(absltest.TestCase):

  def test_auroc_is_the_chance_of_a_correct_order(self):
    self.assertEqual(anomaly.auroc(np.array([0.0, 1.0]), np.array([2.0, 3.0])), 1.0)
    self.assertEqual(anomaly.auroc(np.array([0.0, 2.0]), np.array([1.0, 3.0])), 0.75)

  def test_only_typicality_calls_too_likely_inputs_strange(self):
    rng = np.random.default_rng(0)
    train, normal = rng.normal(size=(2, 3, 200))
    likely = normal + 5
    train_scores = [anomaly.scores(x, train) for x in (normal, likely)]
    auroc = {name: anomaly.auroc(*(s[name] for s in train_scores)) for name in anomaly.SCORES}
    self.assertLess(auroc["likelihood"], 0.05)
    self.assertGreater(auroc["typicality"], 0.95)

  def test_the_table_compares_every_kind_with_the_normal_one(self):
    scores = {kind: {name: np.array(values) for name in anomaly.SCORES}
              for kind, values in (("normal", [0.0, 2]), ("near", [1.0, 3]), ("far", [9.0]))}
    table = anomaly.auroc_table(scores, "normal")
    self.assertEqual(table, {"near": dict.fromkeys(anomaly.SCORES, 0.75),
                             "far": dict.fromkeys(anomaly.SCORES, 1.0)})

  def test_typicality_is_in_units_of_each_steps_spread(self):
    rng = np.random.default_rng(0)
    x, train = rng.normal(size=(3, 7)), rng.normal(size=(3, 200))
    scale, shift = np.array([[0.1], [1], [20]]), np.array([[5.0], [0], [-300]])
    plain, moved = (anomaly.scores(*pair)["typicality"]
                    for pair in ((x, train), (scale * x + shift, scale * train + shift)))
    np.testing.assert_allclose(moved, plain, rtol=1e-9)
    at_one_deviation = train.mean(axis=1, keepdims=True) + train.std(axis=1, keepdims=True)
    np.testing.assert_allclose(anomaly.scores(at_one_deviation, train)["typicality"], 1)

  def test_pieces_of_photographs_are_whole_up_to_the_largest(self):
    # Every eighth pixel of photographs of 427 rows: 53 fit, with no choice but a few rows.
    images = np.zeros((12, 53, 53, 1), np.float32)
    pieces = anomaly.other_inputs(images, 0.125)["photographs"]
    self.assertEqual(pieces.shape, images.shape)
    self.assertLen(np.unique(pieces.reshape(12, -1), axis=0), 12)

  def test_other_inputs_have_the_shape_and_levels_of_digits(self):
    rng = np.random.default_rng(0)
    images = (rng.integers(0, 17, (5, 8, 8, 1)) / 8 - 1).astype(np.float32)
    kinds = anomaly.other_inputs(images, 0.125)
    self.assertLen(kinds, 4)
    for other in kinds.values():
      self.assertEqual(other.shape, images.shape)
      self.assertLessEqual(np.abs(other).max(), 1)
      np.testing.assert_allclose((other + 1) * 8, np.round((other + 1) * 8), atol=1e-5)
    np.testing.assert_array_equal(np.sort(kinds["pixels shuffled"].ravel()),
                                  np.sort(images.ravel()))


if __name__ == "__main__":
  absltest.main()
