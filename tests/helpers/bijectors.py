"""A table of bijectors that obey the same laws, and what their tests share."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from ntm.config import TransformerConfig
from ntm.flows import autoregressive, bijector, coupling
from ntm.flows.elementwise import Maps
from ntm.models import build
from ntm.nn.numerics import Numerics
from ntm.typing import Condition
from tests.helpers import tiny

CONFIG = TransformerConfig(layers=1, width=16, num_heads=2, num_kv_heads=1, mlp_ratio=2)
DEEP = dataclasses.replace(CONFIG, layers=2)
SHAPE = (2, 6, 2)  # B, N, C


AFFINE = Maps()
SPLINE = Maps(spline_bins=5, spline_range=1.5)  # Which a third of the entries of `setup` leave.


def block(dtype, config=CONFIG, grid=(2, 3), num_classes=0, maps=AFFINE, channels="independent",
          num_channels=2):
  return autoregressive.AutoregressiveBlock(
      config, grid, num_channels, num_classes, maps, channels, numerics=Numerics(dtype, dtype))


def coupling_chain(dtype, split="checkerboard", num_classes=0, maps=AFFINE):
  # Stored activations: forward-mode Jacobians do not pass a custom_vjp.
  return coupling.CouplingChain(CONFIG, 3, (2, 3), 2, num_classes, split, maps, reversible=False,
                                numerics=Numerics(dtype, dtype))


def transporter(dtype, num_blocks=2, **options):
  cfg = tiny.config(model__image_shape=(4, 6, 1), model__patch_shape=(2, 3),
                    model__transporter={"layers": 1, "width": 16, "num_heads": 2,
                                        "num_kv_heads": 1, "num_blocks": num_blocks} | options)
  # 4 tokens of 6 channels against 6 of 2: the laws hold for any shape.
  model = dataclasses.replace(cfg.model, dtype=jnp.dtype(dtype).name)
  return build.transporter(model)


BIJECTORS = {
    "identity": lambda dtype: bijector.Identity(),
    "flip": lambda dtype: bijector.Flip(),
    "chain": lambda dtype: bijector.Chain([block(dtype), bijector.Flip(), block(dtype)]),
    "empty_chain": lambda dtype: bijector.Chain([]),
    "autoregressive": functools.partial(block, config=DEEP),
    "autoregressive_1d": functools.partial(block, grid=(6,)),
    "autoregressive_3d": functools.partial(block, grid=(1, 2, 3)),
    "autoregressive_class": functools.partial(block, num_classes=3),
    "autoregressive_steps": block,
    "autoregressive_features": block,
    "reversed_features": lambda dtype: bijector.Reversed(block(dtype)),
    "autoregressive_spline": functools.partial(block, maps=SPLINE),
    "autoregressive_spline_features": functools.partial(block, maps=SPLINE),
    "autoregressive_ascending": functools.partial(block, channels="ascending"),
    "autoregressive_descending": functools.partial(block, channels="descending"),
    "autoregressive_ascending_spline_features": functools.partial(
        block, maps=SPLINE, channels="ascending"),
    "coupling": coupling_chain,
    "coupling_features": coupling_chain,
    "coupling_class": functools.partial(coupling_chain, num_classes=3),
    "coupling_steps": coupling_chain,
    "coupling_halves": functools.partial(coupling_chain, split="halves"),
    "coupling_spline": functools.partial(coupling_chain, maps=SPLINE),
    "coupling_spline_features": functools.partial(coupling_chain, maps=SPLINE),
    "transporter": transporter,
    "transporter_features": transporter,
    "transporter_channels": functools.partial(transporter, autoregressive_channels=True),
    "transporter_channels_spline": functools.partial(
        transporter, autoregressive_channels=True, spline_bins=5, spline_range=1.5),
    "no_transporter": functools.partial(transporter, num_blocks=0),
}


@functools.cache
def setup(name, precision="float32"):
  """(forward, inverse, params, x); the first two are (params, tokens) → (tokens, log-det)."""
  dtype = jnp.dtype(precision)
  module = BIJECTORS[name](dtype)
  shape = (2, 4, 6) if "transporter" in name else SHAPE
  x = jax.random.normal(jax.random.key(3), shape, dtype)
  cond = Condition(time_B=jnp.array([0.02, 0.6], dtype), label_B=jnp.array([0, 3]),
                   num_steps_B=jnp.array([4, 8]) if "steps" in name else None,
                   features_BNF=features(shape, dtype) if "features" in name else None)
  forward = lambda params, x: module.apply(params, x, cond, method="forward_and_log_det")
  inverse = lambda params, u: module.apply(params, u, cond, method="inverse_and_log_det")
  return jax.jit(forward), jax.jit(inverse), random_params(module, x, cond, 0.1), x


def features(shape, dtype=jnp.float32):
  """Random features for tokens of this shape, other ones for every token."""
  return jax.random.normal(jax.random.key(4), (*shape[:2], 3), dtype)


def random_params(module, x, cond, scale=0.2):
  """Perturbed parameters; a bijector without any has none."""
  init = lambda rng: module.init(rng, x, cond, method="forward_and_log_det")
  return {"params": tiny.random_params(init, scale)}
