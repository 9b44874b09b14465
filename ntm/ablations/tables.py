"""Tables of rows: means and standard errors over seeds, verdicts, and what made the figures."""

import dataclasses

import numpy as np

from ntm.ablations import claims
from ntm.ablations.claims import METRICS, Model
from ntm.ablations.experiments import EXPERIMENTS
from ntm.ablations.studies import STUDIES
from ntm.evaluation.published import NOT_MEASURED, Table

_HASH = 12  # Characters of a hash in a table; rows have all of them.


@dataclasses.dataclass(frozen=True)
class Cell:
  """A figure over seeds.

  Attributes:
    mean: over the seeds; None if there are none.
    standard_error: of the mean, over the seeds; None below two.
    rows: those behind it, with workdir, config, commands and date.
  """

  mean: float | None
  standard_error: float | None
  rows: tuple[dict, ...]

  def text(self, pattern: str) -> str:
    """As in a table; with fewer than three seeds it says how many."""
    if self.mean is None:
      return NOT_MEASURED
    if self.standard_error is None:
      return f"{self.mean:{pattern}} (1 seed)"
    few = f" ({len(self.rows)} seeds)" if len(self.rows) < claims.MIN_SEEDS else ""
    return f"{self.mean:{pattern}} ± {self.standard_error:{pattern}}{few}"


def cell(rows: dict, model: Model, metric: str) -> Cell:
  """A figure of a model.

  Args:
    rows: as `rows.valid` gives them.
    model: experiment and sampler.
    metric: in `claims.METRICS`.
  """
  found = [(value, rows[(model[0], seed, model[1])]) for seed in claims.seeds(rows, model)
           if (value := claims.figure(rows, model, seed, metric)) is not None]
  values = np.array([value for value, _ in found])
  with np.errstate(invalid="ignore"):
    error = float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else None
  return Cell(float(values.mean()) if found else None, error, tuple(row for _, row in found))


def study(name: str, rows: dict) -> Table:
  """The table of a study."""
  spec = STUDIES[name]
  columns = {"": "", **{METRICS[metric].name: "" for metric in spec.metrics}}
  return Table(spec.title, columns, tuple(
      (what, *(cell(rows, model, metric).text(METRICS[metric].pattern)
               for metric in spec.metrics)) for what, model in spec.lines.items()))


def verdicts(rows: dict, names: tuple[str, ...] = tuple(STUDIES)) -> Table:
  """Every claim of these studies, whether it is confirmed, and why."""
  return Table("Claims", {"claim": "", "of": "", "at this scale": "", "why": ""}, tuple(
      (claim.text, "the paper" if claim.of_paper else "ours", *claims.verdict(claim, rows))
      for name in names for claim in STUDIES[name].claims))


def provenance(rows: dict) -> Table:
  """What made the figures: a line per experiment and way to sample."""
  lines = []
  for name, experiment in EXPERIMENTS.items():
    for sampler in experiment.samplers:
      found = [rows[(name, seed, sampler)] for seed in claims.seeds(rows, (name, sampler))]
      lines.append((f"{name}, {sampler}", *_about(found)) if found else
                   (f"{name}, {sampler}", NOT_MEASURED, "", "", "", ""))
  return Table("What made the figures", dict.fromkeys(
      ("experiment, sampler", "seeds", "workdirs", "config hashes", "dates", "machine"), ""),
               tuple(lines))


def _about(found):
  unique = lambda values: ", ".join(dict.fromkeys(values))
  return (", ".join(str(row["seed"]) for row in found), unique(row["workdir"] for row in found),
          unique(row["config_sha256"][:_HASH] for row in found),
          unique(row["date"][:10] for row in found),
          unique(f"{row['machine']}, JAX {row.get('jax', 'unknown')}" for row in found))


def as_json(rows: dict) -> dict:
  """All tables, every cell with the rows behind it, and the verdicts."""
  def entry(model, metric):
    found = cell(rows, model, metric)
    return {"mean": found.mean, "standard_error": found.standard_error,
            **{key: [row.get(key) for row in found.rows]
               for key in ("seed", "workdir", "config_sha256", "commands", "date")}
            } if found.rows else NOT_MEASURED

  return {name: {
      "title": spec.title,
      "lines": {what: {metric: entry(model, metric) for metric in spec.metrics}
                for what, model in spec.lines.items()},
      "claims": [dict(zip(("claim", "of", "verdict", "reason"), line))
                 for line in verdicts(rows, (name,)).rows]} for name, spec in STUDIES.items()}


def markdown(table: Table) -> str:
  """Header and lines of a table, in Markdown."""
  return "".join(f"| {' | '.join(cells)} |\n".replace("  |", " |") for cells in (
      list(table.columns), ["---"] * len(table.columns), *table.rows))
