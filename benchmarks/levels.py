"""Which step costs how much: python benchmarks/levels.py runs/digits runs/digits_finetune

Sampling starts from real training images sent to level k (of endless digits, from fresh draws),
for every k, with a new draw of the noise for every image: k = T is sampling as usual, k = 0 real
images with the noise of t_min. What the Fréchet distance grows by from k - 1 to k is what step k
adds to it.
"""

import argparse
import json

import jax
import jax.numpy as jnp
import numpy as np
import result_file

from ntm import api
from ntm.data import pipeline
from ntm.evaluation import sample_metrics
from ntm.models import build
from ntm.process import schedule, trajectory
from ntm.sampling import sampler
from ntm.typing import Condition

_ENDLESS_STARTS = 2500  # With two draws of each, as many samples as benchmarks/endless.py takes.


def main():
  """Prints the figures of every run and level."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("workdirs", nargs="+", help="of class-conditional NTMs of one T")
  parser.add_argument("--draws", type=int, default=2, help="of every image")
  parser.add_argument("--quick", action="store_true", help="100 images, to see that it runs")
  parser.add_argument("--seed", type=int, default=0)
  result_file.add_flag(parser)
  args = parser.parse_args()
  result = {}
  for workdir in args.workdirs:
    result[workdir] = measure(api.restore_density(workdir), args)
    for row in result[workdir]:
      print(f"{workdir:28} from t = {row['level']:.3f}   " + "   ".join(
          f"{key} {row[key]:.3f}" for key in ("frechet_distance", "precision", "recall")))
  if args.json:
    args.json.write_text(json.dumps(result, indent=2) + "\n")


def measure(restored, args):
  """Figures of samples from every level on."""
  config, params = restored.config, restored.params
  model, patches = build.ntm(config), build.patches(config.model)
  num_steps = config.process.num_steps[0]
  reference, real = reference_and_starts(config, 100 if args.quick else 10_000)
  times_K = schedule.padded_times(config.process.schedule, num_steps, num_steps,
                                  config.process.t_min, config.model.num_tokens)
  x0_BNC, label_B = patches.to_tokens(real["image"]), real["label"]
  cond = model.condition(Condition(label_B=label_B), num_steps, len(label_B))
  times_KB = jnp.broadcast_to(times_K[:, None], (num_steps + 1, len(label_B)))

  @jax.jit
  def states(rng):
    """Real states of every level, as the predictor reads them."""
    x_KBNC = trajectory.sample_trajectory(rng, x0_BNC, times_KB)
    return model.apply({"params": params}, x_KBNC, cond.at(times_KB), method="predictor_input")

  def from_level(rng, start_BNC, k):
    """The cleanest state of chains that start at level k."""
    return sampler.sample_trajectory(rng, model, params, times_K[:k + 1], x0_BNC.shape, cond,
                                     start_BNC=start_BNC)[0][0]

  from_level = jax.jit(from_level, static_argnums=2)
  rows = []
  for k in range(num_steps + 1):
    images = []
    for i in range(args.draws):
      rng_states, rng_steps = jax.random.split(jax.random.fold_in(jax.random.key(args.seed), i))
      x_BNC = from_level(rng_steps, states(rng_states)[k], k)
      images.append(patches.to_images(x_BNC))
    rows.append({"level": float(times_K[k])}
                | reference.metrics(np.concatenate(images), np.tile(label_B, args.draws)))
  return rows


def reference_and_starts(config, limit):
  """(what samples are compared with, the real images that sampling starts from)."""
  if config.data.augment:
    reference, others = sample_metrics.endless(config.data, min(limit, _ENDLESS_STARTS))
    return reference, others["fresh"]
  train, _, _ = pipeline.evaluation_data(config, limit)
  return sample_metrics.Reference.fit(train["image"], train["label"]), train


if __name__ == "__main__":
  main()
