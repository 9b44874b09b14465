"""Inverses of an autoregressive block: x_n = f^-1(u_n; parameters read off x_{<n}).

f is a map of `ntm.flows.elementwise`; if affine, x_n = mu_n(x_{<n}) + sigma_n(x_{<n}) u_n. It may
also be one of `ntm.flows.channels`, which inverts a token channel after channel.
All find the same x and differ in what they compute at once:

- scan: token after token with a key/value cache, N network evaluations of one
  token each. Exact.
- jacobi: all tokens at once from the last guess, x <- f^-1(u; x), until nothing
  moves by more than the tolerance. Token n is exact after n + 1
  iterations, so N always suffice.
- gs_jacobi: Jacobi inside chunks of tokens, chunk after chunk (Gauss-Seidel),
  with a cache of the chunks done; M iterations always suffice for M tokens.

The cache grows in segments: tokens early in the sequence attend to a short
one, not to positions that are not filled yet.

An iteration that has not reached the tolerance after `max_iterations`, or that
overflowed on its way, is thrown away and the block inverted by scan: the result
is exact either way, and `SolverInfo.fallbacks` counts it. Nothing is clamped.
"""

import math
from typing import Protocol

import flax.struct
import jax
import jax.numpy as jnp

from ntm.config import InverseConfig
from ntm.flows.channels import OrderedMap
from ntm.flows.elementwise import Map
from ntm.typing import Array


@flax.struct.dataclass
class SolverInfo:
  """How one inverse went.

  Attributes:
    iterations: network evaluations one after the other.
    residual: largest change of any entry of x in the last iteration.
    fallbacks: 1 if the iteration failed and the scan was used, else 0.
  """

  iterations: Array
  residual: Array
  fallbacks: Array


class Conditioner(Protocol):
  """The network of a block, with parameters and condition filled in."""

  def parallel(self, x_BNC: Array) -> Map | OrderedMap:
    """The map of all tokens, read off all tokens before each."""

  def decode(self, previous_BMC: Array, caches, index: Array):
    """(map, caches) of the tokens index .. index + M - 1.

    `previous_BMC` are the tokens before each of them, the first being ignored
    at index 0; the caches hold all tokens before `index`.
    """

  def init_caches(self, batch_size: int, length: int):
    """Empty caches of a given length."""


def invert(net: Conditioner, u_BNC: Array, config: InverseConfig
           ) -> tuple[Array, Array, SolverInfo]:
  """Solves u = f(x; x) for x.

  Args:
    net: the block's network.
    u_BNC: latent tokens in scan order.
    config: solver, its tolerance and sizes.

  Returns:
    (x_BNC, log det of dx/du [B], how it went).
  """
  if config.solver == "scan":
    x_BNC, log_det_B, iterations, residual = _chunks(net, u_BNC, 1, 1, 0.0, config.segment)
    return x_BNC, log_det_B, SolverInfo(iterations, residual, jnp.int32(0))
  length = u_BNC.shape[1]
  chunk = length if config.solver == "jacobi" else _nearest_divisor(length, config.chunk)
  limit = config.max_iterations or chunk
  tolerance = max(config.tolerance, 8 * float(jnp.finfo(u_BNC.dtype).eps))
  if config.solver == "jacobi":
    x_BNC, log_slope_BNC, iterations, residual = _fixed_point(
        lambda x, _: (net.parallel(x), None), u_BNC, None, limit, tolerance)[:4]
    log_det_B = log_slope_BNC.sum(axis=(1, 2))
  else:
    x_BNC, log_det_B, iterations, residual = _chunks(
        net, u_BNC, chunk, limit, tolerance, config.segment)
  # Exact after `chunk` iterations even if the last one still moved something.
  converged = (residual <= tolerance) | (jnp.isfinite(residual) & (limit >= chunk))
  scan = lambda: _chunks(net, u_BNC, 1, 1, 0.0, config.segment)[:2]
  x_BNC, log_det_B = jax.lax.cond(converged, lambda: (x_BNC, log_det_B), scan)
  fallbacks = 1 - converged.astype(jnp.int32)
  return x_BNC, log_det_B, SolverInfo(iterations + fallbacks * length, residual, fallbacks)


def _chunks(net, u_BNC, chunk: int, limit: int, tolerance: float, segment: int):
  """Chunk after chunk with a cache; one token and one iteration make it the scan."""
  batch_size, length, _ = u_BNC.shape
  segment = segment or round(4 * math.sqrt(length))
  per_segment = _nearest_divisor(length // chunk, max(1, segment // chunk))
  caches = net.init_caches(batch_size, per_segment * chunk)

  # The index is carried, not scanned over: a sliced one, fused into the update
  # of a cache, breaks XLA's compiler for CPU (jaxlib 0.10.2).
  def solve_chunk(carry, u_BMC):
    last_B1C, caches, index, log_det_B, iterations, residual = carry

    def evaluate(x_BMC, caches):
      previous_BMC = jnp.concatenate([last_B1C, x_BMC[:, :-1]], axis=1)
      return net.decode(previous_BMC, caches, index)

    x_BMC, log_slope_BMC, count, change, caches = _fixed_point(
        evaluate, u_BMC, caches, limit, tolerance)
    carry = (x_BMC[:, -1:], caches, index + chunk, log_det_B + log_slope_BMC.sum(axis=(1, 2)),
             iterations + count, jnp.maximum(residual, change))
    return carry, x_BMC

  zero = jnp.zeros((), u_BNC.dtype)
  carry = (jnp.zeros_like(u_BNC[:, :1]), caches, jnp.int32(0), jnp.zeros_like(u_BNC[:, 0, 0]),
           jnp.int32(0), zero)
  done = []
  for start in range(0, length, per_segment * chunk):
    last, caches, *rest = carry
    caches = [cache.grow(start + per_segment * chunk) for cache in caches]
    u = u_BNC[:, start:start + per_segment * chunk]
    u_PBMC = jnp.moveaxis(u.reshape(batch_size, per_segment, chunk, -1), 1, 0)
    carry, x_PBMC = jax.lax.scan(solve_chunk, (last, caches, *rest), u_PBMC)
    done.append(jnp.moveaxis(x_PBMC, 0, 1).reshape(u.shape))
  _, _, _, log_det_B, iterations, residual = carry
  return jnp.concatenate(done, axis=1), log_det_B, iterations, residual


def _nearest_divisor(number: int, target: int) -> int:
  """The divisor of `number` whose ratio to `target` is nearest to 1."""
  divisors = [d for d in range(1, number + 1) if number % d == 0]
  return min(divisors, key=lambda d: abs(math.log(d / target)))


def _fixed_point(evaluate, u_BMC, caches, limit: int, tolerance: float):
  """Iterates x <- f^-1(u; x) from x = u.

  Returns:
    (x, log dx/du, iterations, last change, caches); NaN if it overflowed.
  """
  def iterate(x_BMC, caches):
    maps, caches = evaluate(x_BMC, caches)
    return *maps.inverse(u_BMC), caches

  if limit == 1:
    x_BMC, log_slope_BMC, caches = iterate(u_BMC, caches)
    return x_BMC, log_slope_BMC, jnp.int32(1), jnp.zeros((), u_BMC.dtype), caches

  def moving(carry):
    _, _, iterations, change, _ = carry
    # A NaN compares false and ends the loop.
    return (change > tolerance) & (iterations < limit)

  def body(carry):
    x_BMC, _, iterations, _, caches = carry
    new_BMC, log_slope_BMC, caches = iterate(x_BMC, caches)
    return new_BMC, log_slope_BMC, iterations + 1, jnp.abs(new_BMC - x_BMC).max(), caches

  start = (u_BMC, jnp.zeros_like(u_BMC), jnp.int32(0), jnp.full((), jnp.inf, u_BMC.dtype), caches)
  return jax.lax.while_loop(moving, body, start)
