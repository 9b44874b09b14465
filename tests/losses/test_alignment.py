import dataclasses
import functools
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ntm.losses import alignment, flow_matching, task
from ntm.losses.inputs import Frozen
from ntm.models import build
from ntm.training import checkpoint, loop
from tests.helpers import tiny

_PREDICTOR = {"layers": 1, "width": 16, "num_heads": 2, "num_kv_heads": 1}


def _source(**changes):
  return tiny.config(model__kind="flow_matching", model__predictor=_PREDICTOR, **changes)


def _config(**changes):
  return tiny.config(
      model__predictor=_PREDICTOR | {"output": "velocity", "reads_noise": True},
      process__t_min_low=0.01, finetune__source="somewhere", **changes)


def _velocity_params():
  init = flow_matching.velocity(_source()).init
  return tiny.random_params(lambda rng: {"params": init(rng)})


class _Data:
  """The same two images for ever."""

  def __next__(self):
    return {"image": np.linspace(-1, 1, 128, dtype=np.float32).reshape(8, 4, 4, 1),
            "label": np.arange(8) % 3}

  def get_state(self):
    return {}

  def set_state(self, state):
    del state


class FinetuningTest(parameterized.TestCase):

  @parameterized.parameters(0, 3)
  def test_posterior_mean_is_what_the_new_model_predicts(self, features):
    config, params = _config(model__transporter__features=features), _velocity_params()
    trajectory = tiny.trajectory(config)
    mean = jax.jit(lambda params: alignment.posterior_mean(config, params, trajectory))(params)
    velocity, model = build.velocity(config), build.ntm(config)
    started = tiny.random_params(lambda rng: model.init(rng, trajectory, method="log_prob"), 0.0)
    started["predictor"]["network"] |= params["network"]
    predicted, *_ = jax.jit(lambda started, t: model.apply(
        {"params": started}, t.x_KBNC[1:], t.cond.at(t.times_KB[1:], t.times_KB[:-1]),
        method="predict"))(started, trajectory)
    np.testing.assert_allclose(predicted, mean, atol=1e-5)
    v = jax.jit(velocity.apply)({"params": params}, trajectory.x_KBNC[3],
                                trajectory.cond.at(trajectory.times_KB[3]))
    self.assertGreater(float(jnp.abs(v).max()), 0.1)

  @parameterized.parameters("end_to_end", "pair_wise")
  def test_alignment_is_added_with_a_weight_that_decays(self, objective):
    config, params = _config(train__objective=objective), _velocity_params()
    plain, aligned = (task.density(config, frozen) for frozen in (None, Frozen(params)))
    started = tiny.random_params(lambda rng: {"params": plain.init(rng)})
    batch = next(_Data())
    loss = jax.jit(lambda started, frozen, step: (plain if frozen is None else aligned).loss(
        jax.random.key(0), started, frozen, batch, step))
    without, _ = loss(started, None, 0)
    for step, decay in ((0, 1.0), (3, 0.5), (6, 0.0)):
      value, metrics = loss(started, Frozen(params), step)
      alignment = metrics.scalars()["alignment"]
      self.assertGreater(alignment, 0)
      np.testing.assert_allclose(value, without + 2.5 * decay * alignment, rtol=1e-5)

  def test_frozen_copy_gets_no_gradient(self):
    config, params = _config(), _velocity_params()
    what = task.density(config, Frozen(params))
    started = tiny.random_params(lambda rng: {"params": what.init(rng)})
    grads = jax.jit(jax.grad(lambda frozen: what.loss(
        jax.random.key(0), started, frozen, next(_Data()), 0)[0]))(what.frozen)
    for leaf in jax.tree.leaves(grads):
      np.testing.assert_array_equal(leaf, 0)

  @pytest.mark.slow
  def test_a_run_starts_from_the_source_and_resumes_without_it(self):
    config, params = _config(train__steps=2, mesh__data=-1), _velocity_params()
    workdir = tempfile.mkdtemp()
    config = dataclasses.replace(config, optimizer=dataclasses.replace(
        config.optimizer, peak_learning_rate=1e-12, final_learning_rate=0.0))
    make_task = lambda source: functools.partial(task.density, frozen=Frozen(source))
    loop.train(make_task(params), config, workdir, _Data(), [])
    _, trained, step = checkpoint.restore_ema(workdir)
    self.assertEqual(step, 2)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
      theirs = trained["predictor"]
      for key in path:
        theirs = theirs[key.key]
      np.testing.assert_allclose(theirs, leaf, atol=1e-9)
    longer = dataclasses.replace(config, train=dataclasses.replace(config.train, steps=3))
    other = jax.tree.map(jnp.zeros_like, params)
    loop.train(make_task(other), longer, workdir, _Data(), [])
    _, trained, step = checkpoint.restore_ema(workdir)
    self.assertEqual(step, 3)
    self.assertGreater(float(np.abs(trained["predictor"]["network"]["readout"]["kernel"]).max()), 0)

  @parameterized.parameters(
      (tiny.config(), "holds a model of kind 'ntm'; expected a flow-matching run"),
      (_source(model__num_classes=4), r"config.model.num_classes is 3, but .* has 4"),
      (_source(model__image_shape=(8, 4, 1)), "config.model.image_shape"))
  def test_sources_that_do_not_fit_are_named(self, theirs, message):
    with self.assertRaisesRegex(ValueError, message):
      alignment.check_source(_config(), theirs)

  @parameterized.parameters(
      (dict(process__t_min_low=0.0), "config.process.t_min_low is 0.0"),
      (dict(finetune__alignment=-1.0), "config.finetune.alignment is -1.0"))
  def test_bad_configs_are_named(self, changes, message):
    with self.assertRaisesRegex(ValueError, message):
      tiny.config(**{"model__predictor": _PREDICTOR | {"output": "velocity", "reads_noise": True},
                     "process__t_min_low": 0.01, "finetune__source": "somewhere"} | changes)

  def test_a_source_needs_the_velocity_output(self):
    with self.assertRaisesRegex(ValueError, "finetune.source is 'somewhere'"):
      tiny.config(finetune__source="somewhere")


if __name__ == "__main__":
  absltest.main()
