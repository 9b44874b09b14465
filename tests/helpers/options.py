"""Every choice of the config sections, found by reflection, and a run that meets it."""

import dataclasses
import os
import pathlib
import tempfile
import typing

import jax
import numpy as np

from ntm import config as config_lib
from ntm.config import Config
from ntm.likelihood import bounds
from ntm.losses import flow_matching as velocity_lib
from ntm.losses import task as task_lib
from ntm.models import build
from ntm.nn import partitioning
from ntm.sampling import generate, ode
from ntm.training import checks, loop
from ntm.training import state as state_lib
from ntm.training import step as step_lib
from tests.helpers import tiny

_VELOCITY = {"model__predictor__output": "velocity", "model__predictor__reads_noise": True,
             "process__t_min_low": 0.01}
_SQUARE_HEADS = {"model__predictor__num_kv_heads": 2}
_COUPLING = {"model__transporter__kind": "coupling", "model__transporter__num_blocks": 2}
_PLANE = {"data__source": "mixture", "model__image_shape": (2, 1), "model__patch_shape": (1,),
          "model__num_classes": 0}
# What else a choice needs in order to mean anything: the rest is as in `tiny.config`.
_NEEDS = {
    ("model__predictor__output", "velocity"): _VELOCITY,
    ("model__predictor__reads_noise", True): {},
    ("model__predictor__mean_correction", True): _VELOCITY,
    ("model__backbone__kind", "sit"): _VELOCITY | _SQUARE_HEADS,
    ("model__backbone__kind", "flux2"): _VELOCITY | _SQUARE_HEADS | {
        "model__num_classes": 0, "model__backbone__double_layers": 1,
        "model__backbone__text_tokens": 3, "model__backbone__text_width": 5},
    ("model__transporter__kind", "coupling"): _COUPLING,  # One leaves half of the tokens.
    ("model__transporter__split", "halves"): _COUPLING,
    ("model__transporter__reversible", False): _COUPLING,
    ("train__time_sampling", "uniform"): {"model__kind": "flow_matching"},
    ("data__source", "arrays"): {"model__num_classes": 0},
    ("data__source", "mixture"): _PLANE,
    ("data__source", "scenes"): {"model__image_shape": (32, 32, 3), "model__patch_shape": (16, 16),
                                 "model__num_classes": 0},
    ("data__source", "sounds"): {"model__image_shape": (1024, 1), "model__patch_shape": (128,),
                                 "model__num_classes": 2},
    ("data__source", "clips"): {"model__image_shape": (8, 16, 16, 1),
                                "model__patch_shape": (4, 8, 8)},
    ("text__template", "klein"): {
        "text__tokenizer": "tokenizer", "model__num_classes": 0, "model__backbone__text_tokens": 3,
        "model__backbone__vocab_size": 9},
    ("data__mixture", "ring8"): _PLANE,
    ("data__mixture", "checkerboard"): _PLANE,
    ("data__mixture", "templates"): _PLANE | {
        "model__image_shape": (8, 8, 1), "model__patch_shape": (4, 4)},
}


def choices(section: type = Config, path: str = "") -> list[tuple[str, object]]:
  """(key, value) for every value of every `Literal` and `bool` of the sections."""
  found = []
  for name, kind in typing.get_type_hints(section).items():
    if dataclasses.is_dataclass(kind):
      found += choices(kind, f"{path}{name}__")
    elif values := config_lib._choices(kind)[0]:
      found += [(path + name, value) for value in values]
    elif kind is bool:
      found += [(path + name, False), (path + name, True)]
  return found


def changes(key: str, value) -> dict[str, object]:
  """Arguments of `tiny.config` for a run in which a choice has an effect."""
  return _NEEDS.get((key, value), {}) | {key: value}


def task(config: Config, frozen=None) -> task_lib.Task:
  """What `ntm train` would train."""
  if config.model.kind == "flow_matching":
    return velocity_lib.velocity(config, frozen)
  return task_lib.density(config, frozen)


def batch(config: Config, size: int, seed: int = 0) -> dict[str, np.ndarray]:
  """A random batch of the model's shapes."""
  rng, model = np.random.default_rng(seed), config.model
  out = {"image": rng.uniform(-1, 1, (size, *model.image_shape)).astype(np.float32)}
  shape = (size, model.backbone.text_tokens)
  if model.backbone.vocab_size:
    return out | {"ids": rng.integers(0, model.backbone.vocab_size, shape).astype(np.int32),
                  "mask": rng.random(shape) < 0.7}
  if model.backbone.text_tokens:
    return out | {"text": rng.normal(size=(*shape, model.backbone.text_width)).astype(np.float32)}
  return out | {"label": rng.integers(0, max(model.num_classes, 1), size).astype(np.int32)}


def trace_update(config: Config):
  """Traces an update and computes nothing; gives the abstract parameters and batch."""
  what, mesh = task(config), partitioning.make_mesh(config.mesh)
  state = state_lib.abstract_state(what, config, mesh)
  examples = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype),
                          batch(config, config.train.batch_size))
  jax.eval_shape(step_lib.make_train_step(what, config, mesh), state, examples, None)
  return state.params, examples


def trace(config: Config) -> None:
  """Traces an update, a held-out loss, sampling and scoring; computes nothing."""
  params, examples = trace_update(config)
  what, rng = task(config), jax.random.key(0)
  size, steps = config.train.batch_size, config.process.num_steps[0]
  jax.eval_shape(lambda p, b: what.evaluate(p, None, b, rng), params, examples)
  cond = task_lib.condition(examples, config)
  patches = build.patches(config.model)
  if config.model.kind == "flow_matching":
    sampler = ode.make_generator(build.velocity(config), patches, config.process)
    jax.eval_shape(lambda p, c: sampler(rng, p, c, size, 2, "euler"), params, cond)
    return
  model = build.ntm(config)
  sampler = generate.make_generator(model, patches, config.process, "score")
  jax.eval_shape(lambda p, c: sampler(rng, p, c, size, steps), params, cond)
  jax.eval_shape(lambda p: bounds.likelihood(model, p, task_lib.example(config)), params)


# Settings that are no choices, to be combined at random: most combinations of these run,
_GOOD = [
    {"model__image_shape": (8, 2), "model__patch_shape": (2,)},
    {"model__image_shape": (2, 4, 4, 1), "model__patch_shape": (1, 2, 2),
     "model__predictor__num_heads": 1, "model__transporter__num_heads": 1},
    {"model__image_shape": (4, 6, 3), "model__patch_shape": (2, 1)},
    {"model__patch_shape": (4, 4)}, {"model__patch_shape": (1, 1)},
    {"model__num_classes": 0}, {"model__num_classes": 1},
    {"model__num_classes": 0, "model__backbone__text_tokens": 3, "model__backbone__text_width": 5},
    {"model__num_classes": 0, "model__backbone__text_tokens": 3, "model__backbone__vocab_size": 7,
     "text__tokenizer": "scenes"},
    {"model__unroll": 3},
    {"model__transporter__num_blocks": 0}, {"model__transporter__num_blocks": 3},
    {"model__transporter__features": 4},
    {"model__transporter__log_scale_bound": 0.5}, {"model__transporter__log_scale_bound": 20},
    {"model__inverse__segment": 3}, {"model__inverse__chunk": 3},
    {"model__inverse__max_iterations": 2}, {"model__inverse__tolerance": 0.1},
    {"process__num_steps": (1,)}, {"process__num_steps": (2, 3)},
    {"process__num_steps": (40,), "process__t_min_high": 0.02},
    {"process__t_min": 0.03}, {"process__t_min_low": 0.01}, {"process__t_min_high": 0.5},
    {"optimizer__max_grad_norm": 1e-6}, {"optimizer__weight_decay": 0.0},
    {"optimizer__ema_decay": 0.0},
    {"train__batch_size": 16, "train__grad_accumulation_steps": 2}, {"train__batch_size": 24},
    {"train__label_dropout": 0.0}, {"train__max_nonfinite_steps": 2}, {"train__profile_at": 2},
    {"train__seed": 2**31 - 1}, {"mesh__fsdp": 2}, {"mesh__tensor": 2}, {"mesh__fsdp": 4},
    {"denoiser__layers": 1, "denoiser__width": 12, "denoiser__num_heads": 1,
     "denoiser__num_kv_heads": 1},
] + [{f"model__{part}__width": width, f"model__{part}__num_heads": heads,
      f"model__{part}__num_kv_heads": kv_heads}
     for part in ("transporter", "predictor")
     for width, heads, kv_heads in ((12, 3, 1), (32, 4, 4), (8, 1, 1), (18, 3, 3), (24, 2, 2))]
# and one of these makes a run impossible.
_BAD = [{key: value} for key, values in {
    "model__image_shape": [(3, 4, 1), (4,), (0, 4, 1)], "model__patch_shape": [(2,), (-2, 2)],
    "model__num_classes": [-1, 2**31], "model__unroll": [0],
    "model__transporter__num_blocks": [-1], "model__transporter__features": [-1],
    "model__transporter__log_scale_bound": [0.0, 1e300, 1e-300],
    "model__backbone__text_tokens": [-1, 3], "model__backbone__double_layers": [-1],
    "model__inverse__segment": [-1], "model__inverse__chunk": [0],
    "model__inverse__tolerance": [0.0, 1e300], "model__inverse__max_iterations": [-1, 2**31],
    "process__num_steps": [(0,), (3, 3), ()], "process__t_min": [0.0, 0.3],
    "process__t_min_high": [1.0], "optimizer__max_grad_norm": [0.0, 1e-300],
    "optimizer__ema_decay": [1.0], "optimizer__weight_decay": [1e9],
    "train__batch_size": [0, 12], "train__grad_accumulation_steps": [3],
    "train__label_dropout": [1.0, -0.1], "train__seed": [-1, 2**31],
    "train__max_nonfinite_steps": [-1, 2**40], "train__profile_at": [-1, 100],
    "mesh__fsdp": [3, 0], "mesh__tensor": [-1],
    "model__predictor__num_heads": [0, 3], "model__transporter__num_kv_heads": [0, 3],
    "model__predictor__layers": [0], "denoiser__width": [6], "denoiser__mlp_ratio": [0],
}.items() for value in values]


def random_changes(rng: np.random.Generator) -> dict[str, object]:
  """A choice with what it needs, and two to five more settings, most of them good."""
  pick = lambda values: values[rng.integers(len(values))]
  known = choices()
  drawn = {"mesh__data": -1} | changes(*pick(known))
  for _ in range(rng.integers(2, 6)):
    kind = rng.random()
    drawn |= pick(_BAD) if kind < 0.05 else changes(*pick(known)) if kind < 0.4 else pick(_GOOD)
  return drawn


def refused(drawn: dict[str, object]) -> tuple[Config | None, str]:
  """(config, "") of settings that a run would start with, or (None, why it would not)."""
  try:
    config = tiny.config(**drawn)
    mesh = checks.check_run(config, tempfile.mkdtemp())
    state_lib.abstract_state(task(config), config, mesh)
  except ValueError as error:
    return None, str(error)
  return config, ""


class Batches:
  """Endless random batches: the iterator of a run without files."""

  def __init__(self, config: Config):
    self._config, self._drawn = config, 0

  def __next__(self):
    self._drawn += 1
    return batch(self._config, self._config.train.batch_size, seed=self._drawn)

  def get_state(self):
    return {"drawn": self._drawn}

  def set_state(self, state):
    self._drawn = state["drawn"]


def train(config: Config, workdir: str | os.PathLike, iterator=None) -> None:
  """Trains to the end, pictures included."""
  loop.train(task, config, workdir, iterator or Batches(config), [batch(config, 4)])


def write_data(source: str, config: Config) -> str:
  """Examples of a source in a new directory: the value of `config.data.path`."""
  root = pathlib.Path(tempfile.mkdtemp())
  pixels = np.random.default_rng(0).integers(0, 256, (30, *config.model.image_shape), np.uint8)
  if source == "folder":
    from PIL import Image
    for label in range(config.model.num_classes):
      (root / str(label)).mkdir()
      for i, image in enumerate(pixels[label::3]):
        Image.fromarray(image[..., 0]).save(root / str(label) / f"{i}.png")
  elif source == "arrays":
    for split in ("train", "test"):
      (root / split).mkdir()
      np.save(root / split / "image.npy", pixels / np.float32(127.5) - 1)
  return str(root)


def tiny_config(key: str, value, **more) -> Config:
  """The checked config of a choice."""
  return tiny.config(**{"mesh__data": -1} | changes(key, value) | more)

