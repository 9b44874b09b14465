"""Whether refining a sample twice helps: python benchmarks/refine_twice.py --workdir=runs/digits

Score refinement gives a clean image from a sampled trajectory. Here its cleanest
state is then drawn anew given that image and the state above it (Proposition 2),
and refined again: what a denoiser of a second stage would be taught.
"""

import argparse
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

import ntm
from ntm.data import pipeline, sources
from ntm.evaluation import sample_metrics
from ntm.models import ntm as models
from ntm.nn.patchify import patchify, unpatchify
from ntm.process import kernel, schedule
from ntm.sampling import generate, refinement
from ntm.typing import Trajectory

_BATCH = 250


def main():
  """Prints the figures of raw, once and twice refined samples."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--workdir", required=True, help="run of a class-conditional model, one T")
  parser.add_argument("--batches", type=int, default=8, help=f"of {_BATCH} samples")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--json", type=pathlib.Path)
  args = parser.parse_args()
  restored = ntm.restore(args.workdir)
  config = restored.config
  num_steps, model = config.process.num_steps[0], models.build(config)
  draw = generate.make_generator(model, config.process, "score")
  train = pipeline.ordered_batches(sources.load(config.data, config.model, "train"), 10_000,
                                   10_000)[0]
  label_B = np.arange(_BATCH) % config.model.num_classes
  samples = {"raw": [], "once": [], "twice": []}
  for i in range(args.batches):
    rng_draw, rng_again = jax.random.split(jax.random.fold_in(jax.random.key(args.seed), i))
    out = draw(rng_draw, restored.params, label_B, _BATCH, num_steps, None)
    samples["raw"].append(out.raw)
    samples["once"].append(out.images)
    samples["twice"].append(again(rng_again, model, restored.params, out, label_B, config))
  judge = sample_metrics.Judge(train)
  result = {name: judge.figures(np.concatenate(images), np.tile(label_B, args.batches))
            for name, images in samples.items()}
  for name, row in result.items():
    print(f"{name:6} " + "   ".join(f"{key} {value:.4f}" for key, value in row.items()))
  if args.json:
    args.json.write_text(json.dumps(result, indent=2) + "\n")


def again(rng, model, params, out, label_B, config):
  """The samples refined once more."""
  tokens = lambda images: patchify(images, config.model.patch_shape)
  num_steps = config.process.num_steps[0]
  times_K = schedule.padded_times(config.process.schedule, num_steps, num_steps,
                                  config.process.t_min, config.model.num_tokens)
  times_KB = jnp.broadcast_to(times_K[:, None], (num_steps + 1, _BATCH))
  x_KBNC, clean_BNC = jax.vmap(tokens)(out.states), tokens(out.images)
  a, b, c = kernel.reverse_posterior(times_K[1], times_K[0])
  noise_BNC = jax.random.normal(rng, clean_BNC.shape)
  x_KBNC = x_KBNC.at[0].set(a * x_KBNC[1] + b * clean_BNC + c * noise_BNC)
  trajectory = Trajectory(x_KBNC, times_KB, label_B, None, jnp.ones_like(times_KB[1:]))
  return unpatchify(refinement.refine(model, params, trajectory), config.model.image_shape,
                    config.model.patch_shape)


if __name__ == "__main__":
  main()
