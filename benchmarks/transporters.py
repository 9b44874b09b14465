"""What splines and features cost: python benchmarks/transporters.py [--quick] [--json=FILE]

An update and sampling in four steps with affine blocks, with splines, with features of the
noisier state, and with both; sampling with no refinement, score refinement and the denoiser. With
features there is an inverse per step, otherwise one of the levels that are asked for. Sizes are
those of benchmarks/inference.py, and so is what the times mean.
"""

import argparse
import dataclasses
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import result_file
from inference import interleaved, model_config

from ntm.commands import memory_allocator
from ntm.losses import distillation, trajectory_likelihood
from ntm.losses import task as task_lib
from ntm.models import build
from ntm.sampling import generate
from ntm.typing import Condition

STEPS = 4
_BINS, _FEATURES = 8, 64
KINDS = {"affine": {}, "splines": {"spline_bins": _BINS}, "features": {"features": _FEATURES},
         "both": {"spline_bins": _BINS, "features": _FEATURES}}


def main():
  """Prints the table and writes the JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
  parser.add_argument("--tokens", type=int, default=64, help="of an image, a square number")
  parser.add_argument("--batch_size", type=int, default=4)
  result_file.add_flag(parser)
  args = parser.parse_args()
  tokens, batch_size = (16, 2) if args.quick else (args.tokens, args.batch_size)
  config = model_config(tokens, args.quick, predictor_layers=24)
  runs, parameters = {}, {}
  for kind in KINDS:
    calls, parameters[kind] = programs(config, kind, batch_size)
    runs |= {f"{kind}, {name}": call for name, call in calls.items()}
  seconds = interleaved(runs, 1 if args.quick else 3)
  ratios = {kind: {name: seconds[f"{kind}, {name}"] / seconds[f"affine, {name}"] for name in calls}
            for kind in KINDS}
  print(f"{tokens} tokens, batch {batch_size}, {jax.devices()[0].device_kind}, JAX "
        f"{jax.__version__}. Seconds of affine blocks, then ratios to them.")
  print(f"| | million parameters | {' | '.join(calls)} |\n|{'---|' * (2 + len(calls))}")
  for kind in KINDS:
    cells = ([f"{seconds[f'affine, {name}']:.3g} s" for name in calls] if kind == "affine"
             else [f"{ratio:.2f}" for ratio in ratios[kind].values()])
    print(f"| {kind} | {parameters[kind] / 1e6:.2f} | {' | '.join(cells)} |")
  if args.json:
    args.json.write_text(json.dumps({"seconds": seconds, "ratios": ratios}, indent=2) + "\n")


def programs(config, kind: str, batch_size: int):
  """({name: a call}, number of parameters), with the parameters of initialisation."""
  transporter = dataclasses.replace(config.model.transporter, **KINDS[kind])
  config = dataclasses.replace(
      config, model=dataclasses.replace(config.model, transporter=transporter))
  init = jax.jit(lambda task: nn.unbox(task.init(jax.random.key(0))), static_argnums=0)
  params, student_params = init(task_lib.density(config)), init(distillation.distill(config, None))
  model, patches, denoiser = build.ntm(config), build.patches(config.model), build.denoiser(config)
  x_BNC = jnp.zeros((batch_size, *patches.token_shape))

  @jax.jit
  def gradient(params):
    loss = lambda params: trajectory_likelihood.end_to_end(
        jax.random.key(2), model, params, x_BNC, Condition(), config)[0]
    return jax.grad(loss)(params)

  def path(refine):
    draw = generate.make_generator(model, patches, config.process, refine, denoiser=denoiser)
    return lambda: draw(jax.random.key(1), params, Condition(), batch_size, STEPS, None,
                        student_params).images

  calls = {"gradient of the loss": lambda: gradient(params)} | {
      {None: "sample, raw", "score": "refined"}.get(refine, refine): path(refine)
      for refine in generate.REFINEMENTS}
  return calls, sum(leaf.size for leaf in jax.tree.leaves(params))


if __name__ == "__main__":
  memory_allocator.keep_freed_memory()
  main()
