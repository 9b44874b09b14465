"""Sampling on a mesh gathers parameters once, however many steps it takes."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from absl.testing import absltest, parameterized

from ntm.commands import programs
from ntm.config import MeshConfig
from ntm.losses import flow_matching, task
from ntm.models import build
from ntm.models.ntm import NTM
from ntm.models.velocity import Velocity
from ntm.nn import partitioning
from ntm.performance import collectives
from ntm.sampling import gathering
from ntm.training import state as state_lib
from tests.helpers import tiny

_HEADS = {"layers": 2, "width": 16, "num_heads": 2, "num_kv_heads": 2}
_STATE = jnp.zeros((8, 4, 4))


def _config(**changes):
  return tiny.config(**{"model__predictor": _HEADS,
                        "model__transporter": _HEADS | {"num_blocks": 1}} | changes)


def _gathered(gather, model, params, cond, mesh=None):
  """The parameters that sampling reads, within a mesh or without."""
  @jax.jit
  def run(params):
    return gather(model, params, _STATE, cond)

  if mesh is None:
    return run(params)
  with partitioning.activations(mesh):
    return run(params)


def _density(sizes, **changes):
  """(config, model, random parameters, gathered on a mesh)."""
  config = _config(**changes)
  model, params = tiny.model_and_params(config, config.model.dtype)
  mesh = partitioning.make_mesh(MeshConfig(*sizes))
  shapes = state_lib.abstract_params(task.density(config).init, mesh)
  split = jax.device_put(params, jax.tree.map(lambda a: a.sharding, shapes))
  return config, model, params, _gathered(gathering.density, model, split,
                                          tiny.condition(config, 8), mesh)


class GatheringTest(parameterized.TestCase):

  @parameterized.parameters(
      ({}, None), ({}, "score"), ({"model__kind": "flow_matching"}, None),
      ({"model__predictor": _HEADS | {"context": "history"}}, None))
  def test_bytes_do_not_grow_with_the_steps(self, changes, refine):
    sent = []
    for steps in (2, 6):
      config = _config(process__num_steps=(steps,), mesh={"data": 1, "fsdp": 8}, **changes)
      mesh = partitioning.make_mesh(config.mesh)
      run, arguments, _ = programs.make("sample", config, mesh, refine)
      text = run.lower(*arguments).compile().as_text()
      sent.append(collectives.collective_bytes(text)["all-gather"])
    self.assertGreater(sent[0], 0)
    self.assertEqual(*sent)

  def test_what_tensor_splits_stays_split(self):
    _, _, params, gathered = _density((2, 2, 2))
    chex.assert_trees_all_equal(gathered, params)
    split = {leaf.sharding.spec for leaf in jax.tree.leaves(gathered["predictor"])}
    axes = {axis for spec in split for axis in jax.tree.leaves(tuple(spec))}
    self.assertEqual(axes, {"tensor"})
    for leaf in jax.tree.leaves(gathered["transporter"]):
      self.assertTrue(leaf.is_fully_replicated)

  def test_kernels_are_gathered_in_the_type_that_they_multiply_in(self):
    config, model, params, gathered = _density((1, 8, 1), model__dtype="bfloat16")
    types = {(path[-1].key, leaf.dtype.name) for path, leaf in
             jax.tree_util.tree_leaves_with_path(gathered["predictor"])}
    self.assertIn(("kernel", "bfloat16"), types)
    self.assertNotIn(("kernel", "float32"), types)
    self.assertNotIn("bfloat16", {dtype for name, dtype in types if name != "kernel"})

    cond = tiny.condition(config, 8)
    state = jax.random.normal(jax.random.key(0), _STATE.shape)
    times = jnp.full(8, 0.5), jnp.full(8, 0.2)
    step = jax.jit(lambda params: model.apply(
        {"params": params}, state, cond.at(*times), None, 0, method="predict_step")[:2])
    chex.assert_trees_all_equal(step(jax.device_get(gathered)), step(params))

  def test_kernels_of_other_networks_keep_their_type(self):
    class Network(nn.Module):
      @nn.compact
      def __call__(self, x_BGNC, cond):
        del cond
        return {"readout": nn.Dense(x_BGNC.shape[-1])(x_BGNC)}

    model = Velocity(Network())
    config = _config()
    cond = tiny.condition(config, 8)
    params = tiny.random_params(
        lambda rng: model.init(rng, _STATE, cond.at(jnp.zeros(8))))
    found = _gathered(gathering.velocity, model, params, cond,
                      partitioning.make_mesh(MeshConfig(1, 8, 1)))
    chex.assert_trees_all_equal(found, params)

  def test_without_a_mesh_nothing_changes(self):
    config = _config(model__dtype="bfloat16")
    model, params = tiny.model_and_params(config, "bfloat16")
    cond = tiny.condition(config, 8)
    self.assertIsInstance(model, NTM)
    chex.assert_trees_all_equal(_gathered(gathering.density, model, params, cond), params)
    velocity = build.velocity(config)
    params = tiny.random_params(lambda rng: {"params": nn.unbox(
        flow_matching.velocity(config).init(rng))})
    chex.assert_trees_all_equal(_gathered(gathering.velocity, velocity, params, cond), params)


if __name__ == "__main__":
  absltest.main()
