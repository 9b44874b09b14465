import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.losses import flow_matching
from ntm.models import build
from ntm.typing import Condition
from tests.helpers import tiny


class FlowMatchingTest(parameterized.TestCase):

  def test_times_have_the_distribution_named(self):
    uniform, logit_normal = (
        np.asarray(flow_matching.draw_times(jax.random.key(0), 50_000, sampling))
        for sampling in ("uniform", "logit_normal"))
    for t in (uniform, logit_normal):
      self.assertBetween(t.min(), 0, 0.05)
      self.assertBetween(t.max(), 0.95, 1)
      self.assertAlmostEqual(t.mean(), 0.5, delta=0.01)
    self.assertAlmostEqual(uniform.std(), 12 ** -0.5, delta=0.005)
    normal = np.log(logit_normal / (1 - logit_normal))
    self.assertAlmostEqual(normal.std(), 1, delta=0.02)

  def test_loss_is_zero_for_the_true_velocity_and_known_for_none(self):
    x0 = jax.random.normal(jax.random.key(1), (512, 4, 4)) * 0.5

    class Network:
      """Knows the only image there is, or gives nothing."""

      def __init__(self, image):
        self.image = image

      def apply(self, _, x, cond):
        t = cond.time_B[:, None, None]
        return (x - self.image) / t if self.image is not None else 0 * x

    time = jax.random.uniform(jax.random.key(2), (512,), minval=0.1)
    args = (None, x0, Condition(time))
    error = flow_matching.errors(jax.random.key(0), Network(x0), *args)
    np.testing.assert_allclose(error, 0, atol=1e-9)
    error = flow_matching.errors(jax.random.key(0), Network(None), *args)
    self.assertAlmostEqual(float(error.mean()), 1 + float((x0 ** 2).mean()), delta=0.05)

  def test_task_trains_what_the_model_reads(self):
    config = tiny.config(model__kind="flow_matching", train__label_dropout=0.0)
    task = flow_matching.velocity(config)
    params = tiny.random_params(lambda rng: {"params": task.init(rng)})
    batch = {"image": jnp.zeros((8, 4, 4, 1)), "label": jnp.arange(8) % 3}
    loss = jax.jit(lambda params: task.loss(jax.random.key(0), params, None, batch, 0))
    value, metrics = loss(params)
    np.testing.assert_allclose(metrics.scalars()["mse"], value, rtol=1e-6)
    grads = jax.jit(jax.grad(lambda params: loss(params)[0]))(params)
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
      self.assertGreater(float(jnp.abs(grad).max()), 0, jax.tree_util.keystr(path))

  def test_held_out_error_depends_on_the_seed_alone(self):
    config = tiny.config(model__kind="flow_matching")
    task = flow_matching.velocity(config)
    params = tiny.random_params(lambda rng: {"params": task.init(rng)})
    batch = {"image": jnp.zeros((4, 4, 4, 1)), "label": jnp.zeros(4, int)}
    evaluate = jax.jit(lambda rng: task.evaluate(params, None, batch, rng))
    a, b, c = (evaluate(jax.random.key(seed)).scalars()["mse"] for seed in (0, 0, 1))
    self.assertEqual(a, b)
    self.assertNotEqual(a, c)

  def test_a_new_network_has_no_velocity(self):
    config = tiny.config(model__kind="flow_matching")
    model = build.velocity(config)
    x = jnp.ones((1, 4, 4))
    cond = Condition(jnp.ones(1), label_B=jnp.zeros(1, int))
    v = jax.jit(lambda rng: model.init_with_output(rng, x, cond)[0])
    np.testing.assert_array_equal(v(jax.random.key(0)), 0)


if __name__ == "__main__":
  absltest.main()
