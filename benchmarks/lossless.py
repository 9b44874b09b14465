"""Lossless compression of test images: python benchmarks/lossless.py --workdir=runs/digits

Compresses test images with the density of a run, decompresses the file in another process, and
compares the length of the code with the bounds that the density gives: of the very trajectories
that were coded, and of other draws.
"""

import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
import result_file

from ntm import api
from ntm.data import pipeline, sources
from ntm.likelihood import bounds, compression
from ntm.models import build
from ntm.models.ntm import standard_normal_log_prob
from ntm.process import schedule
from ntm.typing import Condition, Trajectory

_DRAWS = 16  # Other trajectories per image.


def main():
  """Prints the figures and writes the JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--workdir", required=True, help="of an NTM of digits")
  parser.add_argument("--images", type=int, default=100, help="test images to compress")
  parser.add_argument("--decompress", nargs=2, type=pathlib.Path, help=argparse.SUPPRESS)
  parser.add_argument("--quick", action="store_true", help="2 images, to see that it runs")
  result_file.add_flag(parser)
  args = parser.parse_args()
  model = api.restore_density(args.workdir)
  if args.decompress:
    source, target = args.decompress
    images, labels = compression.decompress(model, source.read_bytes())
    return np.savez(target, images=images, labels=labels)
  _, test, _ = pipeline.evaluation_data(model.config, 10_000)
  count = 2 if args.quick else args.images
  images, labels = test["image"][:count], test["label"][:count]
  spacing, steps = sources.level_spacing(model.config.data), model.config.process.num_steps[0]
  started = time.perf_counter()
  data, sizes = compression.compress(model, images, labels, steps, spacing)
  seconds = {"compress": time.perf_counter() - started}
  started = time.perf_counter()
  with tempfile.TemporaryDirectory() as directory:
    paths = [pathlib.Path(directory) / name for name in ("images.bin", "images.npz")]
    paths[0].write_bytes(data)
    subprocess.run([sys.executable, __file__, f"--workdir={args.workdir}", "--decompress", *paths],
                   check=True)
    decoded = np.load(paths[1])
    equal = bool((decoded["images"] == images).all() and (decoded["labels"] == labels).all())
  seconds["decompress, start of a process included"] = time.perf_counter() - started
  per_dim = lambda nats: float(-np.mean(nats) / images[0].size / math.log(2))
  result = {name: value for name, value in sizes.items() if name != "states"} | {
      "images": count, "equal": equal, "seconds": seconds,
      "bits_per_dim": sizes["net_bits"] / images.size,
      "file_bits_per_dim": sizes["file_bits"] / images.size,
      "bound_of_the_same_draws": per_dim(
          same_draws(model, sizes["states"], images, labels, spacing)),
      "bound_of_other_draws": per_dim(model.log_weights(
          jax.random.key(1), images, labels, steps, _DRAWS, spacing))}
  result["longer_by"] = result["bits_per_dim"] / result["bound_of_the_same_draws"] - 1
  print(json.dumps(result, indent=2))
  if args.json:
    args.json.write_text(json.dumps(result, indent=2) + "\n")


def same_draws(model, states_BKD, images, labels, spacing: float):
  """Log weights of the trajectories that were coded, [B] in nats (docs/likelihood.md)."""
  config, count = model.config, len(images)
  steps, t_min = config.process.num_steps[0], config.process.t_min
  x0_BNC = np.asarray(build.patches(config.model).to_tokens(images))
  times_K = schedule.padded_times(config.process.schedule, steps, steps, t_min,
                                  config.model.num_tokens)
  times_KB = jnp.broadcast_to(times_K[:, None], (steps + 1, count))
  x_KBNC = jnp.float32(np.moveaxis(states_BKD, 0, 1).reshape(-1, *x0_BNC.shape))
  network = build.ntm(config)
  trajectory = Trajectory(x_KBNC, times_KB, network.condition(
      Condition(label_B=jnp.asarray(labels)), steps, count), jnp.ones((steps, count)))
  bound_B = bounds.likelihood(network, model.params, trajectory).bound_B
  scale, size = t_min / (1 - t_min), images[0].size
  z_BNC = (states_BKD[:, 0].reshape(x0_BNC.shape) / (1 - t_min) - x0_BNC) / scale
  inside = math.erf(spacing / 2 / scale / math.sqrt(2))  # Of the noise that is cut off.
  log_q_B = standard_normal_log_prob(z_BNC) - size * math.log(scale * inside)
  return np.asarray(bound_B + size * math.log(1 - t_min) - log_q_B)


if __name__ == "__main__":
  main()
