"""Encodes chunks of a source into shards: images are decoded while others are encoded.

A shard is written under a temporary name and renamed when complete; then its
entry (`shard_format.entry_path`) is written.
"""

import itertools
import os
import pathlib
import re
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent import futures
from typing import Any

import numpy as np
from array_record.python import array_record_module

from ntm.data import shard_format
from ntm.data.encode_failures import Failures
from ntm.data.encode_images import Encoder
from ntm.data.encode_sources import ChunkedSource, Example, Item
from ntm.data.unreadable import UnreadableError

_THREADS = 4  # That decode images.


def run(source: ChunkedSource, encoder: Encoder, target: pathlib.Path, numbers: list[int],
        report: Callable[[int, int], None]) -> int:
  """Encodes some chunks and writes their shards.

  Args:
    source: of the examples.
    encoder: to moments.
    target: directory of the shards.
    numbers: of the chunks.
    report: (examples done, examples in all or 0 if not known) → None.

  Returns:
    The number of examples encoded.

  Raises:
    ValueError: too many examples cannot be read, or the disk is full.
  """
  failed, done, weight = Failures(target, source.num_examples), 0, 0
  total_weight = sum(source.weights[number] for number in numbers)
  with futures.ThreadPoolExecutor(_THREADS) as pool:
    for number in numbers:
      failed.next_shard(shard_format.shard_name(number))

      def count(written, before=done, passed=weight):
        report(before + written, total_weight if source.num_examples is not None else
               before * total_weight // passed if passed else 0)

      done += _write_shard(source, encoder, target, number, failed, pool, count)
      weight += source.weights[number]
  return done


def readable_again(source: ChunkedSource, number: int, size: int, names: Collection[str]) -> bool:
  """Whether an example of a chunk can be read by now; of several of one name, all of them.

  Args:
    source: of the examples.
    number: of the chunk.
    size: side of the images in pixels.
    names: of those that could not be read.
  """
  found, still = set(), set()
  for item in source.chunk(number):
    if item.key in names:
      try:
        _load(item, size, source.fields)
        found.add(item.key)
      except UnreadableError:
        still.add(item.key)
  return bool(found - still)


def _write_shard(source, encoder, target, number, failed, pool, count):
  """Writes a shard and its entry; returns the number of examples."""
  path = target / shard_format.shard_name(number)
  partial = path.with_name(path.name + ".partial")
  entry = {"number": number, "file": path.name, "source": source.chunk_name(number),
           "examples": 0, "max_label": -1}
  try:
    writer = array_record_module.ArrayRecordWriter(
        os.fspath(partial), shard_format.WRITER_OPTIONS)
    for header, moments in _encoded(source.chunk(number), encoder, source.fields, failed, pool):
      if not np.isfinite(moments).all():
        writer.close()
        raise ValueError(f"the autoencoder gives NaN, infinite or too large moments for "
                         f"{header['key']!r}; expected finite float16. Check the autoencoder.")
      writer.write(shard_format.pack(header, moments))
      entry["examples"] += 1
      entry["max_label"] = max(entry["max_label"], header.get("label", -1))
      count(entry["examples"])
    writer.close()
    with open(partial, "rb") as file:
      os.fsync(file.fileno())
  except (OSError, RuntimeError) as error:  # The writer's errors are RuntimeErrors.
    if isinstance(error, OSError) or re.search(r"(open|write|close)\(\) failed", str(error)):
      raise ValueError(f"{path} cannot be written ({str(error).partition(';')[0]}); make room and "
                       "run the command again: it continues.") from error
    raise
  entry |= {"bytes": partial.stat().st_size, "sha256": shard_format.digest(partial),
            "unreadable": failed.shard}
  partial.replace(path)
  shard_format.write_json(shard_format.entry_path(target, number), entry)
  return entry["examples"]


def _encoded(items, encoder, fields, failed, pool) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
  """(header, moments) of the readable examples, in order; one batch is read during another."""
  loaded = _loaded(items, encoder.image_size, fields, failed, pool, 2 * encoder.batch_size)
  waiting: deque = deque()
  while True:
    batch = list(itertools.islice(loaded, encoder.batch_size))
    if batch:
      moments = encoder.start([example.pixels for _, example in batch])
      waiting.append(([_header(key, example, fields) for key, example in batch], moments))
    if len(waiting) > 1 or not batch and waiting:
      headers, moments = waiting.popleft()
      yield from zip(headers, np.asarray(moments))
    elif not batch:
      return


def _loaded(items: Iterator[Item], size, fields, failed, pool,
            ahead) -> Iterator[tuple[str, Example]]:
  """(key, example) of the readable items, in order, decoded `ahead` of their use."""
  queue: deque = deque()
  while True:
    for item in itertools.islice(items, ahead - len(queue)):
      queue.append((item.key, pool.submit(_load, item, size, fields)))
    if not queue:
      return
    key, future = queue.popleft()
    try:
      example = future.result()
    except UnreadableError as error:
      failed.add(error)
      continue
    failed.readable()
    yield key, example


def _load(item, size, fields):
  example = item.load(size)
  for field in fields:
    if getattr(example, field) is None:
      raise UnreadableError(item.key, f"it has no {field}", item.key)
  return example


def _header(key, example, fields):
  return {"key": key} | {field: getattr(example, field) for field in fields}
