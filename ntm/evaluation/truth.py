"""A model of known data against the truth: divergences in nats, and where samples are.

With trajectories of the forward process q, the model's divergence is

  KL = E_q [log q(x_{t_0}, ..., x_T) - log p(x_{t_0}, ..., x_T)]

in nats per trajectory, the sum over steps of
E_q [log q(x_{k-1} | x_k) - log p(x_{k-1} | x_k)]; both end in the same noise. It
is 0 if the model is right, and next to it stands that of the best chain of
Gaussian steps with independent dimensions (`ntm.truth.gaussian_chain`).

Samples are compared with q at their own level, t_min for states that are not
refined: the share in a mode (98.9 % of a Gaussian component), the total
variation between the weights of the components, and in the plane between the masses of
cells of side 0.1. The last two are above 0 for exact draws too, as there are finitely many.
All of it is computed in float64.
"""

from collections.abc import Callable

import jax
import numpy as np

from ntm.truth import gaussian_chain, trajectories
from ntm.truth.mixtures import Mixture
from ntm.typing import PRNGKey

_CHUNK = 256  # Trajectories at a time, as components times dimensions may be many.
_EDGES = np.linspace(-1.5, 1.5, 31)  # Of the cells of the plane.


def divergence(model, rng: PRNGKey, mixture: Mixture, images, labels, num_steps: int | None,
               draws: int, progress: Callable[[int, int], None] | None = None
               ) -> tuple[dict[str, float | list[float]], np.ndarray]:
  """The model's divergence from the truth, and that of the best Gaussian chain.

  Args:
    model: a restored NTM (`ntm.api.Model`).
    rng: a key for the trajectories.
    mixture: of the data.
    images: held-out examples, as `Model.log_prob`.
    labels: their components, for a model of classes: its truth is that of the component.
    num_steps: T; None for the first that the model was trained for.
    draws: forward trajectories per image.
    progress: called with (draws done, draws) after every draw.

  Returns:
    Means in nats per trajectory, with standard errors over the images; and the model's
    log-likelihood of every step, averaged over the draws, [S, B], in nats.
  """
  exact = jax.jit(lambda x_KBD, times_KB, labels: (
      trajectories.log_steps(mixture, x_KBD, times_KB, labels),
      gaussian_chain.log_ratios(mixture, x_KBD, times_KB, component_B=labels)))
  kl_SB, gaussian_SB, total_SB = 0.0, 0.0, 0.0
  for i, key in enumerate(jax.random.split(rng, draws)):
    x_KBD, times_KB, step_SB = model.trajectories(key, images, labels, num_steps)
    truth_SB, ratio_SB = _exact_steps(exact, x_KBD, times_KB, labels)
    kl_SB += (truth_SB - step_SB) / draws
    gaussian_SB += ratio_SB / draws
    total_SB += step_SB / draws
    if progress:
      progress(i + 1, draws)
  (kl, error), (gaussian_kl, gaussian_error) = map(_mean, (kl_SB, gaussian_SB))
  return {"kl_to_truth_nats": kl, "kl_to_truth_standard_error": error,
          "kl_per_step": kl_SB.mean(axis=1).tolist(),
          "gaussian_kl_nats": gaussian_kl, "gaussian_kl_standard_error": gaussian_error,
          "gaussian_kl_per_step": gaussian_SB.mean(axis=1).tolist()}, total_SB


def _exact_steps(exact, x_KBD, times_KB, labels):
  """log q(x_{k-1} | x_k), and its ratio to the best Gaussian, [S, B] both, float64."""
  parts = []
  with jax.enable_x64(True):
    for start in range(0, x_KBD.shape[1], _CHUNK):
      rows = slice(start, start + _CHUNK)
      parts.append(exact(np.float64(x_KBD[:, rows]), np.float64(times_KB[:, rows]),
                         None if labels is None else labels[rows]))
    return [np.concatenate(part, axis=1) for part in zip(*parts)]


def _mean(ratio_SB):
  """Mean over the trajectories and its standard error."""
  total_B = ratio_SB.sum(axis=0)
  return float(total_B.mean()), float(total_B.std(ddof=1) / np.sqrt(len(total_B)))


def draw(seed: int, mixture: Mixture, count: int, level: float) -> np.ndarray:
  """Exact draws of a level, [count, D], float64."""
  rng = np.random.default_rng(seed)
  x0_BD = np.stack([mixture.draw(rng)[0] for _ in range(count)])
  return (1 - level) * x0_BD + level * rng.standard_normal(x0_BD.shape)


def sample_metrics(mixture: Mixture, x_BD: np.ndarray, level: float) -> dict[str, float]:
  """Where samples are, see the module's description.

  Args:
    mixture: of the data.
    x_BD: samples, flattened.
    level: t, of the samples.
  """
  x_BD, parts = np.float64(x_BD), []
  with jax.enable_x64(True):
    for start in range(0, len(x_BD), _CHUNK):
      rows = x_BD[start:start + _CHUNK]
      log_BJ = trajectories.log_components(mixture, rows, level)
      parts.append((mixture.in_mode(rows, level), jax.nn.softmax(log_BJ)))
    inside_B, weight_BJ = (np.concatenate(part) for part in zip(*parts))
    difference_J = weight_BJ.mean(axis=0) - np.exp(mixture.log_weight_J)
    result = {"in_mode_share": float(inside_B.mean()),
              "mode_weight_total_variation": float(0.5 * abs(difference_J).sum())}
    if x_BD.shape[1] == 2:
      result["grid_total_variation"] = _grid_total_variation(mixture, x_BD, level)
  return result


def _grid_total_variation(mixture, x_BD, level):
  """Half the sum of |share of samples - mass| over the cells and the plane around them."""
  step_CJD = np.diff(mixture.cdf(_EDGES, level), axis=0)
  mass = np.einsum("j,aj,bj->ab", np.exp(mixture.log_weight_J), step_CJD[..., 0], step_CJD[..., 1])
  share = np.histogram2d(*x_BD.T, bins=(_EDGES, _EDGES))[0] / len(x_BD)
  return float(0.5 * (abs(share - mass).sum() + abs(share.sum() - mass.sum())))
