"""From a key and labels to images: sampling, inverse and refinement as one program."""

from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp

from ntm.config import ProcessConfig
from ntm.models.denoiser import Denoiser
from ntm.models.ntm import NTM
from ntm.nn.patchify import unpatchify
from ntm.process import schedule
from ntm.sampling import refinement, sampler
from ntm.typing import Array, Condition, Trajectory

REFINEMENTS = (None, "score", "denoiser")


@flax.struct.dataclass
class Generated:
  """Samples in the model's scale, nominally [-1, 1].

  Attributes:
    images: the result, [B, *image_shape]: refined if asked for, else raw.
    raw: the cleanest state of the trajectory, at level t_min; None where the
      denoiser spared its computation.
    states: all states in data space, [K, B, *image_shape], cleanest first; only
      the cleanest ([1, B, ...]) when nothing is refined; None with a denoiser.
    fallbacks: inverses that an iterative solver left to the scan.
  """

  images: Array
  raw: Array | None
  states: Array | None
  fallbacks: Array


def make_generator(model: NTM, process: ProcessConfig, refine: str | None,
                   clip_percentile: float = 100.0, denoiser: Denoiser | None = None) -> Callable:
  """Builds the jitted sampler of a model: one program from key to images.

  Args:
    model: the density.
    process: schedule and t_min.
    refine: None, 'score' for trajectory score refinement, or 'denoiser' for the
      learned one, which replaces inverse and gradient.
    clip_percentile: of the score, see `refinement.refine`.
    denoiser: the learned denoiser.

  Returns:
    (rng, params, label_B or None, batch_size, num_steps, guidance or None,
    denoiser_params or None, null_B or None) → Generated; batch_size and
    num_steps are static. For `null_B` see `sampler.sample_latents`.
  """
  config = model.config

  def generate(rng, params, label_B, batch_size: int, num_steps: int, guidance,
               denoiser_params=None, null_B=None):
    """`Generated` samples; arguments as above."""
    times_K = schedule.padded_times(process.schedule, num_steps, num_steps, process.t_min,
                                    config.num_tokens)
    times_KB = jnp.broadcast_to(times_K[:, None], (num_steps + 1, batch_size))
    num_steps_B = jnp.full((batch_size,), num_steps) if model.multi_step else None
    to_image = lambda x_BNC: unpatchify(x_BNC, config.image_shape, config.patch_shape)
    u_KBNC = sampler.sample_latents(rng, model, params, times_K, batch_size, label_B, guidance,
                                    null_B=null_B)
    if refine == "denoiser":
      x_BNC = denoiser.apply({"params": denoiser_params}, u_KBNC[0],
                             Condition(times_KB[0], num_steps_B, label_B))
      return Generated(to_image(x_BNC), None, None, jnp.int32(0))
    # The score needs every state in data space; without it, only the cleanest.
    last = num_steps if refine else 1
    x_KBNC, fallbacks = sampler.to_data(model, params, u_KBNC[:last], times_K, label_B, num_steps)
    if refine:
      x_KBNC = jnp.concatenate([x_KBNC, u_KBNC[-1:]])
      trajectory = Trajectory(x_KBNC, times_KB, label_B, num_steps_B, jnp.ones_like(times_KB[1:]))
      final_BNC = refinement.refine(model, params, trajectory, clip_percentile)
    else:
      final_BNC = x_KBNC[0]
    states = jax.vmap(to_image)(x_KBNC)
    return Generated(to_image(final_BNC), states[0], states, fallbacks)

  return jax.jit(generate, static_argnums=(3, 4))
