"""The structs that all packages share."""

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ntm.typing import Condition, TrajectoryLogProb


class TypingTest(absltest.TestCase):

  def test_a_condition_at_another_level_is_of_the_same_class_and_text(self):
    label_B, text_BMW, num_steps_B = jnp.arange(2), jnp.ones((2, 3, 5)), jnp.full(2, 4)
    cond = Condition(time_B=jnp.zeros(2), next_time_B=jnp.zeros(2), num_steps_B=num_steps_B,
                     label_B=label_B, text_BMW=text_BMW)
    moved = cond.at(jnp.ones(2))
    for name, array in (("label_B", label_B), ("text_BMW", text_BMW), ("num_steps_B", num_steps_B)):
      self.assertIs(getattr(moved, name), array)
    np.testing.assert_array_equal(moved.time_B, 1)
    self.assertIsNone(moved.next_time_B)  # That of the level before would be wrong.

  def test_a_trajectory_has_the_likelihood_of_its_steps_and_its_prior(self):
    step_SB, prior_B = jnp.arange(6.0).reshape(3, 2), jnp.array([10.0, 20.0])
    nothing = jnp.zeros((3, 2))
    result = TrajectoryLogProb(step_SB=step_SB, prior_B=prior_B, log_det_SB=nothing,
                               mean_SBNC=nothing, log_scale_SBNC=nothing, z_SBNC=nothing)
    np.testing.assert_array_equal(result.total_B, [0 + 2 + 4 + 10, 1 + 3 + 5 + 20])


if __name__ == "__main__":
  absltest.main()
