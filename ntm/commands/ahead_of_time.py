"""Programs compiled ahead of time, for devices that need not exist.

The FLOPs of a program, what the compiler says of its memory, and the collectives and the memory
traffic in its text (`ntm.performance`) are known before a machine is rented.
"""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from ntm.commands import programs
from ntm.config import Config
from ntm.losses import inputs
from ntm.models import autoencoder, prompt_encoder
from ntm.nn import partitioning
from ntm.performance import bounds, collectives, flops, interconnect, memory_traffic
from ntm.performance.accelerators import Chip
from ntm.performance.bounds import Bound
from ntm.performance.interconnect import Exchange
from ntm.training import step as step_lib

# Two ways in which XLA says that a program does not fit; the second is of temporaries alone.
_NEEDED = re.compile(r"(?:Used |HLO temporaries \()([0-9.]+)([KMGT])"
                     r"(?: of \S+ hbm|\) exceeds available HBM)")


@dataclasses.dataclass(frozen=True)
class Report:
  """What one program needs and does; bytes and FLOPs are per chip.

  Attributes:
    parameters: of what is trained or sampled.
    arguments: bytes of state, batch and frozen parameters.
    temporaries: bytes of intermediate buffers.
    hbm_per_chip_bytes: arguments, temporaries and the results that overwrite no
      argument; if the program does not fit, what the compiler said that it needs, at
      least.
    fits: hbm_per_chip_bytes are at most the chip's; None for a chip that is not in the
      table.
    flops_per_chip: of the model, see `model_flops`.
    executed_flops_per_chip: with what rematerialisation computes again.
    padded_flops_per_chip: with the padding to tiles of the chip too, at least, see
      `ntm.performance.flops`.
    memory_traffic_bytes: read from HBM and written to it, see `ntm.performance.memory_traffic`.
    state_traffic_bytes: among them the arguments and the results, once each; the others are
      activations, gathered parameters and what is read again.
    collective_bytes: by kind, see `ntm.performance.collectives`.
    crossing_bytes: of these, what leaves a slice.
    exchanges: what is sent, by the axes of the mesh, see `ntm.performance.interconnect`.
    frozen_flops_per_chip: among the model's FLOPs, those of "autoencoder" and "text_encoder".
    frozen_bytes: of their parameters; of an autoencoder a program reads the encoder or the decoder.
  """

  parameters: int
  arguments: int
  temporaries: int
  hbm_per_chip_bytes: int
  fits: bool | None
  flops_per_chip: float
  executed_flops_per_chip: float
  padded_flops_per_chip: float
  memory_traffic_bytes: int
  state_traffic_bytes: int
  collective_bytes: dict[str, int]
  crossing_bytes: dict[str, int]
  exchanges: dict[str, Exchange]
  frozen_flops_per_chip: dict[str, float]
  frozen_bytes: dict[str, int]

  def bound(self, chip: Chip) -> Bound:
    """Seconds that the chip needs at least, at its peaks."""
    return bounds.of_chip(chip, self.padded_flops_per_chip, self.memory_traffic_bytes,
                          self.exchanges)


def report(program: str, config: Config, mesh: Mesh, chip: Chip | None, num_chips: int,
           refine: str | None = "score") -> Report:
  """Compiles a program and measures it.

  Args:
    program: 'train', 'sample' or 'distill', one update or one batch.
    config: of the run.
    mesh: over devices that need not exist.
    chip: of these devices; None if unknown.
    num_chips: of the mesh.
    refine: sample: as `ntm.sampling.generate` takes it.

  Raises:
    ValueError: a batch that the mesh does not split.
  """
  function, args, params = programs.make(program, config, mesh, refine)
  lowered = function.lower(*args)
  share = mesh.size / num_chips  # Devices per chip.
  frozen = programs.frozen_networks(config, mesh)
  known = dict(
      parameters=sum(leaf.size for leaf in jax.tree.leaves(params)),
      flops_per_chip=model_flops(program, config, refine) / num_chips,
      executed_flops_per_chip=executed_flops(program, config, refine) / num_chips,
      padded_flops_per_chip=executed_flops(
          program, config, refine, chip.tile if chip else 1) / num_chips,
      frozen_flops_per_chip={name: count / num_chips
                             for name, count in frozen_flops(program, config).items()},
      frozen_bytes={name: round(share * programs.shard_bytes(getattr(frozen, name)))
                    for name in inputs.paths(config)})
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    needed = _NEEDED.search(str(error))
    if "RESOURCE_EXHAUSTED" not in str(error) or not needed:
      raise
    size = float(needed[1]) * 1024 ** ("KMGT".index(needed[2]) + 1)
    return Report(arguments=0, temporaries=0, hbm_per_chip_bytes=round(size * share), fits=False,
                  memory_traffic_bytes=0, state_traffic_bytes=0, collective_bytes={},
                  crossing_bytes={}, exchanges={}, **known)
  memory, size = compiled.memory_analysis(), device_bytes(compiled)
  text, slices = compiled.as_text(), partitioning.by_slice(config.mesh.slices, mesh.devices.ravel())
  sent = collectives.collective_bytes(text)
  crossing = collectives.crossing_bytes(text, len(slices[0])) if len(slices) > 1 else {}
  per_chip = lambda sizes: {kind: round(n * share) for kind, n in sizes.items()}
  return Report(
      arguments=round(memory.argument_size_in_bytes * share),
      temporaries=round(memory.temp_size_in_bytes * share),
      hbm_per_chip_bytes=round(size * share),
      fits=None if chip is None else size * share <= chip.hbm_bytes,
      memory_traffic_bytes=round(memory_traffic.traffic_bytes(text) * share),
      state_traffic_bytes=round(memory_traffic.state_bytes(text) * share),
      collective_bytes=per_chip(sent), crossing_bytes=per_chip(crossing),
      exchanges=interconnect.by_axis(
          text, mesh.devices.reshape(len(slices), -1, *mesh.devices.shape[1:]),
          ("slices", *partitioning.AXES), chip, share), **known)


def model_flops(program: str, config: Config, refine: str | None = None) -> int:
  """FLOPs of one update or batch that the model needs, over all devices.

  They depend neither on rematerialisation nor on the devices and their kernels.

  Args:
    program: 'train', 'sample' or 'distill'.
    config: of the run.
    refine: sample: as `ntm.sampling.generate` takes it.
  """
  return executed_flops(program, step_lib.without_rematerialisation(config), refine)


@functools.cache
def executed_flops(program: str, config: Config, refine: str | None = None,
                   tile: int = 1) -> int:
  """As `model_flops`, with what rematerialisation computes again, and padding to tiles."""
  function, args, _ = programs.make(program, config, step_lib.COUNTING_MESH, refine)
  return flops.count(function, *args, tile=tile)


def frozen_flops(program: str, config: Config) -> dict[str, int]:
  """FLOPs of the frozen networks between data and model, for one update or batch of samples."""
  codec, encoder = autoencoder.codec(config), prompt_encoder.encoder(config)
  mesh, found = step_lib.COUNTING_MESH, {}
  frozen = programs.frozen_networks(config, mesh)
  batch = programs.abstract_batch(config, mesh)
  if codec is not None and program == "sample":
    latents = jax.ShapeDtypeStruct(
        (config.train.batch_size, *config.model.image_shape), jnp.float32)
    found["autoencoder"] = flops.count(codec.decode, frozen.autoencoder, latents)
  elif codec is not None:  # Of shards, the moments are in the batch.
    found["autoencoder"] = (flops.count(codec.moments, frozen.autoencoder, batch["image"])
                            if "image" in batch else 0)
  if encoder is not None:
    found["text_encoder"] = flops.count(
        encoder.features, frozen.text_encoder, batch["ids"], batch["mask"])
  return found


def device_bytes(compiled: jax.stages.Compiled) -> int:
  """Memory per device that a program needs: arguments, temporaries and new outputs."""
  memory = compiled.memory_analysis()
  return (memory.argument_size_in_bytes + memory.temp_size_in_bytes
          + memory.output_size_in_bytes - memory.alias_size_in_bytes)
