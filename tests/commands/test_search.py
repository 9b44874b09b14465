import dataclasses
import tempfile
from unittest import mock

import jax
from absl.testing import absltest, parameterized

from ntm.commands import ahead_of_time, memory_estimate, search
from ntm.performance import accelerators
from tests.helpers import tiny

_NET = {"layers": 1, "width": 16, "num_heads": 4, "num_kv_heads": 4}
_CHIP = accelerators.lookup("TPU v5 lite")
_FIXED = ("model.unroll", "train.grad_accumulation_steps")


def _config(**changes):
  return tiny.config(**{"model__predictor": _NET, "model__transporter": _NET | {"num_blocks": 1},
                        "train__batch_size": 64} | changes)


class _Compiler:
  """Stands in for the compiler: memory and time as functions of a config."""

  def __init__(self, memory=lambda config: 1000, seconds=lambda config: 1.0):
    self.configs, self._memory, self._seconds = [], memory, seconds

  def __call__(self, config, mesh):
    del mesh
    self.configs.append(config)
    return {"hbm_per_chip_bytes": self._memory(config), "step_seconds": self._seconds(config),
            "mfu_bound": 0.5}


_FLOPS = {"none": 3e6, "dots": 3.2e6, "attention": 3.8e6, "full": 4e6}
_KEPT = {"none": 9000, "dots": 3000, "attention": 1000, "full": 500}


def _search(compiler, chip=_CHIP, results_dir=None, fixed=_FIXED, label="cpu:8", **changes):
  """A search in which nothing is compiled, and no gradient is traced."""
  kept = lambda _, policy: memory_estimate.Kept(_KEPT[policy], _KEPT[policy])
  with (mock.patch.object(memory_estimate.Estimator, "kept", kept),
        mock.patch.object(ahead_of_time, "executed_flops",
                          lambda program, config, tile: tile * _FLOPS[config.model.remat]),
        mock.patch.object(jax, "clear_caches")):  # The other tests need what it would forget.
    return search.search(_config(**changes), jax.devices(), chip, 8,
                         results_dir or tempfile.mkdtemp(), label, compiler, fixed)


class CandidatesTest(parameterized.TestCase):

  def test_every_way_to_split_the_devices_is_among_them_once(self):
    configs = list(search.candidates(_config(), 8))
    self.assertLen(set(configs), len(configs))
    meshes = {(c.mesh.data, c.mesh.fsdp, c.mesh.tensor) for c in configs}
    self.assertLen(meshes, 10)  # Three exponents that sum to three.
    self.assertTrue(all(a * b * c == 8 for a, b, c in meshes))
    self.assertEqual({c.model.remat for c in configs}, {"none", "dots", "attention", "full"})

  def test_own_values_are_tried_and_fixed_ones_alone(self):
    own = _config(train__grad_accumulation_steps=32, mesh={"data": 2, "fsdp": -1})
    rounds = lambda *fixed: {c.train.grad_accumulation_steps
                             for c in search.candidates(own, 8, fixed)}
    self.assertEqual(rounds(), {1, 2, 4, 8, 16, 32})
    self.assertEqual(rounds("train.grad_accumulation_steps"), {32})
    self.assertEqual({c.mesh.data for c in search.candidates(own, 8, ["mesh.data"])}, {2})
    self.assertLen({c.mesh for c in search.candidates(own, 8, ["mesh.fsdp"])}, 10)  # -1 is free.


class SearchTest(parameterized.TestCase):

  def test_the_fastest_is_first_and_what_cannot_be_faster_is_not_compiled(self):
    seconds = {"none": 3.0, "dots": 2.0, "attention": 1.5, "full": 4.0}
    compiler = _Compiler(seconds=lambda config: seconds[config.model.remat])
    found = _search(compiler, fixed=(*_FIXED, "mesh.data", "mesh.tensor"))
    self.assertEqual([way.config.model.remat for way, _ in found.compiled],
                     ["attention", "dots", "none", "full"])
    self.assertIn("--config.model.remat=attention", found.compiled[0][0].flags)
    # Of equal bounds, the one that computes least.
    tied = _search(_Compiler(), fixed=(*_FIXED, "mesh.data", "mesh.tensor"))
    self.assertEqual(tied.compiled[0][0].config.model.remat, "none")
    # A step as long as the arithmetic of the least work: nothing is faster.
    quick = _Compiler(seconds=lambda config: 0.0)
    found = _search(quick)
    self.assertLen(quick.configs, 1)
    self.assertEqual(quick.configs[0].model.remat, "none")
    self.assertEqual(sum(found.left_out.values()) + 1, found.candidates)

  def test_what_ties_by_its_arithmetic_with_padding_is_not_compiled(self):
    compiler = _Compiler(seconds=lambda config: (
        _CHIP.tile * _FLOPS[config.model.remat] / 8 / _CHIP.peak_flops))
    _search(compiler, fixed=("model.unroll",))
    self.assertLen(compiler.configs, 1)

  def test_a_little_more_arithmetic_is_tried_before_much_more_communication(self):
    mesh = {"mesh": {"data": 1, "fsdp": -1, "tensor": 1}}
    fixed = ("model.unroll", "mesh.data", "mesh.fsdp", "mesh.tensor")
    ways = [way for way, _ in _search(_Compiler(), fixed=fixed, **mesh).compiled]

    def of(remat, rounds):
      return next(way for way in ways if (way.config.model.remat, rounds) == (
          remat, way.config.train.grad_accumulation_steps))

    # Only in two rounds does `none` fit. Sending takes less time than arithmetic.
    limit = (of("none", 1).estimate + of("none", 2).estimate) / 2
    self.assertBetween(limit, of("dots", 1).estimate, of("none", 1).estimate)
    slow = dataclasses.replace(
        _CHIP, hbm_bytes=limit / search.SHARE / (1 + memory_estimate.LARGEST_ERROR),
        interconnect_bandwidth=1.5 * of("none", 2).sent / of("none", 2).compute)
    compiler = _Compiler()
    _search(compiler, chip=slow, fixed=fixed, **mesh)
    first = compiler.configs[0]
    self.assertEqual((first.model.remat, first.train.grad_accumulation_steps), ("dots", 1))

  def test_a_search_goes_on_where_it_was_killed(self):
    directory = tempfile.mkdtemp()

    def killed(config, mesh):
      if len(compiler.configs) == 2:
        raise KeyboardInterrupt
      return compiler(config, mesh)

    compiler = _Compiler()
    fixed = (*_FIXED, "mesh.data", "mesh.tensor")
    with self.assertRaises(KeyboardInterrupt):
      _search(killed, results_dir=directory, fixed=fixed)
    before = list(compiler.configs)
    found = _search(compiler, results_dir=directory, fixed=fixed)
    self.assertLen(compiler.configs, 4)
    self.assertLen(set(compiler.configs), 4)
    self.assertLen(found.compiled, 4)
    self.assertLen(before, 2)
    _search(compiler, results_dir=directory, fixed=fixed, label="cpu:8 x 2")
    self.assertLen(compiler.configs, 8)  # Of another topology, nothing was there.

  def test_what_the_estimate_rules_out_is_not_compiled(self):
    estimates = sorted(way.estimate for way, _ in _search(_Compiler()).compiled)
    middle = estimates[len(estimates) // 2]
    error = 1 + memory_estimate.LARGEST_ERROR
    small = dataclasses.replace(_CHIP, hbm_bytes=middle / error / search.SHARE)
    compiler = _Compiler()
    found = _search(compiler, chip=small)
    self.assertEqual(found.left_out["memory"], sum(n > middle for n in estimates))
    self.assertGreater(found.left_out["memory"], 0)
    self.assertTrue(all(way.estimate <= middle for way, _ in found.compiled))
    self.assertLen(compiler.configs, found.candidates - sum(found.left_out.values()))

  def test_what_does_not_fit_comes_last_and_is_not_the_best(self):
    compiler = _Compiler(
        memory=lambda config: (0.91 if config.model.remat == "none" else 0.89) * _CHIP.hbm_bytes,
        seconds=lambda config: 1.0 if config.model.remat == "none" else 2.0)
    found = _search(compiler, fixed=(*_FIXED, "mesh.data", "mesh.tensor"))
    self.assertEqual(found.fitting, 3)
    self.assertEqual(found.compiled[-1][0].config.model.remat, "none")

  @parameterized.parameters(True, False)
  def test_if_nothing_fits_the_nearest_is_named(self, compiled):
    chip = _CHIP if compiled else dataclasses.replace(_CHIP, hbm_bytes=5000)
    needed = lambda config: (15 if config.model.remat == "full" else 20) * 2 ** 30
    with self.assertRaisesRegex(
        ValueError, r"none of \d+ ways to train fits 90% of a chip of cpu:8, .* the nearest needs "
        + (r"15.00 GiB \(compiled\), 0.60 GiB too much: .*remat=full" if compiled
           else r".* \(estimated\), .* too much: --config")):
      _search(_Compiler(memory=needed), chip, fixed=(*_FIXED, "mesh.data", "mesh.tensor"))

  def test_a_mesh_that_splits_heads_unevenly_is_named(self):
    with self.assertRaisesRegex(
        ValueError, r"none of 4 ways to train on cpu:8 divides; the first: .*/attention/.* has "
        "shape .* not divisible by the 8 devices of mesh axis 'tensor'"):
      _search(_Compiler(), fixed=(*_FIXED, "mesh.tensor"), mesh={"data": 1, "tensor": 8})
    with self.assertRaisesRegex(ValueError, r"\(-1, 1, 3\) do not divide the number"):
      _search(_Compiler(), fixed=("mesh.tensor",), mesh={"tensor": 3})

  def test_accumulation_that_leaves_a_remainder_does_not_divide(self):
    config = _config()
    train = dataclasses.replace(config.train, grad_accumulation_steps=7)  # 64 // 7 is 9.
    with self.assertRaisesRegex(ValueError, "the first: .*grad_accumulation_steps is 7; expected a "
                                "divisor of batch_size 64"):
      search.search(dataclasses.replace(config, train=train), jax.devices()[:1], _CHIP, 1,
                    tempfile.mkdtemp(), "cpu:1", _Compiler(), _FIXED)

  def test_a_way_that_the_compiler_cannot_compile_is_counted(self):
    def fail(config, mesh):
      if config.model.remat == "none":
        raise jax.errors.JaxRuntimeError("INTERNAL: something\nand more")
      return compiler(config, mesh)

    compiler = _Compiler()
    with self.assertLogs("ntm", "WARNING") as logs:
      found = _search(fail, fixed=(*_FIXED, "mesh.data", "mesh.tensor"))
    self.assertEqual(found.left_out["failed"], 1)
    self.assertRegex(logs.output[0], "remat=none.*the compiler failed: INTERNAL: something$")


if __name__ == "__main__":
  absltest.main()
