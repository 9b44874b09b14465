"""Reads the files that the official tools of GenEval and DPG-Bench write.

GenEval's evaluate_images.py writes one JSON object per picture, with its task ("tag") and whether
it is right. The overall score is the mean over the tasks of the share of right pictures.

DPG-Bench's compute_dpg_bench.py writes one line per prompt: the file, the scores of its pictures
in [0, 1], and their mean; then a summary. The score is the mean over the prompts, in percent. Its
scores of categories, which come from the last picture of each prompt alone, are not read.
"""

import json
import os
import pathlib
import re
from typing import Any

import numpy as np

DPG_PROMPTS = 1065


def geneval(path: str | os.PathLike) -> dict[str, Any]:
  """Scores of a file of GenEval.

  Returns:
    {"geneval": overall score in [0, 1], "standard_error": of it, "pictures", "prompts", and
    "tasks": {task: share of right pictures}}. With shares p of n pictures the error is
    sqrt(sum p (1 - p) / n) / number of tasks; pictures of one prompt count as independent.

  Raises:
    ValueError: no such file, or a line of another kind.
  """
  tasks, prompts = {}, set()
  for number, line in enumerate(_lines(path), 1):
    try:
      picture = json.loads(line)
      tasks.setdefault(picture["tag"], []).append(bool(picture["correct"]))
      prompts.add(picture["metadata"])
    except (ValueError, KeyError, TypeError) as error:
      raise ValueError(f"line {number} of {path} is not a picture of GenEval; expected the file "
                       "that its evaluate_images.py writes, with tag, correct and metadata per "
                       "line.") from error
  shares = {task: float(np.mean(right)) for task, right in tasks.items()}
  variance = sum(shares[task] * (1 - shares[task]) / len(right) for task, right in tasks.items())
  return {"geneval": float(np.mean(list(shares.values()))),
          "standard_error": float(np.sqrt(variance) / len(tasks)),
          "pictures": sum(map(len, tasks.values())), "prompts": len(prompts), "tasks": shares}


def dpg(path: str | os.PathLike) -> dict[str, Any]:
  """The score of a file of DPG-Bench.

  Returns:
    {"dpg": mean over the prompts, in percent, "standard_error": of it over the prompts,
    "pictures", "prompts"}.

  Raises:
    ValueError: no such file, a line that cannot be read, or a file without prompts.
  """
  scores = []
  for number, line in enumerate(_lines(path), 1):
    if line.startswith("Model:"):  # The summary.
      break
    found = re.fullmatch(r".*?((, [\d.e+-]+){2,})", line)
    if not found:
      raise ValueError(f"line {number} of {path} is {line[:60]!r}; expected a file, the scores of "
                       "its pictures and their mean, as DPG-Bench's compute_dpg_bench.py writes "
                       "them.")
    *pictures, mean = map(float, found[1].removeprefix(", ").split(", "))
    scores.append((mean, len(pictures)))
  if len(scores) < 2:
    raise ValueError(f"{path} has the scores of {len(scores)} prompts; expected those of "
                     f"{DPG_PROMPTS}, as DPG-Bench's compute_dpg_bench.py writes them.")
  means = 100 * np.array([mean for mean, _ in scores])
  return {"dpg": float(means.mean()),
          "standard_error": float(means.std(ddof=1) / np.sqrt(len(means))),
          "pictures": sum(count for _, count in scores), "prompts": len(scores)}


def _lines(path):
  """Lines of a text file that are not blank."""
  try:
    text = pathlib.Path(path).read_text(encoding="utf-8-sig")
    lines = [line for line in text.splitlines() if line.strip()]
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f"{path} cannot be read ({error}); expected a result file of GenEval or "
                     "DPG-Bench.") from error
  if not lines:
    raise ValueError(f"{path} is empty; expected a result file of GenEval or DPG-Bench.")
  return lines
