"""What an accelerator's rounding of float32 products does to the round trip of a transporter.

  python benchmarks/round_trip.py

Two autoregressive blocks of configs/digits.py's width with random parameters, on the devices at
hand: largest error of x against f^-1(f(x)) and of the two log-dets' sum, with the products
as the device rounds them by default, and as `ntm.nn.numerics` asks for. On a CPU both agree.
"""

from unittest import mock

import jax
import jax.numpy as jnp

from ntm import config as config_lib
from ntm.models import build
from ntm.nn import attention, layers
from ntm.typing import Condition


def main():
  """Prints a line for either precision."""
  print(f"{jax.devices()[0].device_kind}, JAX {jax.__version__}")
  x_BNC = jax.random.normal(jax.random.key(0), (64, 16, 4))
  cond = Condition(time_B=jnp.full((64,), 0.3))
  bijector = build.transporter(config_lib.from_dict(config_lib.default()).model)
  run = lambda method, params, x: jax.jit(
      lambda params, x: bijector.apply({"params": params}, x, cond, method=method))(params, x)
  params = bijector.init(jax.random.key(1), x_BNC, cond, method="forward_and_log_det")["params"]
  leaves, tree = jax.tree.flatten(params)
  params = tree.unflatten([leaf + 0.05 * jax.random.normal(jax.random.key(i), leaf.shape)
                           for i, leaf in enumerate(leaves)])

  def errors():
    u_BNC, log_det_B = run("forward_and_log_det", params, x_BNC)
    back_BNC, inverse_B = run("inverse_and_log_det", params, u_BNC)
    return (f"x {jnp.abs(back_BNC - x_BNC).max():.2e}   log-det "
            f"{jnp.abs(log_det_B + inverse_B).max():.2e}   largest |u| {jnp.abs(u_BNC).max():.1f}")

  default = lambda dtype: None
  with (mock.patch.object(layers, "product_precision", default),
        mock.patch.object(attention, "product_precision", default)):
    print("as the device rounds", errors())
  print("float32             ", errors())


if __name__ == "__main__":
  main()
