"""The contract of every bijector, and the ones without parameters.

A bijector is a linen module over tokens x [B, N, C]. It must have two methods, data →
latent being forward, the direction that is computed in parallel:

  forward_and_log_det(x_BNC, cond) -> (u_BNC, log_det_B)
  inverse_and_log_det(u_BNC, cond) -> (x_BNC, log_det_B)

- log_det is log |det dOutput/dInput| of the direction computed, in nats, summed over
  tokens and channels, in x's type, which is float32 or better independent of
  the networks' compute type; so the two log-dets of a round trip add up to zero.
- `cond` is a `typing.Condition`. A bijector may read any of its fields, and embeds T
  only if `num_steps_B` is given. As the transporter of an NTM it sees one level at a
  time, and is not called at t = 1, where the transporter is the identity.
- With `model.transporter.features` = F, `features_BNF` holds F features per token of the
  noisier state, in the order of the tokens. They do not depend on x, so all of them may
  be read for any token; what changes the order of the tokens changes theirs too
  (`Reversed`).
- It should start as the identity, so that an untrained model is Gaussian diffusion.

A bijector may

- report the range of its log-scales by `report`, which training logs;
- name the logical axes of its parameters (`ntm.nn.layers`, `ntm.nn.partitioning`), by
  which they are split over a mesh; what has no names is copied to every device;
- sow a `solvers.SolverInfo` as "inverse" in the collection "diagnostics" if its inverse
  is iterative, and fall back to an exact solver rather than return an approximation.
  What solvers need of a network is `solvers.Conditioner`.

The laws that hold for every bijector are in `ntm.testing`.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from ntm.typing import Array, Condition


class Bijector(Protocol):
  """The two methods, see above."""

  def forward_and_log_det(self, x_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """(u_BNC, log |det du/dx| [B]), data → latent."""

  def inverse_and_log_det(self, u_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """(x_BNC, log |det dx/du| [B]), latent → data."""


def checked(method: Callable, value_BNC: Array, cond: Condition) -> tuple[Array, Array]:
  """The result of one of the two methods.

  Raises:
    ValueError: it has not the shapes and types of the contract, see above.
  """
  out = method(value_BNC, cond)
  found = [(a.shape, a.dtype.name) if hasattr(a, "dtype") else type(a).__name__ for a in out] \
      if isinstance(out, tuple) else type(out).__name__
  expected = [(value_BNC.shape, value_BNC.dtype.name),
              (value_BNC.shape[:1], value_BNC.dtype.name)]
  if found != expected:
    name = f"{type(method.__self__).__name__}.{method.__name__}"
    raise ValueError(f"{name} returns {found}; expected tokens and one log-determinant per "
                     f"example, {expected}. See ntm.flows.bijector.")
  return out


def log_scale_range(log_scale: Array) -> Array:
  """[smallest, largest] entry."""
  return jnp.stack([log_scale.min(), log_scale.max()])


def report(module: nn.Module, *, log_scale: Array | None = None,
           outside: Array | None = None) -> None:
  """Sows what training logs of a bijector.

  Args:
    module: the bijector, within one of its methods.
    log_scale: of `log_scale_range`, one or several stacked: [..., 2].
    outside: share of the entries that a map of bounded range leaves as they are, any shape.
  """
  for name, value in (("log_scale", log_scale), ("outside", outside)):
    if value is not None:
      module.sow("diagnostics", name, value)


def largest_ranges(diagnostics) -> Array:
  """(smallest, largest) log-scale over all that bijectors reported; zeros if none did.

  Args:
    diagnostics: the collection of that name after an apply.
  """
  ranges = jnp.concatenate([jnp.zeros((1, 2))] + [
      leaf.reshape(-1, 2) for leaf in _reported(diagnostics, "log_scale")])
  return jnp.stack([ranges[:, 0].min(), ranges[:, 1].max()])


def largest_outside(diagnostics) -> Array | None:
  """The largest reported share of entries outside of a map's range; None if none was reported.

  Args:
    diagnostics: the collection of that name after an apply.
  """
  shares = _reported(diagnostics, "outside")
  return jnp.concatenate([leaf.reshape(-1) for leaf in shares]).max() if shares else None


def _reported(diagnostics, name):
  return [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(diagnostics)
          if any(getattr(key, "key", None) == name for key in path)]


class Identity(nn.Module):
  """u = x, log det = 0."""

  def forward_and_log_det(self, x_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """Returns x and zeros [B]."""
    del cond
    return x_BNC, jnp.zeros(x_BNC.shape[0], x_BNC.dtype)

  def inverse_and_log_det(self, u_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """Returns u and zeros [B]."""
    return self.forward_and_log_det(u_BNC, cond)


class Flip(nn.Module):
  """Reverses the order of the tokens: u_n = x_{N-1-n}, log det = 0."""

  def forward_and_log_det(self, x_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """Returns the reversed tokens and zeros [B]."""
    del cond
    return x_BNC[:, ::-1], jnp.zeros(x_BNC.shape[0], x_BNC.dtype)

  def inverse_and_log_det(self, u_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """Its own inverse."""
    return self.forward_and_log_det(u_BNC, cond)


class Reversed(nn.Module):
  """A bijector that sees the tokens last to first; the result keeps their order.

  Attributes:
    bijector: is given x and the features of `cond` in reverse order.
  """

  bijector: nn.Module

  def forward_and_log_det(self, x_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """Applies the bijector to the reversed tokens."""
    return self._apply(self.bijector.forward_and_log_det, x_BNC, cond)

  def inverse_and_log_det(self, u_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """Undoes it."""
    return self._apply(self.bijector.inverse_and_log_det, u_BNC, cond)

  def _apply(self, method, value_BNC, cond):
    if cond.features_BNF is not None:
      cond = cond.replace(features_BNF=cond.features_BNF[:, ::-1])
    out_BNC, log_det_B = method(value_BNC[:, ::-1], cond)
    return out_BNC[:, ::-1], log_det_B


class Chain(nn.Module):
  """u = f_n(...f_2(f_1(x))); the log-dets add.

  Attributes:
    bijectors: f_1 first.
  """

  bijectors: Sequence[nn.Module]

  def forward_and_log_det(self, x_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """Applies the bijectors in order."""
    log_det_B = jnp.zeros(x_BNC.shape[0], x_BNC.dtype)
    for bijector in self.bijectors:
      x_BNC, term_B = checked(bijector.forward_and_log_det, x_BNC, cond)
      log_det_B += term_B
    return x_BNC, log_det_B

  def inverse_and_log_det(self, u_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """Undoes the bijectors, last first."""
    log_det_B = jnp.zeros(u_BNC.shape[0], u_BNC.dtype)
    for bijector in reversed(self.bijectors):
      u_BNC, term_B = checked(bijector.inverse_and_log_det, u_BNC, cond)
      log_det_B += term_B
    return u_BNC, log_det_B


class Alternating(nn.Module):
  """Blocks that take turns in the order of the tokens, which the result keeps.

  Blocks 0, 2, ... see the tokens first to last, blocks 1, 3, ... last to first, so that
  two autoregressive blocks already let every token depend on every other.

  Attributes:
    block: the blocks, the one next to the data first. (In the singular: parameters are
      named block_0, block_1, ...)
  """

  block: tuple[nn.Module, ...]

  def setup(self):
    """Reverses odd blocks."""
    self.chain = Chain([Reversed(block) if i % 2 else block for i, block in enumerate(self.block)])

  def forward_and_log_det(self, x_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """Applies the blocks in order."""
    return self.chain.forward_and_log_det(x_BNC, cond)

  def inverse_and_log_det(self, u_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """Undoes the blocks, last first."""
    return self.chain.inverse_and_log_det(u_BNC, cond)
