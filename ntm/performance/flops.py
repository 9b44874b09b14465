"""FLOPs of a program: the matrix products and convolutions of its jaxpr.

A multiply-add is two FLOPs. Norms, softmax, rotary positions and other elementwise
work are not counted, which is the convention of model FLOPs utilisation (MFU):
accelerators state their peak for matrix products. XLA's own cost analysis counts
them, but counts the body of a loop once.

- A scan is its body times its length; a `while_loop` is one iteration, because the
  number of iterations of an iterative solver depends on the data.
- A `cond` is its larger branch.
- Calls (`jit`, `checkpoint`, `custom_vjp`, ...) are what they call. In a gradient,
  rematerialised layers appear twice: these are executed FLOPs. Those of the model are
  the count of the same program without rematerialisation.
- A `shard_map` is its body times the devices that run it, so that the count is of the
  whole program and does not depend on its sharding.
- A Pallas kernel is its body times its grid, which masks may shorten. Other kernels
  (cuDNN attention) are opaque and count nothing: trace for a CPU mesh, where attention
  is two matrix products.

Causal attention counts the pairs of query and key that the traced program computes,
masked ones included.
"""

import math
from collections.abc import Callable

import jax
from jax.extend.core import Jaxpr, JaxprEqn, jaxprs_in_params


def count(function: Callable, *args) -> int:
  """FLOPs of one call of a function; nothing is computed or allocated.

  A jitted function that was or will be called with arguments of these types is
  traced once for both.

  Args:
    function: of any arrays.
    *args: its arguments, arrays or `jax.ShapeDtypeStruct`s.
  """
  return _jaxpr_flops(jax.make_jaxpr(function)(*args).jaxpr)


def _jaxpr_flops(jaxpr: Jaxpr) -> int:
  return sum(map(_equation_flops, jaxpr.eqns))


def _equation_flops(equation: JaxprEqn) -> int:
  name, params = equation.primitive.name, equation.params
  if name == "dot_general":
    (summed_axes, _), _ = params["dimension_numbers"]
    terms = math.prod(equation.invars[0].aval.shape[axis] for axis in summed_axes)
    return 2 * terms * equation.outvars[0].aval.size
  if name == "conv_general_dilated":
    kernel = equation.invars[1].aval
    terms = kernel.size // kernel.shape[params["dimension_numbers"].rhs_spec[0]]
    return 2 * terms * equation.outvars[0].aval.size
  inner = [_jaxpr_flops(jaxpr) for jaxpr in jaxprs_in_params(params)]
  if name == "cond":
    return max(inner)
  return sum(inner) * _times(name, params)


def _times(name: str, params) -> int:
  """How often an equation runs its jaxprs."""
  if name == "scan":
    return params["length"]
  if name == "shard_map":
    return math.prod(params["mesh"].shape[axis] for axis in params["newly_manual_axes"])
  if name == "pallas_call":
    return math.prod(size for size in params["grid_mapping"].grid if isinstance(size, int))
  return 1
