"""Programs compiled ahead of time, for devices that need not exist.

Everything is abstract: the shapes, types and shardings of a program's arguments.
The program's FLOPs, what the compiler says of its memory, and the collectives in its
text (`ntm.performance.collectives`) are then known before a machine is rented.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from ntm.config import Config
from ntm.losses import alignment, distillation, flow_matching, inputs
from ntm.losses import task as task_lib
from ntm.losses.inputs import Frozen
from ntm.models import autoencoder, build, prompt_encoder
from ntm.nn import partitioning
from ntm.performance import collectives, flops
from ntm.performance.accelerators import Chip
from ntm.sampling import generate, ode
from ntm.training import state as state_lib
from ntm.training import step as step_lib

PROGRAMS = ("train", "sample", "distill")
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
    collective_bytes: by kind, see `ntm.performance.collectives`.
    crossing_bytes: of these, what leaves a slice.
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
  collective_bytes: dict[str, int]
  crossing_bytes: dict[str, int]
  frozen_flops_per_chip: dict[str, float]
  frozen_bytes: dict[str, int]

  def bounds(self, chip: Chip) -> dict[str, float]:
    """Seconds that the chip needs at least for arithmetic and for communication, at its peaks.

    A collective of n bytes is taken to send n bytes, an all-reduce twice as many, which
    is nearly true over many chips.
    """
    sent = sum(n * (2 if kind == "all-reduce" else 1)
               for kind, n in self.collective_bytes.items())
    return {"compute": self.executed_flops_per_chip / chip.peak_flops,
            "interconnect": sent / chip.interconnect_bandwidth}


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
  function, args, params = _BUILD[program](config, mesh, refine)
  lowered = function.lower(*args)
  share = mesh.size / num_chips  # Devices per chip.
  known = dict(
      parameters=sum(leaf.size for leaf in jax.tree.leaves(params)),
      flops_per_chip=model_flops(program, config, refine) / num_chips,
      executed_flops_per_chip=executed_flops(program, config, refine) / num_chips,
      frozen_flops_per_chip={name: count / num_chips
                             for name, count in frozen_flops(program, config).items()},
      frozen_bytes={name: round(share * shard_bytes(getattr(_frozen(config, mesh), name)))
                    for name in inputs.paths(config)})
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    needed = _NEEDED.search(str(error))
    if "RESOURCE_EXHAUSTED" not in str(error) or not needed:
      raise
    size = float(needed[1]) * 1024 ** ("KMGT".index(needed[2]) + 1)
    return Report(arguments=0, temporaries=0, hbm_per_chip_bytes=round(size * share), fits=False,
                  collective_bytes={}, crossing_bytes={}, **known)
  memory, size = compiled.memory_analysis(), device_bytes(compiled)
  text, slices = compiled.as_text(), partitioning.by_slice(config.mesh.slices, mesh.devices.ravel())
  sent = collectives.collective_bytes(text)
  crossing = collectives.crossing_bytes(text, len(slices[0])) if len(slices) > 1 else {}
  return Report(
      arguments=round(memory.argument_size_in_bytes * share),
      temporaries=round(memory.temp_size_in_bytes * share),
      hbm_per_chip_bytes=round(size * share),
      fits=None if chip is None else size * share <= chip.hbm_bytes,
      collective_bytes={kind: round(n * share) for kind, n in sent.items()},
      crossing_bytes={kind: round(n * share) for kind, n in crossing.items()}, **known)


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
def executed_flops(program: str, config: Config, refine: str | None = None) -> int:
  """As `model_flops`, with what rematerialisation computes again."""
  function, args, _ = _BUILD[program](config, step_lib.COUNTING_MESH, refine)
  return flops.count(function, *args)


def frozen_flops(program: str, config: Config) -> dict[str, int]:
  """FLOPs of the frozen networks between data and model, for one update or batch of samples."""
  codec, encoder = autoencoder.codec(config), prompt_encoder.encoder(config)
  mesh, found = step_lib.COUNTING_MESH, {}
  frozen, batch = _frozen(config, mesh), abstract_batch(config, mesh)
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


def shard_bytes(tree) -> int:
  """Bytes per device of a tree of abstract arrays with shardings."""
  return sum(math.prod(a.sharding.shard_shape(a.shape)) * a.dtype.itemsize
             for a in jax.tree.leaves(tree))


def abstract_batch(config: Config, mesh: Mesh) -> dict[str, jax.ShapeDtypeStruct]:
  """Shapes and shardings of one global batch."""
  split = partitioning.batch_sharding(mesh)
  return {name: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=split)
          for name, a in task_lib.batch_shapes(config, config.train.batch_size).items()}


def train_task(config: Config, mesh: Mesh) -> task_lib.Task:
  """What a run trains, its frozen networks abstract and split over the mesh."""
  teacher = None
  if config.finetune.source:
    teacher = task_lib.velocity_init(alignment.velocity_config(config))
  make_task = (flow_matching.velocity if config.model.kind == "flow_matching"
               else task_lib.density)
  return make_task(config, _frozen(config, mesh, teacher))


def _train(config, mesh, refine):
  del refine
  partitioning.check_batch(config.train.batch_size, config.train.grad_accumulation_steps, mesh)
  return _step(train_task(config, mesh), config, mesh)


def _distill(config, mesh, refine):
  del refine
  partitioning.check_batch(config.train.batch_size, config.train.grad_accumulation_steps, mesh)
  frozen = _frozen(config, mesh, task_lib.density(config).init)
  return _step(distillation.distill(config, frozen), config, mesh)


def _frozen(config, mesh, teacher=None) -> Frozen | None:
  """The frozen networks that a config names, abstract; `teacher` is the init of the teacher."""
  codec, encoder = autoencoder.codec(config), prompt_encoder.encoder(config)
  inits = Frozen(teacher, codec and codec.init, encoder and encoder.init)
  place = functools.partial(state_lib.abstract_params, mesh=mesh)
  return jax.tree.map(place, inits) if jax.tree.leaves(inits) else None


def _step(task, config, mesh) -> tuple[Callable, tuple, dict]:
  """(jitted function, its abstract arguments, the parameters among them)."""
  state = state_lib.abstract_state(task, config, mesh)
  step = step_lib.make_train_step(task, config, mesh)
  return step, (state, abstract_batch(config, mesh), task.frozen), state.params


def _sample(config, mesh, refine):
  size, num_steps = config.train.batch_size, config.process.num_steps[0]
  partitioning.check_batch(size, 1, mesh)
  texts = {name: a for name, a in abstract_batch(config, mesh).items()
           if name not in ("image", "mean", "std")}
  rng, patches = jax.eval_shape(lambda: jax.random.key(0)), build.patches(config.model)
  if config.model.kind == "flow_matching":
    params = state_lib.abstract_params(flow_matching.velocity(config).init, mesh)
    draw = ode.make_generator(build.velocity(config), patches, config.process)
    run = lambda rng, params, cond: draw(rng, params, cond, size, num_steps, "euler")
  else:
    params = {"ntm": state_lib.abstract_params(task_lib.density(config).init, mesh)}
    student = None
    if refine == "denoiser":
      student = build.denoiser(config)
      params["denoiser"] = state_lib.abstract_params(
          distillation.distill(config, None).init, mesh)
    draw = generate.make_generator(build.ntm(config), patches, config.process, refine,
                                   denoiser=student)
    run = lambda rng, params, cond: draw(rng, params["ntm"], cond, size, num_steps, None,
                                         params.get("denoiser")).images

  decode = inputs.make_decoder(config)

  def sampled(rng, params, texts, frozen):
    with partitioning.activations(mesh):
      cond = task_lib.condition(inputs.encode_text(frozen, texts, config), config)
      return decode(frozen, run(rng, params, cond))

  return (jax.jit(sampled, out_shardings=partitioning.batch_sharding(mesh)),
          (rng, params, texts, _frozen(config, mesh)), params)


_BUILD = {"train": _train, "sample": _sample, "distill": _distill}
