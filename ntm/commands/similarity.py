"""CLIP score and LPIPS of samples, for `ntm evaluate --clip` and `--lpips`.

Of several processes the primary one loads the networks and measures, and the others wait for it.
"""

import dataclasses
import itertools
import json
import logging
from collections.abc import Callable, Sequence

import numpy as np

from ntm.commands.progress import progress
from ntm.config import Config
from ntm.data import pipeline
from ntm.evaluation import lpips, torch_networks
from ntm.evaluation.clip import Clip, Scores
from ntm.evaluation.lpips import Lpips
from ntm.training import multihost

_LOG = logging.getLogger("ntm")
_MOST_PAIRS = 2000  # Behind a mean distance: its error is then about 1 % of it.
_BATCH = 512  # Real pictures held at a time.
_TRIED = 16  # Pairs that LPIPS is tried on: as many as it takes at a time.


@dataclasses.dataclass(frozen=True)
class Similarity:
  """What `ntm evaluate` was asked to measure.

  Attributes:
    asked: whether it was asked for anything, the same on all processes.
    clip: of --clip; None without it, and on other processes than the primary one.
    distance: of --lpips, likewise.
    pairs_of: what the pictures of a pair have in common, for the results.
  """

  asked: bool = False
  clip: Clip | None = None
  distance: Lpips | None = None
  pairs_of: str = ""

  def record(self) -> dict:
    """Names and values for the results of the primary process: what its numbers depend on."""
    found = self.clip.record if self.clip else {}
    return found | (self.distance.record | {"lpips_pairs": self.pairs_of} if self.distance else {})

  def figures(self, images: np.ndarray, conditions: Sequence | None, prefix: str = "") -> dict:
    """Results for pictures; collective.

    Args:
      images: [M, H, W, 1 or 3], float in [-1, 1] or uint8.
      conditions: M captions or classes, or None.
      prefix: of the names.
    """
    return self._on_primary(lambda: {prefix + name: value for name, value in (
        self._clip_figures([(images, conditions)], len(images))
        | self._diversity(images, conditions)).items()})

  def held_out(self, config: Config, test: dict[str, np.ndarray], count: int) -> dict:
    """Results for real held-out pictures, named `real_...`; collective.

    Of captions these are CLIP scores of the pictures that the captions of samples are from, and no
    distances: most captions have one picture.

    Args:
      config: of the run.
      test: held-out examples, as one batch.
      count: samples.
    """
    def measure():
      if "image" not in test:
        _LOG.info("the data are latents, so there are no real pictures to measure")
        return {}
      if config.text.tokenizer:
        return self._held_out_captions(config, count)
      return self._diversity(test["image"], test["label"] if config.model.num_classes else None)

    return {f"real_{name}": value for name, value in self._on_primary(measure).items()}

  def _on_primary(self, measure: Callable[[], dict]) -> dict:
    """What the primary process measures, on all processes."""
    if not self.asked:
      return {}
    found = measure() if multihost.is_primary_process() else {}
    return json.loads(multihost.allgather_strings(json.dumps(found))[0])

  def _held_out_captions(self, config, count):
    source = pipeline.load_split(config, "test")
    rows = pipeline.spaced(len(source), count)
    examples = source.captioned(rows.tolist())
    batches = iter(lambda: list(itertools.islice(examples, _BATCH)), [])
    return self._clip_figures(((np.stack([example["image"] for example in batch]),
                                [example["caption"] for example in batch]) for batch in batches),
                              len(rows))

  def _clip_figures(self, batches, total):
    """CLIP scores of batches (images, captions) of `total` pictures in all."""
    if not self.clip:
      return {}
    parts, done = [], 0
    with progress("measuring CLIP scores", "images") as report:
      for images, captions in batches:
        parts.append(self.clip(images, captions, lambda n, _, done=done: report(done + n, total)))
        done += len(images)
    return Scores(*map(np.concatenate, ([part.values for part in parts],
                                        [part.truncated for part in parts]))).figures()

  def _diversity(self, images, conditions):
    """The mean distance of pictures of the same condition."""
    if not self.distance:
      return {}
    found = _pairs(conditions, len(images))
    if not len(found):
      return {"lpips_num_pairs": 0}
    with progress("measuring LPIPS", "pairs") as report:
      values = self.distance(images[found[:, 0]], images[found[:, 1]], report)
    return torch_networks.mean_and_error("lpips_diversity", values) | {
        "lpips_num_pairs": len(values)}


def load(clip: str | None, network: str | None, conditions: Sequence | None, count: int,
         image_shape: tuple[int, ...]) -> Similarity:
  """Loads what is asked for, and tries it, before samples are drawn; collective.

  Args:
    clip: of --clip; None is none.
    network: of --lpips; None is none.
    conditions: captions or classes that samples will have, or None.
    count: of the samples.
    image_shape: of the samples.

  Raises:
    ImportError, ValueError: as `Clip` and `Lpips`, on all processes; no two samples of the same
      condition; images that are no pictures, or too small ones for the network.
  """
  if not clip and not network:
    return Similarity()
  torch_networks.pixels(np.zeros((1, *image_shape), np.uint8))
  if network and not len(_pairs(conditions, count)):
    raise ValueError(f"--lpips is {network}, which compares samples of the same class or caption, "
                     f"and no two of {count} samples have the same; expected more --num_samples: "
                     "captions repeat where there are more samples than held-out captions.")
  if network:
    lpips.check_size(network, image_shape)
  found, error = Similarity(asked=True), None
  if multihost.is_primary_process():
    try:
      found = _load(clip, network, conditions, image_shape)
    except (ImportError, ValueError) as problem:
      error = problem
  first = multihost.allgather_strings("" if error is None else str(error))[0]
  if first:
    raise error or ValueError(first)
  return found


def _load(clip, network, conditions, image_shape):
  distance = scorer = None
  with progress("loading the networks of --clip and --lpips"):
    if network:
      distance = Lpips(network)
      blank = np.zeros((_TRIED, *image_shape), np.float32)
      distance(blank, blank)
    if clip:
      scorer = Clip(clip)
  pairs_of = "any" if conditions is None else (
      "the same caption" if isinstance(conditions[0], str) else "the same class")
  return Similarity(True, scorer, distance, pairs_of)


def _pairs(conditions, count):
  """Pairs of the same condition; without conditions any two have the same."""
  return lpips.pairs([None] * count if conditions is None else conditions, _MOST_PAIRS)
