import dataclasses
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from unittest import mock

import jax
import pytest
from absl.testing import absltest, parameterized

from ntm.commands import ahead_of_time
from ntm.nn import partitioning
from ntm.performance import accelerators
from tests.helpers import tiny

_SMALL = {"layers": 1, "width": 16, "num_heads": 2, "num_kv_heads": 2}
_CHIP = accelerators.lookup("TPU v5 lite")


def _config(**changes):
  return tiny.config(**{"model__predictor": _SMALL, "model__transporter": _SMALL,
                        "denoiser": _SMALL, "mesh": {"data": 2, "fsdp": 2, "tensor": 2}} | changes)


def _report(program="train", chip=None, **changes):
  config = _config(**changes)
  return ahead_of_time.report(program, config, partitioning.make_mesh(config.mesh), chip, 8)


def _recomputed(program, refine=None, **changes):
  config = _config(**changes)
  return (ahead_of_time.executed_flops(program, config, refine)
          - ahead_of_time.model_flops(program, config, refine))


class AheadTest(parameterized.TestCase):

  def test_a_training_step_is_measured(self):
    report = _report(chip=_CHIP)
    # Parameters, average and two moments, of which most leaves are in four pieces.
    self.assertBetween(report.arguments, 4 * report.parameters, 16 * report.parameters)
    self.assertTrue(report.fits)
    self.assertGreater(report.collective_bytes["all-reduce"], 0)
    bounds = report.bounds(_CHIP)
    self.assertEqual(bounds["compute"], report.flops_per_chip / _CHIP.peak_flops)
    self.assertFalse(_report(chip=dataclasses.replace(_CHIP, hbm_bytes=1000)).fits)

  @pytest.mark.slow
  def test_full_rematerialisation_computes_a_third_more(self):
    report = _report(model__remat="full")
    self.assertIsNone(report.fits)
    self.assertBetween(report.executed_flops_per_chip / report.flops_per_chip, 1.2, 1.4)

  @parameterized.parameters("train", "distill")
  @pytest.mark.slow
  def test_policies_compute_again_what_they_do_not_keep(self, program):
    again = {policy: _recomputed(program, model__remat=policy)
             for policy in ("none", "dots", "attention", "full")}
    self.assertEqual(again["none"], 0)
    self.assertLess(again["none"], again["dots"])  # Attention has batch dimensions.
    self.assertLess(again["dots"], again["attention"])
    self.assertLess(again["attention"], again["full"])
    self.assertLess(again["full"], ahead_of_time.model_flops(program, _config()) / 2)

  def test_sampling_without_a_gradient_computes_nothing_again(self):
    self.assertEqual(_recomputed("sample", "denoiser", model__remat="full"), 0)
    self.assertEqual(_recomputed("sample", model__remat="full", model__kind="flow_matching"), 0)
    self.assertGreater(_recomputed("sample", "score", model__remat="full"), 0)

  @parameterized.parameters("sample", "distill")
  @pytest.mark.slow
  def test_other_programs_are_measured(self, program):
    report = _report(program)
    self.assertGreater(report.temporaries, 0)
    self.assertGreater(report.flops_per_chip, 0)

  @parameterized.parameters(
      "RESOURCE_EXHAUSTED: Ran out of memory in hbm. Used 17.50G of 15.75G hbm.",
      "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries "
      "(17.50G) exceeds available HBM (15.75G).")
  @pytest.mark.slow
  def test_what_the_compiler_refuses_does_not_fit(self, message):
    with mock.patch.object(jax.stages.Lowered, "compile",
                           side_effect=jax.errors.JaxRuntimeError(message)):
      report = _report(chip=_CHIP)
      self.assertIs(report.fits, False)
      self.assertEqual(report.hbm_per_chip_bytes, 17.5 * 2 ** 30)
    with mock.patch.object(jax.stages.Lowered, "compile",
                           side_effect=jax.errors.JaxRuntimeError("INTERNAL: something")):
      with self.assertRaisesRegex(jax.errors.JaxRuntimeError, "something"):
        _report()

  def test_a_batch_or_a_width_that_does_not_split_is_named(self):
    with self.assertRaisesRegex(ValueError, "batch_size 6 .* 4 devices"):
      _report(train__batch_size=6)
    with self.assertRaisesRegex(
        ValueError, r"attention/key/.* axis \d is not divisible by the 2 devices of mesh axis "
        "'tensor'"):
      _report(model__predictor=_SMALL | {"num_kv_heads": 1})


class CommandTest(parameterized.TestCase):

  @parameterized.parameters((1, 8, 1), (2, 2, 2), (1, 4, 2))
  @pytest.mark.slow
  def test_nothing_is_gathered_against_the_partitioners_will(self, data, fsdp, tensor):
    out = _compile("cpu:8", f"--config.mesh.data={data}", f"--config.mesh.fsdp={fsdp}",
                   f"--config.mesh.tensor={tensor}", "--config.model.unroll=1")
    self.assertNotIn("ematerialization", out)
    self.assertRegex(out, "parameters +1,770,536")

  @pytest.mark.slow
  def test_a_described_slice(self):
    if importlib.util.find_spec("libtpu") is None:
      self.skipTest("libtpu is not installed")
    out = _compile("v5e:2x2", "--config.mesh.fsdp=4", "--config.model.unroll=1")
    self.assertRegex(out, "of 16.00 GiB")
    self.assertRegex(out, r"fits: 0\.\d%")
    self.assertTrue(re.search("all-gather|all-reduce", out))

  def test_topologies_that_do_not_exist_are_named(self):
    done = _run("v5x:nothing")
    self.assertEqual(done.returncode, 1)
    self.assertIn("error: --topology is v5x:nothing; expected a slice such as", done.stderr)

  def test_a_missing_libtpu_is_named(self):
    absent = tempfile.mkdtemp()
    pathlib.Path(absent, "libtpu.py").write_text("raise ModuleNotFoundError('no libtpu')")
    path = os.pathsep.join([absent, os.environ.get("PYTHONPATH", "")])
    with mock.patch.dict(os.environ, {"PYTHONPATH": path}):
      os.environ.pop("TPU_LIBRARY_PATH", None)  # As JAX sets it once it has found libtpu.
      done = _run("v5e:2x2")
    self.assertEqual(done.returncode, 1)
    self.assertRegex(done.stderr, "error: --topology is v5e:2x2; .* pip install 'ntm.tpu.' "
                     r"\(.*not installed.*\)\.\n$")


def _run(topology, *flags):
  return subprocess.run(
      [sys.executable, "-m", "ntm.commands.main", "compile", "--config=configs/digits.py",
       f"--topology={topology}", *flags], capture_output=True, text=True,
      # A program from the cache would bring no warnings.
      env=os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"})


def _compile(*arguments):
  done = _run(*arguments)
  assert done.returncode == 0, done.stderr
  return done.stdout + done.stderr


if __name__ == "__main__":
  absltest.main()
