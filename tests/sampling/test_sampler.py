import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.process import schedule
from ntm.sampling import sampler
from ntm.typing import Condition
from tests.helpers import tiny


def _setup(context="markov", **changes):
  config = tiny.config(model__predictor={"layers": 1, "width": 16, "num_heads": 2,
                                         "num_kv_heads": 2, "context": context}, **changes)
  model, params = tiny.model_and_params(config)
  return model, params, schedule.uniform_times(3, 0.02)


class SamplerTest(parameterized.TestCase):

  @parameterized.parameters("markov", "history")
  def test_scan_equals_the_loop_of_algorithm_2(self, context):
    model, params, times = _setup(context)
    cond = Condition(label_B=jnp.array([0, 2]))
    rng = jax.random.key(0)
    u = jax.jit(lambda params: sampler.sample_u_trajectory(
        rng, model, params, times, (2, 4, 4), cond))(params)
    predict = jax.jit(functools.partial(model.apply, method="predict"))

    rng_noise, rng_steps = jax.random.split(rng)
    states = [jax.random.normal(rng_noise, (2, 4, 4))]
    levels = jnp.broadcast_to(times[:, None], (4, 2))
    for k, step_rng in zip((3, 2, 1), jax.random.split(rng_steps, 3)):
      # Noisier states known so far, cleanest first; only these are passed in.
      known = jnp.stack(states[::-1]) if context == "history" else states[-1][None]
      t = levels[k:] if context == "history" else levels[k:k + 1]
      s = levels[k - 1:-1] if context == "history" else levels[k - 1:k]
      mean, log_scale, _ = predict({"params": params}, known, cond.at(t, s))
      z = jax.random.normal(step_rng, (2, 4, 4))
      states.append(mean[0] + jnp.exp(log_scale[0]) * z)
    np.testing.assert_allclose(u, jnp.stack(states[::-1]), atol=1e-4)

  def test_a_continued_one_is_told_the_steps_of_the_whole(self):
    model, params, times = _setup(process__num_steps=(2, 3))
    cond, rng = Condition(label_B=jnp.array([0, 2])), jax.random.key(0)
    start = jax.random.normal(jax.random.key(1), (2, 4, 4))

    @jax.jit
    def run(params):
      of = lambda number: model.condition(cond, number, 2)
      draw = lambda number: sampler.sample_u_trajectory(
          rng, model, params, times[:2], start.shape, of(number), start_BNC=start)
      steps = lambda number: model.apply(
          {"params": params}, start[None],
          of(number).at(*(jnp.full((1, 2), t) for t in (times[1], times[0]))), method="predict")
      return draw(3), draw(1), steps(3), steps(1)

    *drawn, whole, alone = run(params)
    z = jax.random.normal(jax.random.split(jax.random.split(rng)[1], 1)[0], (2, 4, 4))
    for u, (mean, log_scale, _) in zip(drawn, (whole, alone)):
      np.testing.assert_array_equal(u[1], start)
      np.testing.assert_allclose(u[0], mean[0] + jnp.exp(log_scale[0]) * z, atol=1e-5)
    self.assertGreater(np.abs(drawn[0][0] - drawn[1][0]).max(), 1e-3)

  def test_zero_guidance_equals_none(self):
    model, params, times = _setup()
    draw = jax.jit(lambda w: sampler.sample_u_trajectory(
        jax.random.key(0), model, params, times, (2, 4, 4), Condition(label_B=jnp.array([0, 1])),
        w, Condition(label_B=jnp.full(2, 3))))
    plain = draw(None)
    np.testing.assert_allclose(draw(0.0), plain, atol=1e-5)
    self.assertGreater(np.abs(draw(2.0) - plain).max(), 1e-2)

  def test_to_data_inverts_the_transporter_and_keeps_the_noise(self):
    model, params, times = _setup()
    u = jax.random.normal(jax.random.key(1), (4, 2, 4, 4))

    @jax.jit
    def there_and_back(params, u):
      x, fallbacks = sampler.to_data(model, params, u, times, Condition())
      levels = jnp.broadcast_to(times[:, None], (4, 2))
      back, _ = model.apply({"params": params}, x, Condition(levels), method="transport")
      return x, fallbacks, back

    x, fallbacks, back = there_and_back(params, u)
    self.assertEqual(int(fallbacks), 0)
    np.testing.assert_array_equal(x[-1], u[-1])
    np.testing.assert_allclose(back, u, atol=1e-5)


if __name__ == "__main__":
  absltest.main()
