"""What a conditional transporter costs: python benchmarks/conditional.py [--quick] [--json=FILE]

Sampling in four steps, with and without features of the noisier state, each with no
refinement, score refinement and the denoiser: an inverse per step against one inverse of
the levels that are asked for. Sizes are those of benchmarks/inference.py, and so is what
the times mean.
"""

import argparse
import dataclasses
import json
import pathlib

import flax.linen as nn
import jax
from inference import interleaved, model_config, print_table

from ntm.commands import memory_allocator
from ntm.losses import distillation
from ntm.losses import task as task_lib
from ntm.models import build
from ntm.sampling import generate
from ntm.typing import Condition

STEPS = 4


def main():
  """Prints the table and writes the JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
  parser.add_argument("--tokens", type=int, default=256, help="of an image, a square number")
  parser.add_argument("--batch_size", type=int, default=4)
  parser.add_argument("--json", type=pathlib.Path)
  args = parser.parse_args()
  tokens, batch_size = (16, 2) if args.quick else (args.tokens, args.batch_size)
  runs = {}
  for features in (0, 64):
    runs |= paths(model_config(tokens, args.quick, predictor_layers=24), features, batch_size)
  seconds = interleaved(runs, 1 if args.quick else 3)
  ratios = {name.removesuffix(", 0 features"): seconds[name.replace(", 0", ", 64")] / value
            for name, value in seconds.items() if name.endswith(", 0 features")}
  print_table(f"Noise to image, {tokens} tokens, batch {batch_size}",
              {name: {"seconds": value} for name, value in seconds.items()})
  print_table("With features over without", {name: {"ratio": r} for name, r in ratios.items()})
  if args.json:
    args.json.write_text(json.dumps({"seconds": seconds, "ratios": ratios}, indent=2) + "\n")


def paths(config, features: int, batch_size: int):
  """{name: a call that samples}, with the parameters of initialisation."""
  transporter = dataclasses.replace(config.model.transporter, features=features)
  config = dataclasses.replace(
      config, model=dataclasses.replace(config.model, transporter=transporter))
  init = jax.jit(lambda task: nn.unbox(task.init(jax.random.key(0))), static_argnums=0)
  params = init(task_lib.density(config))
  student_params = init(distillation.distill(config, None))

  def path(refine):
    draw = generate.make_generator(build.ntm(config), build.patches(config.model), config.process,
                                   refine, denoiser=build.denoiser(config))
    return lambda: draw(jax.random.key(1), params, Condition(), batch_size, STEPS, None,
                        student_params).images

  return {f"{refine or 'no refinement'}, {features} features": path(refine)
          for refine in generate.REFINEMENTS}


if __name__ == "__main__":
  memory_allocator.keep_freed_memory()
  main()
