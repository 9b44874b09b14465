import dataclasses
import functools
import math

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl.testing import absltest, parameterized

from ntm.losses import distillation, flow_matching, trajectory_likelihood
from ntm.losses import task as task_lib
from ntm.models import build
from ntm.nn import partitioning
from ntm.training import optimizer
from ntm.training import state as state_lib
from ntm.training import step as step_lib
from tests.helpers import runs, tiny

# One program for several tests.
_SHORT = dict(optimizer__ema_decay=0.5, optimizer__peak_learning_rate=1e-2, train__steps=40)
_WIDTH = {"layers": 1, "width": 16, "num_heads": 2, "num_kv_heads": 2}
_SHAPE = dict(model__predictor=_WIDTH, model__transporter=_WIDTH | {"num_blocks": 1})


def _batch(size=8, seed=0):
  rng = np.random.default_rng(seed)
  return {"image": rng.uniform(-1, 1, (size, 4, 4, 1)).astype(np.float32),
          "label": rng.integers(0, 3, size).astype(np.int32)}


@functools.cache
def _program(config, devices):
  """(mesh, first state on the host with random parameters, its shardings, training step)."""
  mesh = partitioning.make_mesh(config.mesh, jax.devices()[:devices])
  task = task_lib.density(config)
  state = runs.filled(state_lib.abstract_state(task, config, mesh))
  step = step_lib.make_train_step(task, config, mesh)
  return mesh, jax.device_get(state), jax.tree.map(lambda a: a.sharding, state), step


def _run(config, batches, devices=1):
  """States before the first and after every batch, and the losses."""
  mesh, first, shardings, step = _program(config, devices)
  state, states, losses = jax.device_put(first, shardings), [first], []
  for batch in batches:
    state, metrics, _ = step(state, partitioning.put_batch(mesh, batch), None)
    losses.append(float(metrics.loss / metrics.count))
    states.append(jax.device_get(state))
  assert step._cache_size() == 1  # One compile, however many steps.
  return states, losses


class StepTest(parameterized.TestCase):

  def test_the_loss_falls(self):
    _, losses = _run(tiny.config(**_SHORT), [_batch()] * 40)
    self.assertLess(np.mean(losses[-5:]), np.mean(losses[:5]) - 0.1)

  @parameterized.parameters(1, 2)
  def test_the_loss_knows_the_step(self, rounds):
    config = tiny.config(train__grad_accumulation_steps=rounds)
    mesh = partitioning.make_mesh(config.mesh, jax.devices()[:1])

    def loss(rng, params, frozen, batch, step):
      value = params["a"].sum() + step
      return value, flow_matching.Metrics(value, jnp.float32(1))

    task = task_lib.Task(init=lambda rng: {"a": jnp.zeros(2)}, loss=loss, evaluate=None,
                         samples=None, primary_metric="mse", unit="")
    state = state_lib.init_state(task, config, mesh)
    step = step_lib.make_train_step(task, config, mesh)
    for i in range(3):
      before = float(state.params["a"].sum())
      state, metrics, _ = step(state, partitioning.put_batch(mesh, _batch()), None)
      self.assertAlmostEqual(metrics.scalars()["mse"], before + i, places=6)

  def test_sharded_equals_unsharded(self):
    self._assert_sharded_equals_unsharded(2, 2, 2, features=3, autoregressive_channels=True)

  @parameterized.parameters((2, 2, 2), (8, 1, 1), (2, 4, 1))
  @pytest.mark.slow
  def test_sharded_equals_unsharded_on_every_mesh(self, *sizes):
    self._assert_sharded_equals_unsharded(*sizes)

  def _assert_sharded_equals_unsharded(self, data, fsdp, tensor, **options):
    shape = _SHAPE | {"model__transporter": _SHAPE["model__transporter"] | options}
    one, losses = _run(tiny.config(**shape), [_batch()] * 2)
    many, sharded = _run(
        tiny.config(mesh={"data": data, "fsdp": fsdp, "tensor": tensor}, **shape),
        [_batch()] * 2, data * fsdp * tensor)
    np.testing.assert_allclose(sharded, losses, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
                 one[-1].params, many[-1].params)
    # Adam's updates are blind to the gradients' size; its mean after one update is the gradient.
    gradient, sharded_gradient = (states[1].opt_state[1][0].mu for states in (one, many))
    norm = sum((leaf ** 2).sum() for leaf in jax.tree.leaves(gradient)) ** 0.5
    self.assertGreater(norm, 0)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * norm),
                 gradient, sharded_gradient)

  def test_parameters_are_born_in_pieces_and_the_same_on_every_mesh(self):
    born = []
    for sizes in ({"data": 1}, {"data": 1, "fsdp": 2, "tensor": 2}):
      config = tiny.config(mesh=sizes, **_SHAPE)
      mesh = partitioning.make_mesh(config.mesh, jax.devices()[:math.prod(sizes.values())])
      born.append(state_lib.init_state(task_lib.density(config), config, mesh))
    one, state = born
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), one, state)
    for tree in (state.params, state.ema, state.opt_state[1][0].mu):
      kernel = tree["predictor"]["network"]["stack"]["layers"]["mlp"]["up"]["kernel"]
      self.assertEqual(kernel.addressable_shards[0].data.size * 4, kernel.size)

  def test_accumulation_averages_the_gradients_of_its_rounds(self):
    config = tiny.config(train__grad_accumulation_steps=2, optimizer__ema_decay=0.0)
    batch = _batch()
    (first, state), _ = _run(config, [batch])
    model, params = build.ntm(config), first.params
    rngs = jax.random.split(jax.random.fold_in(jax.random.key(config.train.seed), 0), 2)

    @jax.jit
    def grads(params, part, rng):
      x0, cond = task_lib.to_tokens(part, config)
      return jax.grad(lambda p: trajectory_likelihood.end_to_end(
          rng, model, p, x0, cond, config)[0])(params)

    parts = [grads(params, jax.tree.map(lambda a, i=i: a[i::2], batch), rngs[i]) for i in (0, 1)]
    mean = jax.tree.map(lambda a, b: (a + b) / 2, *jax.device_get(parts))
    tx = optimizer.build(config.optimizer, config.train.steps)
    expected = jax.jit(lambda p, g: optax.apply_updates(p, tx.update(g, tx.init(p), p)[0]))(
        params, mean)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), state.params, expected)

  def test_a_non_finite_loss_keeps_the_last_good_state(self):
    bad = _batch()
    bad["image"][0, 0, 0, 0] = np.nan
    (_, good, _, state), _ = _run(tiny.config(**_SHORT), [_batch(), bad, _batch()])
    self.assertFalse(bool(state.healthy))
    self.assertEqual(int(state.step), 1)
    chex.assert_trees_all_equal(state.params, good.params)
    chex.assert_trees_all_equal(state.ema, good.ema)
    chex.assert_trees_all_equal(state.opt_state, good.opt_state)

  def test_so_many_non_finite_steps_are_left_out_and_no_more(self):
    bad = _batch()
    bad["image"][0, 0, 0, 0] = np.nan
    states, losses = _run(tiny.config(train__max_nonfinite_steps=1), [bad, _batch(), bad])
    self.assertEqual([bool(np.isfinite(loss)) for loss in losses], [False, True, False])
    born, skipped, updated, stopped = states
    self.assertEqual([int(state.step) for state in states], [0, 1, 2, 2])
    self.assertEqual([int(state.skipped) for state in states], [0, 1, 1, 1])
    self.assertEqual([bool(state.healthy) for state in states], [True, True, True, False])
    chex.assert_trees_all_equal(skipped.params, born.params)
    chex.assert_trees_all_equal(skipped.opt_state, born.opt_state)
    same = jax.tree.map(np.array_equal, skipped.params, updated.params)
    self.assertFalse(all(jax.tree.leaves(same)))
    chex.assert_trees_all_equal(stopped.params, updated.params)

  def test_flops_are_counted_in_the_trace_of_the_step(self):
    traced = []

    def make_task(config):
      task = task_lib.density(config)
      return dataclasses.replace(task, loss=lambda *args: traced.append(config) or task.loss(*args))

    def counted(config, args):
      step = step_lib.make_train_step(make_task(config), config, mesh)
      step.trace(*args)
      return step_lib.model_flops(step, make_task, config, mesh, *args)

    plain, remat = (tiny.config(mesh={"data": 2}, model__remat=remat) for remat in ("none", "full"))
    mesh = partitioning.make_mesh(plain.mesh, jax.devices()[:2])
    args = (state_lib.abstract_state(task_lib.density(plain), plain, mesh),
            partitioning.put_batch(mesh, _batch()), None)
    flops = counted(plain, args)
    self.assertEqual(traced, [plain])
    # Those of rematerialisation do not count, which takes a trace without it.
    self.assertEqual(counted(remat, args), flops)
    self.assertEqual(traced, [plain, remat, plain])

  def test_ema_follows_its_ramp(self):
    config = tiny.config(**_SHORT)
    states, _ = _run(config, [_batch()] * 2)
    ema = states[0].params
    for count, state in enumerate(states[1:]):
      decay = min(0.5, (1 + count) / (10 + count))
      ema = jax.tree.map(lambda e, p, d=decay: d * e + (1 - d) * p, ema, state.params)
    chex.assert_trees_all_close(ema, states[2].ema, atol=1e-6)

  def test_bfloat16_keeps_master_weights_and_likelihood_in_float32(self):
    config = tiny.config(model__dtype="bfloat16", **_SHORT)
    states, losses = _run(config, [_batch()] * 2)
    chex.assert_type(jax.tree.leaves(states[-1].params), jnp.float32)
    _, exact = _run(tiny.config(**_SHORT), [_batch()] * 2)
    np.testing.assert_allclose(losses, exact, rtol=0.02)

  @parameterized.parameters(
      dict(train__objective="pair_wise", process__num_steps=(2, 4)),
      dict(process__num_steps=(2, 4), model__remat="dots"), dict(model__num_classes=0),
      dict(model__predictor={"layers": 1, "width": 16, "num_heads": 2, "num_kv_heads": 2,
                             "context": "history"}))
  @pytest.mark.slow
  def test_every_mode_trains(self, **changes):
    states, losses = _run(tiny.config(**changes), [_batch()] * 2)
    self.assertTrue(bool(states[-1].healthy))
    self.assertTrue(np.isfinite(losses).all())


class MeshTest(parameterized.TestCase):

  @parameterized.named_parameters(
      ("density", lambda: task_lib.density(tiny.config())),
      ("coupling", lambda: task_lib.density(tiny.config(model__transporter__kind="coupling"))),
      ("features", lambda: task_lib.density(tiny.config(model__transporter__features=3))),
      ("channels", lambda: task_lib.density(
          tiny.config(model__transporter__autoregressive_channels=True))),
      ("coupling_features", lambda: task_lib.density(tiny.config(
          model__transporter__kind="coupling", model__transporter__features=3))),
      ("denoiser_features", lambda: distillation.distill(
          tiny.config(model__transporter__features=3), None)),
      ("several_t", lambda: task_lib.density(tiny.config(process__num_steps=(2, 4)))),
      ("flow_matching", lambda: flow_matching.velocity(tiny.config(model__kind="flow_matching"))),
      ("denoiser", lambda: distillation.distill(tiny.config(), None)))
  def test_every_axis_of_every_parameter_has_its_name(self, build):
    boxed = jax.eval_shape(build().init, jax.random.key(0))
    for path, leaf in jax.tree_util.tree_leaves_with_path(
        boxed, is_leaf=lambda leaf: isinstance(leaf, nn.LogicallyPartitioned)):
      self.assertIsInstance(leaf, nn.LogicallyPartitioned, jax.tree_util.keystr(path))
      self.assertLen(leaf.names, leaf.value.ndim, jax.tree_util.keystr(path))

  def test_sizes_must_multiply_to_the_devices(self):
    config = tiny.config(mesh={"data": 3})
    with self.assertRaisesRegex(ValueError, r"\(3, 1, 1\) do not multiply to .* devices, 8"):
      partitioning.make_mesh(config.mesh)
    config = tiny.config(mesh={"data": -1, "fsdp": 16})
    with self.assertRaisesRegex(ValueError, r"\(-1, 16, 1\) do not divide .* devices, 8"):
      partitioning.make_mesh(config.mesh)

  def test_minus_one_fills(self):
    mesh = partitioning.make_mesh(tiny.config(mesh={"data": -1, "fsdp": 2}).mesh)
    self.assertEqual(dict(mesh.shape), {"data": 4, "fsdp": 2, "tensor": 1})

  def test_a_batch_must_split_evenly(self):
    mesh = partitioning.make_mesh(tiny.config(mesh={"data": 8}).mesh)
    partitioning.check_batch(32, 4, mesh)
    with self.assertRaisesRegex(ValueError, "batch_size 20 .* 8 devices"):
      partitioning.check_batch(20, 1, mesh)


if __name__ == "__main__":
  absltest.main()
