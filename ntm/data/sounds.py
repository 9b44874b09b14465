"""Endless synthesised sounds of two classes, 1,024 samples at 8 kHz: data on one axis.

With time s in seconds, random phases and D = 0.128 s,

  0, a chirp    a sin(2 pi (f s + (g - f) s^2 / 2 D) + phase): from frequency f to g;
  1, a string   plucked: sum_h h^-1.5 exp(-h s / tau) sin(2 pi f h s + phase_h) over the
                harmonics h below 3 kHz,

each with a short attack, scaled to a peak below 1, with a little noise, so that sounds have a
density. Sound i of a split is a function of (split, i) alone.
"""

import numpy as np

from ntm.sampling.sounds import RATE

LENGTH = 1024  # Samples.
CLASSES = ("chirp", "string")
_EXAMPLES = {"train": 2**30, "test": 2**20}
_SECONDS = np.arange(LENGTH) / RATE
_ATTACK = 0.004  # Seconds until a sound is at its full level.
_HIGHEST = 3000.0  # Hz, of a harmonic.
_NOISE = 0.01


class Sounds:
  """Sounds by index.

  Attributes:
    num_classes: chirps and strings.
  """

  num_classes = len(CLASSES)

  def __init__(self, split: str):
    self._split = split

  def __len__(self) -> int:
    return _EXAMPLES[self._split]

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    """{"image": float32 [1024, 1] within [-1.1, 1.1], "label": int32, of `CLASSES`}."""
    rng = np.random.default_rng([self._split == "train", index])
    label = int(rng.integers(len(CLASSES)))
    wave_L = (_chirp, _string)[label](rng)
    wave_L *= np.minimum(_SECONDS / _ATTACK, 1) * rng.uniform(0.5, 1.0) / abs(wave_L).max()
    wave_L += _NOISE * rng.standard_normal(LENGTH)
    return {"image": wave_L.astype(np.float32)[:, None], "label": np.int32(label)}

  def record(self) -> list[str]:
    """The split."""
    return [f"synthesised chirps and strings, {self._split}"]


def _chirp(rng):
  first, last = np.exp(rng.uniform(np.log(100), np.log(1500), 2))
  sweep = first * _SECONDS + (last - first) * _SECONDS**2 / (2 * _SECONDS[-1])
  return np.sin(2 * np.pi * (sweep + rng.uniform()))


def _string(rng):
  pitch, decay = np.exp(rng.uniform(np.log([100, 0.05]), np.log([400, 0.3])))
  harmonic_H = np.arange(1, int(_HIGHEST / pitch) + 1)
  phase_HL = pitch * harmonic_H[:, None] * _SECONDS + rng.uniform(size=(len(harmonic_H), 1))
  level_HL = harmonic_H[:, None]**-1.5 * np.exp(-harmonic_H[:, None] * _SECONDS / decay)
  return (level_HL * np.sin(2 * np.pi * phase_HL)).sum(axis=0)
