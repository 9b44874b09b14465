import dataclasses

import numpy as np
from absl.testing import absltest
from scipy import ndimage

from ntm.config import DataConfig, ModelConfig
from ntm.data import clips, sources

_MODEL = ModelConfig(image_shape=clips.SHAPE, patch_shape=(2, 4, 4), num_classes=3)


class ClipsTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    self.source = sources.load(DataConfig(source="clips"), _MODEL, "train")

  def test_a_clip_is_a_function_of_split_and_index(self):
    example, again = self.source[2**29], clips.Clips("train")[2**29]
    np.testing.assert_array_equal(example["image"], again["image"])
    others = [clips.Clips(split)[i]["image"].tobytes() for split in ("train", "test")
              for i in range(50)]
    self.assertLen(set(others), 100)

  def test_one_shape_of_constant_size_stays_within_the_frame(self):
    for i in range(100):
      frames = self.source[i]["image"][..., 0]
      self.assertEqual(frames.shape, (8, 16, 16))
      self.assertBetween(abs(frames).max(), 0.4, 1.1)
      bright = frames > -0.3
      sizes = bright.sum(axis=(1, 2))
      self.assertGreater(sizes.min(), 6)
      self.assertLess(np.ptp(sizes), 0.45 * sizes.max())  # Up to its place among the pixels.
      for frame in bright:
        self.assertEqual(ndimage.label(frame, np.ones((3, 3)))[1], 1)

  def test_it_moves_at_constant_velocity_and_bounces_off_the_frame(self):
    changes, turns = [], 0
    for i in range(100):
      frames = self.source[i]["image"][..., 0] + 0.8
      centre = np.array([ndimage.center_of_mass(np.where(f > 0.3, f, 0)) for f in frames])
      velocity = np.diff(centre, axis=0)
      self.assertLess(abs(velocity).max(), 3.0)
      # Too far from the frame for a bounce between two of three frames.
      inner = (centre > 5) & (centre < 10)
      free = inner[:-2] & inner[1:-1] & inner[2:]
      changes.append(np.diff(velocity, axis=0)[free])
      turns += ((velocity.max(axis=0) > 0.5) & (velocity.min(axis=0) < -0.5)).sum()
    changes = np.concatenate(changes)
    self.assertGreater(len(changes), 50)
    self.assertLess(abs(changes).max(), 0.5)  # Up to the pixels that a shape covers.
    self.assertGreater(turns, 20)

  def test_classes_differ_in_their_middle(self):
    for i in range(60):
      example = self.source[i]
      frame = example["image"][0, ..., 0]
      row, column = np.round(ndimage.center_of_mass(frame > -0.3)).astype(int)
      self.assertEqual(frame[row, column] < -0.2, clips.CLASSES[example["label"]] == "ring")

  def test_another_shape_or_number_of_classes_is_refused(self):
    for changes, message in (({"image_shape": (4, 16, 16, 1)}, "clips images have shape"),
                             ({"num_classes": 2}, "clips has 3 classes, but")):
      with self.assertRaisesRegex(ValueError, message):
        sources.load(DataConfig(source="clips"), dataclasses.replace(_MODEL, **changes), "train")


if __name__ == "__main__":
  absltest.main()
