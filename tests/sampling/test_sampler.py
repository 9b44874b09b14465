import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.performance import flops
from ntm.process import schedule
from ntm.sampling import sampler
from ntm.typing import Condition, Trajectory
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


class ConditionalTest(parameterized.TestCase):

  @parameterized.parameters(("markov", {}), ("history", {"model__inverse__solver": "jacobi"}),
                            ("markov", {"model__inverse__solver": "gs_jacobi"}),
                            ("markov", {"model__transporter__kind": "coupling",
                                        "model__transporter__num_blocks": 2}))
  def test_the_likelihood_finds_the_noise_that_was_drawn(self, context, changes):
    with jax.enable_x64(True):
      config = tiny.config(model__transporter__features=3, model__predictor__context=context,
                           process__num_steps=(2, 3), **changes)
      model, params = tiny.model_and_params(config, jnp.float64)
      times, rng = schedule.uniform_times(3, 0.02), jax.random.key(0)
      cond = model.condition(Condition(label_B=jnp.array([0, 2])), 3, 2)

      @jax.jit
      def run(params):
        x, fallbacks = sampler.sample_trajectory(rng, model, params, times, (2, 4, 4), cond,
                                                 num_states=4)
        levels = jnp.broadcast_to(times[:, None], (4, 2))
        t = Trajectory(x, levels, cond, jnp.ones((3, 2)))
        return x, fallbacks, model.apply({"params": params}, t, method="log_prob"), (
            model.apply({"params": params}, t, method="denoiser_input"),
            sampler.sample_denoiser_input(rng, model, params, times, (2, 4, 4), cond))

      x, fallbacks, result, (found, drawn) = run(params)
      rng_noise, rng_steps = jax.random.split(rng)
      draw = lambda key: jax.random.normal(key, (2, 4, 4), times.dtype)
      np.testing.assert_array_equal(x[-1], draw(rng_noise))
      # Jacobi stops at its tolerance.
      atol = 1e-10 if "model__inverse__solver" not in changes else 1e-4
      for k, key in zip((3, 2, 1), jax.random.split(rng_steps, 3)):
        np.testing.assert_allclose(result.z_SBNC[k - 1], draw(key), atol=atol)
      for one, other in zip(found, drawn, strict=True):
        np.testing.assert_allclose(one, other, atol=atol)
      self.assertEqual(int(fallbacks), 0)

  def test_the_cleanest_states_are_those_of_the_whole_and_can_be_continued(self):
    model, params, times = _setup(model__transporter__features=3)
    cond, rng = Condition(label_B=jnp.array([0, 2])), jax.random.key(0)
    draw = jax.jit(lambda p: [
        sampler.sample_trajectory(rng, model, p, times, (2, 4, 4), cond, num_states=number)[0]
        for number in (1, 4)])
    one, whole = draw(params)
    np.testing.assert_allclose(one, whole[:1], atol=1e-5)
    start = whole[2]
    rest = jax.jit(lambda p: sampler.sample_trajectory(
        rng, model, p, times[:3], start.shape, cond, start_BNC=start, num_states=3)[0])(params)
    np.testing.assert_array_equal(rest[2], start)
    self.assertGreater(np.abs(rest[0] - whole[0]).max(), 1e-2)  # Other noise.

  def test_inverts_once_per_step_and_not_for_the_denoiser(self):
    model, params, times = _setup(model__transporter__features=3)
    cond = Condition(label_B=jnp.array([0, 2]))
    draw = lambda function: flops.count(
        lambda p: function(jax.random.key(0), model, p, times, (2, 4, 4), cond), params)
    x, t = jnp.zeros((2, 4, 4)), jnp.zeros(2)
    predict = flops.count(lambda p: model.apply(
        {"params": p}, x, cond.at(t, t), None, jnp.int32(0), method="predict_step"), params)
    inverse = flops.count(lambda p: model.apply(
        {"params": p}, x[None], cond.at(t[None]).replace(features_BNF=jnp.zeros((1, 2, 4, 3))),
        method="transport_inverse"), params)
    self.assertEqual(draw(sampler.sample_trajectory), 3 * (predict + inverse))
    self.assertEqual(draw(sampler.sample_denoiser_input), 3 * predict + 2 * inverse)

  def test_guidance_and_u_trajectories_are_refused(self):
    model, params, times = _setup(model__transporter__features=3)
    args = (jax.random.key(0), model, params, times, (2, 4, 4), Condition(label_B=jnp.arange(2)))
    with self.assertRaisesRegex(ValueError, "guidance is not supported"):
      sampler.sample_trajectory(*args, 1.0, Condition(label_B=jnp.full(2, 3)))
    with self.assertRaisesRegex(ValueError, "use sample_trajectory"):
      sampler.sample_u_trajectory(*args)


if __name__ == "__main__":
  absltest.main()
