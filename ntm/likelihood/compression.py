"""Files of losslessly compressed images: a chain of bits-back codes on one stack.

The stack starts with random bits of a seed, which the first image's trajectory is drawn from, and
later images draw theirs from the code of those before. All of it is in the file: the net size is
what the images added, and decoding ends with the initial bits again, which proves that nothing was
lost. Labels are side information of the density and are stored apart.

Decoding repeats the arithmetic of encoding bit by bit. That is guaranteed for the same checkpoint,
machine and versions of the libraries, and for no others.
"""

import hashlib
import json
import math
import random
import zlib

import jax
import numpy as np

from ntm.likelihood.ans import Stack
from ntm.likelihood.trajectory_codec import TrajectoryCodec
from ntm.models import build
from ntm.process import schedule

_MAGIC = b"NTMbits1"
_BITS_PER_DIMENSION = 64  # Borrowed at first: two states of one image, and what blocks pop.


def compress(model, images: np.ndarray, labels: np.ndarray | None, num_steps: int,
             level_spacing: float, seed: int = 0, progress=None) -> tuple[bytes, dict]:
  """Compresses images.

  Args:
    model: a restored NTM of pixels (`ntm.api.Model`) with a markov predictor.
    images: float [B, *image_shape] in [-1, 1], on levels.
    labels: class indices [B], or None for a model without classes.
    num_steps: T.
    level_spacing: h, distance of the levels.
    seed: of the initial bits.
    progress: called with (images done, B) after every image.

  Returns:
    (the file, {"initial_bits", "borrowed_bits" at most at any time, "net_bits" that the images
    added, "file_bits" of everything}, and "states" [B, K, D], the trajectories of the code).

  Raises:
    ValueError: images that are not on levels, or a model whose steps cannot be coded.
  """
  tokens = np.asarray(build.patches(model.config.model).to_tokens(images), np.float64)
  level_BD = np.round((tokens + 1) / level_spacing).astype(np.int64).reshape(len(images), -1)
  if np.abs(level_BD.reshape(tokens.shape) * level_spacing - 1 - tokens).max() > 1e-4:
    raise ValueError(f"the images have values between levels {level_spacing:.4g} apart; expected "
                     "levels alone, which are what is compressed.")
  codec = _codec(model, num_steps, level_spacing)
  start = _initial(seed, level_BD.shape[1])
  stack, states = Stack(start), []
  for i, level_D in enumerate(level_BD):
    states.append(codec.encode(stack, level_D, 0 if labels is None else int(labels[i])))
    if progress:
      progress(i + 1, len(images))
  header = json.dumps({
      "images": len(images), "num_steps": num_steps, "level_spacing": level_spacing, "seed": seed,
      "model": _digest(model), "labels": None if labels is None else [int(y) for y in labels],
  }).encode()
  payload = stack.value.to_bytes((stack.bits + 7) // 8, "little")
  body = len(header).to_bytes(4, "little") + header + payload
  data = _MAGIC + zlib.crc32(body).to_bytes(4, "little") + body
  net = math.log2(stack.value) - math.log2(start)
  return data, {"initial_bits": start.bit_length(),
                "borrowed_bits": start.bit_length() - stack.least_bits, "net_bits": net,
                "file_bits": 8 * len(data), "states": np.stack(states)}


def decompress(model, data: bytes, progress=None) -> tuple[np.ndarray, np.ndarray | None]:
  """`compress` undone: (images float32, labels or None).

  Raises:
    ValueError: a file that is damaged, of another model, or decoded by other arithmetic.
  """
  start = len(_MAGIC) + 4
  body = data[start:]
  if (data[:len(_MAGIC)] != _MAGIC or len(body) < 4
      or zlib.crc32(body).to_bytes(4, "little") != data[len(_MAGIC):start]):
    raise ValueError("the compressed images are damaged, or not compressed by `compress`; "
                     "expected the file as it was written.")
  size = 4 + int.from_bytes(body[:4], "little")
  header = json.loads(body[4:size])
  if header["model"] != _digest(model):
    raise ValueError("the images were compressed by another model; expected the same checkpoint.")
  codec = _codec(model, header["num_steps"], header["level_spacing"])
  stack, labels, levels = Stack(int.from_bytes(body[size:], "little")), header["labels"], []
  for i in reversed(range(header["images"])):
    levels.append(codec.decode(stack, 0 if labels is None else labels[i]))
    if progress:
      progress(len(levels), header["images"])
  if stack.value != _initial(header["seed"], math.prod(codec.shape)):
    raise ValueError("decoding did not end with the initial bits; expected the machine and the "
                     "versions of the libraries that compressed the images.")
  level_BNC = np.stack(levels[::-1]).reshape(-1, *codec.shape)
  tokens = (level_BNC * header["level_spacing"] - 1).astype(np.float32)
  images = np.asarray(build.patches(model.config.model).to_images(tokens))
  return images, None if labels is None else np.array(labels)


def _codec(model, num_steps, level_spacing):
  config = model.config
  times_K = np.asarray(schedule.padded_times(
      config.process.schedule, num_steps, num_steps, config.process.t_min,
      config.model.num_tokens))
  return TrajectoryCodec(build.ntm(config), model.params, times_K,
                         (config.model.num_tokens, config.model.num_channels), level_spacing,
                         bool(config.model.num_classes))


def _initial(seed, dimensions):
  bits = _BITS_PER_DIMENSION * dimensions
  return (1 << bits) + random.Random(seed).getrandbits(bits)


def _digest(model) -> str:
  """Of the parameters."""
  digest = hashlib.sha256()
  for leaf in jax.tree.leaves(model.params):
    digest.update(np.asarray(leaf).tobytes())
  return digest.hexdigest()
