"""CLIP score: how well pictures show what their captions say.

The score of a picture and its caption is 100 max(cos, 0) of their embeddings by a CLIP of Hugging
Face transformers, as torchmetrics and most papers on text to image report it. Hessel et al. [2021],
who named it, multiply by 2.5 in place of 100. It depends on the CLIP and on the kind of pictures,
so it is read next to the score of real pictures.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import PIL.Image

from ntm.data import prompts
from ntm.evaluation import torch_networks

_AT_A_TIME = 16  # Pictures in CLIP.
_LEGACY_END = 2  # In configs of early CLIPs: a text ends with its largest id.


@dataclasses.dataclass(frozen=True)
class Scores:
  """Of M pictures with their captions.

  Attributes:
    values: 100 max(cos, 0), float64 [M].
    truncated: whether the caption has more tokens than CLIP reads and was cut, bool [M].
  """

  values: np.ndarray
  truncated: np.ndarray

  def figures(self) -> dict[str, float | int]:
    """Names and values for results: mean, its standard error, and what they are of."""
    return torch_networks.mean_and_error("clip_score", self.values) | {
        "clip_num_pictures": len(self.values), "clip_num_truncated": int(self.truncated.sum())}


class Clip:
  """A CLIP that scores pictures, on the GPU if PyTorch finds one.

  Attributes:
    record: names and values for results: what scores depend on.
  """

  def __init__(self, name: str):
    """Loads model, tokenizer and image processor, and tries them on a batch.

    Args:
      name: a folder that `save_pretrained` of transformers wrote, or a name on the hub.

    Raises:
      ImportError: transformers or PyTorch is not installed.
      ValueError: the folder has no CLIP, lacks weights, or has another tokenizer.
    """
    try:
      import torch
      import transformers
    except ImportError as error:
      raise ImportError("the CLIP score is computed by transformers and PyTorch: "
                        "pip install 'ntm[eval]'") from error
    if not pathlib.Path(name).exists() and not prompts.could_be_hub_name(name):
      raise ValueError(f"--clip is {name}, which does not exist; expected the folder of a CLIP of "
                       "transformers, or a name on the hub such as openai/clip-vit-large-patch14.")
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    config = _load(transformers.AutoConfig, name)
    if config.model_type != "clip":
      raise ValueError(f"--clip is {name}, which holds a model of the type "
                       f"{config.model_type!r}; expected a CLIP, of the type 'clip'.")
    model, found = _load(transformers.CLIPModel, name, dtype=torch.float32,
                         output_loading_info=True)
    if found["missing_keys"]:  # They are random.
      raise ValueError(f"--clip is {name}, which lacks {len(found['missing_keys'])} arrays of a "
                       f"CLIP, such as {min(found['missing_keys'])}; expected complete weights.")
    self._tokenizer = _load(transformers.AutoTokenizer, name)
    # Of Pillow, as CLIP was trained with; torchvision's resize differs.
    self._processor = _load(transformers.AutoImageProcessor, name, backend="pil")
    self._length = config.text_config.max_position_embeddings
    self.record = {
        "clip_model": name, "clip_sha256": torch_networks.sha256(model),
        "clip_definition": "100 max(cos, 0)", "clip_resize": _resize(self._processor),
        "clip_context_length": self._length}
    self._device = torch_networks.device()
    self._torch, self._model = torch, model.eval().to(self._device)
    self._check_tokenizer(config.text_config)
    self._check_images(config.vision_config.image_size)

  def __call__(self, images: np.ndarray, captions: Sequence[str],
               report: Callable[[int, int], None] = lambda done, total: None) -> Scores:
    """Scores of pictures with their own captions.

    Args:
      images: [M, H, W, 1 or 3], float in [-1, 1], which are rounded to 8 bits, or uint8.
      captions: M texts.
      report: called with the pictures done and M.

    Raises:
      ValueError: another number of captions, images of other channels.
    """
    count = len(images)
    if count != len(captions):
      raise ValueError(f"there are {count} images and {len(captions)} captions; expected one "
                       "caption per image.")
    cosines, lengths = [np.empty(0)], []
    for start in range(0, count, _AT_A_TIME):
      texts = [str(caption) for caption in captions[start:start + _AT_A_TIME]]
      lengths += map(len, self._tokenizer(texts)["input_ids"])
      cosines.append(self._cosines(images[start:start + _AT_A_TIME], texts))
      report(start + len(texts), count)
    return Scores(100 * np.maximum(np.concatenate(cosines), 0),
                  np.array(lengths, int) > self._length)

  def _cosines(self, images, texts) -> np.ndarray:
    tokens = self._tokenizer(texts, padding=True, truncation=True, max_length=self._length,
                             return_tensors="pt")
    inputs = {"pixel_values": self._pixel_values(torch_networks.pixels(images)),
              "input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}
    with self._torch.inference_mode():
      out = self._model(**{key: value.to(self._device) for key, value in inputs.items()})
      cosines = (out.image_embeds * out.text_embeds).sum(dim=1)  # Embeddings have length 1.
    return cosines.cpu().numpy().astype(np.float64)

  def _pixel_values(self, pixels):
    return self._processor(images=list(pixels), return_tensors="pt",
                           input_data_format="channels_last")["pixel_values"]

  def _check_tokenizer(self, text):
    """Raises ValueError unless the model knows the tokenizer's ids, and which ends a text."""
    ids = self._tokenizer(["a"])["input_ids"][0]
    end = max(ids, default=None) if text.eos_token_id == _LEGACY_END else text.eos_token_id
    if len(ids) < 2 or ids[-1] != end or len(self._tokenizer) > text.vocab_size:
      raise ValueError(f"--clip is {self.record['clip_model']}, whose tokenizer has "
                       f"{len(self._tokenizer)} ids and makes {ids} of 'a', and whose CLIP knows "
                       f"{text.vocab_size} ids and ends a text with {end}; expected the tokenizer "
                       "that was published with it.")

  def _check_images(self, side):
    """Raises ValueError unless pictures reach the model at its size, and it has memory."""
    blank = np.zeros((_AT_A_TIME, side, side + 1, 3), np.uint8)
    shape = tuple(self._pixel_values(blank[:1]).shape[2:])
    if shape != (side, side):
      raise ValueError(f"--clip is {self.record['clip_model']}, whose image processor gives "
                       f"pictures of {shape}, and whose CLIP reads {(side, side)}; expected the "
                       "preprocessor_config.json that was published with it.")
    try:
      self._cosines(blank, ["a"] * len(blank))
    except self._torch.OutOfMemoryError as error:
      raise ValueError(f"--clip is {self.record['clip_model']}, for which {self._device} has no "
                       "memory next to JAX; set XLA_CLIENT_MEM_FRACTION=0.5, or install "
                       "PyTorch for CPU.") from error


def _load(kind, name, **how):
  """What a class of transformers makes of a folder or a name on the hub."""
  try:
    return kind.from_pretrained(name, **how)
  except Exception as error:  # Of many types, by what is missing.
    looked = "" if pathlib.Path(name).exists() else (
        " No folder here has that name, so it was looked for on the hub.")
    raise ValueError(f"--clip is {name}, which holds no CLIP that can be read "
                     f"({str(error).strip().partition(chr(10))[0]}); expected the folder of a CLIP "
                     "of transformers with weights, tokenizer and preprocessor_config.json, or a "
                     f"name on the hub.{looked}") from error


def _resize(processor) -> str:
  """What an image processor does to the size of pictures."""
  sides = lambda size: ", ".join(f"{name} {value}" for name, value in dict(size).items() if value)
  parts = []
  if processor.do_resize:
    filtered = PIL.Image.Resampling(processor.resample).name.lower()
    parts.append(f"{filtered} to {sides(processor.size)}")
  if processor.do_center_crop:
    parts.append(f"centre crop to {sides(processor.crop_size)}")
  return ", ".join(parts) or "none"
