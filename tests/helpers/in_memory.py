"""A family's table applied to a state dict in memory."""

import jax.numpy as jnp
import numpy as np

from ntm.conversion import mapping


def state_of(module):
  """{name: array} of a PyTorch module."""
  return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


def check(family, architecture, state):
  """Checks the table against arrays or anything else with shapes."""
  mapping.check(family.entries(architecture), {name: tuple(a.shape) for name, a in state.items()},
              family.target_shapes(architecture), family.ignored(architecture))


def read(family, architecture, state):
  """The parameter tree, after a check."""
  check(family, architecture, state)
  entries, params = family.entries(architecture), {}
  for target in family.target_shapes(architecture):
    node, (*path, last) = params, target.split("/")
    for key in path:
      node = node.setdefault(key, {})
    node[last] = jnp.asarray(mapping.read(entries, state.__getitem__, target))
  return params


def write(family, architecture, params):
  """The state dict of a parameter tree."""
  def leaf(target):
    node = params
    for key in target.split("/"):
      node = node[key]
    return np.asarray(node)

  return dict(mapping.write(family.entries(architecture), leaf))
