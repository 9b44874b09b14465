"""What a start costs as several processes: python benchmarks/start_up.py --processes 1 8

Launches `ntm train` with `launch/local.py`, as that many processes of one CPU device each, three
times in one workdir, and stops it by SIGTERM after some updates: from nothing with an empty cache
of programs, on from the checkpoint with the cache that it left, and on from the checkpoint without
a cache. Prints the seconds from the launch to the call of the loop (imports, checks, finding the
other processes), until the state is there, and of the first update, which compiles or reads the
cache.

The processes share the cores of this machine, so seconds grow with their number; rows of equal
`processes` can be compared.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import result_file

_ROOT = pathlib.Path(__file__).parents[1]
_STARTS = {"from nothing": False, "resumed, programs cached": True, "resumed, no cache": False}
_PHASES = {"launch": "launch to loop", "start": "state drawn or restored",
           "compile": "first update", "data": "waiting for data"}
_TINY = ["model.predictor.width=16", "model.transporter.width=16", "model.predictor.layers=1",
         "model.transporter.num_blocks=1", "model.unroll=1"]


def main():
  """Prints the table and writes the JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--processes", nargs="*", type=int, default=[1, 8])
  parser.add_argument("--config", default=str(_ROOT / "configs/digits.py"))
  parser.add_argument("--change", nargs="*", default=[], help="KEY=VALUE of the config")
  parser.add_argument("--steps", type=int, default=10, help="updates per start, at least")
  parser.add_argument("--quick", action="store_true",
                      help="one process of a tiny model, to see that it runs")
  result_file.add_flag(parser)
  args = parser.parse_args()
  if args.quick:
    args.processes, args.change, args.steps = [1], [*_TINY, *args.change], 2
  if min(args.processes) < 1 or args.steps < 2:
    parser.error("--processes are to be 1 or more, and --steps 2 or more")
  rows = []
  for count in args.processes:
    with tempfile.TemporaryDirectory() as place:
      for name, is_cached in _STARTS.items():
        rows.append({"processes": count, "from": name}
                    | start(args, count, pathlib.Path(place), is_cached))
        print(rows[-1], file=sys.stderr, flush=True)
  print(table(rows))
  if args.json:
    args.json.write_text(json.dumps(rows, indent=2) + "\n")


def start(args, count: int, place: pathlib.Path, is_cached: bool) -> dict[str, float]:
  """{phase: seconds} of a start."""
  cache, record = place / "programs", place / "run/goodput.json"
  if not is_cached:
    shutil.rmtree(cache, ignore_errors=True)
  before, launched = len(starts(record)), time.time()
  with (place / "log").open("w") as log, subprocess.Popen(
      [sys.executable, _ROOT / "launch/local.py", f"--processes={count}",
       "--devices-per-process=1", "--", sys.executable, "-m", "ntm.commands.main", "train",
       f"--config={args.config}", f"--workdir={place / 'run'}",
       f"--config.train.log_every={args.steps}", "--config.train.sample_every=1000000",
       *(f"--config.{change}" for change in args.change)],
      env=os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)},
      stdout=log, stderr=subprocess.STDOUT) as process:
    while process.poll() is None and len(starts(record)) == before:  # Written with the first log.
      time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
  if len(starts(record)) == before:
    raise SystemExit(f"ntm train failed:\n{(place / 'log').read_text()[-4000:]}")
  begun = starts(record)[-1]
  seconds = {"launch": begun["started"] - launched, **begun["seconds"]}
  return {phase: seconds.get(phase, 0.0) for phase in _PHASES}


def starts(record: pathlib.Path) -> list[dict]:
  """Those that the file has so far."""
  return json.loads(record.read_text())["starts"] if record.exists() else []


def table(rows) -> str:
  """The rows as Markdown."""
  lines = [f"| processes | start | {' | '.join(f'{name}, s' for name in _PHASES.values())} |",
           f"|{'---|' * (2 + len(_PHASES))}"]
  lines += [f"| {row['processes']} | {row['from']} | "
            + " | ".join(f"{row[phase]:.1f}" for phase in _PHASES) + " |" for row in rows]
  return "\n".join(lines)


if __name__ == "__main__":
  main()
