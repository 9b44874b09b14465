"""Shards of encoded images, as `ntm encode` writes them: random access to posterior moments.

`config.data.path` is such a directory, of which a share of `config.data.test_fraction`
is the test split, every (1/f)-th example, or it holds one such directory per
split, `train` and `test`.

Examples are {"mean": float32 [h, w, c], "std": float32 [h, w, c]}, the raw moments
(before the family's scale and shift) of the image; in training, `pairs` and
`ChooseMirror` give those of the image or of its mirror image at random. With them
comes "label" (int32) for models of classes, or "caption" (str) for models of text.
"""

import dataclasses
import os
import pathlib
from typing import Any

import grain
import numpy as np

from ntm.config import ModelConfig
from ntm.data import shard_format


@dataclasses.dataclass(frozen=True)
class _File:
  """A whole shard, in the form that grain reads without opening it first."""

  filename: str
  take: int
  examples_in_shard: int
  skip: int = 0


class Shards:
  """One split of a directory of shards, checked against the model; no shard is read yet.

  Attributes:
    autoencoder: {"family", "checksum"} of what the moments come from.
  """

  def __init__(self, path: str, split: str, model: ModelConfig, test_fraction: float):
    """Opens the index.

    Raises:
      ValueError: no index or one of another version, shards that are missing or cut off, a model
        of other latents, classes or texts.
    """
    root = pathlib.Path(path)
    if not path or not root.is_dir():
      raise ValueError(f"config.data.path is {path!r}, which is not a directory; expected the "
                       "--target of `ntm encode`.")
    self._whole = shard_format.index_path(root).exists() or not (root / "train").is_dir()
    directories = {name: root if self._whole else root / name for name in ("train", "test")}
    indices = {name: shard_format.read_index(directory)
               for name, directory in directories.items()}
    self._directory, index = directories[split], indices[split]
    _check_complete(self._directory, index)
    _check_files(self._directory, index)  # First: it costs hours, others a key of the config.
    _check_same(directories, indices)
    _check_model(self._directory, index, model)
    self._latent_shape = tuple(index["settings"]["latent_shape"])
    self._field = "label" if model.num_classes else "caption" if (
        model.backbone.text_tokens) else ""
    self._entries = [entry for entry in index["shards"] if entry["examples"]]
    self._records = grain.sources.ArrayRecordDataSource(
        [_File(str(self._directory / entry["file"]), entry["examples"], entry["examples"])
         for entry in self._entries])
    self._ends = np.cumsum([entry["examples"] for entry in self._entries])
    positions = np.arange(index["examples"])
    if self._whole:
      # One example of every 1 / fraction is a test example: floor(i f) steps there.
      test = np.floor((positions + 1) * test_fraction) > np.floor(positions * test_fraction)
      positions = positions[test == (split == "test")]
    self._positions, self._split, self._fraction = positions, split, test_fraction
    self.autoencoder: dict[str, Any] = index["settings"]["autoencoder"]
    if not len(self):
      raise ValueError(f"{path} has {index['examples']} examples, of which none are in the split "
                       f"{split!r}; change config.data.test_fraction.")

  def __len__(self) -> int:
    return len(self._positions)

  def __getitem__(self, index: int) -> dict[str, Any]:
    """The moments of an image, never of its mirror image; ValueError if its shard is damaged."""
    example, moments = self._read(index)
    return example | _float32(moments[0])

  def pairs(self) -> "Pairs":
    """The same examples with the moments of both images, for `ChooseMirror`."""
    return Pairs(self)

  def record(self) -> list[str]:
    """Names and checksums of the shards, and the share that is this split's."""
    share = [f"{self._split} of the share {self._fraction}"] if self._whole else []
    return share + [f"{self._split}/{entry['file']} {entry['sha256']}" for entry in self._entries]

  def _read(self, index):
    """(label or caption, moments [2, 2, h, w, c] float16) of an example."""
    position = int(self._positions[index])
    try:
      header, moments = shard_format.unpack(self._records[position], self._latent_shape)
    except (RuntimeError, ValueError, OSError) as error:
      shard = self._entries[int(np.searchsorted(self._ends, position, side="right"))]["file"]
      raise ValueError(f"{self._directory / shard} cannot be read "
                       f"({str(error).partition(';')[0]}); run `ntm encode` again with the "
                       "settings in its index: it writes damaged shards anew.") from error
    if not self._field:
      return {}, moments
    value = header[self._field]
    return {self._field: np.int32(value) if self._field == "label" else value}, moments


class Pairs:
  """Examples with "moments", float16 [2 (image, mirror image), 2 (mean, std), h, w, c]."""

  def __init__(self, shards: Shards):
    self._shards = shards

  def __len__(self) -> int:
    return len(self._shards)

  def __getitem__(self, index: int) -> dict[str, Any]:
    example, moments = self._shards._read(index)
    return example | {"moments": moments}


class ChooseMirror(grain.transforms.RandomMap):
  """The moments of the image or of its mirror image; random in the example's place alone."""

  def random_map(self, element, rng: np.random.Generator):
    """{"moments", ...} → {"mean", "std", ...}."""
    moments = element["moments"][int(rng.random() < 0.5)]
    return {name: value for name, value in element.items() if name != "moments"} | _float32(moments)


def _float32(moments):
  return {name: part.astype(np.float32) for name, part in zip(("mean", "std"), moments)}


def _check_complete(directory, index):
  if not index["complete"]:
    done = len(list(directory.glob("shard-*.json")))
    raise ValueError(f"{shard_format.index_path(directory)} is of an encoding that has not ended, "
                     f"with {done} of {index['settings']['source']['chunks']} shards; run `ntm "
                     "encode` again: it continues.")


def _check_same(directories, indices):
  """Raises ValueError if the splits were encoded in different ways."""
  train, test = (index["settings"] for index in indices.values())
  for name in ("autoencoder", "image_size", "crop", "latent_shape"):
    if train[name] != test[name]:
      raise ValueError(f"{directories['train']} was encoded with {name} {train[name]}, and "
                       f"{directories['test']} with {test[name]}; encode both alike.")


def _check_model(directory, index, model):
  shape, fields = tuple(index["settings"]["model_shape"]), index["settings"]["source"]["fields"]
  if model.image_shape != shape:
    raise ValueError(f"the latents in {directory} have shape {shape}, but config.model.image_shape "
                     f"is {model.image_shape}; set them equal.")
  if model.num_classes and "label" not in fields:
    raise ValueError(f"{directory} has no classes, but config.model.num_classes is "
                     f"{model.num_classes}; set it to 0.")
  if model.num_classes and index["num_classes"] > model.num_classes:
    raise ValueError(f"{directory} holds classes 0 to {index['num_classes'] - 1}, but "
                     f"config.model.num_classes is {model.num_classes}.")
  if model.backbone.text_tokens and "caption" not in fields:
    raise ValueError(f"{directory} has no captions, but config.model.backbone.text_tokens is "
                     f"{model.backbone.text_tokens}; set it to 0, or encode images with captions.")


def _check_files(directory, index):
  for entry in index["shards"]:
    path = directory / entry["file"]
    size = os.path.getsize(path) if path.is_file() else None
    if size != entry["bytes"]:
      found = "does not exist" if size is None else f"has {size} bytes"
      raise ValueError(f"{path} {found}, and by its index it has {entry['bytes']} bytes; copy it "
                       "again, or run `ntm encode` again with the settings in its index.")
