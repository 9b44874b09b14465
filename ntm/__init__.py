"""Normalizing Trajectory Models: few-step generative models with exact likelihood.

  model = ntm.restore(workdir)
  images = model.sample(rng, labels=[3, 1, 4], num_steps=4, guidance=1.0, refine="score")
  result = model.log_prob(rng, images, labels)
"""

__version__ = "0.1.0"


def restore(workdir, step=None, denoiser=None, mesh=None):
  """The model of a run, with its averaged (EMA) parameters: see `ntm.api.restore`."""
  from ntm import api  # Deferred: Orbax takes longer to import than all else.

  return api.restore(workdir, step, denoiser, mesh)
