"""The benchmarks run and write the figures that tools read; slow, as they compile a lot."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import pytest
from absl.testing import absltest

_BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"


def _run(name, *flags):
  path = pathlib.Path(tempfile.mkdtemp()) / "result.json"
  subprocess.run([sys.executable, _BENCHMARKS / name, "--quick", f"--json={path}", *flags],
                 check=True)
  return json.loads(path.read_text())


class ScalingTest(absltest.TestCase):

  def test_prints_what_is_there_and_compiles_the_rest(self):
    results = pathlib.Path(tempfile.mkdtemp())
    tables = lambda *flags: subprocess.run(
        [sys.executable, _BENCHMARKS / "scaling.py", "--print_only", f"--results={results}",
         *flags], check=True, capture_output=True, text=True).stdout
    table = tables("--tables", "smallest", "weak")
    self.assertIn("| `imagenet256` | train | v5e:4x8 | not yet compiled |", table)
    self.assertIn("| 8 | (1, 8) | not yet compiled |", table)
    figures = {
        "parameters": 7, "arguments": 2 ** 30, "temporaries": 3 * 2 ** 30, "chips": 32,
        "hbm_per_chip_bytes": 4 * 2 ** 30, "hbm_limit_bytes": 16 * 2 ** 30, "fits": True,
        "flops_per_chip": 2e12, "collective_bytes": {"all-gather": 2 ** 29}, "mfu_bound": 0.75,
        "bounds_seconds": {"compute": 2.0, "interconnect": 1.0}}
    (results / "imagenet256-v5e_4x8-train.json").write_text(json.dumps(figures))
    self.assertIn("| v5e:4x8 | 32 | 7 | 1.00 | 3.00 | 4.00 | 25.0% | 2.0 | 0.50 | 0.50 | 75% |",
                  tables("--tables", "smallest"))


@pytest.mark.slow
class BenchmarksTest(absltest.TestCase):

  def test_inference(self):
    result = _run("inference.py")
    self.assertLess(result["solvers_max_difference"], 1e-4)
    self.assertGreater(result["denoiser_speedup"], 0)
    self.assertIn("jacobi", result["solvers"]["16"])

  def test_training(self):
    result = _run("training.py")
    self.assertIn("pair_wise, remat dots", result["steps"])
    self.assertGreater(result["reversible_memory_growth"], 0)

  def test_round_trip(self):
    out = subprocess.run([sys.executable, _BENCHMARKS / "round_trip.py"], capture_output=True,
                         text=True, check=True, env=os.environ | {"JAX_PLATFORMS": "cpu"}).stdout
    default, ours = out.splitlines()[1:]
    self.assertEqual(default.split("rounds")[1].split(), ours.split("float32")[1].split())

  def test_accelerator(self):
    result = _run("accelerator.py", _BENCHMARKS.parent / "configs" / "digits.py",
                  "--batch_sizes", "8", "16")
    small, large = (result["rows"][f"batch {size}, remat full"] for size in (8, 16))
    work = lambda row: row["flops_per_second"] * row["seconds"]
    self.assertAlmostEqual(work(large) / work(small), 2)
    self.assertAlmostEqual(large["examples_per_second"] * large["seconds"], 16)
    self.assertLess(small["memory_GiB"], large["memory_GiB"])
    self.assertAlmostEqual(large["flops_per_second"] / result["product_flops_per_second"],
                           large["of_product"])

  def test_convert_memory(self):
    result = _run("convert_memory.py")
    self.assertGreater(result["peak_bytes"], result["libraries_bytes"])
    # The blocks are read one at a time, not stacked in memory.
    self.assertLess(result["over_libraries_bytes"], 100e6)

  def test_those_of_few_steps(self):
    root = pathlib.Path(tempfile.mkdtemp())
    tiny = ["--config.model.predictor.width=16", "--config.model.transporter.width=16",
            "--config.optimizer.warmup_steps=0", "--config.train.steps=3",
            "--config.train.log_every=1"]
    train = lambda name, *flags: subprocess.run(
        [sys.executable, "-m", "ntm.commands.main", "train",
         f"--config={_BENCHMARKS.parent}/configs/{name}.py", f"--workdir={root / name}", *tiny,
         *flags], check=True)
    train("digits_fm")
    train("digits_finetune", f"--config.finetune.source={root / 'digits_fm'}")
    path = root / "result.json"
    subprocess.run([sys.executable, _BENCHMARKS / "few_steps.py", "--quick",
                    f"--fm={root / 'digits_fm'}", "--ntm", root / "digits_finetune",
                    f"--json={path}"], check=True)
    rows = json.loads(path.read_text())["rows"]
    self.assertEqual(rows["flow matching, heun 4"]["evaluations"], 7)
    self.assertIn("digits_finetune 4, refined", rows)
    subprocess.run([sys.executable, _BENCHMARKS / "levels.py", "--quick", "--draws=1",
                    f"--json={path}", root / "digits_finetune"], check=True)
    rows = json.loads(path.read_text())[str(root / "digits_finetune")]
    self.assertLen(rows, 5)
    # Real images with little noise are nearer to the real ones than samples.
    self.assertLess(rows[0]["frechet_distance"], rows[-1]["frechet_distance"])
    picture = root / "curves.png"
    subprocess.run([sys.executable, _BENCHMARKS / "compare_runs.py", root / "digits_finetune",
                    f"--picture={picture}"], check=True)
    self.assertGreater(picture.stat().st_size, 1000)


if __name__ == "__main__":
  absltest.main()
