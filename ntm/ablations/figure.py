"""The picture of the ablations: quality over the number of steps.

The file carries a digest of what it shows, so that a picture of other rows is noticed without
comparing pixels, which depend on the version of matplotlib.
"""

import hashlib
import json
import pathlib

from PIL import Image

from ntm.ablations import tables
from ntm.ablations.claims import METRICS

_METRIC, _KEY = "frechet_distance", "rows-sha256"
_LINES = {
    "one model per T": {1: ("T1", "refined"), 2: ("T2", "refined"), 4: ("base", "refined"),
                        8: ("T8", "refined"), 16: ("T16", "refined")},
    "one model for 4, 8 and 16": {steps: ("multi_T", f"T = {steps}") for steps in (4, 8, 16)},
}


def points(rows: dict) -> dict[str, list[tuple[int, float, float]]]:
  """{line: (T, mean, standard error over seeds) of what was measured}, without empty lines.

  Args:
    rows: as `rows.valid` gives them.
  """
  found = {}
  for name, models in _LINES.items():
    cells = {steps: tables.cell(rows, model, _METRIC) for steps, model in models.items()}
    line = [(steps, cell.mean, cell.standard_error or 0.0) for steps, cell in cells.items()
            if cell.mean is not None]
    found |= {name: line} if line else {}
  return found


def digest(rows: dict) -> str:
  """Of what is drawn, to ten digits."""
  rounded = {name: [[steps, f"{mean:.10g}", f"{error:.10g}"] for steps, mean, error in line]
             for name, line in points(rows).items()}
  return hashlib.sha256(json.dumps(rounded).encode()).hexdigest()


def digest_of_file(path: pathlib.Path) -> str:
  """What `draw` left in a picture; '' if it is not one of it."""
  with Image.open(path) as image:
    return image.info.get(_KEY, "")


def plot(rows: dict):
  """The matplotlib figure."""
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure
  figure = Figure(figsize=(5.6, 3.6), layout="constrained")
  FigureCanvasAgg(figure)
  axes = figure.subplots()
  for name, line in points(rows).items():
    steps, means, errors = zip(*line)
    axes.errorbar(steps, means, errors, fmt="o-", markersize=5, capsize=3, label=name)
  every = sorted(set().union(*_LINES.values()))
  axes.set(xscale="log", xlabel="steps T", ylabel=METRICS[_METRIC].name)
  axes.set_xticks(every, map(str, every))
  axes.minorticks_off()
  axes.set_ylim(bottom=0)
  axes.grid(alpha=0.3)
  axes.legend()
  return figure


def draw(rows: dict, path: pathlib.Path) -> None:
  """Writes the picture as PNG."""
  path.parent.mkdir(parents=True, exist_ok=True)
  plot(rows).savefig(path, dpi=130, metadata={_KEY: digest(rows)})
