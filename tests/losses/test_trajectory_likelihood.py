import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.losses import trajectory_likelihood
from ntm.process.trajectory import draw_pair, draw_trajectory
from ntm.typing import Condition
from tests.helpers import tiny


def _data(batch_size=4):
  x0 = jax.random.uniform(jax.random.key(5), (batch_size, 4, 4), minval=-1, maxval=1)
  return x0, Condition(label_B=jnp.arange(batch_size) % 3)


def _end_to_end(seed, model, params, x0, cond, config):
  """(loss, its metrics, the likelihood of what it is of, the trajectories)."""

  @jax.jit
  def run(rng, params):
    trajectory = draw_trajectory(jax.random.split(rng)[1], x0, cond, config.process)
    return (*trajectory_likelihood.end_to_end(rng, model, params, x0, cond, config),
            model.apply({"params": params}, trajectory, method="log_prob"), trajectory)

  return run(jax.random.key(seed), params)


class ObjectivesTest(parameterized.TestCase):

  def test_end_to_end_is_nats_per_dimension_and_step(self):
    config = tiny.config(train__label_dropout=0.0)
    model, params = tiny.model_and_params(config)
    loss, metrics, result, _ = _end_to_end(0, model, params, *_data(), config)
    np.testing.assert_allclose(loss, -result.step_SB.mean() / 16, rtol=1e-5)
    np.testing.assert_allclose(metrics.step_S / metrics.step_count_S,
                               -result.step_SB.mean(axis=1) / 16, rtol=1e-5)
    np.testing.assert_allclose(metrics.loss / metrics.count, loss, rtol=1e-6)
    self.assertGreater(metrics.log_scale[3], 0)  # The transporter's largest log-scale.

  def test_share_of_entries_outside_of_the_splines(self):
    sizes = {"layers": 1, "width": 16, "num_heads": 2, "num_kv_heads": 1}
    config = tiny.config(model__transporter=sizes | {
        "num_blocks": 1, "spline_bins": 4, "spline_range": 0.5})
    model, params = tiny.model_and_params(config)
    # Untrained blocks are the identity, so a spline sees the states themselves.
    params = params | {"transporter": jax.tree.map(jnp.zeros_like, params["transporter"])}
    _, metrics, _, trajectory = _end_to_end(0, model, params, *_data(), config)
    share_S = (jnp.abs(trajectory.x_KBNC[:-1]) > 0.5).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(metrics.outside / metrics.count, share_S.max(), rtol=1e-5)
    self.assertBetween(metrics.scalars()["spline/outside"], 0.3, 0.9)

  def test_dimensions_are_tokens_times_channels(self):
    config = tiny.config(model__image_shape=(4, 6, 1))  # 6 tokens of 4 channels.
    model, params = tiny.model_and_params(config)
    loss, result = jax.jit(lambda params, t: (
        trajectory_likelihood.trajectory_loss(model, params, t)[0],
        model.apply({"params": params}, t, method="log_prob")))(params, tiny.trajectory(config))
    np.testing.assert_allclose(loss, -result.step_SB.mean() / 24, rtol=1e-5)

  def test_pair_wise_is_the_loss_of_the_pair_it_draws(self):
    config = tiny.config(train__label_dropout=0.0)
    model, params = tiny.model_and_params(config)
    x0, cond = _data(8)

    @jax.jit
    def run(rng, params):
      trajectory, k = draw_pair(jax.random.split(rng)[1], x0, cond, config.process)
      result, extra = model.apply({"params": params}, trajectory, False, method="log_prob",
                                  mutable=["diagnostics"])
      return (*trajectory_likelihood.pair_wise(rng, model, params, x0, cond, config), result, k,
              jnp.concatenate(jax.tree.leaves(extra)))

    loss, metrics, result, k, blocks = jax.device_get(run(jax.random.key(0), params))
    nats = -result.step_SB[0] / 16
    np.testing.assert_allclose(loss, nats.mean(), rtol=1e-5)
    scalars = metrics.scalars()
    for step in range(3):  # k = 0 is the cleanest step, named step_1.
      self.assertEqual(metrics.step_count_S[step], (k == step).sum())
      np.testing.assert_allclose(scalars[f"step_{step + 1}/nats_per_dim"], nats[k == step].mean(),
                                 rtol=1e-5)
    for name, values in (("predictor", result.log_scale_SBNC), ("transporter", blocks)):
      np.testing.assert_allclose(scalars[f"log_scale/{name}_min"], values.min(), rtol=1e-5)
      np.testing.assert_allclose(scalars[f"log_scale/{name}_max"], values.max(), rtol=1e-5)
    self.assertGreater(result.step_SB.std(), 0.1)

  def test_pair_wise_is_an_unbiased_estimate_of_end_to_end(self):
    config = tiny.config(train__label_dropout=0.0, process__t_min_low=0.02)
    model, params = tiny.model_and_params(config, scale=0.05)
    x0, cond = _data(2)
    x0 = jnp.tile(x0, (2048, 1, 1))
    cond = Condition(label_B=jnp.tile(cond.label_B, 2048))
    losses = {}
    for name, objective in trajectory_likelihood.OBJECTIVES.items():
      run = jax.jit(lambda rng, params, f=objective: f(
          rng, model, params, x0, cond, config)[0])
      losses[name] = np.array([run(jax.random.key(i), params) for i in range(8)])
    a, b = losses["end_to_end"], losses["pair_wise"]
    error = np.sqrt(a.var() / 8 + b.var() / 8)
    self.assertLess(abs(a.mean() - b.mean()), 5 * error)
    self.assertLess(error, 0.01)

  def test_multi_t_weighs_examples_equally(self):
    config = tiny.config(process__num_steps=(2, 4), train__label_dropout=0.0)
    model, params = tiny.model_and_params(config)
    x0, cond = _data(8)
    loss, _, result, t = _end_to_end(1, model, params, x0, cond, config)
    expected = -(result.step_SB.sum(axis=0) / t.cond.num_steps_B / 16).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)

  @parameterized.parameters(0.0, 0.3, 1.0)
  def test_label_dropout(self, rate):
    cond = Condition(label_B=jnp.zeros(10_000, int))
    labels = np.asarray(trajectory_likelihood.drop_labels(
        jax.random.key(0), cond, 3, rate).label_B)
    self.assertSetEqual(set(np.unique(labels)) - {0, 3}, set())
    self.assertAlmostEqual(float((labels == 3).mean()), rate, delta=0.02)

  def test_metrics_merge_like_one_batch(self):
    config = tiny.config()
    model, params = tiny.model_and_params(config)
    run = jax.jit(lambda *args: trajectory_likelihood.trajectory_loss(model, *args)[1])
    parts = [run(params, tiny.trajectory(config, 4, seed)) for seed in (0, 1)]
    both = parts[0].merge(parts[1]).scalars()
    for name in ("nats_per_dim", "step_2/nats_per_dim"):
      mean = np.mean([part.scalars()[name] for part in parts])
      np.testing.assert_allclose(both[name], mean, rtol=1e-6)
    self.assertEqual(both["log_scale/predictor_min"],
                     min(part.scalars()["log_scale/predictor_min"] for part in parts))


if __name__ == "__main__":
  absltest.main()
