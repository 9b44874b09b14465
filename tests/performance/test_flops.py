"""The formulas against the products in the traced programs.

Nothing is run: a jaxpr has every product with its sizes, and every scan its
length. What a program computes and the model does not need is spelt out here,
term by term, so that the comparison is exact.
"""

import math

import flax.linen as nn
import jax
import jax.extend
import jax.numpy as jnp
from absl.testing import absltest, parameterized

from ntm.losses import distillation, task
from ntm.losses import flow_matching as velocity_task
from ntm.models import denoiser, ntm, velocity
from ntm.performance import flops
from ntm.sampling import generate, ode, refinement
from ntm.typing import Condition
from tests.helpers import tiny

_BATCH, _STEPS = 2, 3
_TEXT = {"model__backbone__text_tokens": 5, "model__backbone__text_width": 7,
         "model__num_classes": 0, "train__label_dropout": 0.0}
_NETWORKS = {
    "dit": {},
    "dit_text": _TEXT,
    "sit": {"model__backbone__kind": "sit", "model__predictor__num_kv_heads": 3},
    "flux2": {"model__backbone__kind": "flux2", "model__backbone__double_layers": 2,
              "model__predictor__num_kv_heads": 3, **_TEXT},
}
_VELOCITY = {"model__predictor__output": "velocity", "model__predictor__reads_noise": True,
             "model__predictor__mean_correction": True}
_SEVERAL = {"process__num_steps": (2, _STEPS)}
_PLAIN_COUPLING = {"model__transporter__kind": "coupling", "model__transporter__reversible": False}


def _config(**changes):
  """Every size another one, 9 tokens in halves of 4 and 5."""
  base = {
      "model__image_shape": (6, 6, 3), "process__t_min_low": 0.01, "train__batch_size": _BATCH,
      "model__transporter": {"layers": 2, "width": 16, "num_heads": 2, "num_kv_heads": 1,
                             "mlp_ratio": 2, "num_blocks": 2},
      "model__predictor": {"layers": 4, "width": 24, "num_heads": 3, "num_kv_heads": 1,
                           "mlp_ratio": 3},
      "denoiser": {"layers": 1, "width": 32, "num_heads": 4, "num_kv_heads": 2},
  }
  return tiny.config(**base | changes)


def _products(function, *args) -> int:
  """FLOPs of all products of a function: 2 for each entry and each term of its sum."""
  return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr):
  total = 0
  for eqn in jaxpr.eqns:
    inner = sum(map(_count, jax.extend.core.jaxprs_in_params(eqn.params)))
    if eqn.primitive.name == "dot_general":
      (summed, _), _ = eqn.params["dimension_numbers"]
      terms = math.prod(eqn.invars[0].aval.shape[axis] for axis in summed)
      total += 2 * terms * eqn.outvars[0].aval.size
    elif eqn.primitive.name in ("while", "cond"):
      assert not inner, "products that happen a number of times unknown"
    total += inner * eqn.params.get("length", 1)
  return total


def _shapes(init):
  return nn.unbox(jax.eval_shape(init, jax.random.key(0)))["params"]


def _condition(config):
  return jnp.repeat(task.example_condition(config), _BATCH, axis=0)


def _trajectory(config):
  return tiny.trajectory(config, _BATCH).replace(label_B=_condition(config))


def _density(config):
  """(model, shapes of its parameters, a batch of trajectories)."""
  model, trajectory = ntm.build(config), _trajectory(config)
  return model, _shapes(lambda rng: model.init(rng, trajectory, method="log_prob")), trajectory


def _gradient(run, config):
  """Products of one update's gradient."""
  params = _shapes(lambda rng: {"params": run.init(rng)})
  batch = {"image": jnp.zeros((_BATCH,) + config.model.image_shape),
           "text" if config.model.backbone.text_tokens else "label": _condition(config)}
  return _products(jax.grad(lambda params, frozen: run.loss(
      jax.random.key(0), params, frozen, batch, 0)[0]), params, run.frozen)


def _masked(config, num_levels, num_steps):
  """Pairs that are computed and masked, of K levels transported and S predicted."""
  number, (transporter, predictor) = config.model.num_tokens, (
      config.model.transporter, config.model.predictor)
  # Causal attention leaves out the keys of the second half for the first half's queries.
  half = number // 2
  causal = half ** 2 + (number - half) * number - number * (number + 1) // 2
  causal *= transporter.layers * transporter.num_blocks * (transporter.kind == "autoregressive")
  # History leaves out nothing.
  cleaner = number ** 2 * num_steps * (num_steps - 1) // 2
  cleaner *= predictor.layers * (predictor.context == "history")
  return flops.Flops(attention=4 * (transporter.width * causal * num_levels
                                    + predictor.width * cleaner))


def _sinusoids(width, scalars):
  """The gradient that training does not need: that by the sinusoids of the levels."""
  return 2 * 128 * width * scalars


class FlopsTest(parameterized.TestCase):

  def test_a_loop_counts_as_often_as_it_runs(self):
    a = jnp.zeros((4, 5))
    body = lambda carry, _: (carry + (a @ a.T).sum(), None)
    loop = lambda: jax.lax.scan(body, 0.0, length=7)[0]
    self.assertEqual(_products(lambda: a @ a.T), 2 * 4 * 5 * 4)
    self.assertEqual(_products(loop), 7 * 2 * 4 * 5 * 4)

  @parameterized.parameters(
      {}, {"model__transporter__class_conditional": True, "model__transporter__num_heads": 4,
           **_SEVERAL}, {"model__transporter__kind": "coupling", **_SEVERAL})
  def test_transporter(self, **changes):
    config = _config(**changes)
    model, params, t = _density(config)
    products = _products(lambda params: model.apply(
        {"params": params}, t.x_KBNC, t.times_KB, t.label_B, t.num_steps_B, method="transport"),
                         params)
    counted = flops.transporter(config, _STEPS + 1) + _masked(config, _STEPS + 1, 1)
    self.assertEqual(products, _BATCH * counted.forward)

  @parameterized.parameters(
      {}, {"model__predictor__output": "clean", "model__predictor__num_kv_heads": 3},
      {"model__predictor__context": "history", **_VELOCITY, **_SEVERAL},
      *({**network, **_VELOCITY, **_SEVERAL} for network in _NETWORKS.values()))
  def test_predictor(self, **changes):
    config = _config(**changes)
    model, params, t = _density(config)
    products = _products(lambda params: model.apply(
        {"params": params}, t.x_KBNC[1:], t.times_KB[1:], t.times_KB[:-1], t.label_B,
        t.num_steps_B, method="predict"), params)
    counted = flops.predictor(config, _STEPS) + _masked(config, 0, _STEPS)
    self.assertEqual(products, _BATCH * counted.forward)

  @parameterized.parameters(*_NETWORKS)
  def test_velocity(self, name):
    config = _config(model__kind="flow_matching", **_NETWORKS[name])
    model, x, time = velocity.build(config), jnp.zeros((_BATCH, 9, 12)), jnp.zeros(_BATCH)
    args = (x, time, _condition(config))
    params = _shapes(lambda rng: model.init(rng, *args))
    products = _products(lambda params: model.apply({"params": params}, *args), params)
    self.assertEqual(products, _BATCH * flops.velocity(config).forward)

  @parameterized.parameters(_SEVERAL, _TEXT)
  def test_denoiser(self, **changes):
    config = _config(**changes)
    model, t = denoiser.build(config), _trajectory(config)
    args = (t.x_KBNC[0], Condition(t.times_KB[0], t.num_steps_B, t.label_B))
    params = _shapes(lambda rng: model.init(rng, *args))
    products = _products(lambda params: model.apply({"params": params}, *args), params)
    self.assertEqual(products, _BATCH * flops.denoiser(config).forward)

  @parameterized.parameters(
      {}, _PLAIN_COUPLING, {"model__predictor__context": "history"},
      {"model__transporter__num_blocks": 0}, {**_NETWORKS["flux2"], **_VELOCITY},
      {**_TEXT, **_VELOCITY})
  def test_score(self, **changes):
    config = _config(**changes)
    model, params, t = _density(config)
    products = _products(lambda params: refinement.refine(model, params, t), params)
    counted = flops.density(config, _STEPS) + _masked(config, _STEPS, _STEPS)
    covariance = 2 * t.x_KBNC.size  # Its row times the score.
    self.assertEqual(products, _BATCH * counted.score + covariance)

  @parameterized.parameters(
      _PLAIN_COUPLING, {"model__predictor__context": "history", **_SEVERAL},
      {"train__objective": "pair_wise"}, {"model__transporter__num_blocks": 0},
      {**_VELOCITY, "finetune__source": "somewhere"})
  def test_training_a_density(self, **changes):
    config, frozen = _config(**changes), None
    if config.finetune.source:
      frozen = _shapes(lambda rng: {"params": velocity_task.velocity(config).init(rng)})
    products = _gradient(task.density(config, frozen), config)
    pair = config.train.objective == "pair_wise"
    steps = 1 if pair else _STEPS
    levels = steps + pair
    more = _BATCH * _masked(config, levels, steps).training
    # Three passes are a bound: no gradient goes into the data, but for that of the
    # first coupling block, one of a scan, or into the sinusoids of t, s and T.
    transporter, predictor, several = (
        config.model.transporter, config.model.predictor, len(config.process.num_steps) > 1)
    scalars = transporter.num_blocks * (levels + several)
    less = (_sinusoids(transporter.width, scalars)
            + _sinusoids(predictor.width, 2 * steps + several))
    if not transporter.num_blocks:
      less += 2 * steps * 9 * 12 * predictor.width
    elif transporter.kind == "autoregressive":
      less += 2 * levels * 8 * 12 * transporter.width
    self.assertEqual(products, flops.train_step(config) + more - _BATCH * less)
    self.assertLess(_BATCH * less, 0.03 * products)

  def test_reversible_coupling_is_counted_without_what_it_rebuilds(self):
    config = _config(model__transporter__kind="coupling")
    self.assertEqual(flops.train_step(config), flops.train_step(_config(**_PLAIN_COUPLING)))
    # It rebuilds inputs and activations, each by a pass of its own.
    rebuilt = _gradient(task.density(config), config) - flops.train_step(config)
    blocks = _BATCH * flops.transporter(config, _STEPS).forward
    self.assertBetween(rebuilt / blocks, 0.8, 1)

  @parameterized.parameters("dit", "sit", "flux2")
  def test_training_a_velocity(self, name):
    config = _config(model__kind="flow_matching", **_NETWORKS[name])
    products = _gradient(velocity_task.velocity(config), config)
    # No gradient goes into data, text and sinusoids, nor past the image of the last block.
    self.assertBetween(products / flops.train_step(config), 0.97, 1)

  def test_distillation(self):
    config = _config(**_SEVERAL)
    run = distillation.distill(config, _density(config)[1])
    width = config.denoiser.width
    more = (_masked(config, _STEPS, _STEPS).score + _masked(config, 1, 1).forward
            + 2 * (_STEPS + 1) * 9 * 12)
    less = 2 * 9 * 12 * width + _sinusoids(width, 2)
    self.assertEqual(_gradient(run, config),
                     flops.distill_step(config) + _BATCH * (more - less))

  @parameterized.parameters(
      (None, None, {}), ("denoiser", 1.0, {}), ("score", None, _PLAIN_COUPLING),
      ("score", 1.0, {"model__predictor__context": "history"}))
  def test_sampling(self, refine, guidance, changes):
    config = _config(**changes)
    model, params, t = _density(config)
    student = denoiser.build(config)
    cond = Condition(t.times_KB[0], None, t.label_B)
    student_params = _shapes(lambda rng: student.init(rng, t.x_KBNC[0], cond))
    draw = generate.make_generator(model, config.process, refine, denoiser=student)
    products = _products(lambda params, student_params: draw(
        jax.random.key(0), params, t.label_B, _BATCH, _STEPS, guidance, student_params).images,
                         params, student_params)
    # Steps attend to a cache of all levels, tokens to one of all tokens, and one
    # more token is embedded, before the first.
    branches = 1 if guidance is None else 2
    more = branches * _masked(config, 0, _STEPS).forward
    net, levels = config.model.transporter, {None: 1, "score": _STEPS, "denoiser": 0}[refine]
    if net.kind == "autoregressive":
      empty = 4 * net.width * net.layers * (9 * 8 // 2)
      more += levels * net.num_blocks * (empty + 2 * 12 * net.width)
    if refine == "score":
      more += _masked(config, _STEPS, _STEPS).score + 2 * (_STEPS + 1) * 9 * 12
    self.assertEqual(products,
                     flops.sample(config, _BATCH, _STEPS, refine, guidance) + _BATCH * more)

  def test_sampling_a_velocity(self):
    config = _config(model__kind="flow_matching")
    model = velocity.build(config)
    params = _shapes(lambda rng: {"params": velocity_task.velocity(config).init(rng)})
    draw = ode.make_generator(model, config.process)
    products = _products(lambda params: draw(
        jax.random.key(0), params, _condition(config), _BATCH, _STEPS, "euler", 1.0), params)
    self.assertEqual(products, flops.sample(config, _BATCH, _STEPS, guidance=1.0))

  @parameterized.parameters(("flow_matching", "score"), ("ntm", "noise"))
  def test_an_unknown_refinement_is_named(self, kind, refine):
    with self.assertRaisesRegex(ValueError, refine):
      flops.sample(_config(model__kind=kind), 1, 4, refine)

  def test_xla_counts_the_same_and_what_is_elementwise(self):
    def ratio(width, unroll):
      net = {"layers": 2, "width": width, "num_heads": 2, "num_kv_heads": 1}
      config = _config(model__image_shape=(8, 8, 1), model__transporter=net,
                       model__predictor=net, model__unroll=unroll)
      model, params, t = _density(config)
      lowered = jax.jit(lambda params: model.apply(
          {"params": params}, t, method="log_prob").total_B).lower(params)
      counted = flops.density(config, _STEPS) + _masked(config, _STEPS, 0)
      return lowered.cost_analysis()["flops"] / (_BATCH * counted.forward)

    # Products grow with the square of the width, the rest with the width.
    narrow, wide = ratio(32, 2) - 1, ratio(128, 2) - 1
    self.assertBetween(wide, 0, 0.03)
    self.assertBetween(narrow / wide, 3, 5)
    self.assertLess(ratio(32, 1), 0.7)  # Of two scanned layers it counts one.


if __name__ == "__main__":
  absltest.main()
