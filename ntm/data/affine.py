"""Random affine maps of small images: endless data from few originals.

A map turns, shears, scales and shifts an image about its centre c: the pixel q of
the original comes to

  p = c + R(rotation) [[1, shear], [0, 1]] diag(scale) (q - c) + shift

in (row, column), so that the pixel p of the result is read at q by bilinear
interpolation, with -1 outside of the original. The numbers of example i are those
at 7 i .. 7 i + 6 of a SplitMix64 stream [Steele et al., 2014], a function of
(stream, i) alone: any example is made without those before it.
"""

import numpy as np

MAX_ROTATION = 0.3  # Radians.
MAX_SHEAR = 0.25
MAX_SCALE = 0.2  # From 0.8 to 1.2 per axis.
MAX_SHIFT = 0.8  # Pixels per axis.
_BACKGROUND = -1
_PER_EXAMPLE = 7
_GAMMA = np.uint64(0x9E3779B97F4A7C15)  # SplitMix64's constants.
_MULTIPLIERS = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)),
                (np.uint64(27), np.uint64(0x94D049BB133111EB)))


def uniforms(stream: int, indices: np.ndarray) -> np.ndarray:
  """Seven numbers in [0, 1) per index, [M, 7] float64.

  Args:
    stream: 0 or more; every stream is another sequence.
    indices: [M], integers from 0.
  """
  # Streams are 2^40 examples apart.
  first = (np.asarray(indices, np.uint64) + np.uint64(stream << 40)) * np.uint64(_PER_EXAMPLE)
  z = (first[:, None] + np.arange(1, _PER_EXAMPLE + 1, dtype=np.uint64)) * _GAMMA
  for shift, multiplier in _MULTIPLIERS:
    z = (z ^ (z >> shift)) * multiplier
  z = z ^ (z >> np.uint64(31))
  return (z >> np.uint64(11)) * 2.0 ** -53


def maps(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Affine maps of six numbers in [0, 1) each.

  Args:
    u: [M, 6]; 1/2 everywhere is the identity.

  Returns:
    (matrices [M, 2, 2], shifts [M, 2] in pixels), float64, in (row, column).
  """
  signed = 2 * u - 1
  angle, shear = MAX_ROTATION * signed[:, 0], MAX_SHEAR * signed[:, 1]
  scale = 1 + MAX_SCALE * signed[:, 2:4]
  cos, sin, zero, one = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
  matrix = lambda *entries: np.stack(entries, axis=-1).reshape(-1, 2, 2)
  sheared = matrix(cos, -sin, sin, cos) @ matrix(one, shear, zero, one)
  return sheared * scale[:, None, :], MAX_SHIFT * signed[:, 4:6]


def transform(images: np.ndarray, matrices: np.ndarray, shifts: np.ndarray) -> np.ndarray:
  """Images under affine maps, as above; the identity gives them back exactly.

  Args:
    images: [M, H, W, C].
    matrices: [M, 2, 2], invertible.
    shifts: [M, 2], pixels.
  """
  height, width = images.shape[1:3]
  centre = np.array([height - 1, width - 1]) / 2
  pixels = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=-1)
  offsets = (pixels.reshape(1, -1, 2) - centre) - shifts[:, None]
  q = centre + offsets @ np.linalg.inv(matrices).transpose(0, 2, 1)
  # A frame of background: what is read further outside is read on the frame.
  framed = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=_BACKGROUND)
  q = np.clip(q + 1, 0, [height + 1, width + 1])
  corner = np.minimum(q.astype(np.int64), [height, width])
  down, right = np.moveaxis(q - corner, -1, 0).astype(images.dtype)[..., None]
  first = np.arange(len(images))[:, None] * (height + 2) + corner[..., 0]
  at = first * (width + 2) + corner[..., 1]
  flat = framed.reshape(-1, images.shape[-1])
  above, below = ((1 - right) * flat.take(start, axis=0) + right * flat.take(start + 1, axis=0)
                  for start in (at, at + width + 2))
  return ((1 - down) * above + down * below).reshape(images.shape)
