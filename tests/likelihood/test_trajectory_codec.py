"""Images and the bits behind them come back exactly, at the cost of the trajectory's density."""

import math
import random

import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ntm.likelihood import bounds
from ntm.likelihood.ans import Stack
from ntm.likelihood.trajectory_codec import TrajectoryCodec
from ntm.models.ntm import standard_normal_log_prob
from ntm.process import schedule
from ntm.typing import Condition, Trajectory
from tests.helpers import tiny

_SPACING, _T_MIN = 0.125, 0.05


def _codec(num_steps, **changes):
  cfg = tiny.config(process__num_steps=(num_steps,), **changes)
  # Small weights: far out in its tails the code is shorter than the density says.
  model, params = tiny.model_and_params(cfg, scale=0.05)
  times_K = np.asarray(schedule.uniform_times(num_steps, _T_MIN))
  codec = TrajectoryCodec(model, params, times_K, (4, 4), _SPACING, bool(cfg.model.num_classes))
  return codec, model, params, times_K


def _bound_bits(model, params, times_K, states_KD, level_D, label):
  """-log2 of the importance weight of a given trajectory."""
  x_KBNC = jnp.asarray(states_KD, jnp.float32).reshape(len(times_K), 1, 4, 4)
  times_KB = jnp.asarray(times_K)[:, None]
  trajectory = Trajectory(x_KBNC, times_KB, Condition(label_B=np.array([label])),
                          jnp.ones_like(times_KB[1:]))
  log_w = float(bounds.likelihood(model, params, trajectory).bound_B[0])
  scale = _T_MIN / (1 - _T_MIN)
  z_D = (states_KD[0] / (1 - _T_MIN) - (-1 + _SPACING * level_D)) / scale
  mass = math.erf(_SPACING / 2 / scale / math.sqrt(2))
  log_q = float(standard_normal_log_prob(z_D[None]).sum()) - 16 * math.log(scale * mass)
  return -(log_w + 16 * math.log(1 - _T_MIN) - log_q) / math.log(2)


class TrajectoryCodecTest(parameterized.TestCase):

  @parameterized.named_parameters(
      ("no_transporter", 2, {"model__transporter__num_blocks": 0}),
      ("affine", 3, {"model__transporter__num_blocks": 2}),
      ("spline_one_step", 1, {"model__transporter__num_blocks": 2,
                              "model__transporter__spline_bins": 4}),
      ("conditional_spline", 2, {"model__transporter__num_blocks": 2,
                                 "model__transporter__features": 4,
                                 "model__transporter__spline_bins": 4}),
      ("ordered_channels", 1, {"model__transporter__num_blocks": 2,
                               "model__transporter__autoregressive_channels": True}),
      ("coupling", 2, {"model__transporter__kind": "coupling",
                       "model__transporter__num_blocks": 2}),
  )
  @pytest.mark.slow
  def test_comes_back_at_the_cost_of_the_bound(self, num_steps, changes):
    codec, model, params, times_K = _codec(num_steps, **changes)
    start = (1 << 6000) + random.Random(0).getrandbits(6000)
    stack, rng = Stack(start), np.random.default_rng(0)
    images, bound = rng.integers(0, 17, (2, 16)), 0
    for label, level_D in enumerate(images):
      states_KD = codec.encode(stack, level_D, label)
      bound += _bound_bits(model, params, times_K, states_KD, level_D, label)
    # One bit for the length of an integer, and one in a thousand for the grid.
    self.assertAlmostEqual(stack.bits - 6001, bound, delta=1 + 1e-3 * abs(bound))
    for label in reversed(range(len(images))):
      np.testing.assert_array_equal(codec.decode(stack, label), images[label])
    self.assertEqual(stack.value, start)

  def test_a_history_predictor_is_refused(self):
    with self.assertRaisesRegex(ValueError, "context is 'history'"):
      _codec(2, model__predictor__context="history")


if __name__ == "__main__":
  absltest.main()
