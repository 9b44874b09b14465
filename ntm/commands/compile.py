"""Compiles a program for a TPU slice that need not exist, and reports what it needs.

  ntm compile --config=configs/imagenet256.py --topology=v5p:4x4x4
  ntm compile --config=configs/digits.py --topology=cpu:8 --config.mesh.fsdp=2

A TPU topology needs libtpu (the extra `tpu`), but no TPU. Slices are named as in
Google's tables: v5e:4x4, v5p:4x4x4, v6e:4x4.
"""

import dataclasses
import json
import logging
import os
import pathlib
import time

import jax
from absl import flags
from ml_collections import config_flags

from ntm import config as config_lib
from ntm.commands import ahead_of_time, entry_point
from ntm.commands.progress import progress
from ntm.nn import partitioning
from ntm.performance import accelerators

_LOG = logging.getLogger("ntm")
FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="Config file, as configs/imagenet256.py.", flag_values=FLAGS)
_TOPOLOGY = flags.DEFINE_string(
    "topology", None, "TPU slice, as v5e:4x4, v5p:4x4x4 or v6e:4x4, or cpu:8 for eight devices of "
    "this machine.", required=True, flag_values=FLAGS)
_PROGRAM = flags.DEFINE_enum("program", "train", ahead_of_time.PROGRAMS, "What to compile: one "
                             "update, one batch of samples, or one update of the denoiser.",
                             flag_values=FLAGS)
_REFINE = flags.DEFINE_enum("refine", "score", ["none", "score", "denoiser"],
                            "How --program=sample of an NTM denoises the last state.",
                            flag_values=FLAGS)
_JSON = flags.DEFINE_string("json", None, "File to write the figures to, as JSON.",
                            flag_values=FLAGS)
flags.mark_flag_as_required("config", FLAGS)
_MAX_CPU_DEVICES = 4096


def main(_) -> None:
  """Prints the figures and writes them as JSON."""
  config = config_lib.from_dict(_CONFIG.value)
  if _PROGRAM.value != "sample":
    entry_point.refuse(FLAGS, ["refine"], f"--program is {_PROGRAM.value}, which does not sample")
  elif config.model.kind == "flow_matching":
    entry_point.refuse(FLAGS, ["refine"], "the model is a flow-matching one")
  if _PROGRAM.value == "distill" and config.model.kind != "ntm":
    raise ValueError(f"--program is distill, but config.model.kind is {config.model.kind!r}; "
                     "expected the config of an NTM, which alone can teach a denoiser.")
  if _JSON.value:
    entry_point.check_output("json", _JSON.value)
  devices = _devices(_TOPOLOGY.value)
  mesh = partitioning.make_mesh(config.mesh, devices)
  chip = accelerators.lookup(devices[0].device_kind)
  count = accelerators.num_chips(devices)
  _LOG.info("compiling for %d x %s, mesh %s", count, chip.name if chip else "device",
            dict(mesh.shape))
  started = time.monotonic()
  with progress("compiling"):
    report = ahead_of_time.report(_PROGRAM.value, config, mesh, chip, count,
                          None if _REFINE.value == "none" else _REFINE.value)
  seconds = time.monotonic() - started
  result = dataclasses.asdict(report) | {
      "program": _PROGRAM.value, "topology": _TOPOLOGY.value, "chips": count,
      "compile_seconds": seconds, "batch_size": config.train.batch_size,
      "remat": config.model.remat,
      "hbm_limit_bytes": chip.hbm_bytes if chip else None}
  if chip and report.arguments:  # It fits enough to be compiled.
    bounds = report.bounds(chip)
    result |= {"bounds_seconds": bounds, "step_seconds": max(bounds.values()),
               "mfu_bound": report.flops_per_chip / chip.peak_flops / max(bounds.values())}
  _print(result)
  if _JSON.value:
    pathlib.Path(_JSON.value).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(_JSON.value).write_text(json.dumps(result, indent=2) + "\n")


def _devices(name):
  """Devices of a topology, described or forced upon this host."""
  kind, _, shape = name.partition(":")
  jax.config.update("jax_platforms", "cpu")  # Nothing runs, and a TPU here may be in use.
  if kind == "cpu":
    if not shape.isdecimal() or not 0 < int(shape[:9]) <= _MAX_CPU_DEVICES:
      raise ValueError(f"--topology is {name}; expected a number of devices from 1 to "
                       f"{_MAX_CPU_DEVICES}, as in cpu:8.")
    jax.config.update("jax_num_cpu_devices", int(shape))
    return jax.devices()
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # There is no metadata server to ask,
  os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # and no chip to keep to oneself.
  from jax.experimental import topologies
  try:
    return topologies.get_topology_desc(name, platform="tpu").devices
  except Exception as error:  # Whatever libtpu, or its absence, raises.
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise ValueError(f"--topology is {name}; expected a slice such as v5e:4x4 or v5p:4x4x4, with "
                     f"libtpu installed: pip install 'ntm[tpu]' ({reason}).") from error


def _print(result):
  """The figures, and whether it fits."""
  gib = lambda n: f"{n / 2 ** 30:.2f} GiB" if n >= 2 ** 27 else f"{n / 2 ** 20:.2f} MiB"
  print(f"parameters            {result['parameters']:,}")
  if result["temporaries"]:
    print(f"arguments             {gib(result['arguments'])} per chip")
    print(f"temporaries           {gib(result['temporaries'])} per chip")
  print(f"memory                {gib(result['hbm_per_chip_bytes'])} per chip"
        + (f" of {gib(result['hbm_limit_bytes'])}" if result["hbm_limit_bytes"] else ""))
  print(f"model FLOPs           {result['flops_per_chip']:.4g} per chip")
  for kind, size in result["collective_bytes"].items():
    print(f"{kind:21} {gib(size)} per chip")
  if "bounds_seconds" in result:
    bounds = ", ".join(f"{name} {s * 1000:.1f}" for name, s in result["bounds_seconds"].items())
    print(f"a step takes at least {result['step_seconds'] * 1000:.1f} ms ({bounds})")
    print(f"MFU at most           {result['mfu_bound']:.1%}")
  print(f"compiled in           {result['compile_seconds']:.0f} s")
  if result["fits"] is None:
    print("fits: unknown, because ntm/performance/accelerators.py does not list this chip")
  elif result["fits"]:
    print(f"fits: {result['hbm_per_chip_bytes'] / result['hbm_limit_bytes']:.1%} of the memory")
  else:
    changes = ["a larger slice", "a larger mesh.fsdp or mesh.tensor", "a smaller train.batch_size"]
    if result["program"] != "sample":
      changes.append("more train.accumulation")
    if result["remat"] != "full":
      changes.append("model.remat 'full'")
    print(f"does not fit: try {', '.join(changes[:-1])} or {changes[-1]}.")


def run(argv=None) -> None:
  """Entry point."""
  entry_point.run(main, argv, values=FLAGS, about=__doc__)


if __name__ == "__main__":
  run()
