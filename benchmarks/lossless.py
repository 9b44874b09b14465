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
import numpy as np
import result_file

from ntm import api
from ntm.data import pipeline, sources
from ntm.likelihood import compression

_DRAWS = 16  # Other trajectories per image.


def main():
  """Prints the figures and writes the JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--workdir", required=True, help="of an NTM of digits")
  parser.add_argument("--images", type=int, default=100, help="test images to compress")
  parser.add_argument("--quick", action="store_true", help="2 images, to see that it runs")
  result_file.add_flag(parser)
  args = parser.parse_args()
  model = api.restore_density(args.workdir)
  _, test, _ = pipeline.evaluation_data(model.config, 10_000)
  count = 2 if args.quick else args.images
  images, labels = test["image"][:count], test["label"][:count]
  spacing, steps = sources.level_spacing(model.config.data), model.config.process.num_steps[0]
  started = time.perf_counter()
  data, sizes = compression.compress(model, images, labels, steps, spacing)
  seconds = {"compress": time.perf_counter() - started}
  started = time.perf_counter()
  with tempfile.TemporaryDirectory() as directory:
    path = pathlib.Path(directory) / "images.bin"
    path.write_bytes(data)
    subprocess.run([sys.executable, "-m", "ntm.commands.main", "likelihood",
                    f"--workdir={args.workdir}", f"--decompress={path}",
                    f"--output={path.with_suffix('')}"], check=True)
    decoded = np.load(path.with_suffix(".npz"))
    equal = bool((decoded["images"] == images).all() and (decoded["labels"] == labels).all())
  seconds["decompress, start of a process included"] = time.perf_counter() - started
  other_JB = model.log_weights(jax.random.key(1), images, labels, steps, _DRAWS, spacing)
  result = compression.figures(model, sizes, images, labels, steps, spacing) | {
      "images": count, "equal": equal, "seconds": seconds,
      "bound_of_other_draws": float(-np.mean(other_JB) / images[0].size / math.log(2))}
  print(json.dumps(result, indent=2))
  if args.json:
    args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
  main()
