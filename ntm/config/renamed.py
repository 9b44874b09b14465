"""Keys that had another name when a workdir was written."""

from collections.abc import Mapping
from typing import Any

# Old key → today's, both within the same section.
RENAMED = {
    "optimizer.peak": "peak_learning_rate",
    "optimizer.end": "final_learning_rate",
    "optimizer.warmup": "warmup_steps",
    "optimizer.clip": "max_grad_norm",
    "optimizer.ema": "ema_decay",
    "train.accumulation": "grad_accumulation_steps",
    "train.keep_last": "max_to_keep",
    "train.skip_nonfinite": "max_nonfinite_steps",
}


def today(key: str) -> str:
  """Today's "section.key" of an old one."""
  return f"{key.partition('.')[0]}.{RENAMED[key]}"


def to_current(values: Mapping[str, Any]) -> dict[str, Any]:
  """The nested dictionary of a config.json of any version, with today's keys."""
  return {
      name: {RENAMED.get(f"{name}.{key}", key): value for key, value in section.items()}
      if isinstance(section, Mapping) else section
      for name, section in values.items()}
