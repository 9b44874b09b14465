"""One update, and the held-out likelihood: jitted, donated, sharded."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from ntm.config import Config
from ntm.models.ntm import NTM
from ntm.nn.patchify import patchify
from ntm.training import objectives, optimizer, sharding
from ntm.training import state as state_lib
from ntm.training.state import TrainState
from ntm.typing import Array

Batch = dict[str, Array]


def make_train_step(model: NTM, config: Config, mesh: Mesh) -> Callable:
  """Compiles-on-first-use (state, batch) → (state, metrics, norms).

  The randomness of step i is a function of (seed, i), so a resumed run
  continues exactly. A step whose loss or gradient is not finite changes
  nothing and clears `state.healthy`; later steps then change nothing either.

  Returns:
    A jitted function that donates the state. Norms are of the gradient before
    clipping and of the parameters.
  """
  tx = optimizer.build(config.optimizer, config.train.steps)
  schedule = optimizer.learning_rate(config.optimizer, config.train.steps)
  objective = objectives.OBJECTIVES[config.train.objective]
  rounds = config.train.accumulation

  def loss_fn(params, batch, rng):
    x0_BNC, label_B = to_tokens(batch, config)
    return objective(rng, model, params, x0_BNC, label_B, config)

  grad_fn = jax.value_and_grad(loss_fn, has_aux=True)

  def gradients(params, batch, rng):
    if rounds == 1:
      (_, metrics), grads = grad_fn(params, batch, rng)
      return grads, metrics
    # Round a takes examples a::rounds, so that no example changes device.
    batch = jax.tree.map(
        lambda a: jnp.moveaxis(a.reshape(-1, rounds, *a.shape[1:]), 1, 0), batch)

    def accumulate(carry, inputs):
      (_, metrics), grads = grad_fn(params, *inputs)
      total, seen = carry
      return (jax.tree.map(jnp.add, total, grads), seen.merge(metrics)), None

    first = jax.tree.map(lambda a: a[0], batch)
    rngs = jax.random.split(rng, rounds)
    (_, metrics), grads = jax.eval_shape(grad_fn, params, first, rng)
    grads, metrics = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), (grads, metrics))
    metrics = metrics.replace(log_scale=jnp.full_like(metrics.log_scale, -jnp.inf))
    (grads, metrics), _ = jax.lax.scan(accumulate, (grads, metrics), (batch, rngs))
    return jax.tree.map(lambda g: g / rounds, grads), metrics

  def update(state: TrainState, batch: Batch):
    rng = jax.random.fold_in(jax.random.key(config.train.seed), state.step)
    grads, metrics = gradients(state.params, batch, rng)
    grad_norm = optax.global_norm(grads)
    healthy = state.healthy & jnp.isfinite(metrics.loss) & jnp.isfinite(grad_norm)

    def apply(state):
      updates, opt_state = tx.update(grads, state.opt_state, state.params)
      params = optax.apply_updates(state.params, updates)
      decay = jnp.minimum(config.optimizer.ema, (1 + state.step) / (10 + state.step))
      ema = optax.incremental_update(params, state.ema, 1 - decay)
      return TrainState(state.step + 1, state.healthy, params, ema, opt_state)

    norms = {"norm/gradient": grad_norm, "norm/params": optax.global_norm(state.params),
             "learning_rate": schedule(state.step)}
    state = jax.lax.cond(healthy, apply, lambda state: state.replace(healthy=healthy), state)
    return state, metrics, norms

  # Stated for both ends: what the compiler would choose for the outputs may be
  # spelt differently, and the second step would compile again.
  shardings = jax.tree.map(lambda a: a.sharding, state_lib.abstract_state(model, config, mesh))
  return jax.jit(update, donate_argnums=0,
                 in_shardings=(shardings, sharding.batch_sharding(mesh)),
                 out_shardings=(shardings, None, None))


def make_eval_step(model: NTM, config: Config) -> Callable:
  """Jitted (params, batch, seed, num_steps) → Metrics at the fixed level t_min.

  One forward trajectory an example with noise from `seed` alone, so that the
  same images meet the same noise at every evaluation.
  """
  def evaluate(params, batch, seed, num_steps: int):
    x0_BNC, label_B = to_tokens(batch, config)
    t_min_B = jnp.full((x0_BNC.shape[0],), config.process.t_min)
    trajectory = objectives.draw_trajectory(jax.random.key(seed), x0_BNC, label_B, config,
                                            t_min_B, num_steps)
    return objectives.trajectory_loss(model, params, trajectory)[1]

  return jax.jit(evaluate, static_argnums=3)


def to_tokens(batch: Batch, config: Config) -> tuple[Array, Array | None]:
  """(x0_BNC, label_B) of a batch of images; no label if unconditional."""
  x0_BNC = patchify(batch["image"], config.model.patch_shape)
  return x0_BNC, batch["label"] if config.model.num_classes else None
