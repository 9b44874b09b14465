"""Our numbers against PyTorch's; --log-cli-level=INFO shows how far apart they are."""

import logging

import numpy as np

_LOG = logging.getLogger(__name__)


def assert_close(what: str, ours, theirs, tolerance: float = 1e-4) -> None:
  """The largest error is at most this part of the largest number."""
  ours, theirs = np.asarray(ours), np.asarray(theirs)
  assert ours.shape == theirs.shape, f"{what}: {ours.shape}, expected {theirs.shape}"
  error = np.abs(ours - theirs).max() / np.abs(theirs).max()
  _LOG.info("%s: %.1e", what, error)
  assert error <= tolerance, f"{what}: off by {error:.1e} of the largest, beyond {tolerance:.0e}"
