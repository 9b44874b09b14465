"""How far the best chain of Gaussian steps is from the truth, on mixtures of known density.

  python benchmarks/gaussian_chain.py

Prints nats per trajectory with standard errors for T = 1 .. 16 on a uniform grid, t_min = 0.02,
over exact trajectories, with steps independent in every dimension and with a full covariance: the
table of docs/truth.md.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

from ntm.config import DataConfig
from ntm.truth import gaussian_chain, named, trajectories

_T_MIN, _STEPS = 0.02, (1, 2, 4, 8, 16)


def main():
  """Prints a row per mixture and kind of covariance."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--draws", type=int, default=20_000, help="trajectories")
  args = parser.parse_args()
  jax.config.update("jax_enable_x64", True)
  print(f"| | {' | '.join(f'T = {steps}' for steps in _STEPS)} |\n|{'---|' * (len(_STEPS) + 1)}")
  for name in ("grid25", "ring8", "checkerboard"):
    noise = {} if name == "checkerboard" else {"noise": DataConfig.noise}
    mixture = named.build(DataConfig(source="mixture", mixture=name, **noise), (2, 1))
    drawn = [draw(mixture, steps, args.draws) for steps in _STEPS]
    for full in (False, True):
      cells = []
      for x_KBD, times_K in drawn:
        kl_B = gaussian_chain.log_ratios(mixture, x_KBD, times_K, full).sum(axis=0)
        cells.append(f"{kl_B.mean():.3f} ± {kl_B.std() / args.draws ** 0.5:.3f}")
      print(f"| {name}, {'full' if full else 'diagonal'} | {' | '.join(cells)} |", flush=True)


def draw(mixture, num_steps: int, draws: int):
  """Exact trajectories x_KBD, cleanest first, and their levels."""
  times_K = np.linspace(_T_MIN, 1, num_steps + 1)
  keys = jax.random.split(jax.random.key(0), num_steps + 1)
  states = [jax.random.normal(keys[0], (draws, 2))]
  for key, t, s in zip(keys[1:], times_K[:0:-1], times_K[-2::-1]):
    states.append(trajectories.sample_step(key, mixture, states[-1], t, s))
  return jnp.stack(states[::-1]), times_K


if __name__ == "__main__":
  main()
