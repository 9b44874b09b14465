"""One update, and the held-out likelihood: jitted, donated, sharded."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import AbstractDevice, AbstractMesh, Mesh

from ntm.config import Config
from ntm.losses import text_lengths
from ntm.losses.task import Batch, Task
from ntm.nn import partitioning
from ntm.performance import flops
from ntm.training import optimizer
from ntm.training import state as state_lib
from ntm.training.state import TrainState

# One CPU, to trace programs for: accelerators' kernels hide their FLOPs.
COUNTING_MESH = AbstractMesh(
    (1,) * len(partitioning.AXES), partitioning.AXES,
    axis_types=partitioning.AXIS_TYPES,
    abstract_device=AbstractDevice(device_kind="cpu", num_cores=None, platform="cpu"))


def make_train_step(task: Task, config: Config, mesh: Mesh) -> Callable:
  """Builds the jitted update (state, batch, task.frozen) → (state, metrics, norms).

  The randomness of step i is a function of (seed, i), so a resumed run continues
  exactly. A step whose loss or gradient is not finite changes no parameters. Up to
  `config.train.max_nonfinite_steps` such steps are skipped and counted; one more clears
  `state.healthy`, and from then on the state no longer changes.

  Returns:
    A function that donates the state. Norms are of the gradient before clipping and
    of the parameters.
  """
  tx = optimizer.build(config.optimizer, config.train.steps)
  schedule = optimizer.learning_rate(config.optimizer, config.train.steps)
  gradients = _mean_gradients(task, config.train.grad_accumulation_steps, config.text.lengths)

  def update(state: TrainState, batch: Batch, frozen):
    """One update; the parameters stay unchanged if it is not finite."""
    rng = jax.random.fold_in(jax.random.key(config.train.seed), state.step)
    with partitioning.activations(mesh):
      grads, metrics = gradients(state.params, frozen, batch, rng, state.step)
    grad_norm = optax.global_norm(grads)
    finite = jnp.isfinite(metrics.loss) & jnp.isfinite(grad_norm)
    healthy = state.healthy & (finite | (state.skipped < config.train.max_nonfinite_steps))

    def apply(state):
      updates, opt_state = tx.update(grads, state.opt_state, state.params)
      params = optax.apply_updates(state.params, updates)
      decay = jnp.minimum(config.optimizer.ema_decay, (1 + state.step) / (10 + state.step))
      ema = optax.incremental_update(params, state.ema, 1 - decay)
      return TrainState(state.step + 1, healthy, params, ema, opt_state, state.skipped)

    def leave(state):
      return state.replace(step=state.step + healthy, healthy=healthy,
                           skipped=state.skipped + healthy)

    norms = {"norm/gradient": grad_norm, "norm/params": optax.global_norm(state.params),
             "learning_rate": schedule(state.step - state.skipped)}  # Skipped updates do not count.
    # Marks the metrics of a skipped update, which are left out of the logged means.
    metrics = metrics.replace(loss=jnp.where(finite, metrics.loss, jnp.nan))
    state = jax.lax.cond(healthy & finite, apply, leave, state)
    return state, metrics, norms

  # Explicit for outputs too: an equivalent sharding of the compiler's choice may compare as
  # different, and the second step would compile again.
  shardings = jax.tree.map(lambda a: a.sharding, state_lib.abstract_state(task, config, mesh))
  copies = partitioning.replicated(mesh)
  return jax.jit(update, donate_argnums=0,
                 in_shardings=(shardings, partitioning.batch_sharding(mesh), None),
                 out_shardings=(shardings, copies, copies))


def make_eval_step(task: Task, mesh: Mesh) -> Callable:
  """Builds the jitted (params, frozen, batch, seed) → metrics of held-out data.

  The noise is a function of `seed` alone, so every evaluation uses the same noise.
  """
  def evaluate(params, frozen, batch, seed):
    with partitioning.activations(mesh):
      return task.evaluate(params, frozen, batch, jax.random.key(seed))

  return jax.jit(evaluate)


def _mean_gradients(task: Task, rounds: int, lengths: tuple[int, ...]) -> Callable:
  """(params, frozen, batch, rng, step) → (gradients, metrics), accumulated over `rounds` parts.

  The texts of each part have one of `lengths`, if there are any.
  """
  loss_and_grads = jax.value_and_grad(task.loss, argnums=1, has_aux=True)

  def grad_fn(rng, params, frozen, batch, step):
    # The branches are around the gradient: within it, each would store what its own one reads.
    return text_lengths.at_shortest(
        lambda batch: loss_and_grads(rng, params, frozen, batch, step), batch, lengths)

  def gradients(params, frozen, batch, rng, step):
    """Gradients averaged, and metrics merged, over the parts of a batch."""
    if rounds == 1:
      (_, metrics), grads = grad_fn(rng, params, frozen, batch, step)
      return grads, metrics
    # Part i has examples i::rounds, so that no example moves to another device.
    batch = jax.tree.map(
        lambda a: jnp.moveaxis(a.reshape(-1, rounds, *a.shape[1:]), 1, 0), batch)

    def accumulate(carry, inputs):
      part, rng = inputs
      (_, metrics), grads = grad_fn(rng, params, frozen, part, step)
      total, seen = carry
      return (jax.tree.map(jnp.add, total, grads), seen.merge(metrics)), None

    first = jax.tree.map(lambda a: a[0], batch)
    (_, metrics), grads = jax.eval_shape(grad_fn, rng, params, frozen, first, step)
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), grads)
    (grads, metrics), _ = jax.lax.scan(
        accumulate, (zeros, metrics.zeros()), (batch, jax.random.split(rng, rounds)))
    return jax.tree.map(lambda g: g / rounds, grads), metrics

  return gradients


def without_rematerialisation(config: Config) -> Config:
  """The config of the same model, storing all activations that its gradients read."""
  model = dataclasses.replace(config.model, remat="none")
  if model.transporter.kind == "coupling":
    model = dataclasses.replace(
        model, transporter=dataclasses.replace(model.transporter, reversible=False))
  return dataclasses.replace(config, model=model)


def model_flops(train_step: Callable, make_task: Callable[[Config], Task], config: Config,
                mesh: Mesh, *args) -> int:
  """FLOPs of one update over all devices, without those of rematerialisation.

  Args:
    train_step: of `make_train_step`, whose trace is counted if it has neither
      rematerialisation nor kernels; otherwise another one is traced.
    make_task: what `train_step` trains, of any config.
    config: of the run.
    mesh: of `train_step`.
    *args: its arguments.
  """
  plain = without_rematerialisation(config)
  if plain == config and mesh.abstract_mesh.abstract_device.platform == "cpu":
    return flops.count(train_step, *args)
  train_step = make_train_step(make_task(plain), plain, COUNTING_MESH)
  return flops.count(
      train_step, *jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), args))
