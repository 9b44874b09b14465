import pathlib
import tempfile
import wave

import numpy as np
from absl.testing import absltest

from ntm.sampling import pictures, sounds


def _tone(frequency, length=1024):
  return 0.8 * np.sin(2 * np.pi * frequency * np.arange(length) / sounds.RATE)[:, None]


class SoundsTest(absltest.TestCase):

  def test_a_tile_per_sound_and_frequencies_where_they_belong(self):
    rows = np.stack([[_tone(500), _tone(3000), _tone(0)]] * 2)
    picture = pictures.draw(rows)
    self.assertEqual(picture.dtype, np.uint8)
    height, width = picture.shape[0] // 2, picture.shape[1] // 3
    tiles = picture.reshape(2, height, 3, width).transpose(0, 2, 1, 3)
    np.testing.assert_array_equal(tiles[0], tiles[1])
    for tile, frequency in zip(tiles[0], (500, 3000)):
      spectrum = tile[height // 2 + 1:-1, 20:-20].mean(axis=1)  # Dark where there is sound.
      place = 1 - (spectrum.argmin() + 0.5) / len(spectrum)
      self.assertAlmostEqual(place, frequency / (sounds.RATE / 2), delta=0.03)
    silent = tiles[0, 2, 1:height // 2, 1:-1]
    self.assertLen(set(np.flatnonzero((silent == 0).any(axis=1))), 1)  # A straight line.

  def test_sequences_of_any_length_are_drawn(self):
    for length in (3, 64, 127, 128, 129, 5000):
      self.assertEqual(sounds.draw(np.zeros((1, 2, length, 1))).shape, (130, 260, 1))

  def test_loud_sounds_fill_the_waveform(self):
    picture = sounds.draw([[_tone(500) * 10]])
    line = picture[1:65, 1:-1, 0]
    self.assertTrue((line[0] == 0).any() and (line[-1] == 0).any())

  def test_a_file_holds_the_sounds_with_pauses(self):
    path = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())) / "two.wav"
    values = np.stack([_tone(500), 3 * _tone(700)])
    sounds.save(path, values)
    with wave.open(str(path)) as file:
      self.assertEqual((file.getframerate(), file.getnchannels(), file.getsampwidth()),
                       (sounds.RATE, 1, 2))
      found = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(2, -1) / 32767
    np.testing.assert_allclose(found[:, :1024], np.clip(values[..., 0], -1, 1), atol=1e-4)
    self.assertTrue((found[:, 1024:] == 0).all())

  def test_values_that_a_file_cannot_hold_are_counted(self):
    path = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())) / "one.wav"
    values = np.zeros((1, 1024, 1))
    values[0, :2, 0] = 1, -1
    with self.assertNoLogs("ntm", "WARNING"):
      sounds.save(path, values)
    values[0, 2:258, 0] = np.resize([1.5, -1.1], 256)
    with self.assertLogs("ntm", "WARNING") as logs:
      sounds.save(path, values)
    self.assertLen(logs.output, 1)
    self.assertIn(f"25 % of the values in {path} were outside [-1, 1]", logs.output[0])

  def test_what_is_a_sound(self):
    self.assertTrue(pictures.audible((1024, 1)))
    self.assertFalse(any(map(pictures.audible, ((2, 1), (1024, 2), (8, 8, 1), (8, 8, 8, 1)))))

  def test_frames_of_clips_are_side_by_side(self):
    clips = np.random.default_rng(0).uniform(-1, 1, (2, 3, 4, 16, 16, 1))
    np.testing.assert_array_equal(pictures.draw(clips),
                                  pictures.grid(clips.reshape(2, 12, 16, 16, 1)))


if __name__ == "__main__":
  absltest.main()
