"""A model small enough to compile in a second, with parameters that do something."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ntm import config as config_lib
from ntm.losses import task as task_lib
from ntm.models import build
from ntm.typing import Condition, Trajectory


def config(**changes) -> config_lib.Config:
  """A checked Config; keys with two underscores are nested, train__steps=3."""
  values = {
      "model": {
          "image_shape": (4, 4, 1), "patch_shape": (2, 2), "num_classes": 3,
          "transporter": {"layers": 1, "width": 16, "num_heads": 2, "num_kv_heads": 1,
                          "num_blocks": 1},
          "predictor": {"layers": 2, "width": 16, "num_heads": 2, "num_kv_heads": 1},
      },
      "process": {"schedule": "uniform", "num_steps": (3,)},
      "optimizer": {"warmup_steps": 0, "peak_learning_rate": 1e-3},
      "train": {"steps": 6, "batch_size": 8, "log_every": 2, "sample_every": 100,
                "checkpoint_every": 3},
      "mesh": {"data": 1},
  }
  for key, value in changes.items():
    *path, last = key.split("__")
    section = values
    for name in path:
      section = section.setdefault(name, {})
    section[last] = value
  return config_lib.from_dict(values)


def random_params(init, scale: float = 0.2, seed: int = 7):
  """Parameters that do something, for a module's init.

  Nothing is zero or the identity, as it would be after a real initialisation,
  and nothing is compiled: only the shapes come from `init`.

  Args:
    init: rng → variables.
    scale: standard deviation of every entry; gains of norms are around 1.
    seed: of the entries.
  """
  shapes = nn.unbox(jax.eval_shape(init, jax.random.key(0))).get("params", {})
  return fill(shapes, scale, seed)


def fill(shapes, scale: float = 0.2, seed: int = 7):
  """A tree of random arrays with the shapes and types of another."""
  rng = np.random.default_rng(seed)

  def entries(path, leaf):
    gain = path[-1].key == "scale"
    # Converted by NumPy: JAX compiles a conversion for every shape.
    return jnp.asarray(np.asarray(gain + scale * rng.normal(size=leaf.shape), leaf.dtype))

  return jax.tree_util.tree_map_with_path(entries, shapes)


def model_and_params(cfg: config_lib.Config, dtype=jnp.float32, scale: float = 0.2):
  """The model in the given type, and random parameters."""
  cfg = dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, dtype=jnp.dtype(dtype).name))
  model = build.ntm(cfg)
  init = lambda rng: model.init(rng, task_lib.example(cfg), method="log_prob")
  return model, random_params(init, scale)


def condition(cfg: config_lib.Config, batch_size: int) -> Condition:
  """Different classes, texts of different lengths, random text features, or nothing."""
  model, text = cfg.model, cfg.model.backbone
  if text.vocab_size:
    rng = np.random.default_rng(3)
    ids_BM = rng.integers(0, text.vocab_size, (batch_size, text.text_tokens)).astype(np.int32)
    length_B1 = 1 + np.arange(batch_size)[:, None] % text.text_tokens
    return Condition(ids_BM=ids_BM, mask_BM=np.arange(text.text_tokens) < length_B1)
  if text.text_tokens:
    shape = (batch_size, text.text_tokens, text.text_width)
    return Condition(text_BMW=jax.random.normal(jax.random.key(3), shape))
  return Condition(
      label_B=jnp.arange(batch_size) % model.num_classes if model.num_classes else None)


def trajectory(cfg: config_lib.Config, batch_size: int = 2, seed: int = 0,
               dtype=jnp.float32) -> Trajectory:
  """Random states at evenly spaced levels."""
  model, num_steps = cfg.model, max(cfg.process.num_steps)
  shape = (num_steps + 1, batch_size, model.num_tokens, model.num_channels)
  times_K = jnp.linspace(0.02, 1, num_steps + 1, dtype=dtype)
  return Trajectory(
      x_KBNC=jax.random.normal(jax.random.key(seed), shape, dtype),
      times_KB=jnp.broadcast_to(times_K[:, None], shape[:2]),
      cond=condition(cfg, batch_size).replace(
          num_steps_B=jnp.full(batch_size, num_steps) if len(cfg.process.num_steps) > 1 else None),
      valid_SB=jnp.ones((num_steps, batch_size), dtype))
