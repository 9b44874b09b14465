import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm import testing
from ntm.typing import Condition
from tests.helpers.bijectors import BIJECTORS, features, setup


class BijectorTest(parameterized.TestCase):

  @parameterized.product(name=list(BIJECTORS), precision=("float32", "float64"))
  def test_round_trip(self, name, precision):
    with jax.enable_x64(precision == "float64"):
      forward, inverse, params, x = setup(name, precision)
      # In float32 the last bits depend on the vector instructions of the machine, and a large
      # log-determinant has more of them: there the law has its default relative tolerance.
      testing.assert_round_trip(functools.partial(forward, params),
                                functools.partial(inverse, params), x,
                                rtol=0 if precision == "float64" else None)

  @parameterized.parameters(*BIJECTORS)
  def test_log_det_equals_that_of_the_jacobian(self, name):
    # That of the inverse is its negative, as the round trip shows.
    with jax.enable_x64(True):
      forward, _, params, x = setup(name, "float64")
      testing.assert_log_det_matches_jacobian(functools.partial(forward, params), x)

  @parameterized.parameters("autoregressive", "autoregressive_spline", "coupling",
                            "coupling_spline")
  def test_the_inverse_has_the_derivatives_of_its_log_det(self, name):
    with jax.enable_x64(True):
      forward, inverse, params, x = setup(name, "float64")
      testing.assert_log_det_matches_jacobian(
          functools.partial(inverse, params), forward(params, x)[0])

  @parameterized.parameters(0, 1)
  def test_reversed_blocks_have_the_features_of_their_tokens(self, number):
    # The other block does nothing: a token has its own features and those of one side.
    _, _, params, x = setup("transporter_features")
    blocks = dict(params["params"])
    other = f"block_{1 - number}"
    blocks[other] = blocks[other] | {"readout": jax.tree.map(
        jnp.zeros_like, blocks[other]["readout"])}
    module, cond = BIJECTORS["transporter_features"](jnp.float32), Condition(jnp.array([0.3, 0.6]))
    of_features = lambda h: module.apply({"params": blocks}, x, cond.replace(features_BNF=h),
                                         method="forward_and_log_det")
    reach_BNN = testing.token_dependence(of_features, features(x.shape)) > 0
    one_side = np.tri(4, dtype=bool)
    np.testing.assert_array_equal(reach_BNN[0], one_side.T if number else one_side)

  @parameterized.parameters("autoregressive", "coupling")
  def test_means_and_scales_are_read_out_apart(self, name):
    # u = (x - mu) / sigma: a larger mean lowers u and costs nothing, a larger scale is paid for.
    forward, _, params, x = setup(name)
    u, log_det = forward(params, x)

    def raised(part):
      block = params["params"] if name == "autoregressive" else params["params"]["chain"]["blocks"]
      readout = block["readout"]
      changed = {"kernel": readout["kernel"], "bias": readout["bias"].at[..., part, :].add(0.5)}
      if name == "autoregressive":
        return forward({"params": params["params"] | {"readout": changed}}, x)
      # Of the last block alone, whose input is then the same.
      changed["bias"] = readout["bias"].at[-1].set(changed["bias"][-1])
      return forward({"params": {"chain": {"blocks": block | {"readout": changed}}}}, x)

    lowered, same = raised(0)
    self.assertLessEqual((lowered - u).max(), 0)
    self.assertLess((lowered - u).min(), -0.3)
    np.testing.assert_array_equal(same, log_det)
    _, paid = raised(1)
    self.assertLess((paid - log_det).max(), -2)


if __name__ == "__main__":
  absltest.main()
