"""Tables of the documentation from measured rows: python benchmarks/tables.py

A page holds such a table between `<!-- table: NAME -->` and `<!-- -->`, and the rows are in
docs/measurements/. Prints the tables that are not those of the rows, and exits with 1 if there
are any; `--write` puts them right. To add rows, append those of a benchmark's `results.jsonl`;
those of docs/ablations.md are added by `ntm table --reduced --docs=docs`; those of best_of_n.py,
adaptive_steps.py and classify.py are the rows of their JSON, one per line with a name as "way".
"""

import argparse
import collections
import json
import pathlib
import sys

import numpy as np
import published_runs
import shapes

from ntm.ablations import pages

_DOCS = pathlib.Path(__file__).parents[1] / "docs"
_RAW, _REFINED = "4 steps", "4 steps, refined"

# A title, or (what it is, recipe, sampler); of an NTM without a sampler, refined and raw.
_ENDLESS = (
    "2,000 updates",
    ("Gaussian steps", "gaussian"),
    ("four affine blocks", "affine"),
    ("four spline blocks", "splines"),
    ("features: one affine block of four layers that reads the noisier state", "features"),
    ("both: two spline blocks of two layers that read it", "both"),
    ("both, predictor of four layers", "both_deep"),
    ("flow matching, Euler", "flow_matching", "euler 4"),
    ("", "flow_matching", "euler 8"),
    ("", "flow_matching", "euler 50"),
    ("flow matching, Heun", "flow_matching", "heun 4"),
    ("flow matching, DPM-Solver++(2M)", "flow_matching", "dpm++ 4"),
    ("", "flow_matching", "dpm++ 8"),
    "6,000 updates",
    ("four affine blocks", "affine_6k"),
    ("both, predictor of four layers", "both_deep_6k"),
    ("flow matching, Euler", "flow_matching_6k", "euler 4"),
    ("", "flow_matching_6k", "euler 8"),
    ("", "flow_matching_6k", "euler 50"),
    ("flow matching, Heun", "flow_matching_6k", "heun 4"),
    ("flow matching, DPM-Solver++(2M)", "flow_matching_6k", "dpm++ 4"),
    ("", "flow_matching_6k", "dpm++ 8"),
)
_EQUAL = (
    ("NTM, both, predictor of four layers, refined", "both_deep_4k", _REFINED),
    ("raw", "both_deep_4k", _RAW),
    ("flow matching, Euler", "flow_matching_8_4k", "euler 4"),
    ("", "flow_matching_8_4k", "euler 8"),
    ("", "flow_matching_8_4k", "euler 50"),
    ("flow matching, Heun", "flow_matching_8_4k", "heun 4"),
    ("flow matching, DPM-Solver++(2M)", "flow_matching_8_4k", "dpm++ 8"),
    ("MeanFlow", "mean_flow_8", "mean flow 1"),
    ("", "mean_flow_8", "mean flow 2"),
    ("", "mean_flow_8", "mean flow 4"),
)
_TEMPLATES = (
    ("Gaussian steps", "gaussian", "4 steps"),
    ("four affine blocks", "affine", "4 steps"),
    ("splines", "splines", "4 steps"),
    ("features of the noisier state", "features", "4 steps"),
    ("both: the config", "both", "4 steps"),
    ("both, channels of a token in order", "in_order", "4 steps"),
    ("flow matching, Euler", "flow_matching", "euler 4"),
    ("", "flow_matching", "euler 8"),
    ("", "flow_matching", "euler 50"),
    ("flow matching, Heun", "flow_matching", "heun 4"),
    ("flow matching, DPM-Solver++(2M)", "flow_matching", "dpm++ 8"),
)
_TRIED = (
    ("none", "both_deep"),
    ("128 features instead of 64 (`model.transporter.features=128`)", "both_deep_128_features"),
    ("average of the parameters over 100 updates (`optimizer.ema_decay=0.99`) instead of 333",
     "both_deep_ema"),
    ("16 bins instead of 8 (`model.transporter.spline_bins=16`)", "both_deep_16_bins"),
    ("shifted grid of times (`process.schedule=shifted`)", "both_deep_shifted"),
    ("`model.predictor.output=clean`", "both_deep_clean"),
    ("peak learning rate 1.5e-3 instead of 3e-3 (`optimizer.peak_learning_rate`)",
     "both_deep_lr_1.5e-3"),
    ("peak learning rate 5e-3", "both_deep_lr_5e-3"),
    ("wider feed-forward layers (`model.transporter.mlp_ratio=4`)", "both_deep_wide_mlp"),
    ("t_min of 0.1 with refinement, which then has noise to remove", "both_deep_t_min_0.1"),
    ('the same with `output = "clean"`', "both_deep_clean_t_min_0.1"),
    ("two blocks of four layers, predictor of two", "both_2x4"),
    ("four blocks of two layers, predictor of two", "both_4x2"),
    ("four blocks of one layer, predictor of two", "both_4x1"),
)


def main():
  """Compares the pages with the rows, or writes the tables."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--write", action="store_true", help="put the tables into the pages")
  args = parser.parse_args()
  different, blocks = [], TABLES | pages.blocks(_DOCS)
  for page in sorted(_DOCS.glob("*.md")):
    text = page.read_text()
    try:
      right, changed = pages.rewritten(text, blocks)
    except ValueError as error:
      sys.exit(f"{page}: {error}")
    for name, table in changed.items():
      print(f"{page}: the table {name!r} {'is now' if args.write else 'should be'}\n{table}")
    different += changed
    if args.write and right != text:
      page.write_text(right)
  if args.write:
    pages.write(_DOCS, [])  # The picture too.
  elif not pages.picture_is_current(_DOCS):
    different.append("the picture of ablations.md")
  if different and not args.write:
    sys.exit(f"the tables {different} are not those of their rows; --write writes them.")


def rows(name: str) -> list[dict]:
  """All rows of a file of docs/measurements/."""
  lines = (_DOCS / "measurements" / f"{name}.jsonl").read_text().splitlines()
  return [json.loads(line) for line in lines]


def markdown(header: list[str], lines: list[list[str]]) -> str:
  """A table."""
  return "".join(f"| {' | '.join(cells)} |\n".replace("  |", " |")
                 for cells in [header, ["---"] * len(header), *lines])


def endless() -> str:
  """Recipes of one seed on endless digits."""
  by_name = {(row["recipe"], row["sampler"]): row for row in rows("endless_h100")}
  lines, before = [], None
  for line in _ENDLESS:
    if isinstance(line, str):
      lines.append([f"**{line}**", *[""] * 6])
      continue
    what, recipe, *sampler = line
    row = by_name[recipe, sampler[0] if sampler else _REFINED]
    frechet = f"{row['frechet_distance']:.2f}"
    if not sampler:
      frechet += f" / {by_name[recipe, _RAW]['frechet_distance']:.2f}"
    lines.append([what, _millions(row) if recipe != before else "", str(row["evaluations"]),
                  _nll(row), frechet, f"{row['precision']:.3f}", f"{row['recall']:.3f}"])
    before = recipe
  return markdown(["", "million parameters", "evaluations", "NLL, nats/dim",
                   "Fréchet, refined / raw", "precision, refined", "recall, refined"], lines)


def equal() -> str:
  """Models of equal parameters on endless digits, over seeds."""
  groups, seeds = collections.defaultdict(dict), set()
  for row in rows("endless_cpu"):
    groups[row["recipe"], row["sampler"]][row["seed"]] = row
    seeds.add(row["seed"])
  lines, before = [], None
  for what, recipe, sampler in _EQUAL:
    group = groups[recipe, sampler]
    first, found = next(iter(group.values())), [row["frechet_distance"] for row in group.values()]
    new = recipe != before
    lines.append([what, _millions(first) if new else "", f"{first['updates']:,}" if new else "",
                  str(first["evaluations"]),
                  *(f"{group[seed]['frechet_distance']:.3f}" if seed in group else ""
                    for seed in sorted(seeds)),
                  f"{np.mean(found):.2f} ± {np.std(found, ddof=1) / len(found) ** 0.5:.2f}"
                  if len(found) > 1 else ""])
    before = recipe
  return markdown(["", "million parameters", "updates", "evaluations",
                   *(f"Fréchet, seed {seed}" for seed in sorted(seeds)), "mean"], lines)


def tried() -> str:
  """Changes of one recipe on endless digits."""
  by_name = {(row["recipe"], row["sampler"]): row["frechet_distance"]
             for row in rows("endless_h100")}
  return markdown(["change", "Fréchet, refined", "raw"], [
      [what, f"{by_name[recipe, _REFINED]:.2f}", f"{by_name[recipe, _RAW]:.2f}"]
      for what, recipe in _TRIED])


def templates() -> str:
  """Transporters and flow matching on glyphs of known density."""
  by_name = {(row["model"], row["sampler"]): row for row in rows("templates")}
  lines = []
  for what, model, sampler in _TEMPLATES:
    row = by_name[model, sampler]
    lines.append([what, _millions(row) if what else "", str(row["evaluations"]), *_divergence(row),
                  f"{row['in_mode_share']:.1%}", f"{row['mode_weight_total_variation']:.3f}"])
  row = by_name["both", "4 steps"]
  lines.append(["best Gaussian chain", "", "4", f"{row['gaussian_kl_nats']:.2f}",
                ", ".join(f"{kl:.2f}" for kl in row["gaussian_kl_per_step"]), "", ""])
  return markdown(["", "million parameters", "evaluations", "KL to the truth, nats",
                   "its steps, cleanest first", "in a mode", "weights, total variation"], lines)


def chosen(name: str, title: str, columns: tuple[str, ...]) -> str:
  """Ways to choose what is sampled, real pictures left out: they are few."""
  return markdown([title, *(column.replace("_", " ") for column in columns)], [
      [row["way"],
       *(_with_error(row) if column == "Fréchet distance" else _cell(row, column)
         for column in columns)]
      for row in rows(name) if row["way"] != "real test images"])


def classify() -> str:
  """Accuracy of generative models that classify."""
  lines, before = [], None
  for row in rows("classify"):
    accuracy = f"{row['accuracy']:.1%} ± {row['accuracy_standard_error']:.1%}"
    nats = f"{row['nats_per_image']:.2f}" if "nats_per_image" in row else ""
    lines.append([row["way"] if row["way"] != before else "", str(row.get("draws", "")),
                  str(row.get("evaluations", "")), accuracy, nats])
    before = row["way"]
  return markdown(["", "draws", "evaluations per class", "accuracy", "nats per image"], lines)


def _with_error(row):
  return f"{row['frechet_distance']:.2f} ± {row['frechet_standard_error']:.2f}"


def _cell(row, column):
  if column == "evaluations":
    return f"{np.mean(row['steps']):g}"
  return f"{row[column]:.3f}"


def _divergence(row):
  if "kl_to_truth_nats" not in row:
    return "", ""
  return (f"{row['kl_to_truth_nats']:.2f} ± {row['kl_to_truth_standard_error']:.2f}",
          ", ".join(f"{kl:.2f}" for kl in row["kl_per_step"]))


def _millions(row):
  return f"{row['parameters'] / 1e6:.2f}"


def _nll(row):
  return f"{row['nll_nats_per_dim']:.3f}" if "nll_nats_per_dim" in row else ""


TABLES = {"endless": endless, "equal": equal, "tried": tried, "templates": templates,
          "shapes": lambda: shapes.table(rows("shapes")),
          "best_of_n": lambda: chosen("best_of_n", "kept", (
              "Fréchet distance", "precision", "recall", "class_accuracy")),
          "adaptive_steps": lambda: chosen("adaptive_steps", "T of the classes", (
              "evaluations", "Fréchet distance", "class_accuracy")),
          "classify": classify,
          "published_runs": lambda: published_runs.table(rows("published_runs"))}


if __name__ == "__main__":
  main()
