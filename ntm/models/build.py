"""From a run's configuration to modules: the only code below `ntm.config` that reads ModelConfig.

A part that this file does not know is named "module:function" in the configuration. The
function takes the ModelConfig and the Numerics and returns the module:

  model.transporter.kind   → a bijector, see `ntm.flows.bijector`
  model.backbone.kind      → a network, (config, numerics, outputs) → (u_BGNC, cond) → {name: ...},
                             see `ntm.models.predictor.network_outputs`
"""

import dataclasses
from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp
from flax.core import FrozenDict

from ntm.config import Config, ModelConfig, TransformerConfig, extension
from ntm.flows.autoregressive import AutoregressiveBlock
from ntm.flows.bijector import Alternating, Identity
from ntm.flows.coupling import CouplingChain
from ntm.flows.elementwise import Maps
from ntm.models.denoiser import Denoiser
from ntm.models.dit import DiT
from ntm.models.external import External
from ntm.models.ntm import NTM
from ntm.models.predictor import Predictor, network_outputs
from ntm.models.velocity import Velocity
from ntm.nn.numerics import Numerics
from ntm.nn.patchify import Patches
from ntm.published.flux2 import model as flux2
from ntm.published.flux2.mapping import flux2_config
from ntm.published.sit.mapping import sit_config
from ntm.published.sit.model import SiT

Outputs = Mapping[str, tuple[int, ...]]


def ntm(config: Config) -> NTM:
  """The density that a run's config describes."""
  return NTM(transporter(config.model), predictor(config.model),
             reads_num_steps=len(config.process.num_steps) > 1)


def velocity(config: Config) -> Velocity:
  """The velocity network of a flow-matching run, or of what an NTM starts from."""
  return Velocity(network(config.model, {"readout": (config.model.num_channels,)}))


def denoiser(config: Config) -> Denoiser:
  """The denoiser of a distillation run."""
  model = config.model
  outputs = FrozenDict(readout=(model.num_channels,))
  return Denoiser(DiT(config.denoiser, model.grid_shape, outputs, model.num_classes,
                      _text_encoder(model, config.denoiser), model.backbone.vocab_size,
                      numerics=numerics(model)))


def patches(config: ModelConfig) -> Patches:
  """Images to tokens and back."""
  return Patches(config.image_shape, config.patch_shape)


def numerics(config: ModelConfig) -> Numerics:
  """Types and rematerialisation of every network: parameters in float32 or better."""
  dtype = jnp.dtype(config.dtype)
  return Numerics(dtype, jnp.promote_types(dtype, jnp.float32), config.remat, config.unroll,
                  config.attention_kernel)


def transporter(config: ModelConfig) -> nn.Module:
  """f_T."""
  sizes = config.transporter
  if extension.is_path(sizes.kind):
    module = extension.call(sizes.kind, config, numerics(config))
    return _with_methods(module, sizes.kind, "forward_and_log_det", "inverse_and_log_det")
  if not sizes.num_blocks:
    return Identity()
  common = dict(grid_shape=config.grid_shape, num_channels=config.num_channels,
                num_classes=config.num_classes if sizes.class_conditional else 0,
                maps=Maps(sizes.log_scale_bound, sizes.spline_bins, sizes.spline_range),
                numerics=numerics(config))
  if sizes.kind == "coupling":
    return CouplingChain(_transformer(sizes), sizes.num_blocks, split=sizes.split,
                         reversible=sizes.reversible, **common)
  orders = ("ascending", "descending") if sizes.autoregressive_channels else ("independent",) * 2
  return Alternating(tuple(
      AutoregressiveBlock(_transformer(sizes), channels=orders[i % 2], inverse=config.inverse,
                          **common)
      for i in range(sizes.num_blocks)))


def predictor(config: ModelConfig) -> Predictor:
  """f_P."""
  sizes = config.predictor
  num_features = config.transporter.features
  outputs = network_outputs(sizes.output, config.num_channels, sizes.mean_correction,
                            num_features)
  # A velocity network has read the level alone.
  zero = ("next_time", "steps") if sizes.output == "velocity" else ()
  return Predictor(network(config, outputs, not sizes.reads_noise, zero), sizes.context,
                   sizes.output, num_features)


def network(config: ModelConfig, outputs: Outputs, noise_token: bool = False,
            zero_init_conditions: tuple[str, ...] = ()) -> nn.Module:
  """The network of a predictor or velocity model; for its arguments see `DiT`."""
  kind, sizes, types = config.backbone.kind, config.predictor, numerics(config)
  outputs = FrozenDict(outputs)  # A module with a dict cannot be hashed, hence not be static.
  if extension.is_path(kind):
    module = extension.call(kind, config, types, outputs)
    caches = ("init_caches",) if sizes.context == "history" else ()
    return _with_methods(module, kind, "__call__", *caches)
  if kind == "dit":
    return DiT(_transformer(sizes), config.grid_shape, outputs, config.num_classes,
               _text_encoder(config, sizes), config.backbone.vocab_size, noise_token,
               zero_init_conditions, types)
  if kind == "sit":
    return External(SiT(sit_config(config), types), lambda cond: (cond.label_B,), outputs, types)
  positions = (flux2.image_ids(config.grid_shape), flux2.text_ids(config.backbone.text_tokens))
  return External(flux2.Flux2(flux2_config(config), types),
                  lambda cond: (cond.text_BMW, *positions), outputs, types)


def _with_methods(module, path: str, *names: str) -> nn.Module:
  """The module of an extension; raises ValueError unless it has these methods."""
  if not isinstance(module, nn.Module):
    raise ValueError(f"{path!r} returns {type(module).__name__}; expected a linen module with the "
                     f"methods {', '.join(names)}, see docs/extending.md.")
  if missing := [name for name in names if not hasattr(module, name)]:
    raise ValueError(f"{path!r} returns {type(module).__name__}, which lacks {', '.join(missing)}; "
                     "add the method, see docs/extending.md.")
  return module


def _text_encoder(config: ModelConfig, sizes: TransformerConfig) -> TransformerConfig | None:
  """The sizes of the layers that embed token ids: of the network that reads them, but for depth."""
  if not config.backbone.vocab_size:
    return None
  return dataclasses.replace(_transformer(sizes), layers=config.backbone.text_layers)


def _transformer(sizes: TransformerConfig) -> TransformerConfig:
  """The sizes of a Transformer alone."""
  return TransformerConfig(sizes.layers, sizes.width, sizes.num_heads, sizes.num_kv_heads,
                           sizes.mlp_ratio)
