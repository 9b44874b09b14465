"""The fastest way to train on devices that need not exist: what `ntm compile --search` does.

A way is a rematerialisation policy, a mesh, a number of accumulation rounds and a number of layers
per iteration of the scan. Ways are left out that do not divide, that do not fit by
`ntm.commands.memory_estimate` even if it is as far off as it ever was, and that cannot be
faster than one already compiled, because their arithmetic alone takes as long. The others are
compiled one after the other, the most promising first.
"""

import dataclasses
import hashlib
import importlib.metadata
import itertools
import json
import logging
import math
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
from jax.sharding import Mesh

from ntm import config as config_lib
from ntm.commands import ahead_of_time, memory_estimate
from ntm.commands.progress import progress
from ntm.config import Config
from ntm.nn import partitioning
from ntm.performance.accelerators import Chip

_LOG = logging.getLogger("ntm")
_GIB = 2 ** 30
SHARE = 0.9  # Of the memory; the rest is for the runtime and for what a compiler may change.
# What is tried, in addition to the config's own; every way to split the devices over the mesh.
CHOICES: Mapping[str, tuple] = {
    "model.remat": ("none", "dots", "attention", "full"),
    "model.unroll": (1, 4),
    "train.grad_accumulation_steps": (1, 2, 4, 8, 16),
}
_MESH = tuple(f"mesh.{axis}" for axis in partitioning.AXES)


@dataclasses.dataclass(frozen=True)
class Way:
  """One way to train.

  Attributes:
    config: of the run, with this way's values.
    mesh: over the devices.
    estimate: bytes per chip.
    compute: seconds per update for its arithmetic alone, padding included, at the chip's peak.
    sent: bytes per chip that it exchanges, roughly; for the order alone.
  """

  config: Config
  mesh: Mesh
  estimate: float
  compute: float
  sent: float

  @property
  def flags(self) -> list[str]:
    """Those of any command, which make a config train this way."""
    return [f"--config.{key}={value(self.config, key)}" for key in (*CHOICES, *_MESH)]


@dataclasses.dataclass(frozen=True)
class Found:
  """What a search found.

  Attributes:
    compiled: (way, results of `ntm compile`), the fastest that fits first, then what does not fit
      by memory.
    fitting: how many of them fit.
    candidates: how many ways there were.
    left_out: how many were not compiled, by reason: 'divide', 'memory', 'time', 'failed'.
  """

  compiled: list[tuple[Way, dict]]
  fitting: int
  candidates: int
  left_out: dict[str, int]


def value(config: Config, key: str):
  """The value of a dotted key."""
  for name in key.split("."):
    config = getattr(config, name)
  return config


def candidates(config: Config, count: int, fixed: Sequence[str] = ()) -> Iterator[Config]:
  """The product of CHOICES and of all meshes of `count` devices.

  Args:
    config: of the run, whose own values are among the choices.
    count: devices of a slice.
    fixed: dotted keys that keep the value of the config.
  """
  def choices(key):
    own = value(config, key)
    return (own,) if key in fixed else tuple(dict.fromkeys((*CHOICES[key], own)))

  divisors = [n for n in range(1, count + 1) if count % n == 0]
  asked = [value(config, key) if key in fixed else -1 for key in _MESH]
  meshes = [(a, b, count // (a * b)) for a, b in itertools.product(divisors, divisors)
            if count % (a * b) == 0]
  meshes = [sizes for sizes in meshes
            if all(n in (-1, size) for n, size in zip(asked, sizes, strict=True))]
  for sizes, remat, unroll, rounds in itertools.product(meshes, *map(choices, CHOICES)):
    yield dataclasses.replace(
        config, mesh=dataclasses.replace(config.mesh, **dict(zip(partitioning.AXES, sizes))),
        model=dataclasses.replace(config.model, remat=remat, unroll=unroll),
        train=dataclasses.replace(config.train, grad_accumulation_steps=rounds))


def search(config: Config, devices: Sequence, chip: Chip, num_chips: int, results_dir: str,
           label: str, measure: Callable[[Config, Mesh], dict],
           fixed: Sequence[str] = ()) -> Found:
  """Compiles what can be the fastest way, and returns it first.

  Args:
    config: of the run.
    devices: all, which need not exist.
    chip: of these devices.
    num_chips: under them.
    results_dir: one file per compiled way; what is there is not compiled again.
    label: of the topology, for the names of the files.
    measure: (config, mesh) → results of `ntm compile`, of which hbm_per_chip_bytes,
      and step_seconds if it was compiled, are read.
    fixed: dotted keys that keep the value of the config.

  Raises:
    ValueError: no way divides (says why the first does not), or none fits (says which comes
      nearest, and by how much).
  """
  limit = SHARE * chip.hbm_bytes
  with progress("estimating", "ways") as report:
    ways, total, refusal = _estimated(config, devices, chip, num_chips, fixed, report)
  if not ways:
    raise ValueError(f"none of {total} ways to train on {label} divides; the first: {refusal}")
  possible = sorted((way for way in ways
                     if way.estimate / (1 + memory_estimate.LARGEST_ERROR) <= limit),
                    # Nothing overlaps in full: of equal arithmetic, less is sent first.
                    key=lambda way: (way.compute + way.sent / chip.interconnect_bandwidth,
                                     way.config.train.grad_accumulation_steps,
                                     way.config.model.unroll, way.estimate))
  left_out = {"divide": total - len(ways), "memory": len(ways) - len(possible), "time": 0,
              "failed": 0}
  _LOG.info("%d ways: %d do not divide, %d need too much memory, %d are left; if this is "
            "interrupted, the same command goes on from %s", total, left_out["divide"],
            left_out["memory"], len(possible), results_dir)
  compiled, best = [], math.inf
  with progress("searching") as report:
    while possible:
      way, *possible = possible
      result = _cached(way, pathlib.Path(results_dir), label, measure)
      if result is None:
        left_out["failed"] += 1
      else:
        compiled.append((way, result))
        if _fits(result, limit):
          best = min(best, result["step_seconds"])
      slower = [way for way in possible if way.compute >= best]
      left_out["time"] += len(slower)
      possible = [way for way in possible if way.compute < best]
      report(len(compiled), len(compiled) + len(possible))
  fitting = sum(_fits(result, limit) for _, result in compiled)
  if not fitting:
    raise ValueError(_nothing_fits(ways, compiled, limit, label))
  compiled.sort(key=lambda pair: (not _fits(pair[1], limit), pair[1].get("step_seconds", math.inf),
                                  pair[0].compute, pair[1]["hbm_per_chip_bytes"]))
  return Found(compiled, fitting, total, left_out)


def _estimated(config, devices, chip, num_chips, fixed, report):
  """(ways that divide, number of candidates, why the first of the others does not)."""
  count = len(partitioning.by_slice(config.mesh.slices, devices)[0])
  one_device = partitioning.make_mesh(config_lib.MeshConfig(), devices[:1]).abstract_mesh
  estimator = memory_estimate.Estimator(config, one_device.abstract_device)
  share, ways, refusal, meshes = len(devices) / num_chips, [], None, {}
  configs = list(candidates(config, count, fixed))
  if not configs:
    partitioning.make_mesh(config.mesh, devices)  # Says what does not multiply to the devices.
  for done, one in enumerate(configs):
    try:
      config_lib.from_dict(config_lib.to_dict(one))  # Checks that accumulation divides the batch.
      if one.mesh not in meshes:
        meshes[one.mesh] = partitioning.make_mesh(one.mesh, devices)
      mesh = meshes[one.mesh]
      estimate = share * estimator.estimate(one, mesh)
    except ValueError as error:
      refusal = refusal or str(error)
      continue
    policy = dataclasses.replace(config.model, remat=one.model.remat)
    flops = ahead_of_time.executed_flops("train", dataclasses.replace(config, model=policy),
                                         tile=chip.tile)  # As the bound, so that ties are seen.
    ways.append(Way(one, mesh, estimate, flops / num_chips / chip.peak_flops,
                    share * estimator.sent(one, mesh)))
    report(done + 1, len(configs))
  return ways, len(configs), refusal


def _cached(way, results_dir, label, measure):
  """The results of one way, from its file or compiled; None if the compiler failed."""
  what = {"config": config_lib.to_dict(way.config), "topology": label, "jax": jax.__version__,
          "libtpu": _version("libtpu"), "ntm": _version("ntm"),
          # Files of an earlier bound do not count.
          "report": [field.name for field in dataclasses.fields(ahead_of_time.Report)]}
  key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:20]
  path = results_dir / f"{key}.json"
  try:
    return json.loads(path.read_text())
  except (FileNotFoundError, json.JSONDecodeError):
    pass
  shown = " ".join(flag.removeprefix("--config.") for flag in way.flags)
  try:
    result = measure(way.config, way.mesh)
  except jax.errors.JaxRuntimeError as error:
    _LOG.warning("%s: the compiler failed: %.200s", shown, str(error).partition("\n")[0])
    return None
  finally:
    jax.clear_caches()  # Programs of hundreds of ways would fill the memory.
  _LOG.info("%s: %.2f GiB per chip, estimated %.2f%s", shown, result["hbm_per_chip_bytes"] / _GIB,
            way.estimate / _GIB, f", at least {1000 * result['step_seconds']:.4g} ms"
            if "step_seconds" in result else "")
  results_dir.mkdir(parents=True, exist_ok=True)
  written = path.with_suffix(f".{os.getpid()}.part")
  written.write_text(json.dumps(result | {"way": what}, indent=2) + "\n")
  written.replace(path)  # A killed search leaves no half a file.
  return result


def _version(package):
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def _fits(result, limit) -> bool:
  return "step_seconds" in result and result["hbm_per_chip_bytes"] <= limit


def _nothing_fits(ways, compiled, limit, label) -> str:
  """The message that names the way that needs least."""
  if compiled:
    way, result = min(compiled, key=lambda pair: pair[1]["hbm_per_chip_bytes"])
    needed, how = result["hbm_per_chip_bytes"], "compiled"
  else:
    way = min(ways, key=lambda way: way.estimate)
    needed, how = way.estimate, "estimated"
  return (f"none of {len(ways)} ways to train fits {SHARE:.0%} of a chip of {label}, "
          f"{limit / _GIB:.2f} GiB; the nearest needs {needed / _GIB:.2f} GiB ({how}), "
          f"{(needed - limit) / _GIB:.2f} GiB too much: {' '.join(way.flags)}. Take a larger "
          "slice or a smaller train.batch_size.")
