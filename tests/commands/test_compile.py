"""`ntm compile` for devices that are not there."""

import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from unittest import mock

import pytest
from absl.testing import absltest, parameterized


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

  @pytest.mark.slow
  def test_a_search_prints_a_table_and_the_flags_of_the_best(self):
    if importlib.util.find_spec("libtpu") is None:
      self.skipTest("libtpu is not installed")
    folder = pathlib.Path(tempfile.mkdtemp())
    flags = ["--config.mesh.data=2", "--config.mesh.fsdp=2", "--config.mesh.tensor=1",
             "--config.train.grad_accumulation_steps=1", "--config.model.unroll=1",
             "--config.model.remat=full"]
    for _ in range(2):  # The second one compiles nothing.
      out = _compile("v5e:2x2", "--search", *flags, "--config.model.transporter.num_blocks=1",
                     f"--results_dir={folder}/ways", f"--json={folder}/best.json")
      self.assertRegex(out, r"full +1 +1 +2 +2 +1 ")
      self.assertIn("1 were compiled, of which 1 fit 90% of the memory", out)
    self.assertLen(list((folder / "ways").iterdir()), 1)
    best = json.loads((folder / "best.json").read_text())
    self.assertCountEqual(best["flags"], flags)
    self.assertEqual(best["candidates"], 1)

  def test_topologies_that_do_not_exist_are_named(self):
    done = _run("v5x:nothing")
    self.assertEqual(done.returncode, 1)
    self.assertIn("error: --topology is v5x:nothing; expected cpu:N, or a slice", done.stderr)

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
