import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from absl.testing import absltest, parameterized

from ntm import checksums

_TYPES = (np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int32, np.uint8, np.bool_)


def _array(dtype, shape=(8, 3, 5)):
  return np.random.default_rng(0).normal(size=shape).astype(dtype)


def _checksum(array):
  return checksums.of_tree({"a": array})["a"][2]


class ChecksumTest(parameterized.TestCase):

  @parameterized.parameters(*_TYPES)
  def test_host_devices_and_pieces_agree(self, dtype):
    array = _array(dtype)
    whole = checksums.of_array(array)
    pieces = sum(checksums.of_array(row, i * row.size) for i, row in enumerate(array)) % 2**32
    self.assertEqual(pieces, whole)
    if dtype != np.float64:  # Which devices have only on request.
      self.assertEqual(_checksum(jnp.asarray(array)), whole)
    # A view in another memory order is the same array.
    self.assertEqual(checksums.of_array(np.asfortranarray(array)), whole)

  def test_any_mesh_gives_the_same(self):
    array, axes = _array(np.float32), jax.sharding.PartitionSpec
    whole = checksums.of_array(array)
    for shape, spec in (((8,), axes("x")), ((4,), axes("x")), ((2, 4), axes(("x", "y"))),
                        ((2, 4), axes())):
      mesh = jax.make_mesh(shape, ("x", "y")[:len(shape)])
      split = jax.device_put(array, jax.sharding.NamedSharding(mesh, spec))
      self.assertEqual(_checksum(split), whole)

  def test_blocks_of_large_arrays_add_up(self):
    array = _array(np.float32, (3, checksums._BLOCK - 1))
    self.assertEqual(checksums.of_array(array), _checksum(jnp.asarray(array)))

  @parameterized.parameters(*_TYPES)
  def test_every_flipped_bit_shows(self, dtype):
    array = _array(dtype, (2, 3))
    whole, raw = checksums.of_array(array), array.view(np.uint8)
    for bit in range(8 * raw.size if dtype != np.bool_ else 0):
      raw.reshape(-1)[bit // 8] ^= 1 << bit % 8
      self.assertNotEqual(checksums.of_array(array), whole, bit)
      raw.reshape(-1)[bit // 8] ^= 1 << bit % 8

  def test_changes_that_a_plain_sum_does_not_show(self):
    array = _array(np.float32, (64,))
    whole = checksums.of_array(array)
    signs, swapped = array.copy(), array.copy()
    signs[[3, 9]] *= -1
    swapped[[3, 9]] = swapped[[9, 3]]
    for changed in (signs, swapped, array[::-1], np.zeros_like(array)):
      self.assertNotEqual(checksums.of_array(changed), whole)

  def test_shape_type_names_and_values_are_verified(self):
    tree = {"a": {"b": _array(np.float32)}, "c": np.zeros(3, np.int32)}
    written = json.loads(json.dumps(checksums.manifest({"ema": tree}, iterator={"next": 3})))
    del written["checksum"]
    checksums.verify(written, {"ema": jax.tree.map(jnp.asarray, tree)}, iterator={"next": 3})
    for changed, iterator, named in (
        ({"a": {"b": tree["a"]["b"].reshape(8, 15)}, "c": tree["c"]}, 3, "ema/a/b"),
        ({"a": tree["a"], "c": np.zeros(3, np.float32)}, 3, "ema/c"),
        ({"a": tree["a"]}, 3, "ema/c"), ({**tree, "d": tree["c"]}, 3, "ema/d"),
        (tree, 4, "iterator")):
      with self.assertRaisesRegex(checksums.DamagedError, f"^{named} differ"):
        checksums.verify(written, {"ema": changed}, iterator={"next": iterator})
    checksums.verify(None, {"ema": changed})

  def test_a_record_that_was_changed_is_refused(self):
    text = json.dumps(checksums.seal({"layers": 3, "name": "toy"}))
    self.assertEqual(checksums.unseal(text, "f"), {"layers": 3, "name": "toy"})
    for changed in (text.replace("3,", "4,"), text.replace("toy", "tox"), text[:-2], "[]", "3"):
      with self.assertRaisesRegex(checksums.DamagedError, "^f is damaged"):
        checksums.unseal(changed, "f")
    self.assertEqual(checksums.unseal('{"layers": 3}', "f"), {"layers": 3})
    with self.assertRaisesRegex(checksums.DamagedError, "^f is damaged"):
      checksums.unseal('{"layers": 3}', "f", required=True)


if __name__ == "__main__":
  absltest.main()
