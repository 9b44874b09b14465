"""Finetuning a flow-matching model into an NTM: mean alignment [3.8].

The velocity network becomes the predictor (`PredictorConfig.output` =
"velocity"), read in u-space, while the transporter starts as the identity: the
whole model starts as the Gaussian posterior sampler of the velocity model. As
the transporter moves u-space away from the data, the predictor is held near a
frozen copy that reads the data-space states,

  L_aux = lambda mean |mu_P - mu_FM|^2,  mu_FM = A x_t + B (x_t - t v(x_t, t)),

a dimension and step, with lambda decayed to zero by a cosine over the run.
"""

import dataclasses
import re
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ntm.config import Config
from ntm.models import build
from ntm.process.kernel import reverse_posterior
from ntm.typing import Array, Trajectory, TrajectoryLogProb


def check_source(config: Config, theirs: Config) -> None:
  """Raises ValueError unless the model of `theirs` can start the one of `config`.

  Args:
    config: of the run; `config.finetune.source` is named in the error.
    theirs: of the run it starts from: flow matching with the same network.
  """
  source = config.finetune.source
  if theirs.model.kind != "flow_matching":
    raise ValueError(f"finetune.source {source} holds a model of kind {theirs.model.kind!r}; "
                     "expected a flow-matching run, as of configs/digits_fm.py.")
  for key in ("image_shape", "patch_shape", "num_classes", "backbone"):
    _same(source, f"model.{key}", getattr(theirs.model, key), getattr(config.model, key))
  for key in ("layers", "width", "num_heads", "num_kv_heads", "mlp_ratio"):
    _same(source, f"model.predictor.{key}", getattr(theirs.model.predictor, key),
          getattr(config.model.predictor, key))


def velocity_config(config: Config) -> Config:
  """The config of the flow-matching model that an NTM of `config` starts from."""
  return dataclasses.replace(
      config, model=dataclasses.replace(config.model, kind="flow_matching"),
      finetune=dataclasses.replace(config.finetune, source=""))


def may_be_distilled(theirs: Config, paths: list[str]) -> bool:
  """Whether a FLUX.2 file is not known by its name to be a base model.

  The output of one distilled to few steps is not a velocity of the flow, so that
  no Gaussian posterior can be read off it; the tensors do not tell.

  Args:
    theirs: config of the converted model.
    paths: of the files it was converted from; in diffusers' layout the name of
      the model is that of a directory.
  """
  is_base = any(re.search(r"(?<![a-z])base(?![a-z])", path.lower()) for path in paths)
  return theirs.model.backbone.kind == "flux2" and not is_base


def posterior_mean(config: Config, params, trajectory: Trajectory) -> Array:
  """mu_FM of every step from its data-space state x_t, [S, B, N, C]."""
  model = build.velocity(config)
  x_SBNC, t_SB = trajectory.x_KBNC[1:], trajectory.times_KB[1:]
  cond = trajectory.cond.replace(num_steps_B=None)  # The velocity model does not read T.
  v_SBNC = jax.vmap(lambda x_BNC, t_B: model.apply(
      {"params": params}, x_BNC, cond.at(t_B)))(x_SBNC, t_SB)
  a, b, _ = (c[..., None, None] for c in reverse_posterior(t_SB, trajectory.times_KB[:-1]))
  return a * x_SBNC + b * (x_SBNC - t_SB[..., None, None] * v_SBNC)


def alignment(config: Config, params, step: Array) -> Callable:
  """The term of `objectives` that holds the predictor near the frozen model.

  Args:
    config: of the run.
    params: of the frozen flow-matching model.
    step: updates done.

  Returns:
    (trajectory, its log-likelihood) → (|mu_P - mu_FM|^2 per dimension and step
    [B], lambda).
  """
  decay = 0.5 * (1 + jnp.cos(jnp.pi * step / config.train.steps))

  def term(trajectory: Trajectory, result: TrajectoryLogProb):
    """Padding steps count for nothing."""
    mean_SBNC = jax.lax.stop_gradient(posterior_mean(config, params, trajectory))
    error_SB = ((result.mean_SBNC - mean_SBNC) ** 2).mean(axis=(-2, -1))
    valid_SB = trajectory.valid_SB
    error_B = (error_SB * valid_SB).sum(axis=0) / valid_SB.sum(axis=0)
    return error_B, config.finetune.alignment * decay

  return term


def _same(source, key, theirs, ours):
  if theirs != ours:
    raise ValueError(f"config.{key} is {ours}, but the flow-matching model in {source} has "
                     f"{theirs}; give both the same.")
