"""Samples and scores do not depend on the mesh, nor on how its devices hold the parameters."""

import pathlib
import tempfile
from unittest import mock

import chex
import jax
import numpy as np
import pytest
from absl.testing import absltest, parameterized

import ntm
from ntm.api.placement import Placement
from ntm.config import MeshConfig
from tests.helpers import runs, tiny_text_encoder

_TEXT = {"num_classes": 0, "backbone": {"text_tokens": 4, "vocab_size": 54},
         "text": {"tokenizer": "scenes"}}


def _written(**changes):
  workdir = pathlib.Path(tempfile.mkdtemp())
  runs.write(workdir, runs.config(**changes))
  return workdir


class PlacementTest(parameterized.TestCase):

  @parameterized.parameters(
      ({}, {"labels": [1, 0, 9], "guidance": 1.0}, (2, 2, 2)),
      (_TEXT, {"prompts": ["a ring", "two rings", "a cross"], "guidance": 1.0}, (4, 1, 2)),
      ({"kind": "flow_matching"}, {"labels": [1, 9, 0], "num_steps": 2, "guidance": 1.0},
       (1, 8, 1)))
  def test_samples_are_those_of_one_device(self, changes, arguments, sizes):
    workdir = _written(**changes)
    one = ntm.restore(workdir).sample(jax.random.key(0), **arguments)
    model = ntm.restore(workdir, mesh=MeshConfig(*sizes))
    split = [leaf for leaf in jax.tree.leaves(model.params) if not leaf.is_fully_replicated]
    self.assertNotEmpty(split)
    self.assertTrue(all(len(leaf.sharding.device_set) == 8 for leaf in split))
    images = model.sample(jax.random.key(0), **arguments)
    # The noise of an image is that of its place, to however many a batch is rounded up.
    self.assertEqual(images.shape, one.shape)
    np.testing.assert_allclose(images, one, atol=1e-4)

  @parameterized.parameters(({}, {"labels": np.arange(8)}), (_TEXT, {"labels": ["a ring"] * 8}))
  @pytest.mark.slow
  def test_scores_are_those_of_one_device(self, changes, arguments):
    workdir = _written(**changes)
    model, split = ntm.restore(workdir), ntm.restore(workdir, mesh=MeshConfig(2, 2, 2))
    images = np.random.default_rng(0).uniform(-1, 1, (8, 8, 8, 1)).astype(np.float32)
    key = jax.random.key(1)
    devices = []
    put = split._placement.put_batch

    def placed(tree):
      out = put(tree)
      devices.extend(leaf.addressable_shards[0].data.shape[0] for leaf in jax.tree.leaves(out))
      return out

    with mock.patch.object(split._placement, "put_batch", placed):
      for score in (lambda m: m.log_prob(key, images, **arguments),
                    lambda m: m.residuals(key, images, **arguments),
                    lambda m: m.log_weights(key, images, **arguments, draws=2)):
        chex.assert_trees_all_close(score(split), score(model), rtol=1e-4, atol=1e-4)
    self.assertEqual(set(devices), {2})  # Examples per device: all eight on the four of each axis.

  def test_scores_of_a_batch_that_the_devices_do_not_divide(self):
    workdir = _written()
    images = np.zeros((3, 8, 8, 1), np.float32)
    ours, theirs = (model.log_prob(jax.random.key(0), images).step_SB for model in (
        ntm.restore(workdir), ntm.restore(workdir, mesh=MeshConfig(4, 1, 2))))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)

  def test_frozen_networks_are_read_into_shards(self):
    config = tiny_text_encoder.config()
    frozen = Placement(MeshConfig(2, 2, 2)).load_frozen(config).text_encoder
    whole = Placement().load_frozen(config).text_encoder
    jax.tree.map(np.testing.assert_array_equal, frozen, whole)
    kernel = frozen["layers"]["mlp"]["down"]["kernel"]
    self.assertEqual(4 * kernel.addressable_shards[0].data.size, kernel.size)

  def test_a_batch_is_a_multiple_of_the_devices(self):
    placement = Placement(MeshConfig(4, 2, 1))
    self.assertEqual([placement.batch_size(n) for n in (1, 8, 9, 1000)], [8, 8, 16, 256])
    self.assertEqual(Placement().batch_size(3), 3)

  def test_a_mesh_that_does_not_fit_is_refused(self):
    with self.assertRaisesRegex(ValueError, "do not multiply to the number of devices, 8"):
      ntm.restore(_written(), mesh=MeshConfig(3, 1, 1))
    with self.assertRaisesRegex(ValueError, "not divisible by the 8 devices of mesh axis"):
      ntm.restore(_written(), mesh=MeshConfig(1, 1, 8))
    with self.assertRaisesRegex(ValueError, r"mesh is \(2, 2, 2\); expected None or a MeshConfig"):
      ntm.restore(_written(), mesh=(2, 2, 2))


if __name__ == "__main__":
  absltest.main()
