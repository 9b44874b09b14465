"""Training the denoiser on the score refinement of its own teacher [3.9].

Real images are sent along the forward process; the frozen teacher refines the
cleanest state of that trajectory by its own likelihood (`inference.refinement`)
and the denoiser learns to give the same from u_{t_0} alone:

  loss = mean |g(u_{t_0}, y, t_0) - x_den|^2.

Targets are made in the training step: no files, no other data, no other teacher.
"""

import json
import os

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from ntm import config as config_lib
from ntm.config import Config
from ntm.inference import generate, pictures, refinement
from ntm.models import denoiser, ntm
from ntm.training import checkpoint, flops, objectives, processes, run_config, task
from ntm.training.sums import Sums
from ntm.typing import Array, Condition


@flax.struct.dataclass
class Metrics(Sums):
  """Sums over a batch.

  Attributes:
    loss: squared error a dimension.
    raw: the same of the state at t_0 itself, in place of the denoiser.
    count: examples.
  """

  loss: Array
  raw: Array
  count: Array

  def scalars(self) -> dict[str, float]:
    """Mean squared errors a dimension, by name."""
    return {"mse": float(self.loss / self.count), "mse_of_raw": float(self.raw / self.count)}


def distill(config: Config, teacher_params) -> task.Task:
  """The task of training the denoiser of `config` for a teacher of the same model.

  Args:
    config: its model and process are the teacher's.
    teacher_params: frozen.
  """
  teacher, student = ntm.build(config), denoiser.build(config)
  process = config.process
  generator = generate.make_generator(teacher, process, "denoiser", denoiser=student)

  def errors(params, frozen, trajectory) -> Metrics:
    target_BNC = jax.lax.stop_gradient(refinement.refine(teacher, frozen, trajectory))
    conditions = (trajectory.label_B, trajectory.num_steps_B)
    u_KBNC, _ = teacher.apply({"params": frozen}, trajectory.x_KBNC[:1], trajectory.times_KB[:1],
                              *conditions, method="transport")
    cond = Condition(trajectory.times_KB[0], trajectory.num_steps_B, trajectory.label_B)
    x_BNC = student.apply({"params": params}, u_KBNC[0], cond)
    error = lambda a: ((a - target_BNC) ** 2).mean(axis=(1, 2)).sum()
    return Metrics(error(x_BNC), error(trajectory.x_KBNC[0]), jnp.float32(len(target_BNC)))

  def loss(rng, params, frozen, batch, step):
    del step
    trajectory = objectives.draw_trajectory(rng, *task.to_tokens(batch, config), config)
    metrics = errors(params, frozen, trajectory)
    return metrics.loss / metrics.count, metrics

  def evaluate(params, frozen, batch, rng):
    x0_BNC, label_B = task.to_tokens(batch, config)
    t_min_B = jnp.full((x0_BNC.shape[0],), process.t_min)
    return errors(params, frozen, objectives.draw_trajectory(
        rng, x0_BNC, label_B, config, t_min_B, process.num_steps[0]))

  def draw(params, frozen):
    label_B, shape = task.picture_labels(config)
    out = generator(jax.random.key(config.train.seed), frozen, label_B, shape[0] * shape[1],
                    process.num_steps[0], None, params)
    return {"denoised": pictures.grid(processes.to_host(out.images).reshape(shape))}

  def init(rng):
    example = task.example(config)
    cond = Condition(example.times_KB[0], example.num_steps_B, example.label_B)
    return student.init(rng, example.x_KBNC[0], cond)["params"]

  return task.Task(init=init, loss=loss, evaluate=evaluate, pictures=draw, headline="mse",
                   unit="squared error / dim", frozen=teacher_params,
                   frozen_init=task.density(config).init,
                   levels=max(process.num_steps), flops=flops.distill_step(config))


def fingerprint(params) -> dict[str, list[float]]:
  """A few entries of every parameter: enough to tell one teacher from another."""
  leaves = jax.tree_util.tree_leaves_with_path(params)
  return {jax.tree_util.keystr(path): np.asarray(leaf.reshape(-1)[:4], np.float64).tolist()
          for path, leaf in leaves}


def write_teacher(workdir: str | os.PathLike, teacher: str, step: int, params) -> None:
  """Records in a denoiser's workdir whose denoiser it is."""
  if not processes.is_first():
    return
  record = {"teacher": os.fspath(teacher), "step": step, "fingerprint": fingerprint(params)}
  path = epath.Path(workdir)
  path.mkdir(parents=True, exist_ok=True)
  (path / run_config.TEACHER_FILE).write_text(json.dumps(record, indent=1) + "\n")


def check_teacher(workdir: str | os.PathLike, params) -> None:
  """Raises ValueError unless the denoiser in `workdir` was made for these parameters."""
  path = epath.Path(workdir) / run_config.TEACHER_FILE
  if not path.exists():
    raise ValueError(f"{workdir} holds no {path.name}: not a workdir of `ntm distill`.")
  try:
    record = json.loads(path.read_text())
    theirs = record["fingerprint"]
  except (ValueError, KeyError, TypeError) as error:
    raise ValueError(f"{path} is damaged ({error!r}); restore it from a copy, or distil into "
                     "another --workdir.") from error
  if theirs != fingerprint(params):
    raise ValueError(
        f"the denoiser in {workdir} was distilled from step {record['step']} of "
        f"{record['teacher']}, whose parameters are not those of this model; run `ntm distill` "
        "for it, or restore that step.")


def restore(workdir: str | os.PathLike, teacher_config: Config, teacher_params):
  """(denoiser, its averaged parameters) for a teacher.

  Raises:
    FileNotFoundError: no run, or no checkpoint.
    ValueError: the denoiser of another teacher.
  """
  config, params, _ = checkpoint.restore_ema(workdir)
  check_teacher(workdir, teacher_params)
  return denoiser.build(join(config, teacher_config)), jax.device_put(params)


def check_kind(workdir: str | os.PathLike, config: Config) -> None:
  """Raises ValueError unless the run in `workdir` is of an NTM, which alone has a score."""
  if config.model.kind != "ntm":
    raise ValueError(f"{workdir} holds a model of kind {config.model.kind!r}; only an NTM can "
                     "teach a denoiser.")


def join(config: Config, teacher_config: Config) -> Config:
  """A distillation's config with the teacher's model, process and data."""
  values = config_lib.to_dict(config)
  teacher = config_lib.to_dict(teacher_config)
  return config_lib.from_dict(values | {key: teacher[key] for key in ("model", "process", "data")})
