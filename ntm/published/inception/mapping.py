"""PyTorch files of FID's Inception ↔ `ntm.published.inception.model`.

torch-fidelity's weights-inception-2015-12-05-6726825d.pth and pytorch-fid's
pt_inception-2015-12-05-6726825d.pth hold the same tensors. Their names are our paths with a dot
for a slash, so the mapping is made from the model's own parameters. The counters of PyTorch's
batch norms, which a state dict that was saved again has, are not used.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from ntm.conversion import transforms
from ntm.conversion.families import Family
from ntm.conversion.layer_entries import linear
from ntm.conversion.mapping import Entry
from ntm.conversion.shapes import Shapes, checked_shape, parameter_shapes
from ntm.published.inception import model as inception

# Leaves of a convolution with its norm: what they are called in a file.
_LEAVES = {"kernel": "conv.weight", "scale": "bn.weight", "bias": "bn.bias",
           "mean": "bn.running_mean", "var": "bn.running_var"}
_FIRST, _READOUT = "Conv2d_1a_3x3.conv.weight", "fc.weight"
_BLOCK = "Mixed_7c.branch3x3_2a.conv.weight"


def recognise(shapes: Shapes) -> dict[str, Any] | None:
  """An empty architecture, for there is one size, or None for another model.

  Raises:
    ValueError: torchvision's Inception, which has another number of logits.
  """
  if any(name not in shapes for name in (_FIRST, _READOUT, _BLOCK)):
    return None
  logits, _ = checked_shape(shapes, _READOUT, 2)
  if logits != inception.NUM_LOGITS:
    raise ValueError(f"{_READOUT} {list(shapes[_READOUT])} gives {logits} logits; expected "
                     f"{inception.NUM_LOGITS}, of the network of 2015 that FID is defined with, "
                     "not torchvision's")
  return {}


def entries(architecture: dict[str, Any]) -> list[Entry]:
  """The mapping."""
  found = linear("fc", "fc")
  for path in target_shapes(architecture):
    layer, _, leaf = path.rpartition("/")
    if layer != "fc":
      found.append(Entry(f"{layer.replace('/', '.')}.{_LEAVES[leaf]}", path,
                         transforms.CONV if leaf == "kernel" else transforms.KEEP))
  return found


def target_shapes(architecture: dict[str, Any]) -> Shapes:
  """Shapes of the model's parameters by path."""
  del architecture
  return _target_shapes()


def ignored(architecture: dict[str, Any]) -> dict[str, str]:
  """Counters of the norms."""
  layers = {path.rpartition("/")[0] for path in target_shapes(architecture)} - {"fc"}
  return {f"{layer.replace('/', '.')}.bn.num_batches_tracked": "a counter of training"
          for layer in sorted(layers)}


@functools.cache  # Tracing the network takes a second.
def _target_shapes():
  image = jax.ShapeDtypeStruct((1, inception.SIDE, inception.SIDE, 3), jnp.float32)
  return parameter_shapes(inception.Inception().init, image)


FAMILY = Family("inception", recognise, entries, target_shapes, ignored)
