"""Makes the missing rows: trains, distils and evaluates by `ntm` in processes of their own."""

import datetime
import json
import logging
import os
import pathlib
import platform
import re
import shlex
import signal
import subprocess
import sys
import time

from ntm import config as config_lib
from ntm.ablations import rows as rows_lib
from ntm.ablations.recipes import CLASSIFIER, Recipe, filled
from ntm.training import workdir as workdir_lib

_LOG = logging.getLogger("ntm")
_REPORT_SECONDS = 30.0  # Between two lines of what a process is at.
_POLL_SECONDS = 0.2
_SAVE_SECONDS = 60.0
_DIVERGED = re.compile(r"the loss or its gradient was not finite at step (\d+)")


class _Failed(Exception):
  """A command ended with an error."""


def run(recipes: list[Recipe], results: pathlib.Path) -> list[str]:
  """Makes the rows that are missing in `results`; what is done is not done again.

  Repeated after a kill, it resumes the training that was interrupted; after a SIGTERM or Ctrl-C
  that one saves first. Two calls may work in one folder if their seeds differ.

  Args:
    recipes: in the order to make them.
    results: folder of runs and of results.jsonl.

  Returns:
    What failed, a line each; a training whose loss is not finite is a result, and did not fail.

  Raises:
    ValueError: a run of another config is in the way.
  """
  done = _done(recipes, results)
  missing = [recipe for recipe in recipes if recipe.key not in done]
  _LOG.info("%d of %d rows are in %s", len(recipes) - len(missing), len(recipes), results)
  for recipe in missing:
    _check_workdir(recipe, results)
  results.mkdir(parents=True, exist_ok=True)
  previous = signal.signal(signal.SIGTERM, _end)
  try:
    return _make_all(missing, results)
  finally:
    signal.signal(signal.SIGTERM, previous)


def _end(signum, frame):
  """Ends this process as an error does, so that the command it runs is ended too."""
  del frame
  raise SystemExit(128 + signum)


def _make_all(missing, results) -> list[str]:
  """Makes rows; returns what failed."""
  clock, failed = _Clock(rows_lib.read(results)), {}
  for number, recipe in enumerate(missing):
    source = recipe.spec.source and f"{recipe.spec.source}-{recipe.seed}"
    run_name = f"{recipe.experiment}-{recipe.seed}"
    if before := failed.get(run_name) or failed.get(source):
      _LOG.info("%s, %s is left out, because of %s", run_name, recipe.sampler, before)
      failed.setdefault(run_name, before)
      continue
    _LOG.info("%s, %s; %d rows left, %s", run_name, recipe.sampler, len(missing) - number,
              clock.left(missing[number:], results))
    try:
      _make(recipe, results, clock)
    except _Failed as error:
      failed[run_name] = f"{run_name}: {error}"
      _LOG.warning(failed[run_name])
  return list(dict.fromkeys(failed.values()))


def _done(recipes, results) -> set:
  """Keys of the recipes whose row is of today's commands and config."""
  quick = bool(recipes) and recipes[0].quick
  valid = rows_lib.valid(rows_lib.read(results), quick)
  return {recipe.key for recipe in recipes if recipe.key in valid
          and valid[recipe.key]["config_sha256"] == config_lib.sha256(recipe.config(results))}


def _check_workdir(recipe, results):
  workdir = recipe.workdir.format(results=results)
  if workdir_lib.started(workdir) and workdir_lib.read(workdir) != recipe.config(results):
    raise ValueError(f"{workdir} holds a run with another config; choose another --results_dir, or "
                     "remove that run.")


def _make(recipe, results, clock):
  """Adds the row of a recipe."""
  log = pathlib.Path(f"{recipe.workdir}.log".format(results=results))
  commands = [filled(command, results) for command in recipe.commands()]
  config = recipe.config(results)
  about = {"workdir": recipe.workdir.format(results=results),
           "config_sha256": config_lib.sha256(config), "commands": list(map(shlex.join, commands)),
           "machine": f"{os.cpu_count()} CPUs, {platform.system()} {platform.machine()}"}
  seconds, diverged = {}, _diverged(log)
  *trainings, evaluation = commands
  for command in trainings:
    if not diverged and not _complete(command, recipe, results):
      try:
        seconds[command[1]] = _call(command, log)
      except _Failed:
        diverged = _diverged(log)
        if not diverged:
          raise
  if diverged:
    about["diverged_at_step"] = diverged
    result = {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}
  else:
    if config.data.augment:
      _fit_classifier(config.data, results)
    seconds["evaluate"] = _call(evaluation, log)
    result = json.loads(pathlib.Path(recipe.json.format(results=results)).read_text())
    if result["config_sha256"] != about["config_sha256"]:
      raise _Failed(f"{about['workdir']} was evaluated with another config than it was trained "
                    "for; remove that run.")
  about |= {name: result[name] for name in ("date", "jax", "device") if name in result}
  clock.add(seconds)
  rows_lib.append(results, rows_lib.made(recipe, result, about | {"seconds": seconds}))


def _diverged(log) -> int:
  """The step at which the training of a log ended, as its loss was not finite; 0 for none."""
  found = _DIVERGED.findall(log.read_text(errors="replace")) if log.exists() else ()
  return int(found[-1]) if found else 0


def _complete(command, recipe, results) -> bool:
  """Whether a training is at its last step."""
  workdir = recipe.workdir.format(results=results) + "/denoiser" * (command[1] == "distill")
  steps = [flag.partition("=")[2] for flag in command if flag.startswith("--config.train.steps=")]
  last = int(steps[-1]) if steps else recipe.config(results).train.steps
  return (workdir_lib.checkpoints(workdir) / str(last)).exists()


def _fit_classifier(data, results):
  path = results / CLASSIFIER
  if path.exists():
    return
  from ntm.evaluation import sample_metrics
  _LOG.info("fitting the classifier")
  # Written whole: two calls may fit it at once, to the same weights.
  partial = results / f"{os.getpid()}-{CLASSIFIER}"
  sample_metrics.fit_endless(data).save(partial)
  partial.replace(path)


def _call(command, log) -> float:
  """Runs `ntm ...`, whose output goes to the log; returns its seconds.

  Raises:
    _Failed: it ended with another code than 0.
  """
  started = reported = time.monotonic()
  with log.open("a") as file:
    file.write(f"{shlex.join(command)}\n")
    file.flush()
    process = subprocess.Popen([sys.executable, "-m", "ntm.commands.main", *command[1:]],
                               stdout=file, stderr=subprocess.STDOUT)
  try:
    while process.poll() is None:
      time.sleep(_POLL_SECONDS)
      if time.monotonic() - reported > _REPORT_SECONDS:
        reported = time.monotonic()
        _LOG.info("  ntm %s: %s", command[1], _last_line(log))
  except BaseException as error:
    # A terminal sends Ctrl-C to both, and SIGTERM comes to this one alone. The other one saves.
    if not isinstance(error, KeyboardInterrupt):
      process.terminate()
    try:
      process.wait(_SAVE_SECONDS)
    except subprocess.TimeoutExpired:
      process.terminate()
    raise
  if process.returncode:
    raise _Failed(f"`ntm {command[1]}` ended with code {process.returncode}: {_last_line(log)} "
                  f"All of it is in {log}.")
  return round(time.monotonic() - started, 1)


def _last_line(log) -> str:
  lines = log.read_text(errors="replace").split("\n")
  return next((line.strip() for line in reversed(lines) if line.strip()), "")


class _Clock:
  """How long commands take, by those that were run."""

  def __init__(self, rows: list[dict]):
    self._seconds = {}
    for row in rows:
      self.add(row.get("seconds", {}))

  def add(self, seconds: dict[str, float]) -> None:
    for command, value in seconds.items():
      self._seconds.setdefault(command, []).append(value)

  def left(self, recipes, results) -> str:
    """The time for these rows, from the mean of every kind of command."""
    commands = {tuple(command) for recipe in recipes for command in recipe.commands()}
    trained = {tuple(command) for recipe in recipes for command in recipe.commands()[:-1]
               if _complete(filled(command, results), recipe, results)}
    kinds = [command[1] for command in commands - trained]
    if unknown := sorted(set(kinds) - set(self._seconds)):
      return f"the time of {' and '.join(unknown)} is not known yet"
    total = sum(sum(self._seconds[kind]) / len(self._seconds[kind]) for kind in kinds)
    return f"about {datetime.timedelta(seconds=round(total))} left"
