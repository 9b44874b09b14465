"""What fills no tile of a systolic array: python benchmarks/padding.py configs/imagenet256.py

Traces an update of every config and prints the least share of its matrix products that is
padding, on tiles of 128 x 128 (TPU v4, v5e, v5p) and 256 x 256 (v6e, TPU7x); the definition is in
ntm/performance/flops.py. `--change` applies to transporter, predictor and denoiser alike.
"""

import argparse
import pathlib
import runpy

import jax

from ntm import config as config_lib
from ntm.commands import programs
from ntm.performance import flops
from ntm.training import step as step_lib

_TILES = (128, 256)


def main():
  """Prints a row per config and change."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("configs", nargs="+", type=pathlib.Path)
  parser.add_argument("--change", nargs="*", default=[],
                      help="'width=1536 num_heads=24': sizes to try instead; each gives a row more")
  args = parser.parse_args()
  print(f"| config | parameters, B | TFLOPs | {' | '.join(f'padding, {n}' for n in _TILES)} |\n"
        f"|{'---|' * (3 + len(_TILES))}")
  for path in args.configs:
    for change in ["", *args.change]:
      print(row(path, change), flush=True)


def row(path: pathlib.Path, change: str) -> str:
  """Parameters in billions, executed TFLOPs of an update, and the padding on top of them."""
  values = runpy.run_path(str(path))["get_config"]()
  for key, _, value in (word.partition("=") for word in change.split()):
    for part in (values.model.transporter, values.model.predictor, values.denoiser):
      part[key] = int(value)
  function, arrays, params = programs.make(
      "train", config_lib.from_dict(values), step_lib.COUNTING_MESH, "score")
  count = sum(leaf.size for leaf in jax.tree.leaves(params))
  exact, *padded = (flops.count(function, *arrays, tile=tile) for tile in (1, *_TILES))
  shares = " | ".join(f"{n / exact - 1:.1%}" for n in padded)
  return (f"| `{path.stem}`{' ' if change else ''}{change} | {count / 1e9:.3f} | "
          f"{exact / 1e12:,.0f} | {shares} |")


if __name__ == "__main__":
  main()
