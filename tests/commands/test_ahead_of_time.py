import dataclasses
import functools
import importlib.util
import os
from unittest import mock

import jax
import pytest
from absl.testing import absltest, parameterized

from ntm import config as config_lib
from ntm.commands import ahead_of_time
from ntm.nn import partitioning
from ntm.performance import accelerators
from tests.helpers import tiny

_SMALL = {"layers": 1, "width": 16, "num_heads": 2, "num_kv_heads": 2}
_ONE_BLOCK = {"num_blocks": 1}
_CHIP = accelerators.lookup("TPU v5 lite")


def _config(**changes):
  return tiny.config(**{"model__predictor": _SMALL, "model__transporter": _SMALL | _ONE_BLOCK,
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
    programs, compile_program = [], jax.stages.Lowered.compile

    def compile_once(lowered):
      programs.append(programs[0] if programs else compile_program(lowered))
      return programs[0]

    counted = {name: functools.cache(getattr(ahead_of_time, name))
               for name in ("model_flops", "executed_flops")}
    with (mock.patch.object(jax.stages.Lowered, "compile", compile_once),
          mock.patch.multiple(ahead_of_time, **counted)):
      report = _report(chip=_CHIP)
      self.assertFalse(_report(chip=dataclasses.replace(_CHIP, hbm_bytes=1000)).fits)
    self.assertLen(programs, 2)
    # Parameters, average and two moments, of which most leaves are in four pieces.
    self.assertBetween(report.arguments, 4 * report.parameters, 16 * report.parameters)
    self.assertTrue(report.fits)
    self.assertGreater(report.collective_bytes["all-reduce"], 0)
    bound = report.bound(_CHIP)
    self.assertEqual(bound.compute, report.padded_flops_per_chip / _CHIP.peak_flops)
    self.assertGreater(report.padded_flops_per_chip, report.executed_flops_per_chip)
    # Every update reads the state and writes it again.
    self.assertBetween(report.state_traffic_bytes, 1.9 * report.arguments, 2.1 * report.arguments)
    self.assertGreater(report.memory_traffic_bytes, report.state_traffic_bytes)
    self.assertGreaterEqual(bound.serial, bound.overlapped)
    for axis in partitioning.AXES:
      self.assertTrue(any(axis in axes.split("+") for axes in report.exchanges), axis)

    # Of parameters and gradients in float32, with the activations that `tensor` exchanges.
    self.assertLess(sum(report.collective_bytes.values()), 1.7 * 2 * 4 * report.parameters)

  @parameterized.parameters((8, 1, 0.55), (2, 4, 1.4))
  @pytest.mark.slow
  def test_an_update_sends_little_more_than_parameters_and_gradients(self, data, fsdp, most):
    """Over data gradients alone; over fsdp parameters too, forward and backward."""
    report = _report(mesh={"data": data, "fsdp": fsdp, "tensor": 1}, model__remat="full")
    both = 2 * 4 * report.parameters  # In float32.
    self.assertBetween(sum(report.collective_bytes.values()), both / 2, most * both)

  @pytest.mark.slow
  def test_the_inverse_gathers_the_transporter_once_for_all_tokens(self):
    if importlib.util.find_spec("libtpu") is None:
      self.skipTest("libtpu is not installed")  # XLA does it for CPUs without being told.
    from jax.experimental import topologies
    with mock.patch.dict(os.environ, TPU_SKIP_MDS_QUERY="1", ALLOW_MULTIPLE_LIBTPU_LOAD="1"):
      devices = topologies.get_topology_desc("v5e:2x4", platform="tpu").devices
    sent = []
    for image_shape in ((4, 4, 1), (16, 16, 1)):
      config = _config(mesh={"data": 1, "fsdp": 8}, model__image_shape=image_shape)
      mesh = partitioning.make_mesh(config.mesh, devices)
      report = ahead_of_time.report("sample", config, mesh, _CHIP, 8, None)
      sent.append(report.collective_bytes["all-gather"])
    self.assertLess(sent[1], 1.5 * sent[0])  # Of 16 times as many tokens.

  @pytest.mark.slow
  def test_between_slices_gradients_are_summed_and_nothing_is_gathered(self):
    report = _report(mesh={"data": 1, "fsdp": -1, "slices": 2})
    self.assertIn("all-gather", report.collective_bytes)
    self.assertEqual(set(report.crossing_bytes), {"all-reduce"})
    # Float32, at least a fourth per device; activations would be more than all of them.
    self.assertBetween(report.crossing_bytes["all-reduce"], report.parameters,
                       4.1 * report.parameters)
    self.assertEmpty(_report(mesh={"data": 2, "fsdp": -1}).crossing_bytes)

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

  @parameterized.parameters("train", "sample", "distill")
  @pytest.mark.slow
  def test_an_autoencoder_adds_its_flops(self, program):
    config = _config(model__image_shape=(2, 2, 4), model__patch_shape=(1, 1))
    within = dataclasses.replace(config, autoencoder=config_lib.AutoencoderConfig("/nowhere"))
    flops = ahead_of_time.frozen_flops(program, within)["autoencoder"]
    self.assertGreater(flops, 0)
    self.assertEqual(ahead_of_time.model_flops(program, within, "score"),
                     ahead_of_time.model_flops(program, config, "score") + flops)
    self.assertEmpty(ahead_of_time.frozen_flops(program, config))

  @pytest.mark.slow
  def test_latents_from_shards_are_not_encoded_again(self):
    config = _config(model__image_shape=(2, 2, 4), model__patch_shape=(1, 1))
    shards = dataclasses.replace(
        config, autoencoder=config_lib.AutoencoderConfig("/nowhere"),
        data=config_lib.DataConfig(source="shards"))
    self.assertEqual(ahead_of_time.frozen_flops("train", shards), {"autoencoder": 0})
    self.assertEqual(ahead_of_time.model_flops("train", shards),
                     ahead_of_time.model_flops("train", config))
    self.assertGreater(ahead_of_time.frozen_flops("sample", shards)["autoencoder"], 0)
    self.assertGreater(ahead_of_time.model_flops("sample", shards, "score"),
                       ahead_of_time.model_flops("sample", config, "score"))

  @parameterized.parameters("train", "sample", "distill")
  def test_a_text_encoder_without_weights_adds_its_flops(self, program):
    ahead = _config(model__num_classes=0, model__backbone__text_tokens=8,
                    model__backbone__text_width=2560)
    within = dataclasses.replace(ahead, text=config_lib.TextConfig(
        "/nowhere", encoder="/nowhere", hidden_states=(2,)))
    flops = ahead_of_time.frozen_flops(program, within)["text_encoder"]
    # Two multiply-adds per parameter and token: two layers of Qwen3-4B, without its table.
    layer = (4_022_468_096 - 151936 * 2560 - 2560) // 36
    self.assertBetween(flops / (2 * 2 * layer * 8 * ahead.train.batch_size), 1, 1.01)
    self.assertEqual(ahead_of_time.model_flops(program, within, "score"),
                     ahead_of_time.model_flops(program, ahead, "score") + flops)

  @pytest.mark.slow
  def test_an_autoencoder_without_weights_is_measured(self):
    report = _report(autoencoder__path="/nowhere", model__image_shape=(2, 2, 4),
                     model__patch_shape=(1, 1))
    self.assertEqual(report.frozen_bytes, {"autoencoder": 4 * 83_653_863})
    share = report.frozen_flops_per_chip["autoencoder"] / report.flops_per_chip
    self.assertBetween(share, 0.5, 1)
    self.assertGreater(report.arguments, 4 * 34_000_000)  # Of the encoder.

  @pytest.mark.slow
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


if __name__ == "__main__":
  absltest.main()
