"""Time grids of a trajectory: ascending, t_min first, 1 last.

Uniform grid:   t_k = t_min + (1 - t_min) k / T.
Shifted grid:   t_0 = t_min and t_k = e^m / (e^m + T/k - 1) for k >= 1, with
                m = 0.5 + 0.65 (N - 256) / (4096 - 256)          [C.1, C.2]
so that longer sequences of N tokens spend more steps near the noise.

Trajectories of different T share one array when padded: levels above an
example's own T repeat t = 1, where the forward kernel is the identity.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ntm.typing import Array, PRNGKey

SCHEDULES = ("uniform", "shifted")


def uniform_times(num_steps: int, t_min) -> Array:
  """Evenly spaced levels.

  Args:
    num_steps: T, at least 1.
    t_min: the cleanest level, a number or [B].

  Returns:
    times, [K], or [K, B] for t_min of shape [B].

  Raises:
    ValueError: num_steps < 1, or a concrete t_min outside [0, 1).
  """
  return padded_times("uniform", num_steps, num_steps, t_min)


def shifted_times(num_steps: int, t_min, num_tokens: int) -> Array:
  """Levels shifted towards the noise for long sequences [C.1, C.2].

  Args:
    num_steps: T, at least 1.
    t_min: the cleanest level, a number or [B].
    num_tokens: N, tokens of one state.

  Returns:
    times, [K], or [K, B] for t_min of shape [B].

  Raises:
    ValueError: num_steps < 1, a concrete t_min outside [0, 1), or a t_min that
      is not below the first shifted level.
  """
  return padded_times("shifted", num_steps, num_steps, t_min, num_tokens)


def padded_times(schedule: str, num_steps, max_steps: int, t_min,
                 num_tokens: int | None = None) -> Array:
  """Levels of trajectories with their own T each, padded with 1 above it.

  Args:
    schedule: 'uniform' or 'shifted'.
    num_steps: T, a number or [B].
    max_steps: the largest T; the result has max_steps + 1 levels.
    t_min: the cleanest level, a number or [B].
    num_tokens: N; needed by the shifted schedule only.

  Returns:
    times, [K] or [K, B] with K = max_steps + 1.

  Raises:
    ValueError: as `uniform_times` and `shifted_times`, or an unknown schedule.
  """
  if schedule not in SCHEDULES:
    raise ValueError(f"schedule is {schedule!r}; expected one of {SCHEDULES}.")
  num_steps = check_num_steps(num_steps)
  if isinstance(max_steps, int) and max_steps < 1:
    raise ValueError(f"num_steps is {max_steps}; expected at least 1.")
  t_min = jnp.asarray(t_min, dtype=jnp.promote_types(jnp.result_type(float), jnp.float32))
  shape = jnp.broadcast_shapes(jnp.shape(num_steps), t_min.shape)
  k = jnp.arange(max_steps + 1, dtype=t_min.dtype).reshape((-1,) + (1,) * len(shape))
  fraction = jnp.minimum(k / num_steps, 1.0)
  if schedule == "uniform":
    # 1 - (1 - t_min)(1 - k/T), so that the last level is exactly 1.
    times = 1.0 - (1.0 - t_min) * (1.0 - fraction)
    times = jnp.where(k == 0, t_min, times)
  else:
    if num_tokens is None or num_tokens < 1:
      raise ValueError(f"num_tokens is {num_tokens}; the shifted schedule needs "
                       "the number of tokens of one state, at least 1.")
    shift = np.exp(0.5 + 0.65 * (num_tokens - 256) / (4096 - 256))
    # e^m / (e^m + T/k - 1), written so that k = 0 gives 0 rather than NaN.
    times = shift * fraction / (shift * fraction + (1.0 - fraction))
    times = jnp.where(k == 0, t_min, times)
  times = jnp.broadcast_to(times, (max_steps + 1,) + shape)
  if not isinstance(times, jax.core.Tracer):
    check_times(times, padded=True)
  return times


def draw_t_min(rng: PRNGKey, batch_size: int, low: float, high: float) -> Array:
  """One t_min ~ U[low, high] per example, [B]."""
  return jax.random.uniform(rng, (batch_size,), minval=low, maxval=high)


def check_num_steps(num_steps):
  """Returns num_steps; raises ValueError if it is concrete and below 1."""
  if not isinstance(num_steps, jax.core.Tracer) and np.any(np.asarray(num_steps) < 1):
    raise ValueError(f"num_steps is {num_steps}; a trajectory has at least 1 step.")
  return num_steps


def check_times(times, padded: bool = False) -> None:
  """Raises ValueError unless concrete times are a valid grid.

  Args:
    times: [K] or [K, B]; must ascend strictly inside [0, 1] and end at 1.
    padded: accept repeated levels at t = 1.
  """
  times = np.asarray(times)
  if times.ndim < 1 or times.shape[0] < 2:
    raise ValueError(f"times has shape {times.shape}; expected at least two "
                     "levels along the first axis.")
  if not np.all((times >= 0) & (times <= 1)):
    raise ValueError(f"times {np.array2string(times, threshold=12)} leave [0, 1]; "
                     "0 is data and 1 is noise.")
  rising = np.diff(times, axis=0) > 0
  if padded:
    rising |= times[1:] == 1
    rising[0] &= times[0] < 1
  if not np.all(rising):
    raise ValueError(
        f"times {np.array2string(times, threshold=12)} do not ascend strictly; "
        "expected each above the one before: lower t_min, in training process.t_min_high, or "
        "take fewer steps.")
  if not np.all(times[-1] == 1):
    raise ValueError(f"times end at {times[-1]}; the last level must be 1 (noise).")
