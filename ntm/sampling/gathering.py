"""Parameters that every step of sampling reads, gathered once before the first.

On a mesh that splits parameters along `fsdp`, a training step gathers each layer when it needs
it and lets it go. Sampling would gather the same layers again in every step, so they are gathered
before the first, in the type that they multiply in: a device then holds all of them in that type,
except what `tensor` splits.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from ntm.models.dit import DiT
from ntm.models.external import External
from ntm.models.ntm import NTM
from ntm.models.velocity import Velocity
from ntm.nn import partitioning
from ntm.typing import Array, Condition


def density(model: NTM, params, state_BNC: Array, cond: Condition):
  """The parameters of an NTM, gathered for sampling; the same where nothing is split.

  Args:
    model: the density.
    params: its parameters.
    state_BNC: a state that the predictor reads; only its shape and type count.
    cond: class or text, as for sampling.
  """
  times_B = jnp.zeros(state_BNC.shape[:1])
  predictor = _gathered(model.predictor.network, params["predictor"], lambda rng: model.init(
      rng, state_BNC, cond.at(times_B, times_B), None, 0,
      method="predict_step")["params"]["predictor"])
  params = params | {"predictor": predictor}
  if "transporter" in params:
    # The inverse reads it for every token, too often for sums over `tensor`.
    params |= {"transporter": partitioning.whole(params["transporter"])}
  return params


def velocity(model: Velocity, params, x_BNC: Array, cond: Condition):
  """The parameters of a velocity model, gathered for sampling; arguments as `density`."""
  times_B = jnp.zeros(x_BNC.shape[:1])
  return _gathered(model.network, params,
                   lambda rng: model.init(rng, x_BNC, cond.at(times_B))["params"])


def _gathered(network: nn.Module, params, init: Callable):
  """Parameters of a predictor or velocity model around `network`; `init` boxes them."""
  if not partitioning.splits_parameters():
    return params
  if isinstance(network, (DiT, External)):  # Those of an extension may multiply in several types.
    params = jax.tree_util.tree_map_with_path(
        lambda path, a: a.astype(network.numerics.dtype) if path[-1].key == "kernel" else a, params)
  return partitioning.gathered(params, jax.eval_shape(init, jax.random.key(0)))
