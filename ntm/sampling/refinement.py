"""Trajectory score refinement: denoising by the likelihood's own gradient.

A trajectory is x_0 seen through correlated Gaussian noise with known covariance
S (Proposition 3). Tweedie's formula over all its states, with g = grad_x L of
the negative log-likelihood L, gives [3.5, Algorithm 3]

  x_den = (x - S g) / (1 - t)        (product over the trajectory axis),

of which we take the entry at t_0. It is the posterior mean of x_0 given the
whole trajectory if the model is exact. S couples the levels; the state at t = 1
has zero weight in row 0, so it is not needed as an unknown.

Of states that were just drawn, most of g is known in u-space, where a step is
u_s = mu + sigma z, (mu, sigma) = f_P(u_t): with c = z / sigma,

  dL/du_s = c from this step, dL/du_t = -(dmu/du_t)^T c + (dlog sigma/du_t)^T (1 - z^2),

so the predictor is pulled back right where it was evaluated, one step at a time, and never
evaluated again. With guidance u_s is drawn from another Gaussian; z is what it is in this one.
"""

import jax
import jax.numpy as jnp

from ntm.models.ntm import NTM
from ntm.process.kernel import trajectory_covariance
from ntm.sampling import guidance as guidance_lib
from ntm.sampling import sampler
from ntm.typing import Array, Condition, PRNGKey, Trajectory


def refine(model: NTM, params, trajectory: Trajectory, clip_percentile: float = 100.0) -> Array:
  """Denoises the cleanest state of every trajectory.

  Args:
    model: the density.
    params: its parameters.
    trajectory: states that end at noise, with t_0 > 0.
    clip_percentile: |g| is clipped to this percentile of its own entries in
      every state; 100 clips nothing.

  Returns:
    x_den, [B, N, C], an estimate of clean data.
  """
  def negative_log_prob(x_KBNC):
    result = model.apply({"params": params}, trajectory.replace(x_KBNC=x_KBNC),
                         method="log_prob")
    return -result.total_B.sum()

  return _denoised(trajectory.x_KBNC[0], jax.grad(negative_log_prob)(trajectory.x_KBNC),
                   trajectory.times_KB, clip_percentile)


def sample_refined(rng: PRNGKey, model: NTM, params, times_K: Array, shape: tuple[int, ...],
                   cond: Condition, guidance=None, null_cond: Condition | None = None,
                   clip_percentile: float = 100.0) -> tuple[Array, Array, Array]:
  """Draws trajectories as `sampler.sample_trajectory` and refines them as `refine`.

  Arguments and errors as there; `clip_percentile` as in `refine`.

  Returns:
    (x_den of [B, N, C]; all states x_KBNC, cleanest first; inverses that an iterative solver
    left to the scan).
  """
  times_KB = jnp.broadcast_to(times_K[:, None], (times_K.shape[0], shape[0]))
  if model.conditional or model.predictor.context != "markov":
    # A step needs the states before it, in data space or in caches.
    x_KBNC, fallbacks = sampler.sample_trajectory(
        rng, model, params, times_K, shape, cond, guidance, null_cond, num_states=len(times_K))
    trajectory = Trajectory(x_KBNC, times_KB, cond, jnp.ones_like(times_KB[1:]))
    return refine(model, params, trajectory, clip_percentile), x_KBNC, fallbacks
  noise_BNC, u_SBNC, by_u_SBNC = _sample_with_gradient(
      rng, model, params, times_K, shape, cond, guidance, null_cond)
  x_SBNC, fallbacks = sampler.to_data(model, params, u_SBNC, times_K, cond)
  (_, log_det_SB), pull_back = jax.vjp(
      lambda x_SBNC: model.apply({"params": params}, x_SBNC, cond.at(times_KB[:-1]),
                                 method="transport"), x_SBNC)
  g_SBNC, = pull_back((by_u_SBNC, -jnp.ones_like(log_det_SB)))
  return (_denoised(x_SBNC[0], g_SBNC, times_KB, clip_percentile),
          jnp.concatenate([x_SBNC, noise_BNC[None]]), fallbacks)


def _sample_with_gradient(rng, model, params, times_K, shape, cond, guidance, null_cond):
  """(noise, u_SBNC, dL/du_SBNC without log-determinants), cleanest state first."""
  def gaussian(state_BNC, cond, t, s):
    levels = (jnp.full(shape[:1], level) for level in (t, s))
    return model.apply({"params": params}, state_BNC, cond.at(*levels), None, jnp.int32(0),
                       method="predict_step")[:2]

  def draw(state_BNC, own, t, s, rng):
    """(u_BNC, z_BNC, c_BNC) of a step whose own (mu, log sigma) are given."""
    mean, log_scale = drawn = own
    if guidance is not None:  # The density is that of the condition alone.
      drawn = guidance_lib.guide(own, gaussian(state_BNC, null_cond, t, s), guidance)
    u_BNC = drawn[0] + jnp.exp(drawn[1]) * jax.random.normal(rng, shape, mean.dtype)
    z_BNC = (u_BNC - mean) * jnp.exp(-log_scale)
    return u_BNC, z_BNC, z_BNC * jnp.exp(-log_scale)

  def step(state_BNC, inputs):
    own, pull_back = jax.vjp(lambda state: gaussian(state, cond, *inputs[:2]), state_BNC)
    u_BNC, z_BNC, by_u_BNC = draw(state_BNC, own, *inputs)
    by_state_BNC, = pull_back((-by_u_BNC, 1 - z_BNC**2))
    return u_BNC, (u_BNC, by_u_BNC, by_state_BNC)

  noise_BNC, inputs = sampler.chain_inputs(rng, times_K, shape)
  first, rest = (jax.tree.map(lambda a, part=part: a[part], inputs) for part in (0, slice(1, None)))
  # Nothing asks for the gradient by the noise.
  u_BNC, _, by_u_BNC = draw(noise_BNC, gaussian(noise_BNC, cond, *first[:2]), *first)
  _, scanned = jax.lax.scan(step, u_BNC, rest)
  u_SBNC, by_u_SBNC, by_state_SBNC = (a[::-1] for a in scanned)
  u_SBNC, by_u_SBNC = (jnp.concatenate([a, last[None]])
                       for a, last in ((u_SBNC, u_BNC), (by_u_SBNC, by_u_BNC)))
  # State k is drawn by one step and read by the one after, which comes before it here.
  return noise_BNC, u_SBNC, by_u_SBNC.at[1:].add(by_state_SBNC)


def _denoised(x_BNC, g_KBNC, times_KB, clip_percentile):
  """Tweedie's formula for the cleanest state; g of all states but those of zero weight."""
  if clip_percentile < 100:
    limit = jnp.percentile(jnp.abs(g_KBNC), clip_percentile, axis=(-2, -1), keepdims=True)
    g_KBNC = jnp.clip(g_KBNC, -limit, limit)
  row_KB = trajectory_covariance(times_KB)[0, :len(g_KBNC)]
  noise_BNC = jnp.einsum("kb,kbnc->bnc", row_KB.astype(g_KBNC.dtype), g_KBNC,
                         precision=jax.lax.Precision.HIGHEST)
  return (x_BNC - noise_BNC) / (1 - times_KB[0])[:, None, None]
