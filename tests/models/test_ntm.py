import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm import testing
from ntm.models import build
from ntm.typing import Condition, Trajectory
from tests.helpers import tiny


@functools.cache
def _compiled(model, ends_at_noise):
  return jax.jit(lambda p, t: model.apply({"params": p}, t, ends_at_noise, method="log_prob"))


def _log_prob(model, params, trajectory, ends_at_noise=True):
  return _compiled(model, ends_at_noise)(params, trajectory)


class NTMTest(parameterized.TestCase):

  @parameterized.parameters(("markov", 0), ("markov", 2), ("history", 1, 3))
  def test_first_loss_is_that_of_the_identity_and_a_standard_normal(self, context, num_blocks,
                                                                    features=0):
    config = tiny.config(
        model__predictor={"layers": 1, "width": 16, "num_heads": 2, "num_kv_heads": 2,
                          "context": context},
        model__transporter={"layers": 1, "width": 16, "num_heads": 2, "num_kv_heads": 2,
                            "num_blocks": num_blocks, "features": features})
    model = build.ntm(config)
    trajectory = tiny.trajectory(config)
    result, _ = jax.jit(lambda *args: model.init_with_output(*args, method="log_prob"))(
        jax.random.key(0), trajectory)
    x = np.asarray(trajectory.x_KBNC, np.float64)
    expected = -0.5 * (x**2 + math.log(2 * math.pi)).sum(axis=(-2, -1))
    np.testing.assert_allclose(result.step_SB, expected[:-1], rtol=1e-6)
    np.testing.assert_allclose(result.prior_B, expected[-1], rtol=1e-6)
    np.testing.assert_allclose(result.total_B, expected.sum(axis=0), rtol=1e-6)

  def test_step_terms_follow_the_change_of_variables(self):
    config = tiny.config()
    model, params = tiny.model_and_params(config)
    t = tiny.trajectory(config)
    result = _log_prob(model, params, t)

    @jax.jit
    def terms(variables):
      u, log_det = model.apply(variables, t.x_KBNC, t.cond.at(t.times_KB), method="transport")
      mean, log_scale, _ = model.apply(
          variables, u[1:], t.cond.at(t.times_KB[1:], t.times_KB[:-1]), method="predict")
      density = jax.scipy.stats.norm.logpdf(u[:-1], mean, jnp.exp(log_scale)).sum((-2, -1))
      return density + log_det[:-1]

    np.testing.assert_allclose(result.step_SB, terms({"params": params}), rtol=1e-5)

  @parameterized.parameters(0, 3)
  def test_a_pair_equals_its_step_of_the_trajectory(self, features):
    config = tiny.config(model__transporter__features=features)
    model, params = tiny.model_and_params(config)
    t = tiny.trajectory(config)
    whole = _log_prob(model, params, t).step_SB
    for k in range(3):
      pair = Trajectory(t.x_KBNC[k:k + 2], t.times_KB[k:k + 2], t.cond, t.valid_SB[:1])
      part = _log_prob(model, params, pair, False)
      np.testing.assert_allclose(part.step_SB[0], whole[k], rtol=1e-5)
      np.testing.assert_array_equal(part.prior_B, 0)

  @parameterized.parameters(("markov", 0), ("history", 0), ("history", 3))
  def test_padding_leaves_the_likelihood_alone(self, context, features):
    config = tiny.config(process__num_steps=(2, 4), model__predictor={
        "layers": 1, "width": 16, "num_heads": 2, "num_kv_heads": 2, "context": context},
        model__transporter__features=features)
    model, params = tiny.model_and_params(config)
    long = tiny.trajectory(config)
    times = jnp.array([0.02, 0.5, 1, 1, 1])[:, None].repeat(2, axis=1)
    padded = long.replace(times_KB=times, cond=long.cond.replace(num_steps_B=jnp.full(2, 2)),
                          x_KBNC=long.x_KBNC.at[3:].set(long.x_KBNC[2]),
                          valid_SB=long.valid_SB.at[2:].set(0))
    short = padded.replace(x_KBNC=padded.x_KBNC[:3], times_KB=times[:3],
                           valid_SB=padded.valid_SB[:2])
    a, b = (_log_prob(model, params, t) for t in (padded, short))
    np.testing.assert_allclose(a.step_SB[:2], b.step_SB, rtol=1e-5)
    np.testing.assert_array_equal(a.step_SB[2:], 0)
    np.testing.assert_allclose(a.total_B, b.total_B, rtol=1e-5)


class ConditionalTest(parameterized.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.config = tiny.config(model__transporter__features=3)
    cls.model, cls.params = tiny.model_and_params(cls.config)

  @parameterized.parameters("markov", "history")
  def test_a_step_is_the_change_of_variables_given_the_noisier_state(self, context):
    with jax.enable_x64(True):
      config = tiny.config(model__transporter__features=3, model__predictor__context=context)
      model, params = tiny.model_and_params(config, jnp.float64)
      t = tiny.trajectory(config, dtype=jnp.float64)

      @jax.jit
      def step(x_s_BNC):
        """From x_1 to z_1, and the log-determinant that the likelihood counts for it."""
        result = model.apply({"params": params}, t.replace(x_KBNC=t.x_KBNC.at[1].set(x_s_BNC)),
                             method="log_prob")
        z_BNC = result.z_SBNC[1]
        return z_BNC, result.step_SB[1] - jax.scipy.stats.norm.logpdf(z_BNC).sum(axis=(1, 2))

      testing.assert_log_det_matches_jacobian(step, t.x_KBNC[1])

  def test_the_noisier_state_changes_the_flow_and_not_only_the_gaussian(self):
    t = tiny.trajectory(self.config)
    log_det = _log_prob(self.model, self.params, t).log_det_SB
    other = t.replace(x_KBNC=t.x_KBNC.at[1].add(1.0))
    changed = np.abs(_log_prob(self.model, self.params, other).log_det_SB - log_det)
    self.assertGreater(changed[0].min(), 1e-4)  # Through the features of x_1.
    self.assertGreater(changed[1].min(), 1e-4)  # x_1 itself is transported.
    np.testing.assert_array_equal(changed[2], 0)

  def test_features_have_a_gradient_once_the_readout_is_not_zero(self):
    t = tiny.trajectory(self.config)
    loss = lambda p: self.model.apply({"params": p}, t, method="log_prob").total_B.sum()
    grad = jax.jit(jax.grad(loss))(self.params)["predictor"]["network"]["features"]["kernel"]
    self.assertGreater(np.abs(grad).min(axis=0).max(), 0)
    init = lambda rng: self.model.init(rng, t, method="log_prob")["params"]
    first = jax.jit(init)(jax.random.key(0))["predictor"]["network"]["features"]["kernel"].value
    self.assertGreater(np.abs(first).max(), 0.01)

  @parameterized.parameters(0, 3)
  def test_features_without_a_reader_and_a_reader_without_features_are_refused(self, features):
    model, params = tiny.model_and_params(tiny.config(model__transporter__features=features))
    t = tiny.trajectory(self.config)
    cond = t.cond.at(t.times_KB).replace(
        features_BNF=None if features else jnp.zeros((*t.x_KBNC.shape[:3], 3)))
    with self.assertRaisesRegex(ValueError, f"features is {features}"):
      model.apply({"params": params}, t.x_KBNC, cond, method="transport")

  def test_a_model_without_has_no_parameter_for_them(self):
    _, params = tiny.model_and_params(tiny.config())
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    self.assertFalse([path for path in paths if "features" in path])


class NormalisationTest(parameterized.TestCase):

  def _model(self, image_shape, **changes):
    config = tiny.config(
        model__image_shape=image_shape, model__patch_shape=(1,), model__num_classes=0,
        process__num_steps=(1,), model__transporter__log_scale_bound=0.3, **changes)
    return tiny.model_and_params(config, scale=0.2)

  @parameterized.parameters(True, False)
  def test_total_log_prob_integrates_to_one(self, reads_noise):
    # One token of one channel and one step: the trajectory (x_0, x_1) is a plane.
    model, params = self._model((1, 1), model__predictor={
        "layers": 1, "width": 16, "num_heads": 2, "num_kv_heads": 2, "reads_noise": reads_noise})

    def log_density(grid):
      x = jnp.asarray(grid.T, jnp.float32)[:, :, None, None]
      times = jnp.array([0.1, 1.0])[:, None].repeat(len(grid), axis=1)
      t = Trajectory(x, times, Condition(), jnp.ones((1, len(grid))))
      return _log_prob(model, params, t).total_B

    testing.assert_normalised(log_density, 2, low=-10, high=10)

  @parameterized.parameters(0, 3)
  def test_one_step_integrates_to_one(self, features):
    # Two tokens, so that the flow couples them; p(x_s | x_t) for a fixed x_t.
    model, params = self._model((2, 1), model__transporter__features=features)

    def log_density(grid):
      x_s = jnp.asarray(grid, jnp.float32)[:, :, None]
      x_t = jnp.broadcast_to(jnp.array([0.5, -0.3])[:, None], x_s.shape)
      times = jnp.array([0.3, 0.6])[:, None].repeat(len(grid), axis=1)
      t = Trajectory(jnp.stack([x_s, x_t]), times, Condition(), jnp.ones((1, len(grid))))
      return _log_prob(model, params, t, False).step_SB[0]

    testing.assert_normalised(log_density, 2, low=-16, high=16, points=321)


if __name__ == "__main__":
  absltest.main()
