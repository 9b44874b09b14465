"""How far published runs are from the bound of ntm compile: python benchmarks/published_runs.py

The rows of docs/measurements/published_runs.jsonl are language models that others trained on TPUs,
with the step time or the FLOP/s that they report and the address of it. Closed formulas give what
an update of theirs computes and moves, `ntm.performance.bounds` the least time of that. Prints
the table of docs/scaling.md.

Counted are, per chip and update, in bfloat16 but for the state:

- arithmetic: three times the products with parameters, and once more those that
  rematerialisation computes again; of causal attention the pairs that are not masked, two products
  forward and five backward. Experts compute as many tokens as they have places for.
- memory: what every product, and every attention kernel, reads and writes, once per pass; the
  parameters that are gathered; parameters, two moments and gradients in float32 for the optimiser.
- links: parameters that are gathered twice and gradients that are scattered once along fsdp;
  activations that are gathered before and scattered after attention and MLP along tensor.
- network: the same parameters and gradients between slices, or gradients alone.

What is elementwise, embeddings, offloading to the host and input pipelines are not counted.
"""

import json
import math
import pathlib

from ntm.performance import accelerators, bounds, interconnect
from ntm.performance.interconnect import Exchange

_ROWS = pathlib.Path(__file__).parents[1] / "docs" / "measurements" / "published_runs.jsonl"
_BFLOAT16, _FLOAT32 = 2, 4
_BY_ROWS = ("out", "mlp_out")  # Products whose terms, rather than results, are split over tensor.


def main():
  """Prints the table."""
  print(table([json.loads(line) for line in _ROWS.read_text().splitlines()]))


def model_flops(row: dict) -> float:
  """FLOPs per chip and update as the source counts them, masked pairs included or not."""
  products = 6 * _tokens(row) * sum(_weights(row, active=True).values())
  return products + 3 * row["attention_counted"] * _attention(row)


def seconds(row: dict) -> float:
  """Published time per update; of the published FLOP/s if it is not stated."""
  return row.get("seconds") or model_flops(row) / (1e12 * row["tflops_per_chip"])


def bound(row: dict) -> bounds.Bound:
  """The least time of an update."""
  return bounds.of_chip(accelerators.lookup(row["chip"]), _executed_flops(row), _memory_bytes(row),
                        _exchanges(row))


def table(rows: list[dict]) -> str:
  """Published MFU and its bounds, in Markdown."""
  header = ["model", "slice", "step, s", "arithmetic", "memory", "links", "network", "MFU",
            "at most", "without overlap", "MFU / at most", "MFU / without overlap", "source"]
  lines = [header, ["---"] * len(header)]
  for row in rows:
    least, took = bound(row), seconds(row)
    at_peak = model_flops(row) / accelerators.lookup(row["chip"]).peak_flops
    shape = row["chip"].removeprefix("TPU ") + ":" + "x".join(map(str, row["shape"]))
    several = f"{row['slices']} x " if row["slices"] > 1 else ""
    lines.append([
        row["model"], several + shape, f"{took:.2f}", *(f"{s:.2f}" for s in least.parts.values()),
        f"{at_peak / took:.0%}", f"{at_peak / least.overlapped:.0%}",
        f"{at_peak / least.serial:.0%}",
        f"{least.overlapped / took:.2f}", f"{least.serial / took:.2f}",
        f"[figure]({row['source']})" + (f", [config]({row['config']})"
                                        if row["config"] != row["source"] else "")])
  return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _tokens(row):
  return row["sequences_per_chip"] * row["sequence"]


def _products(row) -> dict[str, tuple[int, int]]:
  """(inputs, outputs) of the products of a layer with parameters; of an expert."""
  width, hidden, head = row["width"], row["hidden"], row["head_width"]
  products = {"qkv": (width, (row["heads"] + 2 * row["kv_heads"]) * head),
              "out": (row["heads"] * head, width),
              "mlp_in": (width, hidden * (2 if row["gated"] else 1)), "mlp_out": (hidden, width)}
  return products | ({"router": (width, row["experts"])} if row["experts"] > 1 else {})


def _times(row, name, experts):
  """Parameters, or tokens, of a product come so many times; `experts` per MLP."""
  return experts if name.startswith("mlp") else 1


def _weights(row, active=False) -> dict[str, float]:
  """Parameters of each product in all layers; `active` ones of a token."""
  experts = row["experts_per_token"] if active else row["experts"]
  return {name: row["layers"] * _times(row, name, experts) * inputs * outputs
          for name, (inputs, outputs) in _products(row).items()} | {
              "logits": row["width"] * row["vocabulary"]}


def _attention(row):
  """FLOPs of all pairs of query and key, forward."""
  return 4 * row["layers"] * _tokens(row) * row["sequence"] * row["heads"] * row["head_width"]


def _again(row, name):
  return name in row["recomputed"]


def _executed_flops(row):
  places = row["experts_per_token"] * row["capacity_factor"]
  products = sum(
      2 * (3 + _again(row, name)) * row["layers"] * _times(row, name, places) * inputs * outputs
      for name, (inputs, outputs) in _products(row).items())
  products += 6 * row["width"] * row["vocabulary"]
  return _tokens(row) * products + (1 + 2.5 + _again(row, "attention")) * _attention(row) / 2


def _memory_bytes(row):
  tokens, tensor = _tokens(row), _size(row, "tensor")
  places = row["experts_per_token"] * row["capacity_factor"]
  moved = 0
  products = _products(row) | {"logits": (row["width"], row["vocabulary"])}
  for name, (inputs, outputs) in products.items():
    # A chip has the tokens of all chips along tensor, and its share of one side.
    rows = tokens * tensor * _times(row, name, places)
    weights = _times(row, name, row["experts"]) * inputs * outputs / tensor
    split, whole = (inputs, outputs) if name in _BY_ROWS else (outputs, inputs)
    layers = 1 if name == "logits" else row["layers"]
    moved += layers * (3 + _again(row, name)) * (rows * (split / tensor + whole) + weights)
  heads, keys = (tokens * row[name] * row["head_width"] for name in ("heads", "kv_heads"))
  moved += row["layers"] * ((1 + _again(row, "attention")) * (2 * heads + 2 * keys)
                            + 4 * heads + 4 * keys)  # Then o, its gradient, and those of q, k, v.
  gathered = 2 * sum(_weights(row).values()) / tensor
  chips = math.prod(row["shape"]) * (row["slices"] if row["across_slices"] == "fsdp" else 1)
  return _BFLOAT16 * (moved + gathered) + 7 * _FLOAT32 * _parameters(row) / chips


def _parameters(row):
  return sum(_weights(row).values()) + row["width"] * row["vocabulary"]


def _size(row, axis):
  return math.prod(row["shape"][dim] for dim in row["mesh"].get(axis, []))


def _exchanges(row) -> dict[str, Exchange]:
  """What a chip sends, by mesh axis."""
  torus = accelerators.lookup(row["chip"]).torus_dims
  tensor, fsdp, slices = _size(row, "tensor"), _size(row, "fsdp"), row["slices"]
  parameters = _BFLOAT16 * _parameters(row) / tensor
  # Attention and MLP, each a gather and a scatter, forward and backward.
  times = row["layers"] * (8 + sum(_again(row, name) for name in ("qkv", "mlp_in", "out")))
  sent = {"fsdp": 3 * interconnect.ring(parameters, fsdp),
          "tensor": times * interconnect.ring(
              _BFLOAT16 * _tokens(row) * tensor * row["width"], tensor)}
  found = {}
  for axis, dims in row["mesh"].items():
    links = interconnect.torus_links(row["shape"], dims, torus)
    found[axis] = Exchange(sent[axis], sent[axis] / links, links, tuple(dims))
  if slices > 1:  # All of it, or gradients that are summed.
    times = 3 if row["across_slices"] == "fsdp" else 2
    found["slices"] = Exchange(network_bytes=times * interconnect.ring(parameters, slices) / fsdp)
  return found


if __name__ == "__main__":
  main()
