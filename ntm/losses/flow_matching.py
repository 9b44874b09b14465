"""Flow matching: the baseline, and what an NTM can start from.

At a level t drawn for every example, x_t = (1 - t) x_0 + t eps and

  loss = mean |v(x_t, t, y) - (eps - x_0)|^2                    (per dimension)

with t ~ U[0, 1], or logit-normal, t = 1 / (1 + exp(-n)) with n ~ N(0, 1), which
spends the effort on middle levels [arXiv 2403.03206].
"""

import flax.struct
import jax
import jax.numpy as jnp

from ntm.config import Config
from ntm.losses import inputs, task, trajectory_likelihood
from ntm.losses.metrics import Sums
from ntm.models import build
from ntm.models.velocity import Velocity
from ntm.sampling import ode
from ntm.typing import Array, Condition, PRNGKey

_SAMPLE_STEPS = (4, 16)


@flax.struct.dataclass
class Metrics(Sums):
  """Sums over a batch: squared error per dimension, and examples."""

  loss: Array
  count: Array

  def scalars(self) -> dict[str, float]:
    """The mean, by name."""
    return {"mse": float(self.loss / self.count)}


def draw_times(rng: PRNGKey, batch_size: int, sampling: str) -> Array:
  """Levels t_B, 'uniform' or 'logit_normal'."""
  if sampling == "uniform":
    return jax.random.uniform(rng, (batch_size,))
  return jax.nn.sigmoid(jax.random.normal(rng, (batch_size,)))


def errors(rng: PRNGKey, model: Velocity, params, x0_BNC: Array, cond: Condition) -> Array:
  """Squared error of the velocity per dimension, [B], at the levels of `cond`."""
  noise_BNC = jax.random.normal(rng, x0_BNC.shape, x0_BNC.dtype)
  t = cond.time_B[:, None, None]
  v_BNC = model.apply({"params": params}, (1 - t) * x0_BNC + t * noise_BNC, cond)
  return ((v_BNC - (noise_BNC - x0_BNC)) ** 2).mean(axis=(1, 2))


def velocity(config: Config, frozen: inputs.Frozen | None = None) -> task.Task:
  """The task of training a velocity network, with the frozen networks of the run."""
  model = build.velocity(config)
  classes = config.model.num_classes

  def loss(rng, params, frozen, batch, step):
    del step
    x0_BNC, cond = task.to_tokens(inputs.encode(rng, frozen, batch, config), config)
    rng_label, rng_t, rng_x = jax.random.split(rng, 3)
    cond = trajectory_likelihood.drop_labels(rng_label, cond, classes, config.train.label_dropout)
    time_B = draw_times(rng_t, len(x0_BNC), config.train.time_sampling)
    error_B = errors(rng_x, model, params, x0_BNC, cond.at(time_B))
    return error_B.mean(), Metrics(error_B.sum(), jnp.float32(error_B.size))

  def evaluate(params, frozen, batch, rng):
    """Levels evenly spread over the batch, the same at every evaluation."""
    x0_BNC, cond = task.to_tokens(inputs.encode(rng, frozen, batch, config), config)
    time_B = (jnp.arange(len(x0_BNC)) + 0.5) / len(x0_BNC)
    error_B = errors(rng, model, params, x0_BNC, cond.at(time_B))
    return Metrics(error_B.sum(), jnp.float32(error_B.size))

  draw = ode.make_generator(model, build.patches(config.model), config.process)
  decode = inputs.make_decoder(config)

  def samples(params, frozen, examples=None):
    cond, shape = task.grid_condition(config, frozen, examples)
    rng = jax.random.key(config.train.seed)
    euler = lambda n: draw(rng, params, cond, shape[0] * shape[1], n, "euler").reshape(shape)
    return {f"euler_{n}": decode(frozen, euler(n)) for n in _SAMPLE_STEPS}

  return task.Task(init=task.velocity_init(config), loss=loss, evaluate=evaluate,
                   samples=samples, primary_metric="mse", unit="squared error / dim", frozen=frozen,
                   frozen_init=inputs.boxed_init(frozen, config))
