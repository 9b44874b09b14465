"""What sampling costs: python benchmarks/inference.py [--quick] [--json=FILE]

Solvers of the transporter's inverse against a plain scan (layers scanned, a
cache of full length) on a transporter trained on smooth random textures, and
three ways from noise to an image: the plain scan and score refinement (the
paper's setting), our solver and score refinement, and the learned denoiser.
Layers are in the paper's proportions: a transporter of 4 + 4, a predictor of 24.
Times are medians of interleaved repeats in one run; only their ratios mean
something on a shared machine.
"""

import argparse
import dataclasses
import functools
import json
import statistics
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import result_file
from plain_scan import plain_inverse

from ntm import config as config_lib
from ntm.commands import memory_allocator
from ntm.config import InverseConfig
from ntm.flows.solvers import SolverInfo
from ntm.losses import distillation
from ntm.losses import task as task_lib
from ntm.models import build
from ntm.models.ntm import standard_normal_log_prob
from ntm.nn.patchify import patchify
from ntm.process import schedule
from ntm.sampling import generate, refinement, sampler
from ntm.typing import Condition, Trajectory

LEVEL = 0.25  # Of the states that the solvers are timed on.
_SLOW = 10.0  # Seconds of a call that is not repeated.


def main():
  """Prints the tables and writes the JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
  parser.add_argument("--only", choices=("solvers", "paths"), help="one of the two tables")
  result_file.add_flag(parser)
  args = parser.parse_args()
  result = {"device": jax.devices()[0].device_kind, "jax": jax.__version__}
  if args.only != "paths":
    result |= compare_solvers(args.quick)
  if args.only != "solvers":
    result |= compare_paths(args.quick)
  for name, value in result.items():
    if isinstance(value, float):
      print(f"{name:44} {value:.3g}")
  if args.json:
    args.json.write_text(json.dumps(result, indent=2) + "\n")


def compare_solvers(quick: bool):
  """Table of the solvers at every size, and its ratios."""
  sizes = {16: 2} if quick else {64: 8, 256: 8, 1024: 1}
  result, difference = {"solvers": {}}, 0.0
  for tokens, batch_size in sizes.items():
    table = solver_times(tokens, batch_size, quick)
    difference = max(difference, table.pop("max_difference"))
    result["solvers"][str(tokens)] = table
    print_table(f"Inverse, {tokens} tokens, batch {batch_size}", table)
    ours = {name: row["seconds"] for name, row in table.items() if name != "plain scan"}
    result[f"fastest_{tokens}"] = min(ours, key=ours.get)
    result[f"solver_speedup_{tokens}"] = table["plain scan"]["seconds"] / min(ours.values())
  result["solvers_max_difference"] = difference
  if not quick:
    for name in result["solvers"]["256"]:
      small, large = (result["solvers"][n][name]["seconds"] / sizes[int(n)]
                      for n in ("256", "1024"))
      result[f"growth_256_to_1024, {name}"] = large / small
  return result


def compare_paths(quick: bool):
  """Table of the ways from noise to an image, and its ratios."""
  paths = path_times(16 if quick else 256, 2 if quick else 4, quick)
  print_table("Noise to image", paths)
  seconds = {name: row["seconds"] for name, row in paths.items()}
  return {"paths": paths,
          "denoiser_speedup": seconds["plain scan + score"] / seconds["denoiser"],
          "best_full_over_denoiser": seconds["best scan + score"] / seconds["denoiser"]}


def model_config(tokens: int, quick: bool, predictor_layers: int = 8) -> config_lib.Config:
  """Two blocks of four layers and a predictor, on square images of the given tokens."""
  side, width = 4 * int(tokens ** 0.5), 32 if quick else 256
  shape = {"width": width, "num_heads": 4, "num_kv_heads": 4}
  return config_lib.from_dict({
      "model": {"image_shape": (side, side, 2), "patch_shape": (4, 4), "num_classes": 0,
                "unroll": 8, "transporter": shape | {"layers": 4, "num_blocks": 2},
                "predictor": shape | {"layers": 1 if quick else predictor_layers}},
      "process": {"schedule": "uniform"}, "denoiser": shape | {"layers": 1 if quick else 4}})


def textures(rng, config, batch_size: int):
  """Smooth random fields as tokens: sums of eight slow waves of random phase."""
  side = config.model.image_shape[0]
  grid = jnp.stack(jnp.meshgrid(*[jnp.arange(side) / side] * 2, indexing="ij"), -1)
  rng_f, rng_p = jax.random.split(rng)
  waves = 2 * jnp.pi * jax.random.normal(rng_f, (batch_size, 8, 2, 2)) * 2
  phase = 2 * jnp.pi * jax.random.uniform(rng_p, (batch_size, 8, 2))
  angle = jnp.einsum("hwd,bfdc->bhwfc", grid, waves) + phase[:, None, None]
  return patchify(jnp.cos(angle).mean(3) * 2, config.model.patch_shape)


def train_transporter(config, batch_size: int, steps: int):
  """A transporter that has seen something: noisy textures to N(0, I), maximum likelihood."""
  model = build.transporter(config.model)
  cond = Condition(jnp.full((batch_size,), LEVEL))
  draw = lambda rng: noisy(rng, config, batch_size)
  params = nn.unbox(jax.jit(functools.partial(model.init, method="forward_and_log_det"))(
      jax.random.key(0), draw(jax.random.key(0)), cond))["params"]
  tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))

  @functools.partial(jax.jit, donate_argnums=(0, 1))
  def step(params, state, rng):
    def loss(params):
      u, log_det = model.apply({"params": params}, draw(rng), cond, method="forward_and_log_det")
      return -(standard_normal_log_prob(u) + log_det).mean() / u[0].size
    value, grads = jax.value_and_grad(loss)(params)
    updates, state = tx.update(grads, state)
    return optax.apply_updates(params, updates), state, value

  state = tx.init(params)
  for i in range(steps):
    params, state, value = step(params, state, jax.random.key(i + 1))
    if i % 50 == 0 or i == steps - 1:
      print(f"  transporter, step {i + 1}: {float(value):.3f} nats/dim", flush=True)
  return params


def noisy(rng, config, batch_size):
  """Textures at the level timed."""
  rngs = jax.random.split(rng)
  x0 = textures(rngs[0], config, batch_size)
  return (1 - LEVEL) * x0 + LEVEL * jax.random.normal(rngs[1], x0.shape)


def solver_times(tokens: int, batch_size: int, quick: bool):
  """Every solver on the same latents: seconds, iterations a block, fallbacks, difference."""
  config = model_config(tokens, quick)
  params = train_transporter(config, min(batch_size, 4), 3 if quick else 300)
  x = noisy(jax.random.key(99), config, batch_size)
  cond = Condition(jnp.full((batch_size,), LEVEL))
  u, _ = jax.jit(lambda x: build.transporter(config.model).apply(
      {"params": params}, x, cond, method="forward_and_log_det"))(x)
  solvers = {"scan, one segment": InverseConfig("scan", segment=tokens),
             "scan": InverseConfig("scan"),
             "jacobi": InverseConfig("jacobi"),
             "gs_jacobi, chunks of 8": InverseConfig("gs_jacobi", chunk=8),
             "gs_jacobi, chunks of 32": InverseConfig("gs_jacobi", chunk=32)}
  runs = {"plain scan": jax.jit(lambda u: (plain_inverse(config.model, params, u, cond), []))}
  for name, inverse in solvers.items():
    runs[name] = jax.jit(functools.partial(_solve, config.model, inverse, params, cond))
  table, outputs = {}, {}
  for name, run in runs.items():
    outputs[name], infos = jax.block_until_ready(run(u))
    table[name] = {"iterations": [int(i.iterations) for i in infos] or [tokens] * 2,
                   "fallbacks": sum(int(i.fallbacks) for i in infos)}
  for name, seconds in interleaved({n: lambda r=r: r(u) for n, r in runs.items()},
                                   1 if quick else 3).items():
    table[name]["seconds"] = seconds
  table["max_difference"] = max(
      float(jnp.abs(out - outputs["plain scan"]).max()) for out in outputs.values())
  return table


def _solve(model_config, inverse, params, cond, u):
  model = build.transporter(dataclasses.replace(model_config, inverse=inverse))
  (x, _), extra = model.apply({"params": params}, u, cond, method="inverse_and_log_det",
                              mutable=["diagnostics"])
  return x, jax.tree.leaves(extra, is_leaf=lambda node: isinstance(node, SolverInfo))


def path_times(tokens: int, batch_size: int, quick: bool):
  """Seconds and images/s from noise to image, and of predictor steps alone."""
  config = model_config(tokens, quick, predictor_layers=24)
  # The fastest here for the gradient of the score; the other paths have none.
  config = dataclasses.replace(config, model=dataclasses.replace(
      config.model, remat="dots", unroll=1))
  model, student = build.ntm(config), build.denoiser(config)
  patches = build.patches(config.model)
  init = jax.jit(lambda task: nn.unbox(task.init(jax.random.key(0))), static_argnums=0)
  params = init(task_lib.density(config))
  student_params = init(distillation.distill(config, None))
  times_K = schedule.uniform_times(4, config.process.t_min)
  shape = (batch_size, *patches.token_shape)

  def plain(rng):
    """The paper's setting: every level by the plain scan, then the score."""
    u_KBNC = sampler.sample_u_trajectory(rng, model, params, times_K, shape, Condition())
    times_KB = jnp.broadcast_to(times_K[:, None], u_KBNC.shape[:2])
    x = plain_inverse(config.model, params["transporter"],
                      u_KBNC[:-1].reshape(-1, *u_KBNC.shape[2:]),
                      Condition(times_KB[:-1].reshape(-1)))
    x_KBNC = jnp.concatenate([x.reshape(u_KBNC[:-1].shape), u_KBNC[-1:]])
    return refinement.refine(model, params, Trajectory(
        x_KBNC, times_KB, Condition(), jnp.ones_like(times_KB[1:])))

  def ours(refine):
    generator = generate.make_generator(model, patches, config.process, refine, denoiser=student)
    return lambda: generator(rng, params, Condition(), batch_size, 4, None, student_params).images

  def evaluations(count):
    levels = schedule.uniform_times(count, config.process.t_min)
    draw = jax.jit(lambda r: sampler.sample_u_trajectory(r, model, params, levels, shape,
                                                         Condition()))
    return lambda: draw(rng)

  rng, plain = jax.random.key(1), jax.jit(plain)
  runs = {"plain scan + score": lambda: plain(rng), "best scan + score": ours("score"),
          "best scan, no refinement": ours(None), "denoiser": ours("denoiser"),
          "4 evaluations of the predictor": evaluations(4),
          "50 evaluations of the predictor": evaluations(50)}
  return {name: {"seconds": seconds, "images_per_second": batch_size / seconds}
          for name, seconds in interleaved(runs, 1 if quick else 3).items()}


def interleaved(runs, repeats: int) -> dict[str, float]:
  """Median seconds of every function, all in turn, after one call to compile; of slow ones, one."""
  seconds = {name: [] for name in runs}
  for repeat in range(repeats + 1):
    for name, run in runs.items():
      if seconds[name] and seconds[name][0] > _SLOW:
        continue
      started = time.perf_counter()
      jax.block_until_ready(run())
      if repeat:
        seconds[name].append(time.perf_counter() - started)
  return {name: statistics.median(values) for name, values in seconds.items()}


def print_table(title: str, rows) -> None:
  """One line a row."""
  print(f"\n{title}")
  for name, row in rows.items():
    print(f"  {name:34} " + "   ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in row.items()), flush=True)


if __name__ == "__main__":
  memory_allocator.keep_freed_memory()
  main()
