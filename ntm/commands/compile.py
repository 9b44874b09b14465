"""Compiles a program for devices that are not attached, and reports whether it fits their memory.

  ntm compile --config=configs/imagenet256.py --topology=v5p:4x4x4
  ntm compile --config=configs/digits.py --topology=cpu:8 --config.mesh.fsdp=2
  ntm compile --config=configs/imagenet256.py --topology=v6e:4x8 --search

A TPU topology needs the extra `tpu`, which installs libtpu, but no TPU. Slices have
the names of Cloud TPU's documentation: v5e:4x4, v5p:4x4x4, v6e:4x4.

With --search it looks for the fastest way to train that fits (`ntm.commands.search`):
over rematerialisation, mesh, accumulation and unrolling, but for those of these keys that are
given on the command line.
"""

import dataclasses
import functools
import logging
import os
import time
from concurrent import futures

import jax
from absl import flags
from ml_collections import config_flags

from ntm import config as config_lib
from ntm.commands import ahead_of_time, entry_point, programs, search, search_table, shared_flags
from ntm.commands.progress import progress
from ntm.conversion import converter
from ntm.losses import inputs
from ntm.nn import partitioning
from ntm.performance import accelerators

_LOG = logging.getLogger("ntm")
FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="Config file, such as configs/imagenet256.py.", flag_values=FLAGS)
_TOPOLOGY = flags.DEFINE_string(
    "topology", None, "TPU slice, such as v5e:4x4, v5p:4x4x4 or v6e:4x4, or cpu:N for N CPU "
    "devices.", required=True, flag_values=FLAGS)
_NUM_SLICES = flags.DEFINE_integer(
    "num_slices", 1, "How many such slices, joined by the network of their data centre.", 1, 1024,
    flag_values=FLAGS)
_PROGRAM = flags.DEFINE_enum("program", "train", programs.PROGRAMS, "Program to compile: one "
                             "update, one batch of samples, or one update of the denoiser.",
                             flag_values=FLAGS)
_REFINE = shared_flags.refine(FLAGS, "How --program=sample denoises the last state of an NTM.")
_SEARCH = flags.DEFINE_bool(
    "search", False, "Look for the fastest way to train that fits.", flag_values=FLAGS)
_RESULTS_DIR = flags.DEFINE_string(
    "results_dir", "runs/search", "Directory of what --search compiled, one file per way; a search "
    "goes on from there.", flag_values=FLAGS)
_JSON = shared_flags.json(FLAGS)
flags.mark_flag_as_required("config", FLAGS)
_MAX_CPU_DEVICES = 4096


def main(_) -> None:
  """Prints the results and writes them as JSON."""
  config = config_lib.from_dict(_CONFIG.value)
  if _PROGRAM.value != "sample":
    entry_point.refuse(FLAGS, ["refine"], f"--program is {_PROGRAM.value}, which does not sample")
  elif config.model.kind == "flow_matching":
    entry_point.refuse(FLAGS, ["refine"], "the model is a flow-matching one")
  if _PROGRAM.value == "distill" and config.model.kind != "ntm":
    raise ValueError(f"--program is distill, but config.model.kind is {config.model.kind!r}; "
                     "expected the config of an NTM; only an NTM can teach a denoiser.")
  for key, path in inputs.paths(config).values():
    if not converter.source_paths(path):
      _LOG.info("nothing in %s: taking the sizes of the published network that fits the model, "
                "for config.%s", path, key)
  if _JSON.value:
    entry_point.check_output("json", _JSON.value)
  if _SEARCH.value:
    if _PROGRAM.value != "train":
      raise ValueError(f"--program is {_PROGRAM.value}, but --search looks for the fastest way to "
                       "train; expected train: leave --program or --search out.")
    entry_point.check_directory("results_dir", _RESULTS_DIR.value)
    if _TOPOLOGY.value.startswith("cpu:"):
      raise _unknown_chip()
  else:
    entry_point.refuse(FLAGS, ["results_dir"], "--search is not given")
  devices = _devices(_TOPOLOGY.value, _NUM_SLICES.value)
  chip = accelerators.lookup(devices[0].device_kind)
  count = accelerators.num_chips(devices)
  if _SEARCH.value:
    _search(config, devices, chip, count)
    return
  mesh = partitioning.make_mesh(config.mesh, devices)
  slices = _num_slices(config, mesh)
  _LOG.info("compiling for %d x %s, mesh %s%s", count, chip.name if chip else "device",
            dict(mesh.shape), f" over {slices} slices" if slices > 1 else "")
  with progress("compiling"):
    result = _interruptible(_measure, config, mesh, chip, count)
  _print(result)
  entry_point.write_json(_JSON.value, result)


def _interruptible(function, *args, **kwargs):
  """As function(*args, **kwargs), but Ctrl-C does not wait for a compiler that runs for minutes."""
  # Signals reach Python in the main thread, so that one must not be the compiler's.
  thread = futures.ThreadPoolExecutor(1)
  try:
    return thread.submit(function, *args, **kwargs).result()
  finally:
    thread.shutdown(wait=False)


def _measure(config, mesh, chip, count) -> dict:
  """Compiles the program; its results as JSON has them."""
  started = time.monotonic()
  report = ahead_of_time.report(_PROGRAM.value, config, mesh, chip, count,
                                None if _REFINE.value == "none" else _REFINE.value)
  result = dataclasses.asdict(report) | {
      "program": _PROGRAM.value, "topology": _TOPOLOGY.value,
      "num_slices": _num_slices(config, mesh), "chips": count, "mesh": dict(mesh.shape),
      "compile_seconds": time.monotonic() - started, "batch_size": config.train.batch_size,
      "grad_accumulation_steps": config.train.grad_accumulation_steps,
      "remat": config.model.remat, "unroll": config.model.unroll,
      "hbm_limit_bytes": chip.hbm_bytes if chip else None}
  if chip and report.arguments:  # It fits enough to be compiled.
    bound, model = report.bound(chip), report.flops_per_chip / chip.peak_flops
    result |= {"bounds_seconds": bound.parts, "step_seconds": bound.overlapped,
               "step_seconds_without_overlap": bound.serial, "mfu_bound": model / bound.overlapped,
               "mfu_bound_without_overlap": model / bound.serial}
  return result


def _num_slices(config, mesh):
  return len(partitioning.by_slice(config.mesh.slices, list(mesh.devices.flat)))


def _search(config, devices, chip, count):
  """Looks for the fastest way to train, prints and writes it."""
  if chip is None:
    raise _unknown_chip()
  several = f" x {_NUM_SLICES.value}" if _NUM_SLICES.value > 1 else ""
  fixed = [key for key, asked in config_flags.get_override_values(FLAGS["config"]).items()
           if not (key.startswith("mesh.") and asked == -1)]
  found = search.search(config, devices, chip, count, _RESULTS_DIR.value,
                        _TOPOLOGY.value + several,
                        functools.partial(_interruptible, _measure, chip=chip, count=count), fixed)
  print(search_table.text(found, chip))
  entry_point.write_json(_JSON.value, search_table.as_json(found, chip))


def _unknown_chip() -> ValueError:
  return ValueError(f"--topology is {_TOPOLOGY.value}, whose memory and speed are not known; "
                    "expected a TPU slice, such as v5e:4x4, with --search.")


def _devices(name, num_slices):
  """The devices of a topology; none of them needs to be attached."""
  kind, _, shape = name.partition(":")
  jax.config.update("jax_platforms", "cpu")  # Nothing runs, and an attached TPU may be in use.
  if kind == "cpu":
    if not shape.isdecimal() or not 0 < int(shape[:9]) <= _MAX_CPU_DEVICES:
      raise ValueError(f"--topology is {name}; expected a number of devices from 1 to "
                       f"{_MAX_CPU_DEVICES}, as in cpu:8.")
    entry_point.refuse(FLAGS, ["num_slices"], "CPU devices are divided by --config.mesh.slices=N")
    jax.config.update("jax_num_cpu_devices", int(shape))
    return jax.devices()
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # There may be no metadata server,
  os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # and no chip needs locking.
  # A program for devices that are not attached can be written to the cache, but not read from it.
  jax.config.update("jax_enable_compilation_cache", False)
  from jax.experimental import topologies
  try:
    several = {"num_slices": num_slices} if num_slices > 1 else {}
    return topologies.get_topology_desc(name, platform="tpu", **several).devices
  except Exception as error:  # libtpu, or its absence, raises errors of many types.
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise ValueError(f"--topology is {name}; expected cpu:N, or a slice such as v5e:4x4 or "
                     "v5p:4x4x4 with libtpu installed: pip install 'ntm[tpu]' "
                     f"({reason}).") from error


def _print(result):
  """Prints the results, and whether the program fits."""
  gib = lambda n: f"{n / 2 ** 30:.2f} GiB" if n >= 2 ** 27 else f"{n / 2 ** 20:.2f} MiB"
  print(f"parameters            {result['parameters']:,}")
  if result["temporaries"]:
    print(f"arguments             {gib(result['arguments'])} per chip")
    print(f"temporaries           {gib(result['temporaries'])} per chip")
  print(f"memory                {gib(result['hbm_per_chip_bytes'])} per chip"
        + (f" of {gib(result['hbm_limit_bytes'])}" if result["hbm_limit_bytes"] else ""))
  print(f"model FLOPs           {result['flops_per_chip']:.4g} per chip")
  padding = result["padded_flops_per_chip"] / result["executed_flops_per_chip"] - 1
  print(f"executed FLOPs        {result['executed_flops_per_chip']:.4g} per chip"
        + (f", and at least {padding:.1%} more to fill tiles" if padding else ""))
  for name, size in result["frozen_bytes"].items():
    share = result["frozen_flops_per_chip"][name] / result["flops_per_chip"]
    print(f"{name.replace('_', ' '):21} {share:.1%} of the model's, {gib(size)} of parameters per "
          "chip")
  if result["memory_traffic_bytes"]:
    print(f"memory traffic        {gib(result['memory_traffic_bytes'])} per chip, of which "
          f"{gib(result['state_traffic_bytes'])} are arguments and results")
  for kind, size in result["collective_bytes"].items():
    print(f"{kind:21} {gib(size)} per chip")
  for axes, sent in result["exchanges"].items():
    links = f"{sent['links']} link{'s' * (sent['links'] != 1)}"
    ways = {f"{gib(sent['sent_bytes'])} per chip over {links}": sent["links"],
            f"{gib(sent['network_bytes'])} to other slices": sent["network_bytes"]}
    print(f"along {axes:15} {', '.join(way for way, used in ways.items() if used)}")
  for kind, size in result["crossing_bytes"].items():
    print(f"between slices        {gib(size)} per chip of {kind}")
  if "bounds_seconds" in result:
    bounds = ", ".join(f"{name} {s * 1000:.4g}" for name, s in result["bounds_seconds"].items())
    print(f"a step takes at least {result['step_seconds'] * 1000:.4g} ms ({bounds})")
    print(f"without any overlap   {result['step_seconds_without_overlap'] * 1000:.4g} ms")
    print(f"MFU at most           {result['mfu_bound']:.1%}, without any overlap "
          f"{result['mfu_bound_without_overlap']:.1%}")
  print(f"compiled in           {result['compile_seconds']:.0f} s")
  if result["fits"] is None:
    print("fits: unknown, because ntm/performance/accelerators.py does not list this chip")
  elif result["fits"]:
    print(f"fits: {result['hbm_per_chip_bytes'] / result['hbm_limit_bytes']:.1%} of the memory")
  else:
    changes = ["a larger slice", "a larger mesh.fsdp or mesh.tensor", "a smaller train.batch_size",
               *(["more train.grad_accumulation_steps"] if result["program"] != "sample" else []),
               *(["model.remat 'full'"] if result["remat"] != "full" else [])]
    print(f"does not fit: try {', '.join(changes[:-1])} or {changes[-1]}.")


run = entry_point.command(main, FLAGS, __doc__)

if __name__ == "__main__":
  run()
