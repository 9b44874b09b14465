import dataclasses

import numpy as np
from absl.testing import absltest, parameterized

from ntm.config import DataConfig, ModelConfig
from ntm.data import sounds, sources
from ntm.sampling.sounds import RATE

_MODEL = ModelConfig(image_shape=(1024, 1), patch_shape=(16,), num_classes=2)


def _peaks(wave_L, first, last):
  """Frequency of the largest entry of the spectrum of samples [first, last)."""
  part_L = wave_L[first:last] * np.hanning(last - first)
  return abs(np.fft.rfft(part_L, 8192)).argmax() * RATE / 8192


class SoundsTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.source = sources.load(DataConfig(source="sounds"), _MODEL, "train")

  def _of(self, label, count=40):
    found = [self.source[i] for i in range(4 * count)]
    return [example["image"][:, 0] for example in found if example["label"] == label][:count]

  def test_a_sound_is_a_function_of_split_and_index(self):
    example, again = self.source[2**29], sounds.Sounds("train")[2**29]
    np.testing.assert_array_equal(example["image"], again["image"])
    self.assertEqual(example["label"], again["label"])
    others = [sounds.Sounds(split)[i]["image"].tobytes() for split in ("train", "test")
              for i in range(50)]
    self.assertLen(set(others), 100)

  def test_shapes_and_range(self):
    for i in range(100):
      example = self.source[i]
      self.assertEqual((example["image"].shape, example["image"].dtype), ((1024, 1), np.float32))
      self.assertBetween(abs(example["image"]).max(), 0.45, 1.1)
      self.assertIn(example["label"], (0, 1))

  def test_a_chirp_goes_from_one_frequency_to_another(self):
    change = [_peaks(wave, 768, 1024) - _peaks(wave, 0, 256) for wave in self._of(0)]
    self.assertGreater(np.mean(np.abs(change) > 60), 0.6)  # Few happen to stay.
    self.assertGreater(np.max(change), 200)
    self.assertLess(np.min(change), -200)

  def test_a_string_keeps_its_pitch_and_decays(self):
    for wave in self._of(1):
      self.assertAlmostEqual(_peaks(wave, 0, 512), _peaks(wave, 512, 1024), delta=25)
      self.assertBetween(_peaks(wave, 0, 512), 80, 420)
      self.assertLess(wave[768:].std(), 0.9 * wave[:256].std())

  def test_another_shape_or_number_of_classes_is_refused(self):
    for changes, message in (({"image_shape": (512, 1)}, r"sounds images have shape \(1024, 1\)"),
                             ({"num_classes": 3}, "sounds has 2 classes, but")):
      with self.assertRaisesRegex(ValueError, message):
        sources.load(DataConfig(source="sounds"), dataclasses.replace(_MODEL, **changes), "train")

  def test_they_are_endless_without_levels(self):
    data = DataConfig(source="sounds")
    self.assertTrue(sources.endless(data))
    with self.assertRaisesRegex(ValueError, "source is 'sounds'; expected images"):
      sources.level_spacing(data)


if __name__ == "__main__":
  absltest.main()
