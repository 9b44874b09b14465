import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.config import TransformerConfig
from ntm.models import build
from ntm.process import schedule
from ntm.sampling import generate, refinement, sampler
from ntm.typing import Condition, Trajectory
from tests.helpers import tiny

_COND = Condition(label_B=jnp.array([0, 2]))
_SMALL = {"layers": 1, "width": 16, "num_heads": 2, "num_kv_heads": 1}


@functools.cache
def _setup():
  config = tiny.config(process__num_steps=(2, 3), process__t_min=0.1, process__t_min_high=0.1,
                       model__transporter=_SMALL | {"num_blocks": 1}, model__predictor=_SMALL)
  return config, *tiny.model_and_params(config)


@functools.cache
def _generated(refine, clip_percentile=100.0, steps=3):
  """(images, raw, states) as tokens, None left out."""
  config, model, params = _setup()
  patches = build.patches(config.model)
  run = generate.make_generator(model, patches, config.process, refine, clip_percentile)
  out = run(jax.random.key(0), params, _COND, 2, steps)
  tokens = patches.to_tokens
  return tokens(out.images), tokens(out.raw), jax.vmap(tokens)(out.states)


@functools.cache
def _parts(steps=3):
  """(levels, latents, states in data space) by the sampler's own functions."""
  _, model, params = _setup()
  times = schedule.uniform_times(steps, 0.1)

  @jax.jit
  def run(params):
    cond = model.condition(_COND, steps, 2)
    u = sampler.sample_u_trajectory(jax.random.key(0), model, params, times, (2, 4, 4), cond)
    return u, sampler.to_data(model, params, u, times, cond)[0]

  return times, *run(params)


class GenerateTest(parameterized.TestCase):

  @parameterized.parameters(2, 3)
  def test_without_refinement_it_is_the_cleanest_state(self, steps):
    _, _, x = _parts(steps)
    images, raw, states = _generated(None, steps=steps)
    for found in (images, raw, states[0]):
      np.testing.assert_allclose(found, x[0], atol=1e-5)
    self.assertLen(states, 1)

  def test_score_refinement_reads_all_states(self):
    _, model, params = _setup()
    times, u, x = _parts()
    images, raw, states = _generated("score", 50.0)
    np.testing.assert_allclose(states, x, atol=1e-5)
    np.testing.assert_allclose(states[-1], u[-1], rtol=1e-5)
    np.testing.assert_allclose(raw, x[0], atol=1e-5)
    times_KB = jnp.broadcast_to(times[:, None], (4, 2))
    refine = jax.jit(lambda params, t: refinement.refine(model, params, t, 50.0))
    cond = _COND.replace(num_steps_B=jnp.full(2, 3))
    refined = refine(params, Trajectory(x, times_KB, cond, jnp.ones((3, 2))))
    np.testing.assert_allclose(images, refined, atol=1e-4)
    self.assertGreater(np.abs(images - raw).max(), 1e-2)

  def test_the_denoiser_reads_the_cleanest_latent_and_its_level(self):
    config, model, params = _setup()
    times, u, _ = _parts()
    denoiser = build.denoiser(dataclasses.replace(config, denoiser=TransformerConfig(**_SMALL)))
    cond = _COND.replace(time_B=jnp.full(2, times[0]), num_steps_B=jnp.full(2, 3))
    weights = tiny.random_params(lambda rng: denoiser.init(rng, u[0], cond))
    patches = build.patches(config.model)
    run = generate.make_generator(model, patches, config.process, "denoiser", denoiser=denoiser)
    out = run(jax.random.key(0), params, _COND, 2, 3, None, weights)
    expected = jax.jit(denoiser.apply)({"params": weights}, u[0], cond)
    np.testing.assert_allclose(patches.to_tokens(out.images), expected, atol=1e-4)
    self.assertIsNone(out.raw)


if __name__ == "__main__":
  absltest.main()
