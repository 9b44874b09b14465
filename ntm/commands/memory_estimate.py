"""The memory of a training step, estimated from its trace rather than compiled.

  memory = arguments + gradients + kept + rebuilt + gathered

arguments: parameters, their average, Adam's two moments (float32), frozen networks and the
  batch, by the shapes and shardings that the program will have; exact.
gradients: float32, split as the parameters; twice with accumulation, for the sum so far.
kept: what the backward pass of one example keeps under the policy of rematerialisation, times the
  examples of a device at a time. Read from the trace of the gradient, as the difference between
  those of two examples and of one, so that parameters do not count. On a TPU the last axis
  of an array takes multiples of 128 entries. Arrays whose last axis is a width of the model are
  whole along the mesh axis `tensor`; heads, feed-forward layers and scores are split over it.
rebuilt: REBUILT times what one layer keeps without rematerialisation. That much is computed
  again for a layer at a time, some of it fused or released before the rest is there.
gathered: parameters of GATHERED layers, float32, where `fsdp` splits them: the layer at work,
  and its gradient or the next one.

Both constants were fitted to the compiled programs of docs/scaling.md, which has the errors. Not
counted is what a frozen text encoder needs while it reads, so that with one it is too low.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import AbstractDevice, AbstractMesh, Mesh

from ntm.commands import programs
from ntm.config import Config
from ntm.losses import task as task_lib
from ntm.nn import partitioning
from ntm.training import state as state_lib

REBUILT = 0.7
GATHERED = 2
LARGEST_ERROR = 0.3  # Of the estimate without a text encoder, over the table of docs/scaling.md.
_LANES = 128  # Entries of a TPU's vector registers along the last axis.


@dataclasses.dataclass(frozen=True)
class Kept:
  """Bytes that the backward pass of one example keeps.

  Attributes:
    whole: on every device of mesh axis `tensor`.
    split: over these devices.
  """

  whole: int
  split: int

  def per_device(self, tensor: int) -> float:
    """Bytes of one example on one of `tensor` devices."""
    return self.whole + self.split / tensor


class Estimator:
  """Memory of training steps that differ in mesh, accumulation and rematerialisation alone.

  Traces are kept: one of the initialisation, two per policy of rematerialisation.
  """

  def __init__(self, config: Config, device: AbstractDevice):
    """Traces nothing yet.

    Args:
      config: of the run.
      device: kind of those to train on, `mesh.abstract_mesh.abstract_device`.
    """
    self._config = config
    self._mesh = AbstractMesh((1,) * len(partitioning.AXES), partitioning.AXES,
                              axis_types=partitioning.AXIS_TYPES, abstract_device=device)
    self._task = programs.train_task(config, self._mesh)
    self._kept, self._placed = {}, {}

  def estimate(self, config: Config, mesh: Mesh | AbstractMesh) -> float:
    """Bytes per device; see the formula above.

    Args:
      config: as that of the run but for mesh, accumulation, rematerialisation and unrolling.
      mesh: of config.mesh.

    Raises:
      ValueError: a batch, heads or widths that the mesh does not split evenly.
    """
    rounds = config.train.grad_accumulation_steps
    partitioning.check_batch(config.train.batch_size, rounds, mesh)
    arguments, params, count = self._arguments(config, mesh)
    sizes = mesh.shape
    examples = config.train.batch_size / rounds / (sizes["data"] * sizes["fsdp"])
    kept = lambda policy: self.kept(policy).per_device(sizes["tensor"])
    layer = max(kept("none") - kept("full"), 0) / num_layers(config)
    gathered = 4 * count / num_layers(config) / sizes["tensor"] * (sizes["fsdp"] > 1)
    return (arguments + params * (2 if rounds > 1 else 1)
            + examples * (kept(config.model.remat) + REBUILT * layer) + GATHERED * gathered)

  def sent(self, config: Config, mesh: Mesh | AbstractMesh) -> float:
    """Bytes per device that an update exchanges, roughly: to order candidates, not to judge them.

    Parameters are gathered for both passes and their gradients scattered, once per
    accumulation round, in the compute type; copies along `data` sum float32 gradients;
    `tensor` sums activations four times per layer.

    Args:
      config: as `estimate`.
      mesh: of config.mesh.
    """
    sizes, rounds = mesh.shape, config.train.grad_accumulation_steps
    _, params, count = self._arguments(config, mesh)
    item = jnp.dtype(config.model.dtype).itemsize
    tokens = (config.train.batch_size / (sizes["data"] * sizes["fsdp"]) * config.model.num_tokens
              * self._task.levels)
    return ((sizes["fsdp"] > 1) * 3 * rounds * item * count / sizes["tensor"]
            + (sizes["data"] > 1) * 2 * rounds * params
            + (sizes["tensor"] > 1) * 2 * 4 * num_layers(config) * tokens * item
            * config.model.predictor.width)

  def kept(self, policy: str) -> Kept:
    """What one example keeps under a policy of rematerialisation."""
    if policy not in self._kept:
      one, two = (self._residuals(policy, size) for size in (1, 2))
      self._kept[policy] = Kept(*(max(b - a, 0) for a, b in zip(one, two, strict=True)))
    return self._kept[policy]

  def _arguments(self, config, mesh):
    """(bytes of all arguments and of the parameters per device, number of parameters)."""
    key = tuple(mesh.shape.values())
    if key not in self._placed:
      state = state_lib.abstract_state(self._task, config, mesh)
      frozen = programs.train_task(config, mesh).frozen
      params = state.params
      self._placed[key] = (
          programs.shard_bytes((state, frozen, programs.abstract_batch(config, mesh))),
          programs.shard_bytes(params), sum(a.size for a in jax.tree.leaves(params)))
    return self._placed[key]

  def _residuals(self, policy, size):
    """(bytes that are whole along `tensor`, bytes that are split) of the gradient of a batch."""
    model = dataclasses.replace(self._config.model, remat=policy)
    config = dataclasses.replace(self._config, model=model)
    task = programs.train_task(config, self._mesh)

    def backward(rng, params, frozen, batch):
      with partitioning.activations(self._mesh):
        return jax.vjp(lambda params: task.loss(rng, params, frozen, batch, jnp.int32(0)), params,
                       has_aux=True)[1]

    bare = lambda tree: jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), tree)
    rng = jax.eval_shape(lambda: jax.random.key(0))
    arrays = jax.tree.leaves(jax.eval_shape(
        backward, rng, nn.unbox(jax.eval_shape(task.init, rng)), bare(task.frozen),
        task_lib.batch_shapes(config, size)))
    widths = {model.predictor.width, model.transporter.width, model.backbone.text_width,
              model.num_channels, 1}
    found = [0, 0]
    for a in arrays:
      found[bool(a.shape) and a.shape[-1] not in widths] += self._bytes(a)
    return found

  def _bytes(self, array):
    if not array.shape or jax.dtypes.issubdtype(array.dtype, jax.dtypes.extended):
      return 0
    last = array.shape[-1]
    last = -(-last // _LANES) * _LANES if self._mesh.abstract_device.platform == "tpu" else last
    return math.prod(array.shape[:-1]) * last * array.dtype.itemsize


def num_layers(config: Config) -> int:
  """Transformer layers of a model, over all its stacks."""
  model = config.model
  return (model.transporter.layers * model.transporter.num_blocks + model.predictor.layers
          + model.backbone.double_layers
          + (model.backbone.text_layers if model.backbone.vocab_size else 0))
