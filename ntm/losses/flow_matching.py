"""Flow matching: the baseline, and what an NTM can start from.

At a level t drawn for every example, x_t = (1 - t) x_0 + t eps and

  loss = mean |v(x_t, t, y) - (eps - x_0)|^2                    (a dimension)

with t ~ U[0, 1], or logit-normal, t = 1 / (1 + exp(-n)) with n ~ N(0, 1), which
spends the effort on middle levels [arXiv 2403.03206].
"""

import flax.struct
import jax
import jax.numpy as jnp

from ntm.config import Config
from ntm.losses import task, trajectory_likelihood
from ntm.losses.metrics import Sums
from ntm.models import velocity as velocity_lib
from ntm.sampling import ode
from ntm.typing import Array, PRNGKey

_SAMPLE_STEPS = (4, 16)


@flax.struct.dataclass
class Metrics(Sums):
  """Sums over a batch: squared error a dimension, and examples."""

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


def errors(rng: PRNGKey, model: velocity_lib.FlowMatching, params, x0_BNC: Array, time_B: Array,
           label_B: Array | None) -> Array:
  """Squared error of the velocity a dimension, [B], at levels `time_B`."""
  noise_BNC = jax.random.normal(rng, x0_BNC.shape, x0_BNC.dtype)
  t = time_B[:, None, None]
  v_BNC = model.apply({"params": params}, (1 - t) * x0_BNC + t * noise_BNC, time_B, label_B)
  return ((v_BNC - (noise_BNC - x0_BNC)) ** 2).mean(axis=(1, 2))


def velocity(config: Config) -> task.Task:
  """The task of training a velocity network."""
  model = velocity_lib.build(config)
  classes = config.model.num_classes

  def loss(rng, params, frozen, batch, step):
    del frozen, step
    x0_BNC, label_B = task.to_tokens(batch, config)
    rng_label, rng_t, rng_x = jax.random.split(rng, 3)
    label_B = trajectory_likelihood.drop_labels(
        rng_label, label_B, classes, config.train.label_dropout)
    time_B = draw_times(rng_t, len(x0_BNC), config.train.time_sampling)
    error_B = errors(rng_x, model, params, x0_BNC, time_B, label_B)
    return error_B.mean(), Metrics(error_B.sum(), jnp.float32(error_B.size))

  def evaluate(params, frozen, batch, rng):
    """Levels evenly spread over the batch, the same at every evaluation."""
    del frozen
    x0_BNC, label_B = task.to_tokens(batch, config)
    time_B = (jnp.arange(len(x0_BNC)) + 0.5) / len(x0_BNC)
    error_B = errors(rng, model, params, x0_BNC, time_B, label_B)
    return Metrics(error_B.sum(), jnp.float32(error_B.size))

  draw = ode.make_generator(model, config.process)

  def samples(params, frozen):
    del frozen
    label_B, shape = task.grid_labels(config)
    rng = jax.random.key(config.train.seed)
    return {f"euler_{n}": draw(
        rng, params, label_B, shape[0] * shape[1], n, "euler", None).reshape(shape)
            for n in _SAMPLE_STEPS}

  return task.Task(init=task.velocity_init(config), loss=loss, evaluate=evaluate,
                   samples=samples, primary_metric="mse", unit="squared error / dim")
