"""How far from the truth a step stays whose transporter reads the level alone, on the grid of 25.

  python benchmarks/level_map.py

The coordinates of grid25 are independent, so a transporter may map each by itself. Without features
of x_t it is one increasing map f for all x_t, and the best step has the moments of f(x_s):

  min_f E KL(q(x_s | x_t) || N(f(x_s); E[f(x_s) | x_t], Var[f(x_s) | x_t]) f'(x_s)).

f has 2,700 linear pieces, found by gradient descent, and integrals are sums over grids. Prints
nats of the cleanest step of T, for both coordinates: at first of the identity, the Gaussian step,
then of the best map. Maps that mix the coordinates are not tried.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ntm.config import DataConfig
from ntm.process.kernel import forward_kernel
from ntm.truth import trajectories
from ntm.truth.mixtures import GaussianMixture

_T_MIN = 0.02


def main():
  """Prints the divergence as the map improves."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--num_steps", type=int, default=4, help="T")
  parser.add_argument("--rounds", type=int, default=8, help="of 500 updates")
  args = parser.parse_args()
  with jax.enable_x64(True):
    posterior_AB, log_q_AB, dx = step(_T_MIN, _T_MIN + (1 - _T_MIN) / args.num_steps)
    loss = lambda log_slope_B: divergence(log_slope_B, posterior_AB, log_q_AB, dx)
    tx = optax.adam(optax.cosine_decay_schedule(0.03, 500 * args.rounds))

    @jax.jit
    def descend(carry):
      def update(carry, _):
        log_slope_B, state = carry
        updates, state = tx.update(jax.grad(loss)(log_slope_B), state)
        return (optax.apply_updates(log_slope_B, updates), state), None
      return jax.lax.scan(update, carry, length=500)[0]

    log_slope_B = jnp.zeros(posterior_AB.shape[1])
    carry = log_slope_B, tx.init(log_slope_B)
    print(f"{0:6} updates   {2 * loss(carry[0]):.4f} nats")
    for i in range(args.rounds):
      carry = descend(carry)
      print(f"{500 * (i + 1):6} updates   {2 * loss(carry[0]):.4f} nats", flush=True)


def step(s: float, t: float):
  """(mass of the cells of (x_t, x_s), log q(x_s | x_t) in their middle, width of a cell of x_s)."""
  mixture = GaussianMixture(np.linspace(-1, 1, 5)[:, None], DataConfig.noise)
  x_A, (x_B, dx) = np.linspace(-3, 3, 241), _cells(-1.35, 1.35, 2700)
  log_t_A, log_s_B = (trajectories.log_density(mixture, x[:, None], level)
                      for x, level in ((x_A, t), (x_B, s)))
  alpha, sigma = forward_kernel(s, t)
  log_kernel_AB = (-0.5 * ((x_A[:, None] - alpha * x_B) / sigma) ** 2
                   - jnp.log(sigma * np.sqrt(2 * np.pi)))
  log_q_AB = log_s_B + log_kernel_AB - log_t_A[:, None]
  mass_AB = jnp.exp(log_q_AB + log_t_A[:, None])
  return mass_AB / mass_AB.sum(), log_q_AB, dx


def divergence(log_slope_B, mass_AB, log_q_AB, dx: float):
  """Nats of one coordinate for the map with these slopes."""
  rise_B = jnp.exp(log_slope_B) * dx
  u_B = jnp.cumsum(rise_B) - rise_B / 2
  mass_A = mass_AB.sum(axis=1)
  mean_A = mass_AB @ u_B / mass_A
  variance_A = (mass_AB * (u_B - mean_A[:, None]) ** 2).sum(axis=1) / mass_A
  entropy_A = 0.5 * jnp.log(2 * jnp.pi * variance_A) + 0.5  # The cross-entropy too.
  return (mass_AB * log_q_AB).sum() + mass_A @ entropy_A - mass_AB.sum(axis=0) @ log_slope_B


def _cells(low, high, count):
  edges = np.linspace(low, high, count + 1)
  return (edges[1:] + edges[:-1]) / 2, (high - low) / count


if __name__ == "__main__":
  main()
