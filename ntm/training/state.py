"""What a run carries from step to step, and how it is born."""

import flax.linen as nn
import flax.struct
import flax.traverse_util
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from ntm.config import Config
from ntm.training import optimizer, sharding
from ntm.training.task import Task
from ntm.typing import Array


@flax.struct.dataclass
class TrainState:
  """Everything the next step depends on, besides the data.

  Attributes:
    step: updates done, int32.
    healthy: False once a loss or gradient was not finite; updates then stop,
      so the parameters stay the last good ones.
    params: of the model, float32.
    ema: their running average, what sampling uses.
    opt_state: of the optimiser.
  """

  step: Array
  healthy: Array
  params: dict
  ema: dict
  opt_state: optax.OptState


def abstract_state(task: Task, config: Config, mesh: Mesh) -> TrainState:
  """Shapes, types and shardings of the state; nothing is computed."""
  boxed = jax.eval_shape(lambda rng: _create(rng, task, config), jax.random.key(0))
  shardings = sharding.from_logical(mesh, boxed)
  return jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s),
                      nn.unbox(boxed), shardings)


def init_state(task: Task, config: Config, mesh: Mesh) -> TrainState:
  """A new state, every leaf created in its own sharding."""
  shardings = jax.tree.map(lambda a: a.sharding, abstract_state(task, config, mesh))
  create = jax.jit(lambda rng: nn.unbox(_create(rng, task, config)), out_shardings=shardings)
  return create(jax.random.key(config.train.seed))


def with_pretrained(state: TrainState, pretrained) -> TrainState:
  """A new state whose parameters and average are `pretrained` where that has a leaf.

  Args:
    state: of step 0.
    pretrained: a part of the tree of parameters.

  Raises:
    ValueError: a leaf that the state lacks, or of another shape.
  """
  flat = flax.traverse_util.flatten_dict(pretrained)

  def replace(params):
    """The tree with the leaves put in, each laid out as the one it replaces."""
    leaves = flax.traverse_util.flatten_dict(params)
    for path, leaf in flat.items():
      if path not in leaves or leaves[path].shape != leaf.shape:
        raise ValueError(
            f"pretrained parameter {'/'.join(path)} {list(leaf.shape)} does not fit the model, "
            f"which has {list(leaves[path].shape) if path in leaves else 'no such parameter'}.")
      # A copy each time: the step donates both trees, and `pretrained` may live on as a teacher.
      copy = jnp.array(leaf, leaves[path].dtype, copy=True)
      leaves[path] = jax.device_put(copy, leaves[path].sharding)
    return flax.traverse_util.unflatten_dict(leaves)

  return state.replace(params=replace(state.params), ema=replace(state.ema))


def _create(rng, task: Task, config: Config) -> TrainState:
  params = task.init(rng)
  return TrainState(
      step=jnp.int32(0), healthy=jnp.bool_(True), params=params,
      ema=jax.tree.map(jnp.copy, params),
      opt_state=optimizer.build(config.optimizer, config.train.steps).init(params))
