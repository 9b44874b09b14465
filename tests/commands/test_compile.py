"""`ntm compile` for devices that are not there."""

import contextlib
import importlib.util
import io
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
from unittest import mock

import jax
import pytest
from absl.testing import absltest, parameterized

from ntm.commands import ahead_of_time, compile
from ntm.nn import partitioning
from ntm.performance import accelerators, interconnect
from tests.helpers import tiny


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

  def test_both_bounds_are_printed(self):
    report = ahead_of_time.Report(
        parameters=7, arguments=2 ** 30, temporaries=2 ** 30, hbm_per_chip_bytes=2 ** 31, fits=True,
        flops_per_chip=197e10, executed_flops_per_chip=197e10, padded_flops_per_chip=1.1 * 197e10,
        memory_traffic_bytes=819 * 10 ** 7, state_traffic_bytes=2 ** 30,
        collective_bytes={"all-gather": 2 ** 30}, crossing_bytes={},
        exchanges={"fsdp": interconnect.Exchange(1e9, 25e7, 4, (0, 1), 2 ** 26),
                   "slices": interconnect.Exchange(network_bytes=2 ** 26)},
        frozen_flops_per_chip={}, frozen_bytes={})
    config = tiny.config(mesh={"data": -1, "slices": 2})
    mesh = partitioning.make_mesh(config.mesh)
    with (mock.patch.object(ahead_of_time, "report", return_value=report),
          mock.patch.object(compile, "_PROGRAM", mock.Mock(value="train")),
          mock.patch.object(compile, "_TOPOLOGY", mock.Mock(value="v5e:2x2")),
          mock.patch.object(compile, "_REFINE", mock.Mock(value="score")),
          contextlib.redirect_stdout(io.StringIO()) as out):
      result = compile._measure(config, mesh, accelerators.lookup("TPU v5e"), 8)
      compile._print(result)
    for line in (
        "executed FLOPs        1.97e+12 per chip, and at least 10.0% more to fill tiles",
        "memory traffic        7.63 GiB per chip, of which 1.00 GiB are arguments and results",
        "along fsdp            0.93 GiB per chip over 4 links, 64.00 MiB to other slices",
        "along slices          64.00 MiB to other slices\n",
        "a step takes at least 42.95 ms (compute 11, memory 10, interconnect 5, network 42.95)",
        "without any overlap   68.95 ms", "MFU at most           23.3%, without any overlap 14.5%"):
      self.assertIn(line, out.getvalue())
    written = json.loads(json.dumps(result))
    self.assertEqual(written["mesh"], {"data": 8, "fsdp": 1, "tensor": 1})
    self.assertEqual((written["num_slices"], written["unroll"]), (2, 1))
    self.assertEqual(written["exchanges"]["fsdp"]["links"], 4)
    self.assertAlmostEqual(written["step_seconds_without_overlap"],
                           sum(written["bounds_seconds"].values()))

  def test_ctrl_c_does_not_wait_for_the_compiler(self):
    # As the compiler, this hash runs for minutes without returning to Python.
    script = ("import hashlib, logging; from ntm.commands import compile, entry_point; "
              "hashing = lambda _: (logging.getLogger('ntm').info('started'), "
              "compile._interruptible(hashlib.pbkdf2_hmac, 'sha256', b'', b'', 2**31 - 1)); "
              "entry_point.run(hashing, ['ntm compile'])")
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    try:
      _, error = process.communicate(timeout=60)
    finally:
      process.kill()
    self.assertEqual((process.returncode, error), (130, "interrupted; nothing more is written.\n"))

  def test_programs_that_only_a_tpu_can_read_are_not_kept(self):
    from jax.experimental import topologies
    described = mock.Mock(devices=jax.devices())
    with (mock.patch.object(jax.config, "update") as update, mock.patch.dict(os.environ),
          mock.patch.object(topologies, "get_topology_desc", return_value=described)):
      self.assertEqual(compile._devices("v5e:2x2", 1), jax.devices())
    update.assert_any_call("jax_enable_compilation_cache", False)

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
