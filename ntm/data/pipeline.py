"""Batches in an order that is a function of (seed, step) alone.

Global batch i holds examples i B .. (i + 1) B - 1 of the endlessly repeated,
each epoch reshuffled source. A process reads the rows of every global batch that its
devices hold, so the order depends neither on the number of hosts nor on the mesh, and the state
of an iterator is the number of batches drawn. What is read in place of examples
that cannot be is in `ntm.data.unreadable`.
"""

import dataclasses
import itertools
import logging
from collections.abc import Iterable, Sequence
from typing import Any

import grain
import jax
import numpy as np

from ntm.config import Config
from ntm.conversion import converter
from ntm.data import sources, unreadable
from ntm.data.shards import ChooseMirror
from ntm.data.unreadable import Replacing, Source
from ntm.losses import inputs
from ntm.models import autoencoder
from ntm.nn import partitioning

_LOG = logging.getLogger("ntm")
_HELD_OUT = 1024  # Test images behind the held-out loss during training, or fewer that take
_CAPTIONS = 16  # Under pictures of held-out texts.
_HELD_OUT_BYTES = 2**30  # this much, on every process.


class TrainIterator:
  """Endless batches, with a position that can be saved, and what could not be read.

  Attributes:
    max_unreadable: examples that may be unreadable before a run should end.
    record: {split: lines that say which examples it has}; empty if unknown.
    captions: of the first held-out examples, of sources with captions.
  """

  def __init__(self, batches: grain.DatasetIterator, source: Replacing):
    self._batches, self._source = batches, source
    self.max_unreadable = unreadable.max_unreadable(len(source))
    self.record: dict[str, list[str]] = {}
    self.captions: list[str] = []

  def __iter__(self):
    return self

  def __next__(self) -> dict[str, np.ndarray]:
    return next(self._batches)

  @property
  def unreadable(self) -> dict[str, str]:
    """{name: reason} of the examples that could not be read so far, some of batches to come."""
    return dict(self._source.unreadable)

  def retry(self, names: Iterable[str]) -> None:
    """Reads the examples of these names, so that `unreadable` has those that still are."""
    self._source.retry(names)

  def get_state(self) -> dict[str, Any]:
    """The position, JSON."""
    return self._batches.get_state()

  def set_state(self, state: dict[str, Any]) -> None:
    """Continues from a position."""
    self._batches.set_state(state)


def train_iterator(source: Source, batch_size: int, seed: int, rows: np.ndarray | None = None,
                   text_dropout: float = 0.0) -> TrainIterator:
  """Endless shuffled batches of this process's share.

  Args:
    source: random-access examples.
    batch_size: global, B.
    seed: of the order.
    rows: of every global batch, those that are read, [R]; None for all of them.
    text_dropout: share of the texts replaced by `source.null_text`, what an example of the empty
      text has.

  Returns:
    An iterator over {"image": [R, ...] float32, "label": [R] int32}, or
    "text", or "ids" and "mask", in place of the label; of shards, "mean" and "std" in
    place of the image, of the image or of its mirror image at random. An example that
    cannot be read is replaced by the next one that can.

  Raises:
    ValueError: an empty source, no empty text to put in place of others.
  """
  if not len(source):
    raise ValueError("the data source is empty; there is nothing to train on.")
  mirrors = hasattr(source, "pairs")  # Of shards.
  replacing = Replacing(source.pairs() if mirrors else source)
  dataset = grain.MapDataset.source(replacing).seed(seed).shuffle().repeat()
  if mirrors:
    dataset = dataset.random_map(ChooseMirror())
  if text_dropout:
    if source.null_text is None:
      raise ValueError(f"train.label_dropout is {text_dropout}, but there is no null_text.npy with "
                       "the features of the empty text; make it, or set train.label_dropout to 0.")
    dataset = dataset.random_map(_DropText(source.null_text, text_dropout))
  if rows is not None:
    examples, size, batch_size = dataset, batch_size, len(rows)
    dataset = grain.MapDataset.range(len(examples) // size * batch_size).map(
        lambda i: examples[i // batch_size * size + int(rows[i % batch_size])])
  dataset = dataset.batch(batch_size, drop_remainder=True)
  options = grain.ReadOptions(num_threads=4, prefetch_buffer_size=4)
  return TrainIterator(iter(dataset.to_iter_dataset(options)), replacing)


class _DropText(grain.transforms.RandomMap):
  """The empty text in place of a share of the others; random in the example's place alone."""

  def __init__(self, null_text, rate):
    self._null_text, self._rate = null_text, rate

  def random_map(self, example, rng: np.random.Generator):
    dropped = rng.random() < self._rate
    return example | self._null_text if dropped else example


def spaced(length: int, limit: int) -> np.ndarray:
  """At most `limit` indices below `length`, evenly spaced, so that of ordered classes all come."""
  return np.linspace(0, length - 1, min(length, limit)).round().astype(int)


def ordered_batches(source: Source, batch_size: int, indices: Sequence[int]
                    ) -> list[dict[str, Any]]:
  """The examples at these indices in order, in batches; the last may be smaller.

  Examples that cannot be read are left out, with a warning.

  Raises:
    ValueError: more than 1 % of them cannot be read.
  """
  examples, failed = [], {}
  count = len(indices)
  for i in indices:
    try:
      examples.append(source[int(i)])
    except unreadable.UnreadableError as error:
      failed[error.name] = error.reason
  if failed:
    most = unreadable.max_unreadable(count)
    text = f"{len(failed)} of {count} examples cannot be read: {unreadable.summary(failed)}"
    if len(failed) > most or not examples:
      raise ValueError(f"{text}. At most {most} may be left out; replace them by readable ones.")
    _LOG.warning("%s. They are left out.", text)
  return [{key: np.stack([example[key] for example in examples[start:start + batch_size]])
           for key in examples[0]} for start in range(0, len(examples), batch_size)]


def training_data(config: Config) -> tuple[TrainIterator, list[dict[str, Any]]]:
  """(iterator over this process's training batches, held-out batches) of a config.

  Args:
    config: of the run.

  Raises:
    ValueError: data that are missing or do not fit the model, or frozen networks that are missing;
      the message names both.
  """
  source, test = _load_splits(config)
  if sources.endless(config.data):
    _LOG.info("training on fresh draws, each seen once")
  else:
    _LOG.info("%d training and %d test images", len(source), len(test))
  record = {"train": source.record(), "test": test.record()}
  by_text = config.model.backbone.text_tokens > 0
  rows = None
  if jax.process_count() > 1:
    rows = partitioning.batch_rows(partitioning.make_mesh(config.mesh), config.train.batch_size)
  iterator = train_iterator(source, config.train.batch_size, config.train.seed, rows,
                            config.train.label_dropout if by_text else 0.0)
  iterator.record = record
  example = sum(np.asarray(part).nbytes for part in unreadable.first_readable(test).values())
  held_out = spaced(len(test), min(_HELD_OUT, max(1, _HELD_OUT_BYTES // example)))
  if config.text.tokenizer:
    iterator.captions = list(itertools.islice(test.captions(held_out), _CAPTIONS))
  return iterator, ordered_batches(test, config.train.batch_size, held_out)


def evaluation_data(config: Config, limit: int
                    ) -> tuple[dict[str, Any] | None, dict[str, Any], dict[str, list[str]]]:
  """(training examples, test examples, record), the examples as one batch each.

  Of a split with more than `limit` examples it is as many, evenly spaced.

  The record is that of `ntm.training.data_record`. Draws of a known density are alike in both
  splits: those of training are None.

  Raises:
    ValueError, FileNotFoundError: data that are missing or do not fit the model.
  """
  splits = {split: load_split(config, split) for split in sources.SPLITS}
  read = lambda split: ordered_batches(
      splits[split], limit, spaced(len(splits[split]), limit))[0]
  train = None if config.data.source == "mixture" else read("train")
  return train, read("test"), {name: split.record() for name, split in splits.items()}


def _load_splits(config):
  """(training split, test split), unless they or networks are missing, of which all are named."""
  networks, splits, error = inputs.missing(config), (), None
  try:
    splits = tuple(load_split(config, split) for split in sources.SPLITS)
  except (ValueError, FileNotFoundError) as failed:
    error = failed
  # What a missing network makes of the data is not worth saying.
  problems = [str(error)] if error and not any(path in str(error) for path in networks) else []
  if problems or networks:
    raise ValueError(" ".join([*problems, *networks.values()])) from error
  return splits


def load_split(config: Config, split: str) -> Source:
  """A split of the configured source; of images, if an autoencoder gives the model latents."""
  if config.data.source == "shards":
    source = sources.load(config.data, config.model, split, config.text)
    if source.autoencoder["checksum"] != converter.checksum(config.autoencoder.path):
      raise ValueError(f"the shards in {config.data.path} were encoded by another autoencoder "
                       f"than {config.autoencoder.path}; set config.autoencoder.path to that one, "
                       "or encode again.")
    return source
  shape = autoencoder.image_shape(config)
  model = dataclasses.replace(config.model, image_shape=shape)
  return sources.load(config.data, model, split, config.text)
