r"""A real update on the accelerator at hand, compared with its matrix product.

  python benchmarks/accelerator.py configs/imagenet256_768.py --batch_sizes 32 64 128
  python benchmarks/accelerator.py configs/imagenet256.py --batch_sizes 16 32 --remat full dots
  python benchmarks/accelerator.py configs/imagenet256_768.py --batch_sizes 32 \
    --attention_kernel never always

Random images, all devices of this machine, the config as it is but for its batch,
rematerialisation and kernel of attention. Prints seconds, model FLOP/s as a share of what one large
bfloat16 matrix product reaches in the same run and of the chip's listed peak, and
XLA's account of the memory. A batch that does not fit says so.
"""

import argparse
import itertools
import json
import pathlib

import jax
import jax.numpy as jnp
import result_file
from inference import interleaved, print_table
from training import ready_step

from ntm import config as config_lib
from ntm.commands import ahead_of_time
from ntm.performance import accelerators

_PRODUCTS = 10  # One after another in a call, so that its start does not count.


def main():
  """Prints the table and writes the JSON."""
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("config", type=pathlib.Path, help="of an NTM of classes or none")
  parser.add_argument("--batch_sizes", type=int, nargs="+", required=True)
  parser.add_argument("--remat", nargs="+", default=["full"])
  parser.add_argument("--attention_kernel", nargs="+", default=["auto"],
                      choices=("auto", "always", "never"))
  parser.add_argument("--quick", action="store_true", help="a small product, to see that it runs")
  result_file.add_flag(parser)
  args = parser.parse_args()
  device, width = jax.devices()[0], 256 if args.quick else 8192
  chip, count = accelerators.lookup(device.device_kind), accelerators.num_chips(jax.devices())
  product = product_flops(width, repeats=2 if args.quick else 10) * jax.device_count()
  rows = {}
  for remat, kernel in itertools.product(args.remat, args.attention_kernel):
    for batch_size in args.batch_sizes:
      values = config_lib.to_dict(config_lib.from_dict(
          config_lib.load_sibling(str(args.config.absolute()), args.config.name)))
      values["train"] |= {"batch_size": batch_size}
      values["model"] |= {"remat": remat, "attention_kernel": kernel}
      rows[f"batch {batch_size}, remat {remat}, kernel {kernel}"] = row = update_costs(
          config_lib.from_dict(values), repeats=2 if args.quick else 10)
      if "seconds" in row:
        row["of_product"] = row["flops_per_second"] / product
        if chip:
          row["mfu"] = row["flops_per_second"] / (chip.peak_flops * count)
  result = {"device": device.device_kind, "devices": jax.device_count(), "jax": jax.__version__,
            "config": args.config.stem, "product_flops_per_second": product, "rows": rows}
  print_table(f"{args.config.stem}, {jax.device_count()} x {device.device_kind}, JAX "
              f"{jax.__version__}; products of width {width}: {product / 1e12:.4g} TFLOP/s", rows)
  if args.json:
    args.json.write_text(json.dumps(result, indent=2) + "\n")


def product_flops(width: int, repeats: int) -> float:
  """FLOP/s of a bfloat16 matrix product on one device."""
  a = jax.random.normal(jax.random.key(0), (width, width), jnp.bfloat16) / width ** 0.5

  @jax.jit
  def products(b):
    return jax.lax.fori_loop(0, _PRODUCTS, lambda i, b: a @ b, b)

  seconds = interleaved({"product": lambda: products(a)}, repeats)["product"]
  return 2 * width ** 3 * _PRODUCTS / seconds


def update_costs(config: config_lib.Config, repeats: int):
  """Seconds, FLOP/s and GiB a device of one update, or that it does not fit."""
  try:
    compiled, run = ready_step(config, jax.devices())
    seconds = interleaved({"update": run}, repeats)["update"]
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    return {"fits": False}
  return {"seconds": seconds, "examples_per_second": config.train.batch_size / seconds,
          "flops_per_second": ahead_of_time.model_flops("train", config) / seconds,
          "memory_GiB": ahead_of_time.device_bytes(compiled) / 2 ** 30, "fits": True}


if __name__ == "__main__":
  main()
