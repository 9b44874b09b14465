"""The two ways in which images come to the size that Inception reads.

"tf1" is the bilinear one of TensorFlow 1, of which FID was first computed: output pixel i
interpolates at i n / m of n pixels, without the half pixel that centres would add, and of large
images it reads some pixels and leaves out others. Published numbers use it, as those of ADM's
evaluator and of torch-fidelity.

"antialiased" is the bicubic one of Pillow: centres on centres, and a kernel as wide as what an
output pixel covers, so that all pixels count (arXiv 2104.11222, as clean-fid). Numbers of the two
are not comparable.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ntm.typing import Array

METHODS = ("tf1", "antialiased")


def resize(x_BHWC: Array, side: int, method: str) -> Array:
  """Square images of another size; pure, float32.

  Args:
    x_BHWC: pixels in 0 .. 255, of any type.
    side: of the result, in pixels.
    method: one of METHODS.

  Returns:
    [B, side, side, C] in 0 .. 255, not rounded.
  """
  x_BHWC = x_BHWC.astype(jnp.float32)
  if method == "tf1":
    return _interpolate(_interpolate(x_BHWC, 2, side), 1, side)
  shape = (x_BHWC.shape[0], side, side, x_BHWC.shape[3])
  if shape == x_BHWC.shape:
    return x_BHWC
  out = jax.image.resize(x_BHWC, shape, "cubic", antialias=True,
                         precision=jax.lax.Precision.HIGHEST)
  return jnp.clip(out, 0, 255)  # Bicubic overshoots at edges.


def _interpolate(x, axis, size):
  """Linear interpolation along an axis at i n / size; beyond the last pixel there is the last."""
  length = x.shape[axis]
  place = np.arange(size, dtype=np.float32) * np.float32(length / size)
  low = place.astype(np.int32)
  high = np.minimum(low + 1, length - 1)
  weight = (place - low).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
  below, above = jnp.take(x, low, axis=axis), jnp.take(x, high, axis=axis)
  return below + (above - below) * weight
