"""Where the metrics and pictures of a run are written: metrics.jsonl, TensorBoard, PNG."""

import json
import logging
import os

import numpy as np
from etils import epath

from ntm.sampling import pictures
from ntm.training import multihost
from ntm.training import workdir as workdir_lib

_LOG = logging.getLogger("ntm")


class Writer:
  """Writes the metrics of one run, on the primary process alone.

  metrics.jsonl has one object per line, {"step": int, name: number, ...}; names with a
  slash are grouped in TensorBoard. On a disk every line is appended at once. An object
  in a bucket can only be written as a whole, so there lines are kept in memory and
  written by `flush`, which comes before every checkpoint: a run that is killed loses
  only lines of steps that it repeats when it resumes.

  TensorBoard needs the `tensorboard` extra; without it a warning says so and everything
  else is written.
  """

  def __init__(self, workdir: str | os.PathLike, first_step: int,
               primary_metric: str = "nats_per_dim", unit: str = "nats/dim"):
    """Opens the files and drops lines after `first_step`, from which the run starts or resumes.

    Args:
      workdir: directory of the run.
      first_step: see above.
      primary_metric: the metric that curves.png shows, in `unit`.
      unit: of the primary metric.
    """
    self._primary_metric, self._unit = primary_metric, unit
    self._active = multihost.is_primary_process()
    self._workdir, self._path = epath.Path(workdir), epath.Path(workdir) / "metrics.jsonl"
    self._events, self._lines, self._flushed = None, None, 0
    if not self._active:
      return
    lines = [json.dumps(line) + "\n" for line in read(workdir) if line["step"] <= first_step]
    self._path.write_text("".join(lines))
    if workdir_lib.is_bucket(workdir):
      self._lines, self._flushed = lines, len(lines)
    # TensorFlow only writes events here; these keep its start-up messages out of the log.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
      from clu import metric_writers
    except ImportError:
      _LOG.warning("TensorBoard events are off; to have them: pip install 'ntm[tensorboard]'")
    else:
      self._events = metric_writers.SummaryWriter(os.fspath(workdir))

  def scalars(self, step: int, values: dict[str, float]) -> None:
    """Adds one line of metrics."""
    if not self._active:
      return
    line = json.dumps({"step": step} | values) + "\n"
    if self._lines is None:
      with self._path.open("a") as file:
        file.write(line)
    else:
      self._lines.append(line)
    if self._events:
      self._events.write_scalars(step, values)
      self._events.flush()

  def flush(self) -> None:
    """Writes the lines that a bucket does not have yet."""
    if self._lines is not None and len(self._lines) > self._flushed:
      self._path.write_text("".join(self._lines))
      self._flushed = len(self._lines)

  def picture(self, step: int, name: str, picture: np.ndarray) -> None:
    """Saves samples/<name>_<step>.png, and the same image to TensorBoard."""
    if not self._active:
      return
    pictures.save(self._workdir / "samples" / f"{name}_{step:07d}.png", picture)
    if self._events:
      self._events.write_images(step, {name: picture[None]})

  def curves(self) -> None:
    """Draws curves.png: the primary metric, held out and in training, in total and per step."""
    self.flush()
    if self._active:
      _draw_curves(self._workdir, self._primary_metric, self._unit)

  def close(self) -> None:
    """Writes what is left and closes the files."""
    self.flush()
    if self._events:
      self._events.close()


def read(workdir: str | os.PathLike) -> list[dict]:
  """The lines of metrics.jsonl up to the first that a crash or an edit damaged."""
  path = epath.Path(workdir) / "metrics.jsonl"
  lines = []
  for text in path.read_text().splitlines() if path.exists() else []:
    try:
      line = json.loads(text)
    except json.JSONDecodeError:
      break
    if not isinstance(line, dict) or not isinstance(line.get("step"), int):
      break
    lines.append(line)
  return lines


def _draw_curves(workdir, primary_metric, unit):
  """Draws workdir/curves.png from metrics.jsonl."""
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  lines = read(workdir)
  points = lambda name: [(line["step"], line[name]) for line in lines if name in line]
  figure = Figure(figsize=(9, 3.6), layout="constrained")
  FigureCanvasAgg(figure)
  total, steps = figure.subplots(1, 2)
  for axes, title in ((total, "all steps"), (steps, "each step, training")):
    axes.set(title=title, xlabel="update", ylabel=unit)
    axes.grid(alpha=0.3)
  training = points(f"train/{primary_metric}")
  for curve, label in ((training, "training"),
                       (points(f"held_out/{primary_metric}"), "held out (EMA)")):
    if curve:
      total.plot(*zip(*curve), marker=".", label=label)
  for name in sorted({key for line in lines for key in line if key.startswith("train/step_")}):
    steps.plot(*zip(*points(name)), label=name.split("/")[1].replace("_", " "))
  for axes in (total, steps):
    if axes.lines:
      axes.legend(fontsize=8)
  # The first updates improve more than all later ones: show the range of the later ones.
  values = sorted(value for _, value in training)
  if len(values) > 3:
    total.set_ylim(values[0] - 0.05, values[int(0.9 * len(values))] + 0.1)
  with (workdir / "curves.png").open("wb") as file:
    figure.savefig(file, format="png", dpi=110)
