"""A tiny autoencoder, folders of images, and `ntm encode` called in this process."""

import functools
import pathlib
import tempfile

import numpy as np
from PIL import Image

from ntm.data import shard_format
from tests.helpers import autoencoder_pair, runs

SIZE = 16  # Side of the encoded images.
LATENT = (8, 8, 4)  # Of the autoencoder "kl".


@functools.cache
def autoencoder(which: str = "kl") -> pathlib.Path:
  """The directory of a converted autoencoder, not to be changed."""
  return autoencoder_pair.converted(which, autoencoder_pair.theirs(which).state_dict())


def picture(number: int) -> Image.Image:
  """A random picture, another for each number."""
  shape = (20 + number % 5, 24, 3)
  return Image.fromarray(np.random.default_rng(number).integers(0, 256, shape, np.uint8))


def folder(classes: int = 2, count: int = 6) -> pathlib.Path:
  """A new folder of `count` pictures per class."""
  root = pathlib.Path(tempfile.mkdtemp())
  for label in range(classes):
    (root / f"class_{label}").mkdir()
    for i in range(count):
      picture(label * count + i).save(root / f"class_{label}" / f"{i:03}.png")
  return root


def flags(source, target, kind="folder", **changes) -> list[str]:
  """The command line of an encoding."""
  values = {"from": kind, "source": source, "target": target, "autoencoder": autoencoder(),
            "image_size": SIZE, "batch_size": 8} | changes
  if kind != "webdataset":
    values = {"shard_size": 5} | values
  return [f"--{name}={value}" for name, value in values.items()]


def encode(source, target=None, kind="folder", **changes) -> pathlib.Path:
  """Encodes a source; returns the directory of the shards."""
  target = target or pathlib.Path(tempfile.mkdtemp()) / "shards"
  code, stderr = runs.call("encode", *flags(source, target, kind, **changes))
  assert code == 0, stderr
  return target


def records(target) -> list[tuple[dict, np.ndarray]]:
  """(header, moments) of all complete shards, in order."""
  from array_record.python import array_record_module
  index, found = shard_format.read_index(target), []
  for entry in index["shards"]:
    reader = array_record_module.ArrayRecordReader(str(target / entry["file"]))
    found += [shard_format.unpack(record, tuple(index["settings"]["latent_shape"]))
              for record in reader.read_all()]
    reader.close()
  return found


def assert_same(ours, theirs) -> None:
  """Two directories hold the same records, bit for bit."""
  ours, theirs = records(ours), records(theirs)
  assert [header for header, _ in ours] == [header for header, _ in theirs]
  for (_, one), (_, other) in zip(ours, theirs):
    np.testing.assert_array_equal(one, other)
