"""What converting costs: python benchmarks/convert_memory.py [--quick] [--json=FILE]

Writes random bfloat16 weights as a .safetensors file, converts them in a fresh
process, and prints that process's peak of resident memory (from Linux's /proc),
that of Python and its libraries alone, and the time. The default
family is a stand-in of stacked blocks of any size (--gigabytes); --family takes
one of `ntm convert`, with --architecture, the JSON that its `recognise`
and `configure` would give (default a published model: FLUX.2 klein 4B, SD's autoencoder, ...).
"""

import argparse
import dataclasses
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import ml_dtypes
import numpy as np
import result_file

from ntm.conversion import converter, families
from ntm.conversion.families import Family
from ntm.conversion.mapping import Entry
from ntm.conversion.safetensors_files import write_safetensors
from ntm.conversion.tensors import TensorSpec
from ntm.conversion.transforms import linear
from ntm.published.qwen import model as qwen

_STAND_IN = "blocks"
_AUTOENCODER = {"image_channels": 3, "latent_channels": 4, "encoder_widths": [128, 256, 512, 512],
                "decoder_widths": [128, 256, 512, 512], "num_blocks": 2, "attention": True,
                "moments_conv": True, "latent_conv": True, "old_names": False}
_ARCHITECTURES = {
    "autoencoder_kl": _AUTOENCODER,
    "autoencoder_flux2": _AUTOENCODER | {"latent_channels": 32, "patch": 2},
    "flux2": {"layout": "diffusers", "width": 3072, "num_heads": 24, "double_layers": 5,
              "single_layers": 20, "text_width": 7680, "in_channels": 128, "out_channels": 128,
              "axes": [32, 32, 32, 32], "mlp_ratio": 3.0, "time_width": 256},
    "qwen3": {"prefix": "model.", "head": False, "vision_blocks": 0,
              **dataclasses.asdict(qwen.QWEN3_4B)},
}


def main():
  """Measures in children of this process, and writes the JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--quick", action="store_true", help="a small file, to see that it runs")
  parser.add_argument("--family", default=_STAND_IN, choices=(_STAND_IN, *families.PUBLISHED))
  parser.add_argument("--architecture", help="JSON")
  parser.add_argument("--gigabytes", type=float, default=2.0, help="of the stand-in")
  parser.add_argument("--dtype", choices=converter.DTYPES)
  parser.add_argument("--directory", help="for the files; default a temporary one")
  result_file.add_flag(parser)
  parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
  args = parser.parse_args()
  architecture = find_architecture(args)
  family = find_family(args.family, architecture)
  if args.child:
    measure(family, *args.child, args.dtype)
    return
  with tempfile.TemporaryDirectory(dir=args.directory) as directory:
    source, target = f"{directory}/model.safetensors", f"{directory}/ours"
    shapes = source_shapes(family, architecture)
    write_random(pathlib.Path(source), shapes)
    same = [f"--family={args.family}", f"--architecture={json.dumps(architecture)}",
            *([f"--dtype={args.dtype}"] if args.dtype else [])]
    empty = run_child(same, "", target)
    result = run_child(same, source, target)
    leaves = family.target_shapes(architecture)
    result |= {
        "family": args.family,
        "file_bytes": pathlib.Path(source).stat().st_size,
        "largest_tensor_bytes": 2 * max(map(np.prod, shapes.values())).item(),
        "largest_leaf_bytes": 2 * max(map(np.prod, leaves.values())).item(),
        "libraries_bytes": empty["peak_bytes"],
        "over_libraries_bytes": result["peak_bytes"] - empty["peak_bytes"],
    }
  for name, value in result.items():
    print(f"{name:24} " + (f"{value / 1e6:10.1f} MB" if name.endswith("bytes") else str(value)))
  if args.json:
    args.json.write_text(json.dumps(result, indent=2) + "\n")


def find_architecture(args) -> dict:
  """What is converted."""
  if args.architecture:
    return json.loads(args.architecture)
  if args.family == _STAND_IN:
    # Two kernels of 4 width² numbers a block.
    layers, width = (4, 512) if args.quick else (20, 2048)
    if not args.quick:
      layers = max(1, round(args.gigabytes * 1e9 / (16 * width**2)))
    return {"layers": layers, "width": width}
  if args.family not in _ARCHITECTURES:
    raise SystemExit(f"--family={args.family} needs --architecture.")
  return _ARCHITECTURES[args.family]


def find_family(name: str, architecture: dict) -> Family:
  """A family of `ntm convert`, or the stand-in."""
  if name != _STAND_IN:
    family = families.get(name)
    if not family.configure:
      return family
    # There is no config.json beside the random file.
    return dataclasses.replace(family, recognise=lambda shapes: architecture, configure=None)

  def recognise(shapes):
    layers = sum(name.endswith("up.weight") for name in shapes)
    return {"layers": layers, "width": shapes["blocks.0.up.weight"][1]}

  def entries(architecture):
    layers = architecture["layers"]
    return [Entry("blocks.{i}.up.weight", "up/kernel", linear(), layers=layers),
            Entry("blocks.{i}.down.weight", "down/kernel", linear(), layers=layers)]

  def target_shapes(architecture):
    layers, width = architecture["layers"], architecture["width"]
    return {"up/kernel": (layers, width, 4 * width), "down/kernel": (layers, 4 * width, width)}

  return Family(_STAND_IN, recognise, entries, target_shapes)


def source_shapes(family: Family, architecture: dict) -> dict[str, tuple[int, ...]]:
  """Shapes of the tensors of a family, by applying its mapping backwards to shapes alone."""
  leaves = family.target_shapes(architecture)
  shapes = {}
  for entry in family.entries(architecture):
    leaf = leaves[entry.target][1 if entry.layers else 0:]
    probe = np.broadcast_to(np.zeros((), np.bool_), leaf)  # Strides of zero: no memory.
    piece = entry.transform.backward(probe).shape
    for name, _ in entry.pieces():
      rows = entry.rows[1] if entry.rows else piece[0] if piece else 0
      if name in shapes:
        rows = max(rows, shapes[name][0])
      shapes[name] = (rows, *piece[1:]) if piece else ()
  return shapes


def write_random(path: pathlib.Path, shapes: dict[str, tuple[int, ...]]) -> None:
  """A file of random bfloat16 numbers, written tensor by tensor."""
  rng = np.random.default_rng(0)
  dtype = np.dtype(ml_dtypes.bfloat16)

  def numbers(shape):
    # Like trained weights to a compressor: random digits, exponents that repeat.
    return rng.standard_normal(shape, np.float32).astype(dtype)

  write_safetensors(path, {name: TensorSpec(shape, dtype) for name, shape in shapes.items()},
                    ((name, numbers(shape)) for name, shape in shapes.items()), {"format": "pt"})


def run_child(arguments: list[str], source: str, target: str) -> dict:
  """Converts in a fresh process and returns what it measured of itself."""
  done = subprocess.run([sys.executable, __file__, *arguments, "--child", source, target],
                        check=True, stdout=subprocess.PIPE, text=True)
  return json.loads(done.stdout)


def measure(family: Family, source: str, target: str, dtype: str | None) -> None:
  """Converts, if there is a source, and prints peak memory and time."""
  start = time.perf_counter()
  if source:
    converter.convert(family, source, target, dtype)
  seconds = time.perf_counter() - start
  # Not getrusage: its peak takes in that of the parent, from which this process was forked.
  status = pathlib.Path("/proc/self/status").read_text()
  (kilobytes,) = re.findall(r"VmHWM:\s*(\d+) kB", status)
  print(json.dumps({"peak_bytes": 1024 * int(kilobytes), "seconds": round(seconds, 2)}))


if __name__ == "__main__":
  main()
