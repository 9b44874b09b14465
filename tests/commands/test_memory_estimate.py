import dataclasses
import functools
import pathlib
import runpy

import pytest
from absl.testing import absltest, parameterized
from jax.sharding import AbstractDevice, AbstractMesh

from ntm import config as config_lib
from ntm.commands import memory_estimate, programs
from ntm.nn import partitioning
from tests.helpers import tiny

_ROOT = pathlib.Path(__file__).parents[2]
_GIB = 2 ** 30
_NET = {"layers": 2, "width": 16, "num_heads": 2, "num_kv_heads": 2}


def _mesh(*sizes, platform="cpu"):
  kind = {"cpu": "cpu", "tpu": "TPU v5p"}[platform]
  return AbstractMesh(
      sizes, partitioning.AXES, axis_types=partitioning.AXIS_TYPES,
      abstract_device=AbstractDevice(device_kind=kind, num_cores=None, platform=platform))


def _config(**changes):
  return tiny.config(**{"model__predictor": _NET, "model__transporter": _NET | {"num_blocks": 1},
                        "train__batch_size": 64} | changes)


@functools.cache
def _estimator(platform="cpu"):
  return memory_estimate.Estimator(_config(), _mesh(1, 1, 1, platform=platform).abstract_device)


def _estimate(*sizes, **changes):
  return _estimator().estimate(_config(**changes), _mesh(*sizes))


@functools.cache
def _full_scale(name, spline_bins, attention_kernel):
  """(config, estimator for a TPU) of one of configs/."""
  values = runpy.run_path(str(_ROOT / "configs" / f"{name}.py"))["get_config"]()
  values.model.transporter.spline_bins = spline_bins
  values.model.attention_kernel = attention_kernel
  config = config_lib.from_dict(values)
  return config, memory_estimate.Estimator(
      config, _mesh(1, 1, 1, platform="tpu").abstract_device)


def _table():
  """(config, changes, chips, GiB) of every training row of docs/scaling.md that was compiled."""
  for line in (_ROOT / "docs" / "scaling.md").read_text().splitlines():
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    # A row without arguments is of a program that the compiler refused: it gives a lower bound.
    if len(cells) in (13, 15) and cells[1].split()[0] == "train" and cells[5]:
      changes = dict(word.split("=") for word in cells[1].split()[1:])
      yield cells[0].strip("`"), changes, int(cells[3]), float(cells[7])


class MemoryEstimateTest(parameterized.TestCase):

  def test_a_policy_that_computes_more_again_keeps_less(self):
    kept = [_estimator().kept(policy).per_device(1)
            for policy in ("none", "dots", "attention", "full")]
    self.assertEqual(kept, sorted(kept, reverse=True))
    self.assertGreater(kept[0], 2 * kept[-1])

  def test_arguments_are_those_of_the_program(self):
    config = _config(mesh={"data": 2, "fsdp": 2, "tensor": 2})
    mesh = partitioning.make_mesh(config.mesh)
    arguments, params, count = _estimator()._arguments(config, mesh)
    (state, batch, _), expected = programs.make("train", config, mesh)[1:]
    self.assertEqual(arguments, programs.shard_bytes((state, batch)))
    self.assertEqual(params, programs.shard_bytes(expected))
    self.assertBetween(params, count, 4 * count)  # Float32, in up to four pieces.

  def test_it_grows_with_the_examples_of_a_device_alone(self):
    batch = {size: _estimate(4, 1, 1, train__batch_size=size) for size in (32, 64, 128)}
    self.assertAlmostEqual(batch[128] - batch[64], 2 * (batch[64] - batch[32]), delta=1e-6)
    self.assertLess(_estimate(8, 1, 1), _estimate(4, 1, 1))
    self.assertLess(_estimate(1, 8, 1), _estimate(8, 1, 1))  # Parameters are split too.

  def test_accumulation_trades_activations_for_a_second_gradient(self):
    one, two, four = (_estimate(1, 1, 1, train__grad_accumulation_steps=n) for n in (1, 2, 4))
    self.assertLess(four, two)
    params = _estimator()._arguments(_config(), _mesh(1, 1, 1))[1]
    self.assertAlmostEqual((one - two + params) / 2, two - four, delta=1e-6)

  def test_tensor_splits_heads_and_feed_forward_and_leaves_the_width(self):
    kept = _estimator().kept("none")
    self.assertGreater(kept.split, kept.whole / 4)
    self.assertGreater(kept.whole, 0)
    self.assertLess(kept.per_device(2), kept.per_device(1))
    self.assertGreater(kept.per_device(2), kept.per_device(1) / 2)

  def test_a_tpu_pads_the_last_axis(self):
    self.assertGreater(_estimator("tpu").kept("full").per_device(1),
                       2 * _estimator().kept("full").per_device(1))

  def test_what_does_not_split_is_named(self):
    with self.assertRaisesRegex(ValueError, "not divisible by the 4 devices of mesh axis 'tensor'"):
      _estimate(2, 1, 4)
    with self.assertRaisesRegex(ValueError, "batch_size 64 in 1 .* data x fsdp = 128"):
      _estimate(128, 1, 1)

  def test_the_table_has_rows_of_all_full_scale_configs(self):
    rows = list(_table())
    self.assertGreater(len(rows), 40)
    self.assertLen({name for name, *_ in rows}, 11)

  @pytest.mark.slow
  def test_it_is_near_every_compiled_program_of_the_table(self):
    errors = {}
    for name, changes, chips, memory in _table():
      changes = dict(changes)
      if changes.pop("features", "0") != "0":
        continue
      config, estimator = _full_scale(name, int(changes.pop("spline_bins", 0)),
                                      changes.pop("attention_kernel", "auto"))
      sizes = (chips, 1, 1) if changes.pop("fsdp", None) else (1, chips, 1)
      changes.pop("data", None)
      config = dataclasses.replace(
          config, model=dataclasses.replace(config.model, remat=changes.pop("remat", "full")),
          train=dataclasses.replace(config.train, grad_accumulation_steps=int(
              changes.pop("accumulation", 1))))
      self.assertEmpty(changes)
      estimate = estimator.estimate(config, _mesh(*sizes, platform="tpu")) / _GIB
      if config.text.encoder:  # What it needs while it reads is not counted.
        self.assertLess(estimate, memory)
      else:
        errors[name, chips, config.model.remat, memory] = estimate / memory - 1
      print(f"{name:24} {chips:4} {memory:7.2f} {estimate:7.2f} {estimate / memory - 1:+.1%}")
    self.assertLess(max(map(abs, errors.values())), memory_estimate.LARGEST_ERROR, errors)


if __name__ == "__main__":
  absltest.main()
