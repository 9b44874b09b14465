"""Published runs against closed formulas: the law that no run beats its bound."""

import importlib
import json
import pathlib
import re
import sys
from unittest import mock

from absl.testing import absltest, parameterized

_ROOT = pathlib.Path(__file__).parents[1]
_ROWS = [json.loads(line) for line in (
    _ROOT / "docs" / "measurements" / "published_runs.jsonl").read_text().splitlines()]
with mock.patch.object(sys, "path", [str(_ROOT / "benchmarks"), *sys.path]):
  published_runs = importlib.import_module("published_runs")


def _row(**changes):
  """A dense model over a whole v5p cube, fsdp and tensor."""
  row = next(row for row in _ROWS if row["chip"] == "TPU v5p" and row["slices"] == 1)
  return row | changes


class PublishedRunsTest(parameterized.TestCase):

  @parameterized.parameters(*_ROWS)
  def test_a_run_is_slower_than_its_bound(self, **row):
    bound, took = published_runs.bound(row), published_runs.seconds(row)
    self.assertLess(bound.overlapped, took)
    self.assertGreater(bound.overlapped, 0.4 * took)
    self.assertGreaterEqual(bound.serial, bound.overlapped)

  @parameterized.parameters(*_ROWS)
  def test_parameters_and_flops_are_those_of_the_source(self, **row):
    billions = float(re.search(r"([0-9]+)B", row["model"])[1])
    if row["experts"] == 1:
      self.assertAlmostEqual(published_runs._parameters(row) / 1e9 / billions, 1, delta=0.035)
    else:
      self.assertAlmostEqual(published_runs._parameters(row) / 46.7e9, 1, delta=0.001)
    if "seconds" in row:
      self.assertAlmostEqual(published_runs.model_flops(row) / 1e12
                             / (row["seconds"] * row["tflops_per_chip"]), 1, delta=0.001)
    for address in (row["source"], row["config"]):
      self.assertRegex(address, r"^https://github.com/AI-Hypercomputer/[^/]+/blob/[0-9a-f]{40}/")

  def test_more_tokens_cost_more_arithmetic_and_the_same_parameters(self):
    small, large = (published_runs.bound(_row(sequences_per_chip=n)) for n in (2, 4))
    self.assertAlmostEqual(large.compute, 2 * small.compute)
    self.assertLess(large.memory, 2 * small.memory)
    sent = [published_runs._exchanges(_row(sequences_per_chip=n)) for n in (2, 4)]
    self.assertEqual(sent[0]["fsdp"], sent[1]["fsdp"])
    self.assertAlmostEqual(sent[1]["tensor"].sent_bytes, 2 * sent[0]["tensor"].sent_bytes)

  def test_what_is_computed_again_takes_time_and_is_not_counted(self):
    kept, again = _row(recomputed=[]), _row(recomputed=["qkv", "attention", "out", "mlp_in"])
    self.assertEqual(published_runs.model_flops(kept), published_runs.model_flops(again))
    ratio = published_runs.bound(again).compute / published_runs.bound(kept).compute
    self.assertBetween(ratio, 1.2, 4 / 3)  # All products but the last of the MLP and the logits.
    self.assertGreater(published_runs.bound(again).memory, published_runs.bound(kept).memory)

  def test_slices_exchange_gradients_or_also_parameters(self):
    network = {across: published_runs.bound(_row(slices=2, across_slices=across)).network
               for across in ("data", "fsdp")}
    self.assertEqual(published_runs.bound(_row()).network, 0)
    self.assertAlmostEqual(network["fsdp"], 1.5 * network["data"])


if __name__ == "__main__":
  absltest.main()
