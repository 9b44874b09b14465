"""Classifier-free guidance between two diagonal Gaussians.

With scale w >= 0 and r = clip((sigma_c / sigma_u)^2, 0, 1), elementwise [C.3-C.5]:

  sigma = sigma_c / sqrt(1 + w - w r),
  mu    = ((1 + w) mu_c - w r mu_u) / (1 + w - w r).

This is the mode and width of p_c^{1+w} / p_u^w, with the variance ratio capped
so that the result is always a Gaussian. w = 0 gives the conditional exactly.
Guidance changes the sampled distribution; likelihoods are never guided.
"""

import jax.numpy as jnp

from ntm.typing import Array

Gaussian = tuple[Array, Array]


def guide(conditional: Gaussian, unconditional: Gaussian, w) -> Gaussian:
  """Guided (mean, log_scale) from those of the two branches.

  Args:
    conditional: mean and log-scale given the class.
    unconditional: mean and log-scale given the null class.
    w: guidance scale, 0 or more.

  Returns:
    mean and log-scale of the step actually sampled.
  """
  (mean_c, log_scale_c), (mean_u, log_scale_u) = conditional, unconditional
  ratio = jnp.exp(jnp.minimum(2 * (log_scale_c - log_scale_u), 0))
  precision = 1 + w - w * ratio
  mean = ((1 + w) * mean_c - w * ratio * mean_u) / precision
  return mean, log_scale_c - 0.5 * jnp.log(precision)
