"""Text features that condition samples, from a .npz file."""

import os
import zipfile
import zlib

import numpy as np


def read(path: str | os.PathLike, with_null: bool) -> tuple[np.ndarray, np.ndarray | None]:
  """Reads the features of texts, and those of the empty text if guidance needs them.

  Args:
    path: of a file that `numpy.savez` wrote.
    with_null: whether `null_text` is needed.

  Returns:
    (`text` [rows, M, W], `null_text` [M, W] or None).

  Raises:
    ValueError: the file cannot be read, or does not hold these arrays.
  """
  try:
    file = np.load(path)
    if not isinstance(file, np.lib.npyio.NpzFile):
      raise ValueError("it is one array")
    arrays = {name: file[name] for name in ("text", "null_text")[:1 + with_null] if name in file}
  except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
    raise ValueError(f"the text features in {path} cannot be read ({error}); expected a .npz file "
                     "as numpy.savez writes it.") from error
  if len(arrays) < 1 + with_null:
    raise ValueError(f"{path} holds {', '.join(file) or 'nothing'}; expected `text` and, with "
                     "guidance, `null_text`.")
  rows = arrays["text"]
  if not rows.ndim or not len(rows):
    raise ValueError(f"{path} holds `text` of shape {rows.shape}; expected features [rows, M, W], "
                     "at least one row.")
  return rows, arrays.get("null_text")
