import numpy as np
import scipy.ndimage
from absl.testing import absltest, parameterized

from ntm.data import affine

_IDENTITY = np.full((1, 6), 0.5)


def _blob(row, column):
  """A smooth bump on the background."""
  rows, columns = np.mgrid[:31, :31]
  return (2 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 18) - 1)[None, ..., None]


def _centroid(image):
  mass = image[..., 0] + 1
  return np.array([(grid * mass).sum() / mass.sum() for grid in np.indices(mass.shape)])


class UniformsTest(parameterized.TestCase):

  def test_equals_splitmix64_step_by_step(self):
    def stream(state, count):
      for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        yield ((z ^ (z >> 31)) >> 11) / 2**53

    np.testing.assert_array_equal(affine.uniforms(0, np.arange(3)).ravel(), [*stream(0, 21)])

  def test_is_a_function_of_stream_and_index(self):
    indices = np.array([7, 2**30 - 1, 0])
    u = affine.uniforms(1, indices)
    for row, index in enumerate(indices):
      np.testing.assert_array_equal(affine.uniforms(1, np.array([index]))[0], u[row])
    self.assertFalse((affine.uniforms(2, indices) == u).any())

  def test_numbers_are_uniform_and_independent(self):
    u = affine.uniforms(0, np.arange(100_000))
    self.assertBetween(u.min(), 0, 1e-4)
    self.assertBetween(u.max(), 1 - 1e-4, np.nextafter(1, 0))
    np.testing.assert_allclose(u.mean(axis=0), 1 / 2, atol=0.005)
    np.testing.assert_allclose((u ** 2).mean(axis=0), 1 / 3, atol=0.005)
    # Of one example, of neighbours and of streams.
    rows = np.concatenate([u[:-1], u[1:], affine.uniforms(1, np.arange(99_999))], axis=1).T
    np.testing.assert_allclose(np.corrcoef(rows), np.eye(21), atol=0.02)


class MapsTest(absltest.TestCase):

  def test_the_middle_of_all_ranges_is_the_identity(self):
    matrix, shift = affine.maps(_IDENTITY)
    np.testing.assert_array_equal(matrix[0], np.eye(2))
    np.testing.assert_array_equal(shift[0], [0, 0])

  def test_every_number_has_its_range(self):
    ends = np.where(np.eye(6, dtype=bool), [[[0.0]], [[1.0]]], 0.5)  # [low or high, number, 6]
    (low, low_shift), (high, high_shift) = (affine.maps(u) for u in ends)
    for matrix, sign in ((low, -1), (high, 1)):
      cos, sin = np.cos(0.3), sign * np.sin(0.3)
      np.testing.assert_allclose(matrix[0], [[cos, -sin], [sin, cos]])
      np.testing.assert_allclose(matrix[1], [[1, 0.25 * sign], [0, 1]])
      np.testing.assert_allclose(matrix[2], [[1 + 0.2 * sign, 0], [0, 1]])
      np.testing.assert_allclose(matrix[3], [[1, 0], [0, 1 + 0.2 * sign]])
    np.testing.assert_allclose(low_shift[4:], -0.8 * np.eye(2))
    np.testing.assert_allclose(high_shift[4:], 0.8 * np.eye(2))

  def test_areas_are_those_of_the_scales(self):
    u = affine.uniforms(0, np.arange(1000))[:, 1:]
    matrix, shift = affine.maps(u)
    np.testing.assert_allclose(np.linalg.det(matrix), (0.8 + 0.4 * u[:, 2:4]).prod(axis=1))
    self.assertBetween(np.abs(shift).max(), 0.79, 0.8)


class TransformTest(parameterized.TestCase):

  @parameterized.parameters(np.float32, np.float64)
  def test_the_identity_is_exact(self, dtype):
    images = np.random.default_rng(0).uniform(-1, 1, (5, 8, 6, 2)).astype(dtype)
    same = affine.transform(images, np.tile(np.eye(2), (5, 1, 1)), np.zeros((5, 2)))
    self.assertEqual(same.dtype, dtype)
    np.testing.assert_array_equal(same, images)

  def test_whole_shifts_move_pixels_and_leave_background(self):
    images = np.random.default_rng(0).uniform(-1, 1, (1, 4, 5, 1))
    moved = affine.transform(images, np.eye(2)[None], np.array([[1, -2]]))
    np.testing.assert_array_equal(moved[:, 1:, :-2], images[:, :-1, 2:])
    np.testing.assert_array_equal(moved[:, 0], np.full((1, 5, 1), -1))
    np.testing.assert_array_equal(moved[:, :, -2:], np.full((1, 4, 2, 1), -1))
    far = affine.transform(images, np.eye(2)[None], np.array([[100, 0]]))
    np.testing.assert_array_equal(far, np.full_like(images, -1))

  def test_half_a_pixel_is_the_mean_of_neighbours(self):
    images = np.random.default_rng(0).uniform(-1, 1, (1, 3, 3, 1))
    moved = affine.transform(images, np.eye(2)[None], np.array([[0, 0.5]]))
    np.testing.assert_allclose(moved[0, :, 1:], (images[0, :, 1:] + images[0, :, :-1]) / 2)
    np.testing.assert_allclose(moved[0, :, 0], (images[0, :, 0] - 1) / 2)

  def test_equals_scipys_interpolation(self):
    images = np.random.default_rng(0).uniform(-1, 1, (20, 8, 6, 1))
    matrices, shifts = affine.maps(affine.uniforms(0, np.arange(20))[:, 1:])
    moved = affine.transform(images, matrices, shifts)
    centre = np.array([3.5, 2.5])
    for image, matrix, shift, result in zip(images, matrices, shifts, moved):
      inverse = np.linalg.inv(matrix)
      framed = np.pad(image[..., 0], 8, constant_values=-1)  # scipy cuts off at the border.
      expected = scipy.ndimage.affine_transform(
          framed, inverse, centre + 8 - inverse @ (centre + 8 + shift), order=1, cval=-1)
      np.testing.assert_allclose(result[..., 0], expected[8:-8, 8:-8], atol=1e-12)

  def test_a_point_goes_where_the_map_says(self):
    matrices, shifts = affine.maps(affine.uniforms(3, np.arange(30))[:, 1:])
    centre, start = np.array([15, 15]), np.array([14.2, 16.9])
    for matrix, shift in zip(matrices, shifts):
      image = affine.transform(_blob(row=start[0], column=start[1]), matrix[None], shift[None])
      np.testing.assert_allclose(_centroid(image[0]), centre + matrix @ (start - centre) + shift,
                                 atol=0.01)


if __name__ == "__main__":
  absltest.main()
