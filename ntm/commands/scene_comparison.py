"""Samples of a run of captioned scenes against what their captions say, for `ntm evaluate`."""

from collections.abc import Callable

import numpy as np

from ntm.commands.progress import progress
from ntm.commands.similarity import Similarity
from ntm.data.scenes import Scene, Scenes

_PREFIXES = {"test": "", "unseen": "unseen_"}  # Of the results of a split.


def scenes(split: str, side: int, count: int) -> list[Scene]:
  """The first scenes of a split, whose captions samples are drawn for."""
  source = Scenes(split, side)
  return [source.scene(i) for i in range(count)]


def metrics(samples: np.ndarray, draw: Callable[[str], np.ndarray], measures: Similarity) -> dict:
  """Metrics of samples of scenes, and of others whose captions are of another kind; collective.

  Args:
    samples: of the first captions of the split "test", [M, side, side, 3].
    draw: samples of as many captions of a split.
    measures: what else is measured, of samples and of the real pictures of the same scenes.
  """
  # Known data are evaluated without scipy and scikit-learn.
  from ntm.evaluation import sample_metrics
  from ntm.evaluation import scenes as scorer
  count, side = samples.shape[:2]
  result = measures.record()
  for split, images in (("test", samples), ("unseen", draw("unseen"))):
    prefix, shown = _PREFIXES[split], scenes(split, side, count)
    result |= scorer.summary(scorer.score(np.clip(images, -1, 1), shown), shown, prefix)
    if measures.asked:
      captions = [scene.caption for scene in shown]
      real, _ = Scenes(split, side).batch(range(count))
      result |= measures.figures(images, captions, prefix)
      result |= measures.figures(real, captions, f"{prefix}real_")
  with progress("measuring the samples"):
    reference, real = sample_metrics.scenes(side, count)
    for prefix, images in (("", samples), ("fresh_", real["image"])):
      result |= {f"{prefix}{name}": value
                 for name, value in reference.metrics(images, None).items()}
  return result
