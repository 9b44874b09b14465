"""Programs whose products are known by hand, and laws of those that are not."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from jax.experimental import pallas as pl
from jax.sharding import Mesh, PartitionSpec

from ntm.commands import ahead_of_time, programs
from ntm.config import TransformerConfig
from ntm.losses.task import Task
from ntm.models import build
from ntm.nn import partitioning, stack
from ntm.performance import flops
from ntm.sampling import generate
from ntm.training import state as state_lib
from ntm.training import step as step_lib
from ntm.typing import Condition
from tests.helpers import tiny

_M, _D = 6, 10
_PRODUCT = 2 * _M * _D * _D


def _array(*shape):
  return jax.ShapeDtypeStruct(shape, jnp.float32)


_X, _W = _array(_M, _D), _array(_D, _D)


def _layer(x, w):
  return jnp.tanh(x @ w)


class PrimitivesTest(parameterized.TestCase):

  @parameterized.parameters(
      ("md,df->mf", (3, 4), (4, 5), 2 * 3 * 4 * 5),
      ("bmd,bnd->bmn", (7, 3, 4), (7, 5, 4), 7 * 2 * 3 * 4 * 5),
      ("bmde,bde->bm", (7, 3, 4, 5), (7, 4, 5), 7 * 2 * 3 * 4 * 5))
  def test_products(self, equation, a, b, expected):
    counted = flops.count(functools.partial(jnp.einsum, equation), _array(*a), _array(*b))
    self.assertEqual(counted, expected)

  @parameterized.parameters(
      ("md,df->mf", (256, 128), (128, 384), 0.0),
      ("bmd,bnd->bmn", (7, 256, 100), (7, 256, 100), 0.28),
      ("md,dhe->mhe", (256, 1600), (1600, 16, 100), 0.04),
      ("md,df->mf", (1, 128), (128, 256), 7.0),
      ("md,df->mf", (100, 128), (128, 256), 0.04),  # Either operand may stay.
      ("md,df->mf", (256, 128), (128, 100), 0.04))
  def test_products_padded_to_tiles(self, equation, a, b, share):
    run, arrays = functools.partial(jnp.einsum, equation), (_array(*a), _array(*b))
    padded, exact = flops.count(run, *arrays, tile=128), flops.count(run, *arrays)
    self.assertAlmostEqual(padded / exact - 1, share, places=12)

  @parameterized.parameters(1, 2, 8)
  def test_padding_is_never_less_than_nothing(self, groups):
    run = lambda x, kernel: jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups)
    arrays = _array(2, 8, 8, 16), _array(3, 3, 16 // groups, 32)
    counts = [flops.count(run, *arrays, tile=tile) for tile in (1, 8, 128)]
    self.assertEqual(counts, sorted(counts))
    self.assertEqual(flops.count(lambda x: x @ x, _array(0, 0), tile=128), 0)

  @parameterized.parameters((1, 1), (2, 1), (1, 4))
  def test_convolutions(self, stride, groups):
    run = lambda x, kernel: jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups)
    counted = flops.count(run, _array(2, 8, 8, 4), _array(3, 3, 4 // groups, 16))
    self.assertEqual(counted, 2 * (2 * (8 // stride) ** 2 * 16) * (3 * 3 * 4 // groups))

  def test_elementwise_operations_are_not_counted(self):
    self.assertEqual(flops.count(lambda x: jax.nn.softmax(x / x.sum()), _X), 0)

  @parameterized.parameters(1, 3)
  def test_a_scan_counts_as_often_as_it_runs(self, unroll):
    layers = lambda x, w_L: jax.lax.scan(
        lambda x, w: (_layer(x, w), None), x, w_L, unroll=unroll)[0]
    self.assertEqual(flops.count(layers, _X, _array(7, _D, _D)), 7 * _PRODUCT)
    twice = lambda x, w_L: jax.lax.fori_loop(0, 2, lambda i, x: layers(x, w_L), x)
    self.assertEqual(flops.count(twice, _X, _array(7, _D, _D)), 14 * _PRODUCT)

  def test_a_while_loop_counts_one_iteration(self):
    run = lambda x, w: jax.lax.while_loop(
        lambda x: (x @ w).sum() > 0, lambda x: (x @ w) @ w, x)
    self.assertEqual(flops.count(run, _X, _W), 3 * _PRODUCT)

  def test_a_cond_counts_its_larger_branch(self):
    run = lambda i, x, w: jax.lax.switch(
        i, [lambda: x, lambda: x @ w @ w, lambda: x @ w])
    self.assertEqual(flops.count(run, jax.ShapeDtypeStruct((), jnp.int32), _X, _W), 2 * _PRODUCT)

  @parameterized.parameters(jax.jit, jax.checkpoint, jax.named_call)
  def test_a_call_counts_what_it_calls(self, transform):
    self.assertEqual(flops.count(transform(_layer), _X, _W), _PRODUCT)

  def test_a_custom_derivative_counts_only_where_it_is_taken(self):
    with_jvp, with_vjp = jax.custom_jvp(_layer), jax.custom_vjp(_layer)
    with_jvp.defjvp(lambda xw, tangents: (_layer(*xw), tangents[0] @ xw[1] @ xw[1]))
    with_vjp.defvjp(lambda x, w: (_layer(x, w), w), lambda w, g: (g @ w @ w, jnp.zeros_like(w)))
    for run in (with_jvp, with_vjp):
      self.assertEqual(flops.count(run, _X, _W), _PRODUCT)
      self.assertEqual(flops.count(jax.grad(lambda x, w, run=run: run(x, w).sum()), _X, _W),
                       3 * _PRODUCT)

  def test_a_shard_map_counts_all_devices(self):
    mesh = Mesh(np.asarray(jax.devices()[:6]).reshape(2, 3), ("a", "b"))
    run = jax.shard_map(_layer, mesh=mesh, in_specs=(PartitionSpec(("a", "b")), PartitionSpec()),
                        out_specs=PartitionSpec(("a", "b")))
    self.assertEqual(flops.count(run, _X, _W), _PRODUCT)

  def test_a_pallas_kernel_counts_its_grid(self):
    def kernel(x_ref, w_ref, out_ref):
      out_ref[...] = x_ref[...] @ w_ref[...]

    run = pl.pallas_call(
        kernel, out_shape=_X, grid=(_M // 2, 2), interpret=True,
        in_specs=[pl.BlockSpec((2, _D), lambda i, j: (i, 0)),
                  pl.BlockSpec((_D, _D // 2), lambda i, j: (0, j))],
        out_specs=pl.BlockSpec((2, _D // 2), lambda i, j: (i, j)))
    self.assertEqual(flops.count(run, _X, _W), _PRODUCT)

  def test_a_jitted_function_is_traced_once(self):
    calls = []
    run = jax.jit(lambda x: calls.append(x) or x @ x.T)
    flops.count(run, _X)
    run(jnp.ones(_X.shape))
    flops.count(run, jnp.ones(_X.shape))
    self.assertLen(calls, 1)


class GradientsTest(parameterized.TestCase):

  def _chain(self, layer):
    return lambda x, w_L: functools.reduce(layer, w_L, x).sum()

  def test_the_gradient_of_a_chain_of_products_is_three_times_the_chain(self):
    weights = [_W] * 5
    chain = self._chain(_layer)
    self.assertEqual(flops.count(chain, _X, weights), 5 * _PRODUCT)
    self.assertEqual(flops.count(jax.grad(chain, (0, 1)), _X, weights), 15 * _PRODUCT)
    # Gradients that nobody asks for are not computed.
    self.assertEqual(flops.count(jax.grad(chain, 1), _X, weights), 14 * _PRODUCT)
    self.assertEqual(flops.count(jax.grad(chain, 0), _X, weights), 10 * _PRODUCT)

  def test_what_is_rematerialised_counts_again(self):
    chain = self._chain(jax.checkpoint(_layer))
    self.assertEqual(flops.count(jax.grad(chain, (0, 1)), _X, [_W] * 5), 20 * _PRODUCT)



class ModelsTest(parameterized.TestCase):

  def test_a_transformer(self):
    """Each layer is 2 M D (2 D + 2 V + 2 F) + 4 M^2 D, and its modulation 12 D^2 per level."""
    batch, length, levels, width, keys, hidden = 3, 8, 2, 24, 8, 48
    config = TransformerConfig(layers=5, width=width, num_heads=3, num_kv_heads=1, mlp_ratio=2)
    model = stack.Stack(config)
    args = (_array(batch, length, width), _array(batch, levels, width),
            _array(length, width // 6))
    params = jax.eval_shape(model.init, jax.random.key(0), *args)
    layer = (2 * length * width * (2 * width + 2 * keys + 2 * hidden) + 4 * length ** 2 * width
             + 12 * levels * width ** 2)
    self.assertEqual(flops.count(model.apply, params, *args), batch * 5 * layer)

  def test_causal_attention_counts_the_pairs_that_are_computed(self):
    """Two halves of the queries: three quarters of all pairs, masked ones included."""
    config = TransformerConfig(layers=1, width=16, num_heads=2, num_kv_heads=2, mlp_ratio=1)
    args = _array(1, 8, 16), _array(1, 1, 16), _array(8, 4)

    def counted(causal):
      model = stack.Stack(config, causal=causal)
      return flops.count(
          model.apply, jax.eval_shape(model.init, jax.random.key(0), *args), *args)

    self.assertEqual(counted(False) - counted(True), 4 * 16 * (8 ** 2 - 3 * 4 ** 2))

  @parameterized.parameters(("train", None), ("distill", None),
                            ("sample", "score"), ("sample", "denoiser"))
  def test_flops_are_linear_in_the_batch(self, program, refine):
    small, large = (ahead_of_time.model_flops(
        program, tiny.config(train__batch_size=size), refine) for size in (8, 24))
    self.assertEqual(large, 3 * small)

  def test_an_update_does_not_depend_on_how_it_is_run(self):
    config = tiny.config()
    expected = ahead_of_time.model_flops("train", config)
    changed = tiny.config(train__grad_accumulation_steps=4, model__unroll=2, model__remat="full")
    self.assertEqual(ahead_of_time.model_flops("train", changed), expected)
    mesh = partitioning.make_mesh(tiny.config(mesh={"data": 2, "fsdp": 2, "tensor": 1}).mesh,
                                  jax.devices()[:4])
    function, args, _ = programs.make("train", config, mesh)
    self.assertEqual(flops.count(function, *args), expected)

  def test_an_update_of_a_pair_costs_two_levels_and_a_step(self):
    """And that of a trajectory T of both."""
    cost = lambda **changes: ahead_of_time.model_flops("train", tiny.config(**changes))
    without = {"model__transporter__num_blocks": 0}
    pair = {"train__objective": "pair_wise"}
    predictor, both = cost(**pair, **without), cost(**pair)
    level = (both - predictor) // 2
    self.assertEqual(cost(**without), 3 * predictor)
    self.assertAlmostEqual(cost() / (3 * predictor + 3 * level), 1, delta=0.002)

  def test_guidance_doubles_the_steps(self):
    config = tiny.config()
    model, patches = build.ntm(config), build.patches(config.model)
    draw = generate.make_generator(model, patches, config.process, None)
    trajectory = tiny.trajectory(config)
    params = tiny.random_params(lambda rng: model.init(rng, trajectory, method="log_prob"))
    key, cond = jax.random.key(0), Condition(label_B=jnp.zeros(2, jnp.int32))
    cost = lambda num_steps, guidance: flops.count(
        lambda params: draw(key, params, cond, 2, num_steps, guidance, None, cond).images, params)
    self.assertEqual(cost(3, 1.0), cost(6, None))

  def test_the_score_evaluates_no_step_again_and_pulls_all_but_the_noisiest_back(self):
    cost = lambda num_steps, refine: ahead_of_time.model_flops("sample", tiny.config(
        process__num_steps=(num_steps,), model__transporter__num_blocks=0), refine)
    config = tiny.config()
    weighted = 2 * config.train.batch_size * int(np.prod(config.model.image_shape))
    extra = lambda num_steps: (  # Besides the gradients of all states, weighted and added.
        cost(num_steps, "score") - cost(num_steps, None) - num_steps * weighted)
    self.assertEqual(extra(1), 0)
    self.assertGreater(extra(2), 0)
    self.assertEqual(extra(4), 3 * extra(2))

  @parameterized.parameters("train", "distill")
  def test_what_a_reversible_chain_rebuilds_is_executed_only(self, program):
    chain = {"model__transporter__kind": "coupling", "model__transporter__num_blocks": 2}
    stored = tiny.config(**chain, model__transporter__reversible=False)
    rebuilt = tiny.config(**chain)
    cost = ahead_of_time.model_flops(program, rebuilt)
    self.assertEqual(cost, ahead_of_time.model_flops(program, stored))
    self.assertEqual(cost, ahead_of_time.executed_flops(program, stored))
    self.assertGreater(ahead_of_time.executed_flops(program, rebuilt), cost)

  def test_a_new_network_is_counted(self):
    """Nothing but its own loss knows of it."""
    class Network(nn.Module):
      @nn.compact
      def __call__(self, image):
        x = nn.Conv(8, (3, 3))(image)
        return nn.Dense(1)(nn.gelu(x))

    config = tiny.config()
    model = Network()
    task = Task(
        init=lambda rng: model.init(rng, jnp.zeros((1, *config.model.image_shape)))["params"],
        loss=lambda rng, params, frozen, batch, step: _squared_error(
            model.apply({"params": params}, batch["image"]), batch["image"]),
        evaluate=None, samples=None, primary_metric="mse", unit="")
    mesh = step_lib.COUNTING_MESH
    counted = flops.count(step_lib.make_train_step(task, config, mesh),
                          state_lib.abstract_state(task, config, mesh),
                          programs.abstract_batch(config, mesh), None)
    convolution, dense = 2 * 8 * 9 * 16 * 8, 2 * 8 * 16 * 8
    self.assertEqual(counted, 2 * convolution + 3 * dense)  # No gradient by the image.

  def test_xla_counts_the_same_and_what_is_elementwise(self):
    def ratio(width, unroll):
      net = {"layers": 2, "width": width, "num_heads": 2, "num_kv_heads": 1}
      config = tiny.config(model__image_shape=(8, 8, 1), model__transporter=net | {"num_blocks": 1},
                           model__predictor=net, model__unroll=unroll)
      model, trajectory = build.ntm(config), tiny.trajectory(config)
      params = nn.unbox(jax.eval_shape(
          lambda rng: model.init(rng, trajectory, method="log_prob"), jax.random.key(0)))
      loss = jax.jit(jax.grad(
          lambda params: model.apply(params, trajectory, method="log_prob").total_B.sum()))
      return loss.lower(params).cost_analysis()["flops"] / flops.count(loss, params)

    # Products grow with the square of the width, the rest with the width.
    narrow, wide = ratio(32, 2) - 1, ratio(128, 2) - 1
    self.assertBetween(wide, 0, 0.05)
    self.assertBetween(narrow / wide, 3, 6)
    self.assertLess(ratio(32, 1), 0.7)  # Of two scanned layers it counts one.


def _squared_error(prediction, target):
  from ntm.losses.flow_matching import Metrics
  loss = ((prediction - target) ** 2).mean()
  return loss, Metrics(loss, jnp.float32(1))


if __name__ == "__main__":
  absltest.main()
