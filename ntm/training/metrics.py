"""Where numbers and pictures of a run go: metrics.jsonl, TensorBoard, PNG."""

import json
import logging
import os

import numpy as np
from etils import epath

from ntm.sampling import pictures
from ntm.training import multihost

_LOG = logging.getLogger("ntm")


class Writer:
  """Writes metrics of one run; on processes other than the first, nothing.

  metrics.jsonl has one object a line, {"step": int, name: number, ...}. Names
  with a slash group in TensorBoard. TensorBoard needs the `tensorboard` extra;
  without it one line says so and the files are written all the same.
  """

  def __init__(self, workdir: str | os.PathLike, first_step: int,
               primary_metric: str = "nats_per_dim", unit: str = "nats/dim"):
    """Opens the files; lines after `first_step`, from before a resume, go.

    Args:
      workdir: directory of the run.
      first_step: where it starts or resumes.
      primary_metric: whose curve is drawn.
      unit: of the primary metric.
    """
    self._primary_metric, self._unit = primary_metric, unit
    self._active = multihost.is_first()
    self._workdir = epath.Path(workdir)
    self._path = self._workdir / "metrics.jsonl"
    self._events = None
    if not self._active:
      return
    lines = [line for line in read(workdir) if line["step"] <= first_step]
    self._path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    # TensorFlow only writes events here; without these it greets at length.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
      from clu import metric_writers
    except ImportError:
      _LOG.warning("TensorBoard events are off; to have them: pip install 'ntm[tensorboard]'")
    else:
      self._events = metric_writers.SummaryWriter(os.fspath(workdir))

  def scalars(self, step: int, values: dict[str, float]) -> None:
    """Appends one line of metrics."""
    if not self._active:
      return
    line = json.dumps({"step": step} | values) + "\n"
    if "://" in os.fspath(self._path):  # Objects in a bucket are only written whole.
      self._path.write_text(self._path.read_text() + line)
    else:
      with self._path.open("a") as file:
        file.write(line)
    if self._events:
      self._events.write_scalars(step, values)
      self._events.flush()

  def picture(self, step: int, name: str, picture: np.ndarray) -> None:
    """Saves samples/<name>_<step>.png, and the same to TensorBoard."""
    if not self._active:
      return
    pictures.save(self._workdir / "samples" / f"{name}_{step:07d}.png", picture)
    if self._events:
      self._events.write_images(step, {name: picture[None]})

  def curves(self) -> None:
    """Draws curves.png: the primary metric held out and in training, in total and per step."""
    if self._active:
      draw_curves(self._workdir, self._primary_metric, self._unit)

  def close(self) -> None:
    """Flushes TensorBoard."""
    if self._events:
      self._events.close()


def read(workdir: str | os.PathLike) -> list[dict]:
  """The lines of metrics.jsonl up to the first one that a crash or an edit left damaged."""
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


def draw_curves(workdir: str | os.PathLike, primary_metric: str, unit: str) -> None:
  """Draws workdir/curves.png from metrics.jsonl."""
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  lines = read(workdir)
  figure = Figure(figsize=(9, 3.6), layout="constrained")
  FigureCanvasAgg(figure)
  total, steps = figure.subplots(1, 2)
  for axes, title in ((total, "all steps"), (steps, "each step, training")):
    axes.set(title=title, xlabel="update", ylabel=unit)
    axes.grid(alpha=0.3)
  for prefix, label in (("train/", "training"), ("held_out/", "held out (EMA)")):
    points = [(line["step"], line[prefix + primary_metric])
              for line in lines if prefix + primary_metric in line]
    if points:
      total.plot(*zip(*points), marker=".", label=label)
  names = sorted({key for line in lines for key in line if key.startswith("train/step_")})
  for name in names:
    points = [(line["step"], line[name]) for line in lines if name in line]
    steps.plot(*zip(*points), label=name.split("/")[1].replace("_", " "))
  for axes in (total, steps):
    if axes.lines:
      axes.legend(fontsize=8)
  # The first updates fall by more than all later ones: show what comes after.
  values = sorted(line[f"train/{primary_metric}"] for line in lines
                  if f"train/{primary_metric}" in line)
  if len(values) > 3:
    total.set_ylim(values[0] - 0.05, values[int(0.9 * len(values))] + 0.1)
  with (epath.Path(workdir) / "curves.png").open("wb") as file:
    figure.savefig(file, format="png", dpi=110)
