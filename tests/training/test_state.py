"""States of tasks with a frozen model, finetuning and distillation, on several devices."""

import chex
import jax
import numpy as np
import pytest
from absl.testing import absltest

from ntm.losses import distillation, flow_matching, task
from ntm.losses.inputs import Frozen
from ntm.nn import partitioning
from ntm.training import state as state_lib
from ntm.training import step as step_lib
from tests.helpers import runs, tiny

_NET = {"layers": 1, "width": 16, "num_heads": 2, "num_kv_heads": 2}
_ONE_BLOCK = _NET | {"num_blocks": 1}


def _finetuning(mesh):
  config = tiny.config(
      model__predictor=_NET | {"output": "velocity", "reads_noise": True},
      model__transporter=_ONE_BLOCK, process__t_min_low=0.01, finetune__source="somewhere",
      mesh=mesh)
  source = tiny.config(model__kind="flow_matching", model__predictor=_NET)
  init = flow_matching.velocity(source).init
  frozen = Frozen(tiny.random_params(lambda rng: {"params": init(rng)}))
  return config, task.density(config, frozen)


def _distillation(mesh):
  config = tiny.config(model__predictor=_NET, model__transporter=_ONE_BLOCK, denoiser=_NET,
                       mesh=mesh)
  _, teacher = tiny.model_and_params(config, scale=0.1)
  return config, distillation.distill(config, Frozen(teacher))


def _kernel(params):
  """A feed-forward kernel of the model, whose input is its width and whose output is 'mlp'."""
  return next(leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)
              if jax.tree_util.keystr(path).endswith("['up']['kernel']"))


class StateTest(absltest.TestCase):

  def test_distillation_sharded_equals_unsharded_and_all_is_in_pieces(self):
    self._assert_sharded_equals_unsharded_in_pieces(_distillation)

  @pytest.mark.slow
  def test_finetuning_sharded_equals_unsharded_and_all_is_in_pieces(self):
    self._assert_sharded_equals_unsharded_in_pieces(_finetuning)

  def test_what_a_run_starts_from_is_copied_wherever_it_is(self):
    config, what = _finetuning({"data": 1, "fsdp": 2, "tensor": 2})
    mesh = partitioning.make_mesh(config.mesh, jax.devices()[:4])
    state = runs.filled(state_lib.abstract_state(what, config, mesh))
    from_host = state_lib.with_pretrained(state, what.pretrained)
    frozen = state_lib.place_frozen(what, mesh)  # In pieces on the devices.
    from_devices = state_lib.with_pretrained(state, {"predictor": frozen.teacher})
    for tree in (from_devices.params, from_devices.ema):
      chex.assert_trees_all_equal(jax.device_get(tree), jax.device_get(from_host.params))
    jax.tree.map(lambda a, b: self.assertTrue(a.sharding.is_equivalent_to(b.sharding, a.ndim)),
                 from_devices.params, state.params)
    jax.tree.map(lambda leaf: leaf.delete(), from_devices.params)  # As an update that donates.
    chex.assert_trees_all_equal(jax.device_get(from_devices.ema), jax.device_get(from_host.ema))
    chex.assert_trees_all_equal(jax.device_get(frozen.teacher), what.frozen.teacher)

  def _assert_sharded_equals_unsharded_in_pieces(self, build):
    rng = np.random.default_rng(0)
    batch = {"image": rng.uniform(-1, 1, (8, 4, 4, 1)).astype(np.float32),
             "label": rng.integers(0, 3, 8).astype(np.int32)}
    results = []
    for sizes in ({"data": 1}, {"data": 1, "fsdp": 2, "tensor": 2}):
      config, what = build(sizes)
      mesh = partitioning.make_mesh(config.mesh, jax.devices()[:np.prod(list(sizes.values()))])
      frozen = state_lib.place_frozen(what, mesh)
      state = runs.filled(state_lib.abstract_state(what, config, mesh))
      if what.pretrained is not None:
        state = state_lib.with_pretrained(state, what.pretrained)
      for tree in (frozen.teacher, state.params, state.ema):
        kernel = _kernel(tree)
        self.assertEqual(kernel.addressable_shards[0].data.size * mesh.size, kernel.size)
      step = step_lib.make_train_step(what, config, mesh)
      state, metrics, _ = step(state, partitioning.put_batch(mesh, batch), frozen)
      # Adam's mean after one update is the gradient; the update itself divides by it, and what
      # rounding leaves of an entry that is zero but for rounding would be compared.
      gradient = state.opt_state[1][0].mu
      results.append(jax.device_get((metrics.loss, gradient)))
    (loss, gradient), (sharded_loss, sharded_gradient) = results
    norm = sum((leaf ** 2).sum() for leaf in jax.tree.leaves(gradient)) ** 0.5
    np.testing.assert_allclose(sharded_loss, loss, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * norm),
                 gradient, sharded_gradient)


if __name__ == "__main__":
  absltest.main()
