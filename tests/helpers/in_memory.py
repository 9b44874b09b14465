"""A family's mapping applied to a state dict in memory."""

import jax.numpy as jnp
import numpy as np

from ntm.conversion import mapping


def state_of(module):
  """{name: array} of a PyTorch module."""
  return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


def check(family, architecture, state):
  """Checks the mapping against arrays or anything else with shapes."""
  mapping.check(family.entries(architecture), {name: tuple(a.shape) for name, a in state.items()},
                family.target_shapes(architecture), family.ignored(architecture))


def read_leaf(entries, tensor, target):
  """One leaf from the tensors that make it; `tensor` is source name → array."""
  (entry,) = (entry for entry in entries if entry.target == target)
  pieces = [piece for _, piece in mapping.read_pieces(entry, tensor)]
  return np.stack(pieces) if entry.layers else np.asarray(pieces[0], order="C")


def read(family, architecture, state):
  """The parameter tree, after a check."""
  check(family, architecture, state)
  entries, params = family.entries(architecture), {}
  for target in family.target_shapes(architecture):
    node, (*path, last) = params, target.split("/")
    for key in path:
      node = node.setdefault(key, {})
    node[last] = jnp.asarray(read_leaf(entries, state.__getitem__, target))
  return params


def write(family, architecture, params):
  """The state dict of a parameter tree."""
  def leaf(target):
    node = params
    for key in target.split("/"):
      node = node[key]
    return np.asarray(node)

  return dict(mapping.write(family.entries(architecture), leaf))
