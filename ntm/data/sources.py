"""Random-access sources: digits, folders, tfds, arrays, shards, mixtures, scenes, sounds, clips.

With `config.data.augment` the digits are endless: `ntm.data.digits`.

Every example is {"image": float32 [H, W, C] in [-1, 1], "label": int32}; of
prepared arrays, what `ntm.data.arrays` says, of shards, what `ntm.data.shards`
says, and of mixtures, sounds and clips [*image_shape] of any range.
What other kinds of pixels and sizes become is in `ntm.data.images`.
"""

from ntm.config import DataConfig, ModelConfig, TextConfig, extension
from ntm.data import captions
from ntm.data.arrays import Arrays
from ntm.data.clips import Clips
from ntm.data.digits import Digits, EndlessDigits
from ntm.data.external import External
from ntm.data.folder import Folder
from ntm.data.folder_captions import CaptionedFolder
from ntm.data.mixture import Mixture
from ntm.data.scenes import Scenes
from ntm.data.shards import Shards
from ntm.data.sounds import Sounds
from ntm.data.tfds import Tfds
from ntm.data.unreadable import Source, first_readable

SPLITS = ("train", "test")
_ENDLESS = ("mixture", "scenes", "sounds", "clips")


def load(data: DataConfig, model: ModelConfig, split: str,
         text: TextConfig | None = None) -> Source:
  """Opens a split of the configured source and checks it against the model.

  With a tokenizer, captions become token ids, see `ntm.data.captions`.

  Returns:
    Examples, with `record()`: lines that say which they are, for the workdir.

  Raises:
    ValueError: images of another shape, labels that exceed num_classes, a folder without images
      or captions or whose first 100 cannot be read, arrays or shards that are missing or of other
      shapes.
    ImportError: a source whose extra is not installed.
  """
  if split not in SPLITS:
    raise ValueError(f"split is {split!r}; expected one of {SPLITS}.")
  by_text = bool(text and text.tokenizer)
  if by_text and data.source not in ("scenes", "shards", "folder"):
    raise ValueError(f"config.data.source is {data.source!r}, whose examples have no captions for "
                     "text.tokenizer; expected 'scenes', 'shards' or 'folder'.")
  if extension.is_path(data.source):
    return External(extension.call(data.source, data, model, split), data.source, model)
  if data.source == "arrays":
    return Arrays(data.path, split, model)
  if data.source == "shards":
    shards = Shards(data.path, split, model, data.test_fraction)
    return _tokenised(shards, text, model) if by_text else shards
  if model.backbone.text_tokens and not by_text:
    raise ValueError(f"config.data.source is {data.source!r}, which has no text features; "
                     "expected 'arrays'.")
  of_pixels = data.source not in ("mixture", "sounds", "clips")
  if of_pixels and (len(model.image_shape) != 3 or model.image_shape[-1] not in (1, 3)):
    raise ValueError(f"config.model.image_shape is {model.image_shape}; the image sources give "
                     "(height, width, 1 or 3); for a model of latents set config.autoencoder.path.")
  if data.source == "digits":
    source = (EndlessDigits if data.augment else Digits)(split, data.left_out)
  elif data.source == "mixture":
    source = Mixture(data, split, model.image_shape)
  elif data.source in ("sounds", "clips"):
    source = {"sounds": Sounds, "clips": Clips}[data.source](split)
  elif data.source == "scenes":
    source = Scenes(split, model.image_shape[0], with_captions=by_text)
  elif data.source == "folder":
    files = CaptionedFolder if by_text else Folder
    source = files(data.path, split, model.image_shape, data.test_fraction)
  else:
    source = Tfds(data.path, data.data_dir, split, model.image_shape)
  first = first_readable(source)
  if first["image"].shape != model.image_shape:
    raise ValueError(f"{data.source} images have shape {first['image'].shape}, but "
                     f"the run reads {model.image_shape}: config.model.image_shape, or the images "
                     "of config.autoencoder.path; set them equal.")
  if model.num_classes and source.num_classes != model.num_classes:
    raise ValueError(f"{data.source} has {source.num_classes} classes, but "
                     f"config.model.num_classes is {model.num_classes}; set it to that, or to 0 "
                     "for an unconditional model.")
  return _tokenised(source, text, model) if by_text else source


def _tokenised(source, text, model):
  return captions.Tokenised(source, captions.tokenizer(text, model.backbone))


def endless(data: DataConfig) -> bool:
  """Whether every example is a draw of its own, which a run sees once."""
  return data.augment or data.source in _ENDLESS


def level_spacing(config: DataConfig) -> float:
  """Distance between neighbouring values of the data, in the scale [-1, 1].

  Raises:
    ValueError: arrays, shards and synthetic data, whose values are anything, and interpolated
      digits.
  """
  if config.augment:
    raise ValueError("config.data.augment is True, and interpolated images have no levels of known "
                     "distance; expected False. `ntm evaluate` and Model.log_prob give the density "
                     "of these.")
  if config.source in ("arrays", "shards", *_ENDLESS) or extension.is_path(config.source):
    raise ValueError(f"config.data.source is {config.source!r}; expected images whose values have "
                     "levels of known distance. For others, `ntm evaluate` and Model.log_prob give "
                     "the density.")
  return 2 / 16 if config.source == "digits" else 2 / 255
