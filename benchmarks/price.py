"""Images per second of the samplers of endless digits: python benchmarks/price.py

Four NTM steps, raw, with score refinement and with the denoiser, and flow matching by its solvers,
at the sizes of the recipes of docs/results.md. Speed does not depend on training, so parameters
are those of initialisation. Times are medians of interleaved repeats in one run, reported as
ratios to eight Euler steps; how good each is stands in the table of docs/results.md.
"""

import argparse
import functools
import json

import endless_recipes
import flax.linen as nn
import jax
import numpy as np
import result_file
from inference import interleaved

from ntm import api
from ntm.commands import memory_allocator
from ntm.losses import distillation, flow_matching, task
from ntm.models import build
from ntm.sampling import ode

_BOTH = ("model.transporter.spline_bins=8 model.transporter.features=64 "
         "model.transporter.num_blocks=2 model.transporter.layers=2 ")
_NTM = {"affine": "", "both, deeper predictor": _BOTH + "model.predictor.layers=4"}
_SOLVERS = (("euler", 4), ("euler", 8), ("euler", 50), ("heun", 4), ("dpm++", 8))
_BASE = "flow matching, euler"


def main():
  """Prints the table and writes the JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--quick", action="store_true", help="8 images, to see that it runs")
  parser.add_argument("--batch_size", type=int, default=256)
  result_file.add_flag(parser)
  args = parser.parse_args()
  count = 8 if args.quick else args.batch_size
  runs, evaluations = {}, {}
  velocity = endless_recipes.config_of(endless_recipes.RECIPES["flow_matching"])
  model = api.VelocityModel(velocity, initial(flow_matching.velocity(velocity)), 0)
  for solver, steps in _SOLVERS:
    name = f"flow matching, {solver} {steps}"
    evaluations[name] = ode.evaluations(solver, steps)
    runs[name] = functools.partial(sample, model, count, solver=solver, num_steps=steps)
  for kind, changes in _NTM.items():
    config = endless_recipes.config_of(changes)
    student = build.denoiser(config), initial(distillation.distill(config, None))
    model = api.Model(config, initial(task.density(config)), 0, student)
    for refine in (None, "score", "denoiser"):
      name = f"NTM, {kind}, {refine or 'raw'}"
      evaluations[name] = config.process.num_steps[0]
      runs[name] = functools.partial(sample, model, count, refine=refine)
  seconds = interleaved(runs, 1 if args.quick else 3)
  base = seconds[f"{_BASE} 8"]
  print(f"{count} images, {jax.devices()[0].device_kind}, JAX {jax.__version__}.\n"
        "| | evaluations | images/s | speed, eight Euler steps = 1 |\n|---|---|---|---|")
  for name, value in seconds.items():
    print(f"| {name} | {evaluations[name]} | {count / value:,.0f} | {base / value:.2f} |")
  if args.json:
    args.json.write_text(json.dumps({name: count / value for name, value in seconds.items()},
                                    indent=2) + "\n")


def initial(run):
  """Parameters of initialisation."""
  return jax.jit(lambda: nn.unbox(run.init(jax.random.key(0))))()


def sample(model, count: int, **how) -> np.ndarray:
  """Images of uniform labels."""
  return model.sample(jax.random.key(1), np.arange(count) % model.config.model.num_classes, **how)


if __name__ == "__main__":
  memory_allocator.keep_freed_memory()
  main()
