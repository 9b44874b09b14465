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

A systolic array of n x n multipliers holds a block of one operand while rows of the other pass
through, eight at a time. What does not fill a block is padded: with `tile` = n the summed axes and
the free axes of either operand count as multiples of n, those of the other as multiples of 8. Axes
are merged first, as a compiler may or may not, so that this is the least that can be padded.
"""

import math
from collections.abc import Callable

import jax
from jax.extend.core import Jaxpr, JaxprEqn, jaxprs_in_params

_ROWS = 8  # That pass through a systolic array together.



def count(function: Callable, *args, tile: int = 1) -> int:
  """FLOPs of one call of a function; nothing is computed or allocated.

  A jitted function that was or will be called with arguments of these types is
  traced once for both.

  Args:
    function: of any arrays.
    *args: its arguments, arrays or `jax.ShapeDtypeStruct`s.
    tile: side of a systolic array whose padding counts; 1 counts none.
  """
  return _jaxpr_flops(jax.make_jaxpr(function)(*args).jaxpr, tile)


def _jaxpr_flops(jaxpr: Jaxpr, tile: int) -> int:
  return sum(_equation_flops(equation, tile) for equation in jaxpr.eqns)


def _equation_flops(equation: JaxprEqn, tile: int) -> int:
  name, params = equation.primitive.name, equation.params
  if name == "dot_general":
    (summed_axes, _), (batch_axes, _) = params["dimension_numbers"]
    shape, size = equation.invars[0].aval.shape, equation.outvars[0].aval.size
    terms = math.prod(shape[axis] for axis in summed_axes)
    batch = math.prod(shape[axis] for axis in batch_axes)
    rows = math.prod(shape) // max(terms * batch, 1)
    return batch * _product(rows, terms, size // max(batch * rows, 1), tile)
  if name == "conv_general_dilated":
    kernel, out = equation.invars[1].aval, equation.outvars[0].aval
    numbers, groups = params["dimension_numbers"], params["feature_group_count"]
    features = kernel.shape[numbers.rhs_spec[0]]
    rows = out.size // max(features, 1)
    return groups * _product(rows, kernel.size // features, features // groups, tile)
  inner = [_jaxpr_flops(jaxpr, tile) for jaxpr in jaxprs_in_params(params)]
  if name == "cond":
    return max(inner)
  return sum(inner) * _times(name, params)


def _product(rows: int, terms: int, columns: int, tile: int) -> int:
  """FLOPs of [rows, terms] times [terms, columns], padded unless the tile is 1."""
  if tile == 1:
    return 2 * rows * terms * columns
  up = lambda size, multiple: -(-size // multiple) * multiple
  return 2 * up(terms, tile) * min(up(rows, _ROWS) * up(columns, tile),
                                   up(rows, tile) * up(columns, _ROWS))


def _times(name: str, params) -> int:
  """How often an equation runs its jaxprs."""
  if name == "scan":
    return params["length"]
  if name == "shard_map":
    return math.prod(params["mesh"].shape[axis] for axis in params["newly_manual_axes"])
  if name == "pallas_call":
    return math.prod(size for size in params["grid_mapping"].grid if isinstance(size, int))
  return 1
