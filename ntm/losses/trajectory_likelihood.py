"""The training losses: pure functions of key, parameters and a batch.

All minimise the exact negative log-likelihood of forward trajectories [3.4],
in nats per dimension and step, constants included:

  loss = - mean_b 1 / (T_b N C) sum_k log p(x_{k-1} | x_k, y).

The prior log p(x_T) is constant and left out. They differ in the trajectories:
- end_to_end: all T steps of one trajectory per example.
- multi-T: the same, each example with its own T, padded to the largest.
- pair_wise: one random consecutive pair per example, about 1/T of the compute.
"""

from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp

from ntm.config import Config
from ntm.flows import bijector
from ntm.losses.metrics import Sums
from ntm.models.ntm import NTM
from ntm.process.trajectory import draw_pair, draw_trajectory
from ntm.typing import Array, Condition, PRNGKey, Trajectory, TrajectoryLogProb


@flax.struct.dataclass
class Metrics(Sums):
  """Sums over a batch, so that accumulation and devices simply add them.

  Attributes:
    loss: nats per dimension and step, summed over examples.
    count: examples.
    step_S: loss of every step, summed over the examples that have it.
    step_count_S: examples that have the step.
    log_scale: smallest and largest log sigma_P, negated smallest first so
      that both combine by maximum; then those of log sigma_T.
    alignment: |mu_P - mu_FM|^2 per dimension, summed over examples; None unless
      an NTM is finetuned.
    outside: share of the entries outside of the range of the transporter's splines, of the block
      and level with most of them, summed over examples; None without splines.
  """

  loss: Array
  count: Array
  step_S: Array
  step_count_S: Array
  log_scale: Array
  alignment: Array | None = None
  outside: Array | None = None

  def zeros(self) -> "Metrics":
    """The metrics of no example, of the same shapes: neutral in `merge`."""
    empty = super().zeros()
    return empty.replace(log_scale=jnp.full_like(empty.log_scale, -jnp.inf))

  def merge(self, other: "Metrics") -> "Metrics":
    """The metrics of both batches together."""
    return super().merge(other).replace(log_scale=jnp.maximum(self.log_scale, other.log_scale))

  def scalars(self) -> dict[str, float]:
    """Named values: loss and per-step nats/dim, ranges of the log-scales."""
    values = {"nats_per_dim": self.loss / self.count}
    for k, (total, count) in enumerate(zip(self.step_S, self.step_count_S), start=1):
      if count > 0:
        values[f"step_{k}/nats_per_dim"] = total / count
    for i, name in enumerate(("predictor", "transporter")):
      values[f"log_scale/{name}_min"] = -self.log_scale[2 * i]
      values[f"log_scale/{name}_max"] = self.log_scale[2 * i + 1]
    if self.alignment is not None:
      values["alignment"] = self.alignment / self.count
    if self.outside is not None:
      values["spline/outside"] = self.outside / self.count
    return {name: float(value) for name, value in values.items()}


def drop_labels(rng: PRNGKey, cond: Condition, num_classes: int, rate: float) -> Condition:
  """Replaces labels by the null class with the given probability; texts were dropped when read."""
  if cond.label_B is None:
    return cond
  drop_B = jax.random.bernoulli(rng, rate, cond.label_B.shape)
  return cond.replace(label_B=jnp.where(drop_B, num_classes, cond.label_B))


# (trajectory, its log-likelihood) → ([B], weight), added to the loss as weight x mean.
Alignment = Callable[[Trajectory, TrajectoryLogProb], tuple[Array, Array]]


def end_to_end(rng: PRNGKey, model: NTM, params, x0_BNC: Array, cond: Condition,
               config: Config, alignment: Alignment | None = None) -> tuple[Array, Metrics]:
  """All steps of one trajectory per example, single T or multi-T.

  Args:
    rng: key of t_min, T, noise and label dropout.
    model: the density.
    params: its parameters.
    x0_BNC: clean tokens.
    cond: class or text.
    config: the run's.
    alignment: a term added to the loss, see `losses.alignment`.

  Returns:
    (loss in nats per dimension and step, its parts).
  """
  rng_label, rng_x = jax.random.split(rng)
  cond = drop_labels(rng_label, cond, config.model.num_classes, config.train.label_dropout)
  trajectory = draw_trajectory(rng_x, x0_BNC, cond, config.process)
  return trajectory_loss(model, params, trajectory, alignment)


def pair_wise(rng: PRNGKey, model: NTM, params, x0_BNC: Array, cond: Condition,
              config: Config, alignment: Alignment | None = None) -> tuple[Array, Metrics]:
  """One random pair per example: an unbiased estimate of `end_to_end`.

  Arguments and results as `end_to_end`.
  """
  rng_label, rng_x = jax.random.split(rng)
  cond = drop_labels(rng_label, cond, config.model.num_classes, config.train.label_dropout)
  trajectory, k_B = draw_pair(rng_x, x0_BNC, cond, config.process)
  result, reported = log_prob(model, params, trajectory, ends_at_noise=False)
  nats_B = -result.step_SB[0] / _dimensions(trajectory)
  one_hot_SB = jnp.arange(max(config.process.num_steps))[:, None] == k_B
  metrics = Metrics(nats_B.sum(), jnp.float32(nats_B.size), (nats_B * one_hot_SB).sum(axis=1),
                    one_hot_SB.sum(axis=1).astype(nats_B.dtype), **reported)
  return _aligned(nats_B.mean(), metrics, trajectory, result, alignment)


OBJECTIVES = {"end_to_end": end_to_end, "pair_wise": pair_wise}


def trajectory_loss(model: NTM, params, trajectory: Trajectory,
                    alignment: Alignment | None = None) -> tuple[Array, Metrics]:
  """Loss [3.4] of given trajectories that end at noise, and its parts."""
  result, reported = log_prob(model, params, trajectory, ends_at_noise=True)
  nats_SB = -result.step_SB / _dimensions(trajectory)
  nats_B = nats_SB.sum(axis=0) / trajectory.valid_SB.sum(axis=0)
  metrics = Metrics(nats_B.sum(), jnp.float32(nats_B.size), nats_SB.sum(axis=1),
                    trajectory.valid_SB.sum(axis=1), **reported)
  return _aligned(nats_B.mean(), metrics, trajectory, result, alignment)


def log_prob(model: NTM, params, trajectory: Trajectory,
             ends_at_noise: bool) -> tuple[TrajectoryLogProb, dict[str, Array]]:
  """The log-likelihood, and the fields of Metrics that bijectors report."""
  result, extra = model.apply({"params": params}, trajectory, ends_at_noise, method="log_prob",
                              mutable=["diagnostics"])
  diagnostics = extra.get("diagnostics", {})
  transporter_2 = bijector.largest_ranges(diagnostics)
  ranges = [-result.log_scale_SBNC.min(), result.log_scale_SBNC.max(), -transporter_2[0],
            transporter_2[1]]
  reported = {"log_scale": jnp.stack(ranges)}
  if (share := bijector.largest_outside(diagnostics)) is not None:
    reported["outside"] = share * trajectory.x_KBNC.shape[1]
  return result, jax.lax.stop_gradient(reported)


def _aligned(loss, metrics, trajectory, result, alignment):
  """Loss and metrics with the alignment term, if there is one."""
  if alignment is None:
    return loss, metrics
  value_B, weight = alignment(trajectory, result)
  return loss + weight * value_B.mean(), metrics.replace(alignment=value_B.sum())


def _dimensions(trajectory: Trajectory) -> int:
  return trajectory.x_KBNC.shape[-2] * trajectory.x_KBNC.shape[-1]
