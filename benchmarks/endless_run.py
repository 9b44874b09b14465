"""One job of benchmarks/endless.py: python benchmarks/endless_run.py WORKDIR

Reads WORKDIR/job.json, trains the model by the step of `ntm train`, saves checkpoints as
that does, and writes the figures of all samplers to WORKDIR/rows.json. Many updates are
one program, a scan over batches that the host draws while the device trains, so that a
model too small to occupy an accelerator is not slowed down by the host.
"""

import concurrent.futures
import datetime
import functools
import json
import pathlib
import sys
import time

import jax
import mean_flow
import numpy as np

from ntm import api
from ntm import config as config_lib
from ntm.api import batching, checks
from ntm.commands import memory_allocator
from ntm.data import digits
from ntm.evaluation import sample_metrics
from ntm.evaluation.classifier import Classifier
from ntm.likelihood import estimates
from ntm.losses import flow_matching, inputs, task
from ntm.nn import partitioning
from ntm.sampling import ode
from ntm.training import checkpoint
from ntm.training import state as state_lib
from ntm.training import step as step_lib
from ntm.training import workdir as workdir_lib

_SEGMENT = 100  # Updates per program.
_SAVE_SECONDS = 60
_SCORED, _DRAWS = 2000, 4  # Images behind a likelihood, trajectories per image.
_SAMPLERS = {"ntm": [{"refine": None}, {"refine": "score"}],
             "mean_flow": [{"num_steps": n} for n in (1, 2, 4, 8)],
             "flow_matching": [{"solver": solver, "num_steps": n} for solver, n in (
                 *(("euler", n) for n in (1, 2, 4, 8, 50)),
                 *((solver, n) for solver in ("heun", "dpm++") for n in (4, 8)))]}


def main():
  """Trains what is left to train, and judges it."""
  workdir = pathlib.Path(sys.argv[1])
  job = json.loads((workdir / "job.json").read_text())
  config = config_lib.from_dict(job["config"])
  if not config.data.augment:
    raise ValueError("config.data.augment is False; expected True, since these are endless digits.")
  objective = job.get("objective", config.model.kind)
  params, timing = train(config, workdir, objective)
  result = {key: job[key] for key in ("recipe", "seed", "changes", "num_samples")} | timing | {
      "updates": config.train.steps, "device": jax.devices()[0].device_kind, "jax": jax.__version__,
      "parameters": sum(leaf.size for leaf in jax.tree.leaves(params))}
  classifier = Classifier.load(workdir.parent / "classifier.npz")
  reference, others = sample_metrics.endless(config.data, _SCORED, classifier)
  if objective == "mean_flow":
    model = MeanFlowModel(config, params)
  elif config.model.kind == "flow_matching":
    model = api.VelocityModel(config, params, config.train.steps)
  else:
    model = api.Model(config, params, config.train.steps)
    result |= likelihoods(model, others)
  rows = [result | judged(model, reference, job, how) for how in _SAMPLERS[objective]]
  (workdir / "rows.json").write_text(json.dumps(rows))


class MeanFlowModel:
  """Samples of a mean velocity, as `api.VelocityModel` draws those of a velocity."""

  def __init__(self, config: config_lib.Config, params):
    self.config, self._params = config, params
    self._generate = mean_flow.make_generator(config)

  def sample(self, rng, labels, num_steps: int, num_samples: int | None) -> np.ndarray:
    """Images of labels, or so many without."""
    cond, count = checks.condition(self.config, labels, num_samples)
    return batching.draw(lambda rng, cond, size: self._generate(
        rng, self._params, cond, size, num_steps), rng, cond, count)


def train(config: config_lib.Config, workdir: pathlib.Path, objective: str = ""):
  """Trains to the last step, from the newest checkpoint if there is one.

  Args:
    config: of the run.
    workdir: of its checkpoints.
    objective: 'mean_flow', or what the config says.

  Returns:
    (averaged parameters, {"train_seconds", "compile_seconds"}); training without
    compilation and saving.
  """
  before = workdir_lib.read(workdir)
  if before not in (None, config):
    raise ValueError(f"{workdir} holds a run with another config; choose another name or folder.")
  velocity = (checkpoint.restore_ema(config.finetune.source)[1] if config.finetune.source else None)
  run = (mean_flow.task(config) if objective == "mean_flow" else
         flow_matching.velocity(config) if config.model.kind == "flow_matching" else
         task.density(config, inputs.load(config, velocity)))
  mesh = partitioning.make_mesh(config.mesh, jax.devices()[:1])
  workdir_lib.prepare(workdir, config)
  checkpointer = checkpoint.Checkpointer(workdir, config, run.primary_metric)
  restored = checkpointer.restore_latest(state_lib.abstract_state(run, config, mesh))
  if restored:
    state, timing = restored
  else:
    state, timing = state_lib.init_state(run, config, mesh), {
        "train_seconds": 0.0, "compile_seconds": 0.0}
    if run.pretrained is not None:
      state = state_lib.with_pretrained(state, run.pretrained)
  frozen, steps, saved = state_lib.place_frozen(run, mesh), config.train.steps, time.monotonic()
  update = step_lib.make_train_step(run, config, mesh)

  @functools.partial(jax.jit, donate_argnums=0)
  def segment(state, batches):
    def body(state, batch):
      state, metrics, _ = update(state, batch, frozen)
      return state, metrics
    state, metrics = jax.lax.scan(body, state, batches)
    return state, jax.tree.map(lambda a: a.sum(axis=0), metrics)

  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    fetch = lambda first: pool.submit(draw, config, first, min(_SEGMENT, steps - first))
    first, programs = int(state.step), {}
    batches = fetch(first)
    while first < steps:
      batch = jax.device_put(batches.result())
      count = len(batch["label"])
      batches = fetch(first + count)
      if count not in programs:
        started = time.perf_counter()
        programs[count] = segment.lower(state, batch).compile()
        timing["compile_seconds"] += time.perf_counter() - started
      started = time.perf_counter()
      state, metrics = programs[count](state, batch)
      value = metrics.scalars()[run.primary_metric]  # Waits for the updates.
      timing["train_seconds"] += time.perf_counter() - started
      first += count
      rate = timing["train_seconds"] / first
      if not bool(state.healthy) or not np.isfinite(value):
        raise FloatingPointError(f"the loss was not finite before step {first}; lower "
                                 "optimizer.peak_learning_rate.")
      print(f"step {first} of {steps}   {value:.4f} {run.unit}   {1 / rate:.1f} steps/s   "
            f"{datetime.timedelta(seconds=round(rate * (steps - first)))} left", flush=True)
      if first == steps or time.monotonic() - saved > _SAVE_SECONDS:
        checkpointer.save(state, timing, {}, wait=True)
        saved = time.monotonic()
  checkpointer.close()
  return state.ema, timing


def draw(config, first: int, count: int) -> dict[str, np.ndarray]:
  """Batches of `count` updates from update `first` on, no draw in any other update or seed."""
  size = config.train.batch_size
  source = digits.EndlessDigits("train", config.data.left_out)
  indices = (config.train.seed << 30) + np.arange(first * size, (first + count) * size)
  if not count:
    return {}
  return {name: values.reshape(count, size, *values.shape[1:])
          for name, values in source.batch(indices).items()}


def likelihoods(model, others) -> dict[str, float | list[float]]:
  """Negative log-likelihood of fresh and of held-out draws, in nats per dimension, by step."""
  result = {}
  for kind, prefix in (("fresh", ""), ("test", "test_")):
    labels = others[kind]["label"] if model.config.model.num_classes else None
    step_SB = estimates.step_log_prob(model, jax.random.key(0), others[kind]["image"], labels,
                                      None, _DRAWS)
    nll_S, error = estimates.nll_per_dim(step_SB, model.config.model.image_shape)
    result |= {f"{prefix}nll_nats_per_dim": float(nll_S.mean()),
               f"{prefix}nll_standard_error": error, f"{prefix}nll_per_step": nll_S.tolist()}
    print(f"NLL of {kind} draws: {nll_S.mean():.4f} nats/dim", flush=True)
  return result


def judged(model, reference, job, how) -> dict[str, float | str]:
  """Figures of one way to sample."""
  count, classes = job["num_samples"], model.config.model.num_classes
  labels = np.arange(count) % classes if classes else None

  def draw_samples(count):
    return model.sample(jax.random.key(job["seed"]), None if labels is None else labels[:count],
                        num_samples=None if classes else count, **how)

  draw_samples(min(count, batching.SIZE))  # Compiles.
  started = time.perf_counter()
  images = draw_samples(count)
  seconds = time.perf_counter() - started
  if "solver" in how:
    name, evaluations = f"{how['solver']} {how['num_steps']}", ode.evaluations(**how)
  elif "num_steps" in how:
    name, evaluations = f"mean flow {how['num_steps']}", how["num_steps"]
  else:
    evaluations = model.config.process.num_steps[0]
    name = f"{evaluations} steps{', refined' if how['refine'] else ''}"
  row = {"sampler": name, "evaluations": evaluations, "images_per_second": count / seconds,
         **reference.metrics(images, labels)}
  print(f"{name}: Fréchet {row['frechet_distance']:.3f}", flush=True)
  return row


if __name__ == "__main__":
  memory_allocator.keep_freed_memory()
  main()
