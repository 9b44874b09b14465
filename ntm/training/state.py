"""The training state: its fields, initialisation and layout on the devices."""

from collections.abc import Callable

import flax.linen as nn
import flax.struct
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from ntm.config import Config
from ntm.losses.task import Task
from ntm.nn import partitioning
from ntm.training import optimizer
from ntm.typing import Array


@flax.struct.dataclass
class TrainState:
  """Everything the next step depends on, except the data.

  Attributes:
    step: number of updates done, skipped ones included, int32.
    healthy: False after more non-finite updates than allowed; the state then stays
      that of the last finite one.
    params: of the model, float32.
    ema: exponential moving average of the parameters, used for sampling.
    opt_state: state of the optimiser.
    skipped: number of updates skipped because they were not finite.
  """

  step: Array
  healthy: Array
  params: dict
  ema: dict
  opt_state: optax.OptState
  skipped: Array | int = 0


def abstract_state(task: Task, config: Config, mesh: Mesh) -> TrainState:
  """Shapes, types and shardings of the state, as `abstract_params`."""
  # `task.init` itself: JAX keeps the trace of a function that it has seen.
  params = jax.eval_shape(task.init, jax.random.key(0))
  return partitioning.in_pieces(
      mesh, jax.eval_shape(lambda params: _state(params, config), params))


def abstract_params(init: Callable, mesh: Mesh):
  """Shapes, types and shardings of what `init` (rng → boxed arrays) would make.

  Raises:
    ValueError: a parameter that the mesh does not split evenly.
  """
  return partitioning.in_pieces(mesh, jax.eval_shape(init, jax.random.key(0)))


def init_state(task: Task, config: Config, mesh: Mesh) -> TrainState:
  """Initialises a state, every leaf directly in its sharding."""
  shardings = jax.tree.map(lambda a: a.sharding, abstract_state(task, config, mesh))
  create = jax.jit(lambda rng: nn.unbox(_state(task.init(rng), config)), out_shardings=shardings)
  return create(jax.random.key(config.train.seed))


def place_frozen(task: Task, mesh: Mesh):
  """The task's frozen parameters, sharded like all parameters; None if it has none.

  Those that are in their shards already, as `inputs.load` with a mesh reads them, stay there.
  """
  if task.frozen is None:
    return None

  def place(leaf, like):
    placed = isinstance(leaf, jax.Array) and leaf.sharding.is_equivalent_to(
        like.sharding, leaf.ndim)
    return leaf if placed else partitioning.from_host(leaf, like.sharding)

  return jax.tree.map(place, task.frozen, abstract_params(task.frozen_init, mesh))


def with_pretrained(state: TrainState, pretrained) -> TrainState:
  """Replaces parameters and their average by copies of the leaves of `pretrained`.

  Args:
    state: to change.
    pretrained: a subtree of its parameters, on the host, or on devices for which all processes
      call this.

  Raises:
    ValueError: as `check_pretrained`.
  """
  check_pretrained(state, pretrained)
  flat = flax.traverse_util.flatten_dict(pretrained)

  def copy(leaf, like):
    """In the sharding of the old leaf; the new one may be donated."""
    if isinstance(leaf, jax.Array):
      return jax.jit(lambda a: jnp.copy(a.astype(like.dtype)), out_shardings=like.sharding)(leaf)
    return partitioning.from_host(np.asarray(leaf, like.dtype), like.sharding)

  def replace(params):
    """The tree with the leaves replaced."""
    leaves = flax.traverse_util.flatten_dict(params)
    leaves |= {path: copy(leaf, leaves[path]) for path, leaf in flat.items()}
    return flax.traverse_util.unflatten_dict(leaves)

  return state.replace(params=replace(state.params), ema=replace(state.ema))


def check_pretrained(state: TrainState, pretrained) -> None:
  """Checks that `with_pretrained` can replace these parameters of a state, which may be abstract.

  Raises:
    ValueError: a leaf that the state does not have, or of another shape.
  """
  leaves = flax.traverse_util.flatten_dict(state.params)
  for path, leaf in flax.traverse_util.flatten_dict(pretrained).items():
    if path not in leaves or leaves[path].shape != leaf.shape:
      raise ValueError(
          f"pretrained parameter {'/'.join(path)} {list(leaf.shape)} does not fit the model, "
          f"which has {list(leaves[path].shape) if path in leaves else 'no such parameter'}; "
          "expected a source of the same sizes in config.finetune.source.")


def _state(params, config: Config) -> TrainState:
  """The state before the first update."""
  return TrainState(
      step=jnp.int32(0), healthy=jnp.bool_(True), params=params,
      ema=jax.tree.map(jnp.copy, params),
      opt_state=optimizer.build(config.optimizer, config.train.steps).init(params),
      skipped=jnp.int32(0))
