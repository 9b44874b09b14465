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
import jax.numpy as jnp
import numpy as np

from ntm.likelihood import bounds, trajectory_codec
from ntm.likelihood.ans import Stack
from ntm.models import build
from ntm.process import schedule
from ntm.typing import Condition, Trajectory

_MAGIC = b"NTMbits1"
_BITS_PER_DIMENSION = 64  # Borrowed at first: two states of one image, and what blocks pop.
_WEIGHED = 100  # Trajectories in one call.


def check_codable(model) -> None:
  """Raises ValueError for a model whose steps cannot be coded, before any work.

  Args:
    model: a restored NTM (`ntm.api.Model`).
  """
  trajectory_codec.check_codable(build.ntm(model.config))


def compress(model, images: np.ndarray, labels: np.ndarray | None, num_steps: int,
             level_spacing: float, seed: int = 0, progress=None) -> tuple[bytes, dict]:
  """Compresses images.

  Args:
    model: a restored NTM of pixels (`ntm.api.Model`) with a markov predictor.
    images: float ``[B, *image_shape]`` in [-1, 1], on levels.
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


def figures(model, sizes: dict, images: np.ndarray, labels: np.ndarray | None, num_steps: int,
            level_spacing: float) -> dict[str, float]:
  """What a code costs, and what the density says that it should.

  Args:
    model: as `compress` was given it, as are the others.
    sizes: what `compress` returned.
    images: float ``[B, *image_shape]``.
    labels: class indices [B], or None.
    num_steps: T.
    level_spacing: h.

  Returns:
    The sizes in bits without the states; in bits per dimension "bits_per_dim", net,
    "file_bits_per_dim", of everything, and "bound_of_the_same_draws", with K = 1, of the very
    trajectories that were coded; and "longer_by", the net size over that bound, minus 1.
  """
  log_weight_B = log_weights(model, sizes["states"], images, labels, num_steps, level_spacing)
  bound = -float(log_weight_B.sum()) / math.log(2)
  return {name: value for name, value in sizes.items() if name != "states"} | {
      "bits_per_dim": sizes["net_bits"] / images.size,
      "file_bits_per_dim": sizes["file_bits"] / images.size,
      "bound_of_the_same_draws": bound / images.size, "longer_by": sizes["net_bits"] / bound - 1}


def log_weights(model, states_BKD: np.ndarray, images: np.ndarray, labels: np.ndarray | None,
                num_steps: int, level_spacing: float) -> np.ndarray:
  """Log importance weights of trajectories that were coded, float64 [B], in nats.

  Args:
    model: as `compress`, as are the others.
    states_BKD: the trajectories, as `compress` returns them.
    images: float ``[B, *image_shape]``.
    labels: class indices [B], or None.
    num_steps: T.
    level_spacing: h.
  """
  config, network = model.config, build.ntm(model.config)
  t_min, times_K = config.process.t_min, _times(config, num_steps)

  @jax.jit
  def bound(params, x_KBNC, label_B):
    count = x_KBNC.shape[1]
    cond = network.condition(Condition(label_B=label_B), num_steps, count)
    times_KB = jnp.broadcast_to(times_K[:, None], (len(times_K), count))
    trajectory = Trajectory(x_KBNC, times_KB, cond, jnp.ones((num_steps, count)))
    return bounds.likelihood(network, params, trajectory).bound_B

  parts = []
  for start in range(0, len(images), _WEIGHED):
    part = slice(start, start + _WEIGHED)
    x0_BNC = np.asarray(build.patches(config.model).to_tokens(images[part]), np.float64)
    x_KBNC = np.moveaxis(states_BKD[part], 0, 1).reshape(-1, *x0_BNC.shape)
    z_BNC = (x_KBNC[0] / (1 - t_min) - x0_BNC) * (1 - t_min) / t_min
    label_B = None if labels is None else np.asarray(labels[part], np.int32)
    parts.append(np.asarray(bound(model.params, np.float32(x_KBNC), label_B), np.float64)
                 + np.asarray(bounds.dequantisation_log_weight(z_BNC, t_min, level_spacing)))
  return np.concatenate(parts)


def _codec(model, num_steps, level_spacing):
  config = model.config
  return trajectory_codec.TrajectoryCodec(
      build.ntm(config), model.params, _times(config, num_steps),
      (config.model.num_tokens, config.model.num_channels), level_spacing,
      bool(config.model.num_classes))


def _times(config, num_steps):
  """Levels [K], t_min first."""
  return np.asarray(schedule.padded_times(
      config.process.schedule, num_steps, num_steps, config.process.t_min,
      config.model.num_tokens))


def _initial(seed, dimensions):
  bits = _BITS_PER_DIMENSION * dimensions
  return (1 << bits) + random.Random(seed).getrandbits(bits)


def _digest(model) -> str:
  """Of the parameters."""
  digest = hashlib.sha256()
  for leaf in jax.tree.leaves(model.params):
    digest.update(np.asarray(leaf).tobytes())
  return digest.hexdigest()
