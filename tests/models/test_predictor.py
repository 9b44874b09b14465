import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.models.predictor import history_mask
from ntm.typing import Condition
from tests.helpers import tiny


@functools.cache
def _setup(context, reads_noise=False):
  config = tiny.config(model__predictor={"layers": 2, "width": 16, "num_heads": 2,
                                         "num_kv_heads": 1, "context": context,
                                         "reads_noise": reads_noise})
  model, params = tiny.model_and_params(config)
  trajectory = tiny.trajectory(config)

  @jax.jit
  def run(params, u_SBNC, valid_SB, label_B):
    cond = Condition(trajectory.times_KB[1:], trajectory.times_KB[:-1], label_B=label_B)
    return model.apply({"params": params}, u_SBNC, cond, valid_SB, method="predict")[:2]

  def predict(u_SBNC, valid_SB=trajectory.valid_SB, label_B=trajectory.cond.label_B):
    return run(params, u_SBNC, valid_SB, label_B)

  return predict, trajectory.x_KBNC[1:], trajectory


@functools.cache
def _gradient(predict):
  """(states, k) → gradient of what is predicted for step k."""
  return jax.jit(jax.grad(lambda u, k: sum((a[k] ** 2).sum() for a in predict(u))))


class PredictorTest(parameterized.TestCase):

  @parameterized.parameters("markov", "history")
  def test_reads_its_own_level_and_never_a_cleaner_one(self, context):
    predict, u, _ = _setup(context, reads_noise=True)
    grad_of_step = _gradient(predict)
    for k in range(3):
      grad = grad_of_step(u, k)
      np.testing.assert_array_equal(grad[:k], np.zeros_like(grad[:k]))  # The target is there.
      self.assertGreater(np.abs(grad[k]).max(), 0)
      for j in range(k + 1, 3):
        seen = np.abs(grad[j]).max() > 0
        self.assertEqual(seen, context == "history")

  def test_all_positions_of_a_level_are_read(self):
    predict, u, _ = _setup("markov")
    jacobian = jax.jit(jax.jacrev(lambda u: predict(u)[0][0, 0]))(u)[:, :, 0, 0]
    self.assertTrue((np.abs(jacobian).max(axis=(1, 3)) > 0).all())

  @parameterized.parameters(True, False)
  def test_the_noise_is_read_only_if_asked(self, reads_noise):
    predict, u, _ = _setup("markov", reads_noise=reads_noise)
    grads = [_gradient(predict)(u, k)[-1] for k in range(3)]
    self.assertEqual(bool(np.abs(grads).max() > 0), reads_noise)

  def test_padding_is_invisible_to_history(self):
    predict, u, trajectory = _setup("history")
    valid = trajectory.valid_SB.at[2].set(0)
    before, after = predict(u, valid), predict(u.at[2].add(1.0), valid)
    for a, b in zip(before, after):
      np.testing.assert_array_equal(a[:2], b[:2])

  def test_history_with_one_step_left_equals_markov(self):
    # The noisiest step has nothing above it, whatever the context.
    history, u, _ = _setup("history")
    markov, _, _ = _setup("markov")
    for a, b in zip(history(u), markov(u)):
      np.testing.assert_allclose(a[-1], b[-1], atol=1e-5)

  def test_classes_and_the_null_class_differ(self):
    predict, u, _ = _setup("markov")
    means = [predict(u, label_B=jnp.full(2, label))[0] for label in range(4)]
    for i in range(4):
      for j in range(i):
        self.assertGreater(np.abs(means[i] - means[j]).max(), 1e-3)

  def test_the_correction_is_added_to_the_mean(self):
    config = tiny.config(model__predictor={
        "layers": 1, "width": 16, "num_heads": 2, "num_kv_heads": 1, "output": "velocity",
        "reads_noise": True, "mean_correction": True}, process__t_min_low=0.01)
    model, params = tiny.model_and_params(config)
    t = tiny.trajectory(config)
    run = jax.jit(lambda params: model.apply(
        {"params": params}, t.x_KBNC[1:], t.cond.at(t.times_KB[1:], t.times_KB[:-1]),
        method="predict"))
    mean, log_scale, _ = run(params)
    params["predictor"]["network"]["mean_correction"]["bias"] += jnp.arange(4.0)
    raised, same, _ = run(params)
    np.testing.assert_allclose(raised - mean, jnp.broadcast_to(jnp.arange(4.0), mean.shape),
                               atol=1e-5)
    np.testing.assert_array_equal(same, log_scale)

  def test_mask_of_two_levels(self):
    mask = history_mask(jnp.array([[1, 1], [1, 0]]), 1)[:, 0]
    np.testing.assert_array_equal(mask[0], [[True, True], [False, True]])
    np.testing.assert_array_equal(mask[1], [[True, False], [False, True]])


if __name__ == "__main__":
  absltest.main()
