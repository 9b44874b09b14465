"""Encodes images into shards of latents, for `config.data.source = "shards"`.

  ntm encode --from=folder --source=imagenet/train --autoencoder=runs/vae --target=latents/train

Every image is cropped around its centre, resized and encoded by a converted
autoencoder, and so is its mirror image; classes and captions are kept. Run the
same command again to continue after an interruption, or to check finished shards.
Without an autoencoder there is nothing to encode: train on pixels with
`config.data.source = "folder"` or "tfds".
"""

import importlib
import logging
import time

import jax
from absl import flags

from ntm.commands import entry_point, shared_flags
from ntm.commands.progress import progress
from ntm.conversion import atomic
from ntm.data import encode, encode_images, encode_shards, shard_format
from ntm.data.encode_images import Encoder
from ntm.data.encode_sources import ChunkedSource
from ntm.training import multihost
from ntm.training import workdir as workdir_lib

_LOG = logging.getLogger("ntm")
_KINDS = ("folder", "tfds", "webdataset", "parquet")
FLAGS = flags.FlagValues()
_FROM = flags.DEFINE_enum("from", None, _KINDS, "Kind of the source.", required=True,
                          flag_values=FLAGS)
_SOURCE = flags.DEFINE_string("source", None, "Folder of images; name of a tfds data set; .tar or "
                              ".parquet files: one, a directory of them, or a pattern.",
                              required=True, flag_values=FLAGS)
_AUTOENCODER = flags.DEFINE_string("autoencoder", None, "Directory of a converted autoencoder.",
                                   required=True, flag_values=FLAGS)
_TARGET = flags.DEFINE_string("target", None, "Directory of the shards.", required=True,
                              flag_values=FLAGS)
_IMAGE_SIZE = shared_flags.count(FLAGS, "image_size", 256, "Side of the encoded images in pixels.")
_BATCH_SIZE = shared_flags.count(FLAGS, "batch_size", 64, "Images at a time, over the devices of "
                                 "a process.")
_SHARD_SIZE = shared_flags.count(FLAGS, "shard_size", 4096, "Examples per shard; of parquet at "
                                 "least a row group. A tar is always one shard.")
_SPLIT = flags.DEFINE_enum("split", "train", ["train", "validation", "test"], "Split of a tfds "
                           "data set; 'test' is 'validation' if there is no 'test'.",
                           flag_values=FLAGS)
_DATA_DIR = flags.DEFINE_string("data_dir", "", "Directory of prepared tfds data sets; by default "
                                "tfds's own.", flag_values=FLAGS)


def main(_) -> None:
  """Encodes this process's share, and logs what was done."""
  target = atomic.local_path(_TARGET.value)
  if problem := workdir_lib.why_not_writable(target):
    raise ValueError(f"--target is {target}, which cannot be made ({problem}); choose another path "
                     "or change its permissions.")
  if _FROM.value != "tfds":
    entry_point.refuse(FLAGS, ["split", "data_dir"], f"--from is {_FROM.value}, not tfds")
  if _FROM.value == "webdataset":
    entry_point.refuse(FLAGS, ["shard_size"], "a tar becomes one shard")
  source = _open()
  moments = encode_images.settings(_AUTOENCODER.value, _IMAGE_SIZE.value)
  wanted = encode.settings(moments, source, {
      name: FLAGS[name].value
      for name in ("from", "source", "split", "autoencoder", "image_size", "shard_size")})
  index = encode.check(target, wanted)  # Before weights are read.
  encoder = Encoder(_AUTOENCODER.value, _IMAGE_SIZE.value, _BATCH_SIZE.value)
  multihost.barrier("the target is checked")  # Before it changes.
  if multihost.is_primary_process():
    if index is None:
      encode.start(target, wanted)
    else:
      encode.reopen(target, index)
  multihost.barrier("encoding starts")
  if index is None and encode.check(target, wanted) is None:
    raise ValueError(f"process {jax.process_index()} does not see {target} of process 0; put it on "
                     "storage that all processes share.")
  numbers = encode.pending(
      target, range(jax.process_index(), len(source.weights), jax.process_count()), source,
      _IMAGE_SIZE.value)
  multihost.barrier("shards are checked")  # Before any process takes them for complete.
  if source.num_examples is not None:
    encode.check_disk(target, encoder, sum(source.weights[number] for number in numbers))
  begin = time.monotonic()
  with progress("encoding", "images") as report:
    done = encode_shards.run(source, encoder, target, numbers, report)
  if done:
    seconds = time.monotonic() - begin
    _LOG.info("encoded %s in %.0f s, %.1f images/s", _counted(done, "image"), seconds,
              done / seconds)
  index = encode.finish(target, source) if multihost.is_primary_process() else encode.wait(target)
  examples, lost = index["examples"], index["unreadable"]
  if lost:
    _LOG.warning("%s cannot be read and %s left out; %s lists %s. To try again, run the same "
                 "command.", _counted(lost, "example"), "is" if lost == 1 else "are",
                 target / shard_format.UNREADABLE, "it" if lost == 1 else "them")
  _LOG.info("%s: %d of %s in %s, complete", target, examples,
            _counted(examples + lost, "example"), _counted(len(index["shards"]), "shard"))


def _counted(count: int, noun: str) -> str:
  """A number with its noun, in the plural but for one."""
  return f"{count} {noun}{'' if count == 1 else 's'}"


def _open() -> ChunkedSource:
  """The source; its module is imported when it is used."""
  module = importlib.import_module(f"ntm.data.encode_{_FROM.value}")
  if _FROM.value == "tfds":
    return module.TfdsChunks(_SOURCE.value, _DATA_DIR.value, _SPLIT.value, _IMAGE_SIZE.value,
                             _SHARD_SIZE.value)
  if _FROM.value == "webdataset":
    return module.WebDatasetChunks(_SOURCE.value)
  chunks = {"folder": "FolderChunks", "parquet": "ParquetChunks"}[_FROM.value]
  return getattr(module, chunks)(_SOURCE.value, _SHARD_SIZE.value)


run = entry_point.command(main, FLAGS, __doc__, several_processes=True)

if __name__ == "__main__":
  run()
