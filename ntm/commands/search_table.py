"""What a search found, as a table and as JSON."""

from ntm.commands import search
from ntm.performance.accelerators import Chip

_GIB = 2 ** 30
_HEADER = ("remat", "unroll", "rounds", "data", "fsdp", "tensor", "memory, GiB", "of HBM",
           "estimate, GiB", "step, ms", "MFU at most", "without overlap")
_KEYS = ("model.remat", "model.unroll", "train.grad_accumulation_steps", "mesh.data", "mesh.fsdp",
         "mesh.tensor")


def text(found: search.Found, chip: Chip) -> str:
  """A table of the compiled ways, the fastest first, what was left out, and the flags of the best.

  Args:
    found: by `search.search`.
    chip: that it searched for.
  """
  rows = [_HEADER, *(_row(way, result, chip) for way, result in found.compiled)]
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
           for row in rows]
  out = found.left_out
  failed = f", {out['failed']} failed to compile" if out["failed"] else ""
  lines += [
      f"{found.candidates} ways: {out['divide']} do not divide, {out['memory']} need too much "
      f"memory by the estimate, {out['time']} cannot be faster than the best, "
      f"{len(found.compiled)} were compiled{failed}, of which {found.fitting} fit "
      f"{search.SHARE:.0%} of the memory.",
      "The best:", "  " + " ".join(found.compiled[0][0].flags)]
  return "\n".join(lines)


def as_json(found: search.Found, chip: Chip) -> dict:
  """The results of the best way as `ntm compile` has them, its flags, and all compiled ways.

  Args:
    found: by `search.search`.
    chip: that it searched for.
  """
  ways = [{"flags": way.flags, "estimated_bytes": round(way.estimate),
           "fits": _fits(result, chip)} | {
               key: result.get(key) for key in ("hbm_per_chip_bytes", "step_seconds", "mfu_bound",
                                            "mfu_bound_without_overlap")}
          for way, result in found.compiled]
  best, result = found.compiled[0]
  return result | {"flags": best.flags, "ways": ways, "candidates": found.candidates,
                   "left_out": found.left_out}


def _fits(result, chip):
  return ("step_seconds" in result
          and result["hbm_per_chip_bytes"] <= search.SHARE * chip.hbm_bytes)


def _row(way, result, chip):
  memory = result["hbm_per_chip_bytes"]
  times = ("", "", "")
  if "step_seconds" in result:
    times = (f"{1000 * result['step_seconds']:.4g}", f"{result['mfu_bound']:.0%}",
             f"{result['mfu_bound_without_overlap']:.0%}")
  return (*(str(search.value(way.config, key)) for key in _KEYS), f"{memory / _GIB:.2f}",
          f"{memory / chip.hbm_bytes:.1%}" + ("" if _fits(result, chip) else " too much"),
          f"{way.estimate / _GIB:.2f}", *times)
