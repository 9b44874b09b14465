"""Sounds as pictures and as WAV files."""

import logging
import os
import wave

import numpy as np

_LOG = logging.getLogger("ntm")
RATE = 8000  # Samples per second.
_HEIGHT, _WIDTH = 64, 128  # Pixels of a waveform and of the spectrogram below it.
_WINDOW = 128  # Samples behind a column of the spectrogram.
_RANGE = 60.0  # Decibels from black to white, below the loudest.
_PAUSE = RATE // 10  # Samples of silence between the sounds of a file.


def draw(rows) -> np.ndarray:
  """A picture of sounds: each its waveform, and below it its spectrogram, low frequencies below.

  Args:
    rows: [rows, columns, L, 1] in [-1, 1]; values outside are clipped.

  Returns:
    uint8, [height, width, 1].
  """
  tiles = [np.concatenate([np.pad(_tile(sound[:, 0]), 1, constant_values=96) for sound in row],
                          axis=1) for row in np.asarray(rows, np.float64)]
  return np.concatenate(tiles)[..., None]


def save(path: str | os.PathLike, sounds) -> None:
  """Writes sounds [M, L, 1] one after another as WAV, 16 bits, with pauses between them.

  Values outside [-1, 1] are clipped, and a warning says what share.
  """
  wave_ML = np.asarray(sounds)[..., 0]
  if clipped := np.mean(abs(wave_ML) > 1):
    _LOG.warning("%.2g %% of the values in %s were outside [-1, 1] and are clipped", 100 * clipped,
                 os.fspath(path))
  waves = np.pad(np.clip(wave_ML, -1, 1), ((0, 0), (0, _PAUSE)))
  with wave.open(os.fspath(path), "wb") as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(RATE)
    file.writeframes((waves * 32767).round().astype("<i2").tobytes())


def _tile(sound_L):
  # Short ones are stretched, so that every column has a sample.
  wave_L = sound_L.repeat(-(-_WIDTH // len(sound_L)))
  column_L = np.arange(len(wave_L)) * _WIDTH // len(wave_L)
  place_L = ((1 - np.clip(wave_L, -1, 1)) / 2 * (_HEIGHT - 1)).round().astype(int)
  line = np.full((_HEIGHT, _WIDTH), 255, np.uint8)
  for column in range(_WIDTH):
    places = place_L[column_L == column]
    line[places.min():places.max() + 1, column] = 0
  return np.concatenate([line, _spectrogram(sound_L)])


def _spectrogram(wave_L):
  """Short-time Fourier transform in decibels below its largest entry, [height, width]."""
  padded_L = np.pad(wave_L, _WINDOW // 2)
  start_W = np.linspace(0, len(wave_L) - 1, _WIDTH).astype(int)
  frames_WL = padded_L[start_W[:, None] + np.arange(_WINDOW)] * np.hanning(_WINDOW)
  power_WF = abs(np.fft.rfft(frames_WL)[:, :_HEIGHT])**2
  level_WF = 10 * np.log10(np.maximum(power_WF / max(power_WF.max(), 1e-12), 1e-12))
  return np.clip(-level_WF / _RANGE * 255, 0, 255).T[::-1].round().astype(np.uint8)
