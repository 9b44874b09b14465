"""The paper's tables: what its formulas say of them."""

import numpy as np
from absl.testing import absltest, parameterized

from ntm.evaluation import published


class TablesTest(parameterized.TestCase):

  @parameterized.parameters(published.TEXT_TO_IMAGE, published.SPEED, published.IMAGENET,
                            published.coefficients())
  def test_rows_have_a_cell_per_column(self, table):
    for row in table.rows:
      self.assertLen(row, len(table.columns))
      for cell, pattern in zip(row, table.columns.values()):
        self.assertIsInstance(cell, str if pattern == "" else float | int | None)


class CoefficientsTest(absltest.TestCase):

  def test_identities_hold_for_proposition_2_and_for_no_printed_row(self):
    deviations = {"printed": [], "Proposition 2": []}
    for kind, *_, mean, variance in published.coefficients().rows:
      deviations[kind].append(max(abs(mean), abs(variance)))
    np.testing.assert_allclose(deviations["Proposition 2"], 0, atol=1e-6)
    self.assertLen(deviations["printed"], 4)
    self.assertGreater(min(deviations["printed"]), 0.05)

  def test_coefficients_are_those_of_the_reverse_gaussian(self):
    # Bayes' rule for two Gaussians: q(x_s | x_0) q(x_t | x_s), computed without Proposition 2.
    for kind, t, s, a, b, c, _, _ in published.coefficients().rows:
      if kind != "printed":
        alpha = (1 - t) / (1 - s)
        noise = t * t - (alpha * s) ** 2
        precision = 1 / s ** 2 + alpha ** 2 / noise
        np.testing.assert_allclose(
            [a, b, c], [alpha / noise / precision, (1 - s) / s ** 2 / precision, precision ** -0.5],
            atol=2e-6)


if __name__ == "__main__":
  absltest.main()
