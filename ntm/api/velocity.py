"""A restored flow-matching model: samples images by an ODE solver."""

import jax.numpy as jnp
import numpy as np

from ntm.api import batching, checks
from ntm.api.frozen import FrozenNetworks
from ntm.api.placement import Placement
from ntm.config import Config
from ntm.losses.inputs import Frozen
from ntm.models import build
from ntm.sampling import ode
from ntm.typing import PRNGKey

DEFAULT_STEPS = 50


class VelocityModel:
  """A flow-matching model ready for use; immutable.

  Attributes:
    config: of the run.
    params: averaged parameters.
    step: updates behind them.
  """

  def __init__(self, config: Config, params, step: int, frozen: Frozen | None = None,
               placement: Placement | None = None):
    self.config, self.params, self.step = config, params, step
    self._networks, self._placement = FrozenNetworks(config, frozen), placement or Placement()
    self._generate = ode.make_generator(build.velocity(config), build.patches(config.model),
                                        config.process)

  def sample(self, rng: PRNGKey, labels=None, num_steps: int = DEFAULT_STEPS, guidance: float = 0.0,
             solver: str = "euler", num_samples: int | None = None,
             prompts=None, null_text=None, progress: batching.Progress | None = None,
             decode: bool = True, offset: int = 0) -> np.ndarray:
    """Generates images.

    Args:
      rng: a key.
      labels: class index of every image, or its text features ``[B, M, W]``;
        None for an unconditional model.
      num_steps: of the solver, any number.
      guidance: classifier-free guidance scale, 0 for none.
      solver: 'euler', 'heun', 'dpm++' or 'gaussian', see `ntm.sampling.ode`.
      num_samples: number of images of an unconditional model; None if there are labels.
      prompts: text of every image, for a model with a tokenizer.
      null_text: features ``[M, W]`` of the empty text, for guidance by text.
      progress: called with (images done, images in all) after every 256 images.
      decode: of a model with an autoencoder, gives pixels in [-1, 1]; False gives latents.
      offset: number of images of the same key that come before these, a multiple of the 256 that
        are drawn at a time: many images can be drawn in several calls, with the noise of one.

    Returns:
      float32 ``[B, *image_shape]`` in the data's scale, nominally [-1, 1]. Not checked
      for NaN, which extreme guidance can give; `ntm sample` refuses to write them.

    Raises:
      ValueError: an argument out of range, with what was expected.
    """
    labels = checks.prompts_or_labels(self.config, prompts, labels)
    cond, count = checks.condition(self.config, labels, num_samples)
    null_cond = checks.guidance(self.config, guidance, null_text)
    checks.warn_of_untrained_guidance(self.config, guidance)
    if num_steps < 1:
      raise ValueError(f"num_steps is {num_steps}; expected at least 1.")
    if solver not in ode.SOLVERS:
      raise ValueError(f"solver is {solver!r}; expected one of {', '.join(ode.SOLVERS)}.")
    guidance, placement = jnp.float32(guidance) if guidance else None, self._placement

    def generate(rng, cond, size):
      with placement.activations():
        cond, null = (placement.put_batch(self._networks.condition(c, size))
                      for c in (cond, null_cond))
        images = self._generate(rng, self.params, cond, size, num_steps, solver, guidance, null)
        return placement.to_host(self._networks.decode(images) if decode else images)

    return batching.draw(generate, rng, cond, count, progress,
                         placement.batch_size(offset + count), offset)
