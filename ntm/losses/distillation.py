"""Training the denoiser on the score refinement of its own teacher [3.9].

Real images are sent along the forward process; the frozen teacher refines the
cleanest state of that trajectory by its own likelihood (`sampling.refinement`)
and the denoiser learns to give the same from u_{t_0} alone, and from the features
that it was made with under a conditional transporter:

  loss = mean |g(u_{t_0}, y, t_0) - x_den|^2.

Targets are made in the training step: no files, no other data, no other teacher.
"""

import flax.struct
import jax
import jax.numpy as jnp

from ntm.config import Config
from ntm.losses import inputs, task
from ntm.losses.metrics import Sums
from ntm.models import build
from ntm.process.trajectory import draw_trajectory
from ntm.sampling import generate, refinement
from ntm.typing import Array


@flax.struct.dataclass
class Metrics(Sums):
  """Sums over a batch.

  Attributes:
    loss: squared error per dimension.
    raw: the same of the state at t_0 itself, in place of the denoiser.
    count: examples.
  """

  loss: Array
  raw: Array
  count: Array

  def scalars(self) -> dict[str, float]:
    """Mean squared errors per dimension, by name."""
    return {"mse": float(self.loss / self.count), "mse_of_raw": float(self.raw / self.count)}


def distill(config: Config, frozen: inputs.Frozen | None) -> task.Task:
  """The task of training the denoiser of `config` for a teacher of the same model.

  Args:
    config: its model and process are the teacher's.
    frozen: of the run, with the teacher; None where only shapes of the denoiser matter.
  """
  teacher, student = build.ntm(config), build.denoiser(config)
  process = config.process
  generator = generate.make_generator(teacher, build.patches(config.model), process, "denoiser",
                                      denoiser=student)

  decode = inputs.make_decoder(config)

  def errors(params, frozen, trajectory) -> Metrics:
    target_BNC = jax.lax.stop_gradient(refinement.refine(teacher, frozen.teacher, trajectory))
    u_BNC, features_BNF = teacher.apply({"params": frozen.teacher}, trajectory,
                                        method="denoiser_input")
    cond = trajectory.cond.at(trajectory.times_KB[0]).replace(features_BNF=features_BNF)
    x_BNC = student.apply({"params": params}, u_BNC, cond)
    error = lambda a: ((a - target_BNC) ** 2).mean(axis=(1, 2)).sum()
    return Metrics(error(x_BNC), error(trajectory.x_KBNC[0]), jnp.float32(len(target_BNC)))

  def loss(rng, params, frozen, batch, step):
    del step
    batch = inputs.encode(rng, frozen, batch, config)
    trajectory = draw_trajectory(rng, *task.to_tokens(batch, config), config.process)
    metrics = errors(params, frozen, trajectory)
    return metrics.loss / metrics.count, metrics

  def evaluate(params, frozen, batch, rng):
    x0_BNC, cond = task.to_tokens(inputs.encode(rng, frozen, batch, config), config)
    t_min_B = jnp.full((x0_BNC.shape[0],), process.t_min)
    return errors(params, frozen, draw_trajectory(
        rng, x0_BNC, cond, process, t_min_B, process.num_steps[0]))

  def draw(params, frozen, examples=None):
    cond, shape = task.grid_condition(config, frozen, examples)
    out = generator(jax.random.key(config.train.seed), frozen.teacher, cond, shape[0] * shape[1],
                    process.num_steps[0], None, params)
    return {"denoised": decode(frozen, out.images.reshape(shape))}

  def init(rng):
    example, num_features = task.example(config), config.model.transporter.features
    x_BNC, cond = example.x_KBNC[0], example.cond.at(example.times_KB[0])
    if num_features:
      cond = cond.replace(features_BNF=jnp.zeros((*x_BNC.shape[:2], num_features)))
    return student.init(rng, x_BNC, cond)["params"]

  return task.Task(init=init, loss=loss, evaluate=evaluate, samples=draw, primary_metric="mse",
                   unit="squared error / dim", frozen=frozen,
                   frozen_init=inputs.boxed_init(frozen, config, task.density(config).init),
                   levels=max(process.num_steps))
