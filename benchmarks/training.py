"""What training costs: python benchmarks/training.py [--quick] [--json=FILE]

The training step by objective, context and rematerialisation, with XLA's own
account of its temporary memory; memory against the number of transporter
blocks; and our autoregressive block against the same block in plain PyTorch
(`pip install -e '.[benchmark]'`), outputs checked equal first. Times are medians of
interleaved repeats in one run. For one thread, put before it
`OMP_NUM_THREADS=1 XLA_FLAGS=--xla_cpu_multi_thread_eigen=false taskset -c 0`.
"""

import argparse
import functools
import json
import math
import os

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import result_file
from inference import interleaved, model_config, print_table, textures

from ntm import config as config_lib
from ntm.commands import memory_allocator
from ntm.flows.autoregressive import AutoregressiveBlock
from ntm.losses import task
from ntm.models import build
from ntm.nn import partitioning
from ntm.nn.numerics import Numerics
from ntm.training import state as state_lib
from ntm.training import step as step_lib
from ntm.typing import Condition


def main():
  """Prints the tables and writes the JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
  parser.add_argument("--only", choices=("steps", "memory", "torch"), help="one of the tables")
  result_file.add_flag(parser)
  args = parser.parse_args()
  tokens = 16 if args.quick else 256
  result = {"device": jax.devices()[0].device_kind, "jax": jax.__version__}
  if args.only in (None, "steps"):
    result["steps"] = step_costs(16 if args.quick else 64, args.quick)
    print_table("Training step", result["steps"])
  if args.only in (None, "memory"):
    memory = {str(blocks): block_memory(blocks, args.quick) for blocks in (2, 4, 8, 16)}
    print_table("Temporary MiB of a gradient, by blocks", memory)
    result |= {"memory": memory, "reversible_memory_growth": (
        memory["16"]["coupling, reversible"] / memory["2"]["coupling, reversible"])}
  if args.only in (None, "torch"):
    try:
      result |= against_torch(tokens, 2 if args.quick else 8, args.quick)
    except ImportError:
      print("\nPyTorch is not installed: pip install -e '.[benchmark]' to compare with it.")
  for name, value in result.items():
    if isinstance(value, float):
      print(f"{name:28} {value:.3g}")
  if args.json:
    args.json.write_text(json.dumps(result, indent=2) + "\n")


def step_costs(tokens: int, quick: bool):
  """Seconds and temporary MiB of one update, by objective, context and remat."""
  variants = {}
  for objective, context in (("end_to_end", "markov"), ("pair_wise", "markov"),
                             ("end_to_end", "history")):
    for remat in ("none", "dots", "full"):
      name = f"{'history' if context == 'history' else objective}, remat {remat}"
      variants[name] = (objective, context, remat)
  runs, table = {}, {}
  batch_size = 4 if quick else 16
  for name, (objective, context, remat) in variants.items():
    values = config_lib.to_dict(model_config(tokens, quick))
    # Scanned layers: rematerialisation of unrolled ones does nothing on a CPU.
    values["model"] |= {"remat": remat, "unroll": 1}
    values["model"]["predictor"]["context"] = context
    values["train"] |= {"objective": objective, "batch_size": batch_size}
    config = config_lib.from_dict(values)
    compiled, runs[name] = ready_step(config, jax.devices()[:1])
    table[name] = {
        "temporary_MiB": compiled.memory_analysis().temp_size_in_bytes / 2 ** 20}
  for name, seconds in interleaved(runs, 1 if quick else 3).items():
    table[name]["seconds"] = seconds
  return table


def ready_step(config: config_lib.Config, devices):
  """An NTM's compiled update, and a call of it on random images and the state it last gave."""
  run, mesh = task.density(config), partitioning.make_mesh(config.mesh, devices)
  rng, size = np.random.default_rng(0), config.train.batch_size
  batch = partitioning.put_batch(mesh, {
      "image": rng.normal(size=(size, *config.model.image_shape)).astype(np.float32),
      "label": np.zeros(size, np.int32)})
  step = step_lib.make_train_step(run, config, mesh)
  compiled = step.lower(state_lib.abstract_state(run, config, mesh), batch, None).compile()
  carry = [state_lib.init_state(run, config, mesh)]

  def update():
    carry[0], metrics, _ = compiled(carry[0], batch, None)
    return metrics

  return compiled, update


def block_memory(blocks: int, quick: bool):
  """Temporary MiB of a transporter's gradient with one layer a block."""
  kinds = {"autoregressive, remat": {"kind": "autoregressive"},
           "coupling, stored": {"kind": "coupling", "reversible": False},
           "coupling, reversible": {"kind": "coupling"}}
  row = {}
  for name, changes in kinds.items():
    values = config_lib.to_dict(model_config(16 if quick else 64, quick))
    values["model"] |= {"remat": "full" if "remat" in name else "none", "unroll": 1}
    values["model"]["transporter"] |= changes | {"num_blocks": blocks, "layers": 1}
    config = config_lib.from_dict(values).model
    model, x = build.transporter(config), jnp.zeros((16, config.num_tokens, config.num_channels))
    cond = Condition(jnp.full(16, 0.3))
    shapes = nn.unbox(jax.eval_shape(functools.partial(
        model.init, method="forward_and_log_det"), jax.random.key(0), x, cond))

    def loss(params, x, model=model, cond=cond):
      u, log_det = model.apply(params, x, cond, method="forward_and_log_det")
      return (u ** 2).sum() - log_det.sum()

    compiled = jax.jit(jax.grad(loss)).lower({"params": shapes["params"]}, x).compile()
    row[name] = compiled.memory_analysis().temp_size_in_bytes / 2 ** 20
  return row


def against_torch(tokens: int, batch_size: int, quick: bool):
  """Ratios of our time to PyTorch's, for one block."""
  import torch
  import torch_block
  if os.environ.get("OMP_NUM_THREADS"):
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
  config = model_config(tokens, quick).model
  block = AutoregressiveBlock(config.transporter, config.grid_shape, config.num_channels,
                              numerics=Numerics(unroll=config.unroll))
  x = textures(jax.random.key(0), model_config(tokens, quick), batch_size)
  cond = Condition(jnp.full(batch_size, 0.3))
  init = functools.partial(block.init, method="forward_and_log_det")
  rng = np.random.default_rng(0)
  params = nn.unbox(jax.jit(init)(jax.random.key(0), x, cond))["params"]
  # Nothing zero: every path of the network shows in the output. A large readout
  # would make the inverse expand the rounding errors from token to token.
  params = {name: jax.tree.map(
      lambda a, scale=0.005 if name == "readout" else 0.02:
      jnp.asarray(a) + scale * rng.normal(size=a.shape).astype(a.dtype), part)
            for name, part in params.items()}
  other = torch_block.Block(params, block.apply({"params": params}, method="_angles"),
                            config.transporter.num_heads, config.transporter.log_scale_bound)
  forward = jax.jit(lambda p, x: block.apply({"params": p}, x, cond,
                                             method="forward_and_log_det"))
  inverse = jax.jit(lambda p, u: block.apply({"params": p}, u, cond,
                                             method="inverse_and_log_det")[0])
  x_torch, time_torch = torch.tensor(np.asarray(x)), torch.full((batch_size,), 0.3)
  u, log_det = forward(params, x)
  u_torch, log_det_torch = other(x_torch, time_torch)
  np.testing.assert_allclose(u, u_torch.detach(), atol=2e-4)
  np.testing.assert_allclose(log_det, log_det_torch.detach(), rtol=1e-4, atol=1e-2)
  np.testing.assert_allclose(inverse(params, u), x, atol=2e-4)
  np.testing.assert_allclose(other.inverse(u_torch.detach(), time_torch), x, atol=2e-4)
  if torch_block.parameter_count(other) != sum(a.size for a in jax.tree.leaves(params)):
    raise ValueError("the two blocks differ in their number of parameters.")

  tx = optax.adamw(1e-4)

  @functools.partial(jax.jit, donate_argnums=(0, 1))
  def update(params, state):
    def loss(params):
      u, log_det = block.apply({"params": params}, x, cond, method="forward_and_log_det")
      return (0.5 * (u * u).sum() - log_det.sum()) / x.size
    value, grads = jax.value_and_grad(loss)(params)
    updates, state = tx.update(grads, state, params)
    return optax.apply_updates(params, updates), state, value

  optimizer = torch.optim.AdamW(other.parameters(), lr=1e-4)

  def update_torch():
    optimizer.zero_grad(set_to_none=True)
    u, log_det = other(x_torch, time_torch)
    ((0.5 * (u * u).sum() - log_det.sum()) / x_torch.numel()).backward()
    optimizer.step()

  def without_grad(function):
    def run():
      with torch.no_grad():
        function()
    return run

  carry = [jax.tree.map(jnp.copy, params), tx.init(params)]

  def update_ours():
    carry[0], carry[1], value = update(*carry)
    return value

  runs = {"forward, ours": lambda: forward(params, x),
          "forward, PyTorch": without_grad(lambda: other(x_torch, time_torch)),
          "update, ours": update_ours, "update, PyTorch": update_torch,
          "inverse, ours": lambda: inverse(params, u),
          "inverse, PyTorch": without_grad(lambda: other.inverse(u_torch, time_torch)),
          "inverse, its products alone": products_alone(params["stack"]["layers"], tokens,
                                                        batch_size)}
  seconds = interleaved(runs, 1 if quick else 7)
  print_table(f"One block, {tokens} tokens, batch {batch_size}, {torch.get_num_threads()} "
              "PyTorch threads", {name: {"seconds": value} for name, value in seconds.items()})
  ratio = lambda name: seconds[f"{name}, ours"] / seconds[f"{name}, PyTorch"]
  return {"torch_seconds": seconds, "block_forward_vs_torch": ratio("forward"),
          "block_step_vs_torch": ratio("update"), "block_inverse_vs_torch": ratio("inverse"),
          "products_alone_vs_torch":
              seconds["inverse, its products alone"] / seconds["inverse, PyTorch"]}


def products_alone(layers, tokens: int, batch_size: int):
  """A call that multiplies by every kernel, token after token: what an inverse takes at least."""
  def matrix(path, kernel):
    inputs = kernel.shape[1:-1] if "out" in jax.tree_util.keystr(path) else kernel.shape[1:2]
    return kernel.reshape(len(kernel), math.prod(inputs), -1)

  kernels = [matrix(path, a) for path, a in jax.tree_util.tree_leaves_with_path(layers)
             if "kernel" in jax.tree_util.keystr(path)]
  kernels = [kernel[i] for i in range(len(kernels[0])) for kernel in kernels]

  @jax.jit
  def run(kernels, x_BD):
    def token(x_BD, _):
      for kernel in kernels:
        x_BD = x_BD.at[:, :kernel.shape[1]].set(x_BD[:, :kernel.shape[0]] @ kernel)
      return x_BD, None
    return jax.lax.scan(token, x_BD, length=tokens)[0]

  x_BD = jnp.ones((batch_size, max(max(kernel.shape) for kernel in kernels)))
  return lambda: run(kernels, x_BD)


if __name__ == "__main__":
  memory_allocator.keep_freed_memory()
  main()
