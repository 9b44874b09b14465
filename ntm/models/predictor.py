"""The predictor f_P: a deep Transformer giving a diagonal Gaussian in u-space.

  p(u_{k-1} | u_k, ...) = N(mu_P, sigma_P^2),  (mu_P, log sigma_P) = f_P(u_k, t_k, t_{k-1}, y)

for all steps of a trajectory in one pass. Two context modes:
- markov: step k reads u_k; levels are vmapped.
- history: step k reads u_k, ..., u_T; the levels form one sequence with full
  attention inside a level and none towards cleaner levels, which would leak
  the target.

What the network reads out starts at zero and means, by `config.predictor.output`,

  mean      mu_P and log sigma_P themselves: 0 and 1 at initialisation;
  clean     u_0 and log sigma_P, with mu_P = A u_k + B u_0 (Proposition 2);
  velocity  v and ds, with u_0 = u_k - t v and sigma_P = C exp(ds)      [3.6, 3.7],
            and optionally a correction added to mu_P.

With the weights of a flow-matching model for v the last one starts as its
Gaussian posterior, exactly.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from ntm.config import ModelConfig
from ntm.models.dit import Backbone
from ntm.models.external import Pretrained
from ntm.nn import stack
from ntm.process.kernel import reverse_posterior
from ntm.typing import Array


class Predictor(nn.Module):
  """(mu_P, log sigma_P) of every step of a trajectory.

  Attributes:
    config: of the model.
    multi_step: also condition on the number of steps T.
    dtype: compute type.
    param_dtype: parameter type.
  """

  config: ModelConfig
  multi_step: bool = False
  dtype: jnp.dtype = jnp.float32
  param_dtype: jnp.dtype = jnp.float32

  def setup(self):
    """Makes the network."""
    config, channels = self.config, (self.config.num_channels,)
    relative = config.predictor.output == "velocity"
    outputs = {"readout": channels if relative else (2,) + channels}
    if relative:
      outputs["log_scale"] = channels
    if config.predictor.mean_correction:
      outputs["mean_correction"] = channels
    types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    # A velocity network has read the level alone.
    silent = ("next_time", "steps") if relative else ()
    if config.backbone.kind == "dit":
      self.network = Backbone(config, config.predictor, outputs,
                              noise_token=not config.predictor.reads_noise, silent=silent, **types)
    else:
      self.network = Pretrained(config, outputs, **types)

  def __call__(self, u_SBNC: Array, t_SB: Array, s_SB: Array, label_B: Array | None,
               num_steps_B: Array | None, valid_SB: Array) -> tuple[Array, Array]:
    """Predicts u at level s from u at level t, all steps at once.

    Args:
      u_SBNC: the noisier state of every step, u_1 .. u_T.
      t_SB: its level.
      s_SB: the level predicted.
      label_B: class index, `num_classes` for null; None if unconditional.
      num_steps_B: T of every example, or None.
      valid_SB: 0 where a step is padding; history does not attend to it.

    Returns:
      mean_SBNC and log_scale_SBNC, in u's type.
    """
    # The network sees B sequences of G levels; a markov step is a sequence of one.
    if self.config.predictor.context == "markov":
      over_steps = nn.vmap(
          lambda predictor, u_BNC, t_B, s_B: _level(predictor.network(
              u_BNC[:, None], predictor._scalars(t_B[:, None], s_B[:, None], num_steps_B),
              label_B)),
          in_axes=0, out_axes=0, variable_axes={"params": None}, split_rngs={"params": False})
      raw = over_steps(self, u_SBNC, t_SB, s_SB)
    else:
      raw_BS = self.network(
          jnp.moveaxis(u_SBNC, 0, 1), self._scalars(t_SB.T, s_SB.T, num_steps_B), label_B,
          history_mask(valid_SB.T, self.config.num_tokens))
      raw = {name: jnp.moveaxis(a, 1, 0) for name, a in raw_BS.items()}
    return self._gaussian(raw, u_SBNC, t_SB, s_SB)

  def step(self, u_BNC: Array, t_B: Array, s_B: Array, label_B: Array | None,
           num_steps_B: Array | None, caches: list | None, index: Array):
    """One step of sampling, the noisiest first.

    Args:
      u_BNC: the state at level t.
      t_B: its level.
      s_B: the level predicted.
      label_B: as above.
      num_steps_B: as above.
      caches: of `init_caches` or the step before; None in markov mode.
      index: steps done before this one.

    Returns:
      (mean_BNC, log_scale_BNC, caches).
    """
    scalars = self._scalars(t_B[:, None], s_B[:, None], num_steps_B)
    if caches is None:
      raw = self.network(u_BNC[:, None], scalars, label_B)
    else:
      raw, caches = self.network(u_BNC[:, None], scalars, label_B, caches=caches,
                                 index=index * self.config.num_tokens)
    return *self._gaussian(_level(raw), u_BNC, t_B, s_B), caches

  @nn.nowrap
  def init_caches(self, batch_size: int, num_steps: int) -> list | None:
    """Keys and values of no level yet; None in markov mode, which looks at one."""
    predictor = self.config.predictor
    if predictor.context == "markov":
      return None
    return stack.init_caches(predictor, batch_size, num_steps * self.config.num_tokens, self.dtype)

  def _gaussian(self, raw, u, t, s):
    """(mean, log_scale) from what was read out; u is [..., N, C], the levels [...]."""
    output, readout = self.config.predictor.output, raw["readout"]
    if output == "mean":
      return readout[..., 0, :], readout[..., 1, :]
    a, b, c = (coefficient[..., None, None] for coefficient in reverse_posterior(t, s))
    if output == "clean":
      return a * u + b * readout[..., 0, :], readout[..., 1, :]
    mean = a * u + b * (u - t[..., None, None] * readout)
    # C = 0 where a step pads a shorter trajectory; its result is not used.
    return (mean + raw.get("mean_correction", 0),
            jnp.log(jnp.where(c > 0, c, 1)) + raw["log_scale"])

  def _scalars(self, t_BG, s_BG, num_steps_B):
    scalars = {"time": t_BG, "next_time": s_BG}
    if self.multi_step:
      scalars["steps"] = (1.0 / num_steps_B.astype(t_BG.dtype))[:, None]
    return scalars


def _level(raw):
  """What was read out for sequences of one level, without their axis."""
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
