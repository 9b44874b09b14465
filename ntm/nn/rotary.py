"""Rotary position embeddings on grids of one, two or three axes.

Every head width is split into pairs of channels, the pairs shared out evenly
between the axes; the pairs of one axis turn by angle position * theta^(-i/n).
"""

import jax.numpy as jnp
import numpy as np

from ntm.typing import Array


def grid_positions(grid_shape: tuple[int, ...]) -> np.ndarray:
  """Integer coordinates of the tokens in row-major order, [N, axes]."""
  axes = np.meshgrid(*(np.arange(n) for n in grid_shape), indexing="ij")
  return np.stack([axis.reshape(-1) for axis in axes], axis=-1)


def rotary_angles(positions: np.ndarray, head_width: int, theta: float = 100.0) -> np.ndarray:
  """Angles of every pair of channels, [M, E/2].

  Args:
    positions: coordinates, [M, axes].
    head_width: E, even and at least twice the number of axes.
    theta: the slowest pair turns by 1/theta radians per position; grids are a
      few dozen tokens a side, hence smaller than the 10^4 of language models.
  """
  pairs = np.array_split(np.arange(head_width // 2), positions.shape[-1])
  angles = [positions[:, axis, None] * theta ** (-np.arange(len(share)) / len(share))
            for axis, share in enumerate(pairs)]
  return np.concatenate(angles, axis=-1)


def rotate(x_BMHE: Array, angles_ME: Array) -> Array:
  """Turns the pairs (x_i, x_{i+E/2}) by the angles; keeps norms and dtype.

  Args:
    x_BMHE: queries or keys.
    angles_ME: [M, E/2].
  """
  angles = jnp.asarray(angles_ME)[:, None, :]
  cos, sin = jnp.cos(angles).astype(x_BMHE.dtype), jnp.sin(angles).astype(x_BMHE.dtype)
  first, second = jnp.split(x_BMHE, 2, axis=-1)
  return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
