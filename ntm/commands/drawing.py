"""Samples that `ntm evaluate` compares: what they show, and drawing them in parts."""

import hashlib
import json
import logging

import jax
import numpy as np

from ntm import api, checksums
from ntm.api import batching, checks
from ntm.api.velocity import DEFAULT_STEPS
from ntm.commands import entry_point
from ntm.commands.progress import progress
from ntm.config import Config
from ntm.data import pipeline
from ntm.evaluation.sample_parts import SampleParts
from ntm.sampling import pictures
from ntm.training import frozen_record, multihost
from ntm.training import workdir as workdir_lib
from ntm.typing import PRNGKey

_LOG = logging.getLogger("ntm")
_VERSION = 1  # Of the noise of samples: with another one, samples that were kept are others.


def labels(config: Config, frequencies: str, count: int) -> tuple[np.ndarray | None, str]:
  """(classes or captions of samples, what the results say about them).

  Args:
    config: of the run.
    frequencies: "uniform", equally many per class, or "training", of training examples that
      are evenly spaced over the data.
    count: samples.
  """
  if config.text.tokenizer:
    source = pipeline.load_split(config, "test")
    rows = spread(len(source), count)
    captions = list(source.captions(rows.tolist()))
    return np.resize(captions, count), "captions of held-out examples"
  if not config.model.num_classes:
    return None, "none"
  if frequencies == "uniform":
    return np.arange(count) % config.model.num_classes, "uniform"
  source = pipeline.load_split(config, "train")
  rows = spread(len(source), count)
  return np.array([source[int(row)]["label"] for row in rows]), "as in training"


def spread(length: int, count: int) -> np.ndarray:
  """`count` indices of a source, evenly spaced and then shuffled.

  A source may be in order of class, and parts of the samples are to be like all: the Inception
  Score is a mean over parts, and the standard error leaves parts out.
  """
  rows = np.resize(pipeline.spaced(length, count), count)
  return np.random.default_rng(0).permutation(rows)


def open_parts(directory: str, workdir: str, model, conditions: np.ndarray | None,
               image_shape: tuple[int, ...], as_uint8: bool, **how) -> SampleParts:
  """A folder of samples, with a record of all that they depend on.

  Args:
    directory: of the samples.
    workdir: of the model.
    model: a restored one.
    conditions: classes or captions, or None.
    image_shape: of a sample.
    as_uint8: whether they are rounded.
    **how: arguments of `model.sample` other than these, and what else is in the record.

  Raises:
    ValueError: the folder has samples of another record, or other files.
  """
  config, is_ntm = model.config, isinstance(model, api.Model)
  networks = {"parameters": model.params}
  if how.get("refine") == "denoiser":
    networks["denoiser"] = model.denoiser_params
  shown = json.dumps(None if conditions is None else conditions.tolist())
  record = {
      "version": _VERSION, "checkpoint": model.step,
      "workdir": workdir_lib.absolute(workdir),
      "config_sha256": entry_point.provenance(workdir, config)["config_sha256"],
      "labels_sha256": hashlib.sha256(shown.encode()).hexdigest(),
      "rounding": "nearest" if as_uint8 else "none",
      "num_steps": config.process.num_steps[0] if is_ntm else DEFAULT_STEPS,
      **{f"{name}_checksum": checksums.of_json(checksums.of_tree(tree))
         for name, tree in networks.items()},
      **{f"{name}_checksum": found["checksum"]
         for name, found in frozen_record.of(config).items()}}
  return SampleParts(directory, record | how, image_shape, np.uint8 if as_uint8 else np.float32)


def draw(model, rng: PRNGKey, conditions: np.ndarray | None, count: int,
         image_shape: tuple[int, ...], as_uint8: bool, parts: SampleParts | None = None,
         **how) -> tuple[np.ndarray, np.ndarray]:
  """Samples, and which of them are finite; none is drawn again. Collective.

  They are those of one call of `model.sample`, however many processes draw them, each its share
  of the parts, and wherever an earlier run stopped.

  Args:
    model: a restored one.
    rng: a key.
    conditions: classes or captions, or None.
    count: samples.
    image_shape: of a sample.
    as_uint8: rounds them, so that many need little memory.
    parts: where samples are kept, and those of an earlier run are; None keeps none.
    **how: arguments of `model.sample`.

  Returns:
    (the finite ones, uint8 or float32 [M', H, W, C]; whether each is finite, [M]).

  Raises:
    FloatingPointError: too few are finite to be compared.
    ValueError: the disk has no room for the parts.
  """
  rows = [np.arange(start, min(start + batching.SIZE, count))
          for start in range(0, count, batching.SIZE)]  # Of each part, one batch.
  mine = np.array_split(np.arange(len(rows)), jax.process_count())[jax.process_index()].tolist()
  found = {i: parts.read(i, len(rows[i])) for i in mine} if parts else {}
  missing = [i for i in mine if found.get(i) is None]
  todo = sum(len(rows[i]) for i in missing)
  if parts:
    parts.check_disk(todo)
    if len(missing) < len(mine):
      _LOG.info("%d parts of the samples were drawn before, %d are missing",
                len(mine) - len(missing), len(missing))
  with progress("sampling", "images", compiles=True) as report:
    done = 0
    for i in missing:
      part = model.sample(rng, None if conditions is None else conditions[rows[i]],
                          num_samples=len(rows[i]), offset=int(rows[i][0]), **how)
      finite = np.isfinite(part.reshape(len(part), -1)).all(axis=1)
      found[i] = pictures.to_uint8(part[finite]) if as_uint8 else part[finite], finite
      if parts:
        parts.write(i, *found[i])
      done += len(rows[i])
      report(done, todo)
  # Of many processes and few samples, some have none.
  dtype = np.uint8 if as_uint8 else np.float32
  nothing = np.zeros((0, *image_shape), dtype), np.zeros(0, bool)
  images, finite = (multihost.allgather_rows(np.concatenate(arrays))
                    for arrays in zip(nothing, *(found[i] for i in mine)))
  if finite.sum() <= min(count - 1, 3):
    checks.finite("samples", np.where(finite, 0, np.nan))
  if not finite.all():
    _LOG.warning("%d of %d samples hold NaN or infinite numbers; they are left out of what "
                 "follows, and none is drawn again", (~finite).sum(), count)
  return images, finite
