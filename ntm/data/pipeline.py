"""Batches in an order that is a function of (seed, step) alone.

Global batch i holds examples i B .. (i + 1) B - 1 of the endlessly repeated,
each epoch reshuffled source. Process p of P reads the p-th P-th of every global
batch, so the order does not depend on how many hosts read it, and the state of
an iterator is the number of batches drawn.
"""

import logging
from typing import Any

import grain
import jax
import numpy as np

from ntm.config import Config
from ntm.data import sources
from ntm.data.sources import Source

_LOG = logging.getLogger("ntm")
_HELD_OUT = 1024  # Test images behind the held-out loss during training.


def train_iterator(source: Source, batch_size: int, seed: int, process_index: int = 0,
                   process_count: int = 1) -> grain.DatasetIterator:
  """Endless shuffled batches of this process's share.

  Args:
    source: random-access examples.
    batch_size: global, B.
    seed: of the order.
    process_index: p.
    process_count: P, dividing batch_size.

  Returns:
    An iterator over {"image": [B/P, ...] float32, "label": [B/P] int32} with
    `get_state` and `set_state`.

  Raises:
    ValueError: a batch that the processes do not divide, an empty source.
  """
  if batch_size % process_count:
    raise ValueError(f"batch_size {batch_size} is not divisible by {process_count} processes.")
  if not len(source):
    raise ValueError("the data source is empty; there is nothing to train on.")
  dataset = grain.MapDataset.source(source).seed(seed).shuffle().repeat()
  # Local batches in global order, of which every P-th is ours.
  dataset = dataset.batch(batch_size // process_count, drop_remainder=True)
  dataset = dataset[process_index::process_count]
  options = grain.ReadOptions(num_threads=4, prefetch_buffer_size=4)
  return iter(dataset.to_iter_dataset(options))


def ordered_batches(source: Source, batch_size: int, limit: int) -> list[dict[str, Any]]:
  """The first `limit` examples in order, in batches; the last may be smaller."""
  examples = [source[i] for i in range(min(limit, len(source)))]
  return [{key: np.stack([example[key] for example in examples[start:start + batch_size]])
           for key in examples[0]} for start in range(0, len(examples), batch_size)]


def training_data(config: Config) -> tuple[Any, list[dict[str, Any]]]:
  """(iterator over this process's training batches, held-out batches) of a config.

  Raises:
    ValueError, FileNotFoundError: data that are missing or do not fit the model.
  """
  source = sources.load(config.data, config.model, "train")
  test = sources.load(config.data, config.model, "test")
  _LOG.info("%d training and %d test images", len(source), len(test))
  iterator = train_iterator(source, config.train.batch_size, config.train.seed,
                            jax.process_index(), jax.process_count())
  return iterator, ordered_batches(test, config.train.batch_size, _HELD_OUT)
