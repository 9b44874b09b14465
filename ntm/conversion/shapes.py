"""Shapes by name, of the tensors in a file and of the parameters of a module."""

from collections.abc import Callable, Mapping

import flax.linen as nn
import flax.traverse_util
import jax

Shapes = Mapping[str, tuple[int, ...]]


def checked_shape(shapes: Shapes, name: str, num_axes: int) -> tuple[int, ...]:
  """The shape of a tensor; raises ValueError unless it has `num_axes` axes."""
  if len(shapes[name]) != num_axes:
    raise ValueError(f"{name} has shape {list(shapes[name])}; expected {num_axes} axes")
  return shapes[name]


def count_layers(shapes: Shapes, name: str) -> int:
  """Number of tensors `name` with {i} = 0, 1, ..., up to the first that is missing."""
  number = 0
  while name.replace("{i}", str(number)) in shapes:
    number += 1
  return number


def parameter_shapes(init: Callable, *args) -> Shapes:
  """Shapes of a module's parameters by path, from its `init` and its inputs; computes nothing."""
  params = nn.unbox(jax.eval_shape(init, jax.random.key(0), *args))["params"]
  leaves = flax.traverse_util.flatten_dict(params, sep="/")
  return {path: leaf.shape for path, leaf in leaves.items()}
