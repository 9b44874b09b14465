"""The programs that are compiled ahead of time, with their arguments.

Everything is abstract: the shapes, types and shardings of a program's arguments, on devices that
need not exist.
"""

import functools
import math
from collections.abc import Callable

import jax
from jax.sharding import Mesh

from ntm.config import Config
from ntm.losses import alignment, distillation, flow_matching, inputs
from ntm.losses import task as task_lib
from ntm.losses.inputs import Frozen
from ntm.models import autoencoder, build, prompt_encoder
from ntm.nn import partitioning
from ntm.sampling import generate, ode
from ntm.training import state as state_lib
from ntm.training import step as step_lib

PROGRAMS = ("train", "sample", "distill")


def make(program: str, config: Config, mesh: Mesh,
         refine: str | None = None) -> tuple[Callable, tuple, dict]:
  """(jitted function, its abstract arguments, the parameters that it trains or samples).

  Args:
    program: 'train', 'sample' or 'distill', one update or one batch.
    config: of the run.
    mesh: over devices that need not exist.
    refine: sample: as `ntm.sampling.generate` takes it.

  Raises:
    ValueError: a batch, or an axis of a parameter, that the mesh does not split.
  """
  return _MAKE[program](config, mesh, refine)


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
  return make_task(config, frozen_networks(config, mesh, teacher))


def frozen_networks(config: Config, mesh: Mesh,
                    teacher: Callable | None = None) -> Frozen | None:
  """The frozen networks that a config names, abstract.

  Args:
    config: of the run.
    mesh: that they are split over.
    teacher: the init of the teacher.
  """
  codec, encoder = autoencoder.codec(config), prompt_encoder.encoder(config)
  inits = Frozen(teacher, codec and codec.init, encoder and encoder.init)
  place = functools.partial(state_lib.abstract_params, mesh=mesh)
  return jax.tree.map(place, inits) if jax.tree.leaves(inits) else None


def _train(config, mesh, refine):
  del refine
  partitioning.check_batch(config.train.batch_size, config.train.grad_accumulation_steps, mesh)
  return _step(train_task(config, mesh), config, mesh)


def _distill(config, mesh, refine):
  del refine
  partitioning.check_batch(config.train.batch_size, config.train.grad_accumulation_steps, mesh)
  frozen = frozen_networks(config, mesh, task_lib.density(config).init)
  return _step(distillation.distill(config, frozen), config, mesh)


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
          (rng, params, texts, frozen_networks(config, mesh)), params)


_MAKE = {"train": _train, "sample": _sample, "distill": _distill}
