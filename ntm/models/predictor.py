"""The predictor f_P: a deep network giving a diagonal Gaussian in u-space.

  p(u_{k-1} | u_k, ...) = N(mu_P, sigma_P^2),  (mu_P, log sigma_P) = f_P(u_k, t_k, t_{k-1}, y)

for all steps of a trajectory in one pass. Two context modes:
- markov: step k reads u_k; levels are vmapped.
- history: step k reads u_k, ..., u_T; the levels form one sequence with full
  attention inside a level and none towards cleaner levels, which would leak
  the target.

What the network reads out starts at zero and means, by `output`,

  mean      mu_P and log sigma_P themselves: 0 and 1 at initialisation;
  clean     u_0 and log sigma_P, with mu_P = A u_k + B u_0 (Proposition 2);
  velocity  v and ds, with u_0 = u_k - t v and sigma_P = C exp(ds)      [3.6, 3.7],
            and optionally a correction added to mu_P.

With the weights of a flow-matching model for v the last one starts as its
Gaussian posterior, exactly.

For a conditional transporter the network reads data-space states x_k in place of
u_k, and gives F features per token in addition to the Gaussian. They do not start at zero.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from ntm.process.kernel import reverse_posterior
from ntm.typing import Array, Condition


def network_outputs(output: str, num_channels: int,
                    mean_correction: bool = False,
                    num_features: int = 0) -> dict[str, tuple[int, ...]]:
  """Shapes per token that a predictor needs of its network, by name.

  Args:
    output: of the predictor.
    num_channels: C.
    mean_correction: velocity: with a correction of the mean.
    num_features: F, features for a conditional transporter; 0 for none.
  """
  features = {"features": (num_features,)} if num_features else {}
  if output != "velocity":
    return {"readout": (2, num_channels)} | features
  names = ("readout", "log_scale") + ("mean_correction",) * mean_correction
  return {name: (num_channels,) for name in names} | features


def check_outputs(network: nn.Module, raw, u: Array, outputs: Mapping[str, tuple]) -> None:
  """Raises ValueError unless a network gave these outputs for the tokens u, [..., N, C]."""
  found = {name: a.shape for name, a in raw.items()}
  expected = {name: (*u.shape[:-1], *shape) for name, shape in outputs.items()}
  if found != expected:
    raise ValueError(f"{type(network).__name__} returns outputs of shapes {found}; expected "
                     f"{expected}, one per token.")


class Predictor(nn.Module):
  """(mu_P, log sigma_P, features) of every step of a trajectory.

  Attributes:
    network: (u_BGNC, cond) → {name: [B, G, N, *shape]} of `network_outputs`, as
      `dit.DiT`; with the history context it takes a mask, caches and an index too, and
      has `init_caches`.
    context: 'markov' or 'history'.
    output: 'mean', 'clean' or 'velocity'.
    num_features: F, features per token for a conditional transporter; 0 for none.
  """

  network: nn.Module
  context: str = "markov"
  output: str = "mean"
  num_features: int = 0

  def __call__(self, u_SBNC: Array, cond: Condition, valid_SB: Array | None = None
               ) -> tuple[Array, Array, Array | None]:
    """Predicts u at level s from u at level t, all steps at once.

    Args:
      u_SBNC: the noisier state of every step, u_1 .. u_T; x_1 .. x_T with features.
      cond: its times are [S, B]: t and, as the next time, s.
      valid_SB: 0 where a step is padding; history does not attend to it.

    Returns:
      (mean_SBNC, log_scale_SBNC, features_SBNF or None), in u's type.
    """
    t_SB, s_SB = cond.time_B, cond.next_time_B
    # The network sees B sequences of G levels; a markov step is a sequence of one.
    if self.context == "markov":
      over_steps = nn.vmap(
          lambda network, u_BNC, t_B, s_B: _level(
              network(u_BNC[:, None], cond.at(t_B[:, None], s_B[:, None]))),
          in_axes=0, out_axes=0, variable_axes={"params": None}, split_rngs={"params": False})
      raw = over_steps(self.network, u_SBNC, t_SB, s_SB)
    else:
      valid_SB = jnp.ones_like(t_SB) if valid_SB is None else valid_SB
      raw_BS = self.network(jnp.moveaxis(u_SBNC, 0, 1), cond.at(t_SB.T, s_SB.T),
                            history_mask(valid_SB.T, u_SBNC.shape[2]))
      raw = {name: jnp.moveaxis(a, 1, 0) for name, a in raw_BS.items()}
    return self._gaussian(raw, u_SBNC, t_SB, s_SB)

  def step(self, u_BNC: Array, cond: Condition, caches: list | None, index: Array):
    """One step of sampling, the noisiest first.

    Args:
      u_BNC: the state at level t; x_t with features.
      cond: its times are t and, as the next time, s.
      caches: of `init_caches` or the step before; None in markov mode.
      index: steps done before this one.

    Returns:
      (mean_BNC, log_scale_BNC, features_BNF or None, caches).
    """
    at = cond.at(cond.time_B[:, None], cond.next_time_B[:, None])
    if caches is None:
      raw = self.network(u_BNC[:, None], at)
    else:
      raw, caches = self.network(u_BNC[:, None], at, caches=caches,
                                 index=index * u_BNC.shape[1])
    return *self._gaussian(_level(raw), u_BNC, cond.time_B, cond.next_time_B), caches

  @nn.nowrap
  def init_caches(self, batch_size: int, num_steps: int) -> list | None:
    """Keys and values of no level yet; None in markov mode, which looks at one."""
    return None if self.context == "markov" else self.network.init_caches(batch_size, num_steps)

  def _gaussian(self, raw, u, t, s):
    """(mean, log_scale, features) from what was read out; u is [..., N, C], the levels [...]."""
    check_outputs(self.network, raw, u, network_outputs(
        self.output, u.shape[-1], "mean_correction" in raw, self.num_features))
    readout, features = raw["readout"], raw.get("features")
    if self.output == "mean":
      return readout[..., 0, :], readout[..., 1, :], features
    a, b, c = (coefficient[..., None, None] for coefficient in reverse_posterior(t, s))
    if self.output == "clean":
      return a * u + b * readout[..., 0, :], readout[..., 1, :], features
    mean = a * u + b * (u - t[..., None, None] * readout)
    # C = 0 where a step pads a shorter trajectory; its result is not used.
    return (mean + raw.get("mean_correction", 0),
            jnp.log(jnp.where(c > 0, c, 1)) + raw["log_scale"], features)


def _level(raw):
  """What was read out for sequences of one level, without their axis.

  Raises:
    ValueError: the network returns something other than a dictionary.
  """
  if not isinstance(raw, Mapping):
    raise ValueError(f"the network returns {type(raw).__name__}; expected a dictionary of arrays, "
                     "see ntm.models.predictor.network_outputs.")
  return {name: a[:, 0] for name, a in raw.items()}


def history_mask(valid_BS: Array, num_tokens: int) -> Array:
  """Which tokens may be read: same level or noisier ones that exist.

  Args:
    valid_BS: 1 where the level exists.
    num_tokens: N of one level.

  Returns:
    boolean [B, 1, S N, S N], queries before keys.
  """
  levels = np.arange(valid_BS.shape[1])
  noisier_SS = levels[None, :] > levels[:, None]
  allowed_BSS = (noisier_SS[None] & (valid_BS > 0)[:, None, :]) | np.eye(len(levels), dtype=bool)
  allowed = jnp.repeat(jnp.repeat(allowed_BSS, num_tokens, axis=1), num_tokens, axis=2)
  return allowed[:, None]
