"""From a key and a condition to images: sampling, inverse and refinement as one program."""

from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp

from ntm.config import ProcessConfig
from ntm.models.denoiser import Denoiser
from ntm.models.ntm import NTM
from ntm.nn.patchify import Patches
from ntm.process import schedule
from ntm.sampling import gathering, refinement, sampler
from ntm.typing import Array

REFINEMENTS = (None, "score", "denoiser")


@flax.struct.dataclass
class Generated:
  """Samples in the model's scale, nominally [-1, 1].

  Attributes:
    images: the result, [B, *image_shape]: refined if asked for, else raw.
    raw: the cleanest state of the trajectory, at level t_min; None where the
      denoiser makes it unnecessary.
    states: all states in data space, [K, B, *image_shape], cleanest first; only
      the cleanest ([1, B, ...]) when nothing is refined; None with a denoiser.
    fallbacks: inverses that an iterative solver left to the scan.
  """

  images: Array
  raw: Array | None
  states: Array | None
  fallbacks: Array


def make_generator(model: NTM, patches: Patches, process: ProcessConfig, refine: str | None,
                   clip_percentile: float = 100.0, denoiser: Denoiser | None = None) -> Callable:
  """Builds the jitted sampler of a model: one program from key to images.

  Args:
    model: the density.
    patches: images to tokens and back.
    process: schedule and t_min.
    refine: None, 'score' for trajectory score refinement, or 'denoiser' for the
      learned one, which replaces inverse and gradient.
    clip_percentile: of the score, see `refinement.refine`.
    denoiser: the learned denoiser.

  Returns:
    (rng, params, cond, batch_size, num_steps, guidance or None, denoiser_params or
    None, null_cond or None) → Generated; batch_size and num_steps are static. `cond` is
    class or text; `null_cond` is read with guidance, see `sampler.sample_trajectory`.
  """
  def generate(rng, params, cond, batch_size: int, num_steps: int, guidance=None,
               denoiser_params=None, null_cond=None):
    """`Generated` samples; arguments as above."""
    num_tokens, num_channels = patches.token_shape
    times_K = schedule.padded_times(process.schedule, num_steps, num_steps, process.t_min,
                                    num_tokens)
    cond = model.condition(cond, num_steps, batch_size)
    shape = (batch_size, num_tokens, num_channels)
    params = gathering.density(model, params, jnp.zeros(shape), cond)
    if guidance is not None:
      null_cond = model.condition(null_cond, num_steps, batch_size)
    drawn = (rng, model, params, times_K, shape, cond, guidance, null_cond)
    if refine == "denoiser":
      u_BNC, features_BNF = sampler.sample_denoiser_input(*drawn)
      cond = cond.at(jnp.full(batch_size, times_K[0])).replace(features_BNF=features_BNF)
      x_BNC = denoiser.apply({"params": denoiser_params}, u_BNC, cond)
      return Generated(patches.to_images(x_BNC), None, None, jnp.int32(0))
    # The score needs every state in data space; without it, only the cleanest.
    if refine:
      final_BNC, x_KBNC, fallbacks = refinement.sample_refined(*drawn, clip_percentile)
    else:
      x_KBNC, fallbacks = sampler.sample_trajectory(*drawn)
      final_BNC = x_KBNC[0]
    states = jax.vmap(patches.to_images)(x_KBNC)
    return Generated(patches.to_images(final_BNC), states[0], states, fallbacks)

  return jax.jit(generate, static_argnums=(3, 4))
