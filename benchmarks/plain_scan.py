"""The straightforward cached inverse of the transporter, to compare solvers with.

Token after token like ours, but with the layers scanned and a key/value cache
of full length from the start.
"""

import jax
import jax.numpy as jnp

from ntm.flows.autoregressive import AutoregressiveBlock
from ntm.nn import attention, stack


class PlainBlock(AutoregressiveBlock):
  """The straightforward cached inverse: layers scanned, a cache of full length."""

  def plain_inverse(self, u_BNC, cond):
    """x_BNC, token after token."""
    c_B1D, _ = self._condition(cond)
    modulation = self.stack.modulation(c_B1D)
    weights = self.variables["params"]["stack"]["layers"]
    config, (batch_size, length, _) = self.transformer, u_BNC.shape
    cache = attention.init_cache(batch_size, length, config.num_kv_heads,
                                 config.width // config.num_heads, self.numerics.dtype)
    caches = jax.tree.map(lambda a: jnp.broadcast_to(a, (config.layers,) + a.shape), cache)
    layer = stack.Layer(config, True, self.numerics, parent=None)
    block, variables = self.clone(parent=None), self.variables

    def decode(carry, u_BC):
      previous, caches, index = carry
      h, angles = block.apply(variables, previous, index, method="enter")

      def one(h, part):
        params, modulation_B16D, cache = part
        return layer.apply({"params": params}, h, modulation_B16D, angles, None, cache, index)

      h, caches = jax.lax.scan(one, h, (weights, modulation, caches))
      x, _ = block.apply(variables, h, u_BC.dtype, method="_map").inverse(u_BC[:, None])
      return (x, caches, index + 1), x[:, 0]

    start = (jnp.zeros_like(u_BNC[:, :1]), caches, jnp.int32(0))
    _, x_NBC = jax.lax.scan(decode, start, jnp.moveaxis(u_BNC, 1, 0))
    return jnp.moveaxis(x_NBC, 0, 1)

  def enter(self, previous, index):
    """What the first layer reads for the token at `index`, and its angles."""
    h = jnp.where(index == 0, self.start, self.embed(previous))
    return (self.position(h, self._num_tokens, index[None]),
            jnp.asarray(self._angles())[index][None])


def plain_inverse(model_config, params, u_BNC, cond):
  """The transporter's inverse by `PlainBlock`, last block first; odd ones run backwards."""
  for i in reversed(range(model_config.transporter.num_blocks)):
    block = PlainBlock(model_config.transporter, model_config.grid_shape,
                       model_config.num_channels)
    turn = (lambda a: a[:, ::-1]) if i % 2 else (lambda a: a)
    u_BNC = turn(block.apply({"params": params[f"block_{i}"]}, turn(u_BNC), cond,
                             method="plain_inverse"))
  return u_BNC
