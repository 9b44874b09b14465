"""Laws of invertible maps, as assertions for tests.

A law takes plain functions, so it applies to any module once its parameters and
condition are filled in:

  forward = jax.jit(lambda x: module.apply(params, x, method="forward_and_log_det"))
  inverse = jax.jit(lambda u: module.apply(params, u, method="inverse_and_log_det"))
  testing.assert_round_trip(forward, inverse, x)
  testing.assert_log_det_matches_jacobian(forward, x)

`forward` maps x [B, ...] to u [B, ...] and log_det [B], ``log |det du/dx|`` of
every example in nats, summed over the event; `inverse` maps u back, with the
log-det of its own direction. x is float32 or float64, and tolerances follow its
type unless given: an error may reach ``atol + rtol * |expected|``. A flow that
starts as the identity obeys most laws even with wrong code, so use parameters
other than the initial ones.

An AssertionError says that a function breaks a law, a ValueError that an argument
of the law itself is wrong.
"""

from ntm.testing.integral import assert_normalised
from ntm.testing.jacobian import token_dependence
from ntm.testing.laws import (
    assert_causal,
    assert_log_det_matches_jacobian,
    assert_round_trip,
    assert_starts_as_identity,
)

__all__ = [
    "assert_causal",
    "assert_log_det_matches_jacobian",
    "assert_normalised",
    "assert_round_trip",
    "assert_starts_as_identity",
    "token_dependence",
]
