"""Recipes compared on endless digits: python benchmarks/endless.py --results=runs/endless

A recipe is a set of config values that differ from configs/digits_endless.py. Every
recipe is trained with every seed in a workdir of its own, `RESULTS/NAME-SEED`, on draws
that no other update or seed sees, and judged by one classifier, `RESULTS/classifier.npz`:
5,000 samples against 20,000 fresh draws. Each way to sample it gives a line of
`RESULTS/results.jsonl`; `--table` prints their means over the seeds.

  --recipe='wide: model.predictor.width=256 train.steps=4000'   adds a recipe
  --recipe='mean: objective=mean_flow model.kind=flow_matching' trains a published few-step method,
                                                                benchmarks/mean_flow.py
  --common='train.steps=8000'                                   changes all of them

What is done is not done again, and an interrupted training resumes. Recipes run side by
side (--workers), so images/s compare only within a run of one worker.
"""

import argparse
import collections
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import endless_recipes
import numpy as np

from ntm import config as config_lib
from ntm.evaluation import sample_metrics
from ntm.evaluation.classifier import Classifier

REAL = {"fresh draws": "fresh", "held-out digits": "test"}  # Judged as if they were samples.
_WORKER = pathlib.Path(__file__).with_name("endless_run.py")
_QUICK = "train.steps=20 optimizer.warmup_steps=2"
_POLL_SECONDS, _REPORT_SECONDS = 0.5, 15


def main():
  """Trains and judges what is missing, and prints the table."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--results", type=pathlib.Path, required=True, help="folder of all results")
  parser.add_argument("--recipes", nargs="*", help="names; all by default")
  parser.add_argument("--recipe", action="append", default=[], help="'NAME: KEY=VALUE ...', one "
                      "more recipe")
  parser.add_argument("--common", default="", help="'KEY=VALUE ...' of every recipe")
  parser.add_argument("--seeds", nargs="*", type=int, default=[0])
  parser.add_argument("--workers", type=int, default=1, help="recipes trained side by side")
  parser.add_argument("--num_samples", type=int, default=5000)
  parser.add_argument("--quick", action="store_true", help="20 updates and 200 samples, to see "
                      "that it runs")
  parser.add_argument("--table", action="store_true", help="print the table alone")
  args = parser.parse_args()
  failed = 0 if args.table else run(args)
  print_table(read(args.results))
  sys.exit(1 if failed else 0)


def run(args) -> int:
  """Runs the jobs that have no results yet; returns how many failed."""
  count = 200 if args.quick else args.num_samples
  common = f"{_QUICK if args.quick else ''} {args.common}"
  args.results.mkdir(parents=True, exist_ok=True)
  done = {(row["recipe"], row["seed"]): row for row in read(args.results)}
  jobs = []
  for name, changes in endless_recipes.chosen_recipes(args.recipes, args.recipe).items():
    for seed in args.seeds:
      config = config_lib.to_dict(
          endless_recipes.config_of(f"{changes} {common} train.seed={seed}"))
      job = {"recipe": name, "seed": seed, "changes": f"{changes} {common}".split(),
             "num_samples": count, "config": config} | endless_recipes.objective_of(config, changes)
      if (name, seed) not in done:
        jobs.append(job)
      elif (before := done[name, seed]["changes"]) != job["changes"]:
        raise ValueError(f"{args.results} holds a recipe {name!r} with {before}, not "
                         f"{job['changes']}; choose another name.")
  judge_real(args.results, args.seeds, count, done)
  return run_jobs(jobs, args.results, args.workers)


def judge_real(results: pathlib.Path, seeds, count: int, done) -> None:
  """Fits the classifier, if there is none, and judges real draws as if they were samples."""
  data = config_lib.DataConfig(augment=True)
  path = results / "classifier.npz"
  if not path.exists():
    print("fitting the classifier", flush=True)
    sample_metrics.fit_endless(data).save(path)
  missing = [(name, seed) for name in REAL for seed in seeds if (name, seed) not in done]
  if not missing:
    return
  reference, others = sample_metrics.endless(data, count * (max(seeds) + 1), Classifier.load(path))
  for name, seed in missing:
    batch = {key: values[seed * count:(seed + 1) * count]
             for key, values in others[REAL[name]].items()}
    append(results, [{"recipe": name, "seed": seed, "changes": [], "sampler": "",
                      "num_samples": count, **reference.metrics(batch["image"], batch["label"])}])


def run_jobs(jobs, results: pathlib.Path, workers: int) -> int:
  """Runs every job in a process, `workers` at a time; returns how many failed."""
  waiting, running, seconds, failed = collections.deque(jobs), {}, [], 0
  reported = time.monotonic()
  while waiting or running:
    while waiting and len(running) < workers:
      job = waiting.popleft()
      running[start(job, results, workers)] = (job, time.monotonic())
    time.sleep(_POLL_SECONDS)
    for process, (job, started) in list(running.items()):
      if process.poll() is None:
        continue
      del running[process]
      name = f"{job['recipe']}-{job['seed']}"
      if process.returncode:
        failed += 1
        print(f"{name} failed:\n{last_lines(results / name / 'log.txt', 15)}", flush=True)
      else:
        seconds.append(time.monotonic() - started)
        append(results, json.loads((results / name / "rows.json").read_text()))
        print(f"{name} done in {seconds[-1]:.0f} s; {left(waiting, running, seconds, workers)}",
              flush=True)
    if time.monotonic() - reported > _REPORT_SECONDS:
      reported = time.monotonic()
      for job, _ in running.values():
        name = f"{job['recipe']}-{job['seed']}"
        print(f"  {name}: {last_lines(results / name / 'log.txt', 1)}", flush=True)
      print(f"  {left(waiting, running, seconds, workers)}", flush=True)
  return failed


def start(job, results: pathlib.Path, workers: int) -> subprocess.Popen:
  """The process of one job, which writes log.txt and rows.json into its workdir."""
  workdir = results / f"{job['recipe']}-{job['seed']}"
  workdir.mkdir(exist_ok=True)
  (workdir / "job.json").write_text(json.dumps(job))
  threads = str(max(1, (os.cpu_count() or 1) // workers))
  environment = os.environ | {
      "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "OMP_NUM_THREADS": threads,
      "OPENBLAS_NUM_THREADS": threads, "TF_CPP_MIN_LOG_LEVEL": "2",
      "JAX_COMPILATION_CACHE_DIR": str(results.absolute() / "compiled")}
  with (workdir / "log.txt").open("w") as log:
    return subprocess.Popen([sys.executable, str(_WORKER), str(workdir)], env=environment,
                            stdout=log, stderr=subprocess.STDOUT)


def left(waiting, running, seconds, workers) -> str:
  """How many jobs are left, and for how long by the mean of those that are done."""
  text = f"{len(running)} running, {len(waiting)} waiting"
  if not seconds:
    return text
  rounds = (len(waiting) + len(running) / 2) / workers
  return f"{text}, {datetime.timedelta(seconds=round(rounds * statistics.mean(seconds)))} left"


def last_lines(path: pathlib.Path, count: int) -> str:
  """The end of a log."""
  return "\n".join(path.read_text(errors="replace").splitlines()[-count:]) if path.exists() else ""


def read(results: pathlib.Path) -> list[dict]:
  """All rows written so far."""
  path = results / "results.jsonl"
  return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append(results: pathlib.Path, rows) -> None:
  """Adds rows to the file."""
  with (results / "results.jsonl").open("a") as file:
    file.writelines(json.dumps(row) + "\n" for row in rows)


_COLUMNS = {"parameters": ("parameters", "{:,.0f}"), "updates": ("updates", "{:,.0f}"),
            "evaluations": ("evaluations", "{:.0f}"), "Fréchet": ("frechet_distance", "{:.3f}"),
            "precision": ("precision", "{:.3f}"), "recall": ("recall", "{:.3f}"),
            "accuracy": ("class_accuracy", "{:.1%}"), "NLL": ("nll_nats_per_dim", "{:.4f}"),
            "held-out NLL": ("test_nll_nats_per_dim", "{:.4f}"),
            "training s": ("train_seconds", "{:.0f}"), "images/s": ("images_per_second", "{:,.0f}")}


def print_table(rows) -> None:
  """Means over the seeds; the error of the Fréchet distance is over them, or of one jackknife."""
  groups = collections.defaultdict(list)
  for row in rows:
    groups[row["recipe"], row["sampler"]].append(row)
  print(f"| recipe | sampler | seeds | {' | '.join(_COLUMNS)} |")
  print(f"|{'---|' * (3 + len(_COLUMNS))}")
  for (recipe, sampler), group in groups.items():
    cells = [recipe, sampler, str(len(group))]
    for key, pattern in _COLUMNS.values():
      values = [row[key] for row in group if row.get(key) is not None]
      cells.append(pattern.format(np.mean(values)) if values else "")
      if key == "frechet_distance":
        error = (np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1
                 else group[0]["frechet_standard_error"])
        cells[-1] += f" ± {error:.3f}"
    print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
  main()
