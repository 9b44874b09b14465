"""What the configs need on slices of TPUs: python benchmarks/scaling.py --results=runs/scaling

Runs `ntm compile` on every line of a few tables and prints them. Nothing is
executed and no TPU is needed, only libtpu (the extra `tpu`). A compilation takes
minutes; its figures are kept in --results, and what is there is not compiled
again, so an interrupted call goes on where it was.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping

_CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
_GIB = 2 ** 30
_SLICES = ("v5e:8x8", "v5p:4x4x4", "v6e:4x8")
# Keeps libtpu from multiplying parts of a kernel as they arrive.
_NO_WINDOWS = "--xla_jf_spmd_threshold_for_windowed_einsum_mib=1000000"
_FULL_SCALE = ("imagenet256", "imagenet256_multi_step", "imagenet256_1152", "imagenet256_768",
               "imagenet64", "t2i_256_arrays", "sit_xl_256", "flux2_klein_512_arrays")


@dataclasses.dataclass(frozen=True)
class Case:
  """One call of `ntm compile`."""

  config: str
  topology: str
  program: str = "train"
  flags: tuple[str, ...] = ()
  windows: bool = True

  @property
  def file(self) -> str:
    """Of its figures."""
    words = [self.config, self.topology, self.program, *self.flags,
             *(() if self.windows else ("no_windows",))]
    return "-".join("".join(c if c.isalnum() else "_" for c in word.removeprefix("--"))
                    for word in words) + ".json"


def _weak(topology, **mesh):
  """A digits update of 32 images a device."""
  count = int(topology.partition(":")[2])
  return Case("digits", topology, flags=(f"--config.train.batch_size={32 * count}",
                                         *(f"--config.mesh.{k}={n}" for k, n in mesh.items())))


_TEXT = [Case(config, "v5p:4x4x4") for config in ("t2i_256", "flux2_klein_512")]
_PIXELS = [Case("t2i_1024", "v5p:4x4x4"),
           Case("t2i_1024", "v5p:4x4x4", "sample", ("--refine=none",)),
           # What 4,096 tokens one after another cost, or in chunks.
           *(Case("t2i_1024", "v5p:4x4x4", "sample", (
               "--refine=none", "--config.model.transporter.kind=autoregressive",
               f"--config.model.inverse.solver={solver}")) for solver in ("scan", "gs_jacobi"))]
_WHOLE = ("--config.mesh.data=-1", "--config.mesh.fsdp=1")  # Parameters on every chip.
_REMAT = [Case("imagenet256", "v5p:4x4x4", flags=(f"--config.model.remat={policy}",))
          for policy in ("none", "dots", "attention")] + [
              Case("imagenet256", "v5p:4x4x4")]  # 'full' is the config's own.
_PROGRAMS = [Case("imagenet256", "v5p:4x4x4", "sample", (f"--refine={refine}",))
             for refine in ("none", "score", "denoiser")] + [
                 Case("imagenet256", "v5p:4x4x4", "sample", ("--refine=score", *_WHOLE)),
                 Case("imagenet256", "v5p:4x4x4", "distill"),
                 *(Case("t2i_256_arrays", "v5p:4x4x4", "sample", (f"--refine={refine}",))
                   for refine in ("none", "score"))]
_KINDS = [(f"--config.model.transporter.spline_bins={bins}",
           f"--config.model.transporter.features={features}")
          for features in (0, 64) for bins in (0, 8)]
_TRANSPORTERS = ([Case("imagenet256", "v5p:4x4x4", flags=kind) for kind in _KINDS]
                 + [Case("imagenet256", "v5p:4x4x4", "sample", ("--refine=score", *_WHOLE, *kind))
                    for kind in _KINDS])
_ROUNDS = "--config.train.grad_accumulation_steps={}".format
# Where a whole batch does not fit these slices, or the mesh does not suit.
_OTHERWISE = [
    Case("imagenet256_multi_step", "v5e:8x8", flags=(_ROUNDS(2),)),
    Case("imagenet256_multi_step", "v6e:4x8", flags=(_ROUNDS(2),)),
    Case("imagenet256_768", "v5e:8x8", flags=_WHOLE),
    Case("t2i_256_arrays", "v5e:8x8", flags=(_ROUNDS(2),)),
    Case("t2i_256_arrays", "v6e:4x8", flags=(_ROUNDS(2),)),
    Case("flux2_klein_512_arrays", "v5e:8x8", flags=(_ROUNDS(4),)),
    Case("flux2_klein_512_arrays", "v6e:4x8", flags=(_ROUNDS(4),)),
    Case("flux2_klein_512_arrays", "v5e:16x16"),
    Case("flux2_klein_512_arrays", "v5e:16x16", flags=(_ROUNDS(4),)),
    Case("flux2_klein_512_arrays", "v6e:8x8", flags=(_ROUNDS(2),))]
# Rounds of accumulation in which a batch fits with the config's own mesh, by slice and config.
_ROUNDS_OF_DOTS = {
    "v5e:8x8": {"imagenet256": 2, "imagenet256_multi_step": 8, "imagenet256_1152": 2,
                "imagenet256_768": 1, "imagenet64": 2, "t2i_256_arrays": 8, "sit_xl_256": 2},
    "v5e:16x16": {"flux2_klein_512_arrays": 4},
    "v5p:4x4x4": {"imagenet256": 1, "imagenet256_multi_step": 2, "imagenet256_1152": 1,
                  "imagenet256_768": 1, "imagenet64": 1, "t2i_256_arrays": 1, "sit_xl_256": 1,
                  "flux2_klein_512_arrays": 4}}
_DOTS = [Case(config, topology, flags=("--config.model.remat=dots",)
              + ((_ROUNDS(rounds),) if rounds > 1 else ()))
         for topology, found in _ROUNDS_OF_DOTS.items() for config, rounds in found.items()]
_KERNEL = ("--config.model.attention_kernel=always",)
_WINDOWLESS = [Case(config, "v6e:4x8", flags=flags, windows=False) for config in (
    "imagenet256", "imagenet256_1152", "imagenet256_768", "sit_xl_256") for flags in ((), _KERNEL)]
TABLES: Mapping[str, list[Case]] = {
    "smallest": [Case("imagenet256", topology) for topology in (
        "v5e:4x4", "v5e:4x8", "v5p:2x2x1", "v5p:2x2x2", "v6e:2x4", "v6e:4x4")],
    "remat": _REMAT,
    "programs": _PROGRAMS,
    "transporters": _TRANSPORTERS,
    "text": _TEXT,
    "pixels": _PIXELS,
    "configs": [Case(config, topology) for config in _FULL_SCALE for topology in _SLICES]
               + _OTHERWISE,
    "dots": _DOTS,
    "windowless": _WINDOWLESS,
    "weak": [_weak("cpu:1")] + [_weak(f"cpu:{n}", **mesh) for n in (2, 4, 8)
                                for mesh in ({"data": -1, "fsdp": 1}, {"data": 1, "fsdp": -1})],
}


def main():
  """Compiles what is missing and prints the tables."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--results", type=pathlib.Path, required=True, help="folder of the figures")
  parser.add_argument("--tables", nargs="*", choices=TABLES, default=list(TABLES))
  parser.add_argument("--print_only", action="store_true", help="compile nothing")
  args = parser.parse_args()
  args.results.mkdir(parents=True, exist_ok=True)
  for name in args.tables:
    for case in TABLES[name]:
      if not args.print_only and not (args.results / case.file).exists():
        compile_case(case, args.results)
  for name in args.tables:
    print(f"\n{name}")
    print(_WEAK_HEADER if name == "weak" else _HEADER)
    for case in TABLES[name]:
      path = args.results / case.file
      figures = json.loads(path.read_text()) if path.exists() else None
      print((_weak_row if name == "weak" else _row)(case, figures))


def compile_case(case: Case, results: pathlib.Path) -> None:
  """Writes the figures of one case; a failure is shown and the others go on."""
  print(f"+ {case.file}", file=sys.stderr, flush=True)
  command = [sys.executable, "-m", "ntm.commands.main", "compile",
             f"--config={_CONFIGS / case.config}.py", f"--topology={case.topology}",
             f"--program={case.program}", f"--json={results / case.file}", *case.flags]
  env = dict(os.environ)
  if not case.windows:
    env["LIBTPU_INIT_ARGS"] = f"{env.get('LIBTPU_INIT_ARGS', '')} {_NO_WINDOWS}".strip()
  done = subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                        text=True)
  if done.returncode:
    print(f"failed: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr, flush=True)


_HEADER = """\
| config | program | slice | chips | parameters | arguments, GiB | temporaries | memory | of HBM | \
TFLOPs per chip | collectives, GiB | interconnect / arithmetic | memory / arithmetic | \
MFU at most | without overlap |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"""


def _row(case, figures):
  """One line of Markdown; figures are None where there are none yet."""
  flags = " ".join(flag.split(".")[-1].removeprefix("--") for flag in case.flags)
  start = f"| `{case.config}` | {case.program} {flags}".rstrip() + f" | {case.topology} |"
  if figures is None:
    return start + " not yet compiled |" + " |" * 11
  gib = lambda n: f"{n / _GIB:.2f}"
  used = figures["hbm_per_chip_bytes"] / figures["hbm_limit_bytes"]
  memory = (f" {gib(figures['arguments'])} | {gib(figures['temporaries'])} |"
            if figures["temporaries"] else " | |")
  bounds = figures.get("bounds_seconds")
  end = f" {figures['flops_per_chip'] / 1e12:.1f} |" + " |" * 5
  if bounds:
    # Figures that were kept from before have no memory traffic.
    traffic = f"{bounds['memory'] / bounds['compute']:.2f}" if "memory" in bounds else ""
    serial = figures.get("mfu_bound_without_overlap")
    end = (f" {figures['flops_per_chip'] / 1e12:.1f} | "
           f"{gib(sum(figures['collective_bytes'].values()))} | "
           f"{bounds['interconnect'] / bounds['compute']:.2f} | {traffic} | "
           f"{figures['mfu_bound']:.0%} | {'' if serial is None else f'{serial:.0%}'} |")
  return (f"{start} {figures['chips']} | {figures['parameters']:,} |{memory} "
          f"{gib(figures['hbm_per_chip_bytes'])} | "
          f"{used:.1%}{'' if figures['fits'] else ', **does not fit**'} |{end}")


_WEAK_HEADER = """\
| devices | mesh (data, fsdp) | batch | GFLOPs per device | memory, MiB | all-reduce, MiB | \
all-gather | other collectives |
|---|---|---|---|---|---|---|---|"""


def _weak_row(case, figures):
  """One line; everything is of one device."""
  count = case.topology.partition(":")[2]
  mesh = f"({count}, 1)" if "--config.mesh.fsdp=-1" not in case.flags else f"(1, {count})"
  if figures is None:
    return f"| {count} | {mesh} | not yet compiled | | | | | |"
  moved = dict(figures["collective_bytes"])
  sizes = [figures["hbm_per_chip_bytes"], moved.pop("all-reduce", 0),
           moved.pop("all-gather", 0), sum(moved.values())]
  mib = " | ".join(f"{n / 2 ** 20:.2f}" for n in sizes)
  return (f"| {count} | {mesh} | {figures['batch_size']} | "
          f"{figures['flops_per_chip'] / 1e9:.2f} | {mib} |")


if __name__ == "__main__":
  main()
