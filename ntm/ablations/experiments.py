"""What is trained for `ntm table --reduced`, and how each model is sampled and measured.

An experiment is a config of configs/ with a few keys changed. All models of a data set see
equally many noisy states per update, so that T and the objective change what an update is spent
on and not how much it is. Figures are those of `ntm evaluate`; likelihoods, which depend on T and
not on how samples are denoised, are taken with the first way to sample of every T.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

Samplers = dict[str, tuple[str, ...]]  # {name: flags of `ntm evaluate`}.


@dataclasses.dataclass(frozen=True)
class Experiment:
  """One model, trained once per seed.

  Attributes:
    config: file in configs/.
    changes: {key of the config: its value}.
    samplers: ways to sample.
    source: name of the flow-matching experiment whose run of the same seed it starts from; ''
      is none.
    denoiser: {key of configs/digits_denoiser.py: its value} of a denoiser that is distilled
      from it; empty for none.
  """

  config: str
  changes: Mapping[str, Any]
  samplers: Samplers
  source: str = ""
  denoiser: Mapping[str, Any] = dataclasses.field(default_factory=dict)


_UPDATES = 1000
STATES = 128  # Noisy states per update of the digits: images times levels.
_SMALL = {"model.transporter.width": 64, "model.predictor.width": 64}
_NO_TRANSPORTER = {"model.transporter.num_blocks": 0}
_RAW, _REFINED = ("--refine=none",), ("--refine=score",)
_ONE: Samplers = {"refined": _REFINED}
_BOTH: Samplers = _ONE | {"raw": _RAW}
_KNOWN: Samplers = {"exact": ()}  # Of known density: samples at the cleanest level.
_EVERYTHING: Samplers = _BOTH | {"denoiser": ("--refine=denoiser",)} | {
    f"guidance {scale}": (*_REFINED, f"--guidance={scale}") for scale in (0.5, 1.0, 2.0, 4.0)}
_SOLVERS: Samplers = {f"{solver} {steps}": (f"--solver={solver}", f"--steps={steps}")
                      for solver, steps in (("euler", 4), ("gaussian", 4), ("heun", 4),
                                            ("euler", 50))}


def _length(updates: int) -> dict[str, int]:
  """Keys of a run of so many updates, which draws twice and saves every quarter."""
  return {"train.steps": updates, "train.sample_every": updates,
          "train.checkpoint_every": updates // 4}


def _endless(samplers: Samplers = _ONE, source: str = "", denoiser=None, **changes) -> Experiment:
  """On endless digits, with `section__key` changed."""
  return Experiment(
      "digits_finetune.py" if source else "digits_endless.py",
      _SMALL | {"data.augment": True} | _length(_UPDATES)
      | {key.replace("__", "."): value for key, value in changes.items()},
      samplers, source, denoiser or {})


def _steps(num_steps: int) -> Experiment:
  """Trained for this T alone."""
  return _endless(process__num_steps=(num_steps,), train__batch_size=STATES // num_steps)


def _mixture(**changes) -> Experiment:
  """On 25 Gaussians of the plane."""
  return Experiment("grid25.py", {f"model.transporter.{key}": value
                                  for key, value in changes.items()}, _KNOWN)


def _scenes(**changes) -> Experiment:
  """On captioned scenes."""
  return Experiment("shapes_t2i_quick.py", _length(_UPDATES) | {
      f"model.{key}".replace("__", "."): value for key, value in changes.items()}, {"raw": _RAW})


EXPERIMENTS = {
    # Endless digits.
    "base": _endless(_EVERYTHING, denoiser={"denoiser.width": 64} | _length(_UPDATES)),
    "no_transporter": _endless(model__transporter__num_blocks=0),
    "features": _endless(
        model__transporter__num_blocks=2, model__transporter__layers=2,
        model__transporter__features=64, model__transporter__spline_bins=8),
    "coupling": _endless(model__transporter__kind="coupling"),
    "history": _endless(model__predictor__context="history"),
    "pair_wise": _endless(train__objective="pair_wise", train__batch_size=STATES),
    **{f"T{steps}": _steps(steps) for steps in (1, 2, 8, 16)},
    "multi_T": _endless({f"T = {steps}": (*_REFINED, f"--steps={steps}") for steps in (4, 8, 16)},
                        process__num_steps=(4, 8, 16),
                        train__batch_size=14),  # 131 states on average.
    "flow_matching": Experiment(
        "digits_endless_fm.py", {"model.predictor.width": 64} | _length(_UPDATES), _SOLVERS),
    "aligned": _endless(source="flow_matching"),
    "unaligned": _endless(source="flow_matching", finetune__alignment=0.0),
    # The 1,500 real digits.
    "digits": Experiment("digits.py", _SMALL | _length(_UPDATES), _BOTH),
    "digits_no_transporter": Experiment(
        "digits.py", _SMALL | _length(_UPDATES) | _NO_TRANSPORTER, _BOTH),
    # Known density.
    "grid": _mixture(),
    "grid_affine": _mixture(features=0, spline_bins=0, spline_range=4.0, num_blocks=2),
    "grid_no_transporter": _mixture(features=0, spline_bins=0, spline_range=4.0, num_blocks=0),
    # Text to image. Without a transporter its layers are added to the predictor's.
    "shapes": _scenes(),
    "shapes_no_transporter": _scenes(transporter__num_blocks=0, transporter__features=0,
                                     predictor__layers=8, unroll=8),
}
