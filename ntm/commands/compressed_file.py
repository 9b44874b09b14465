"""Files of losslessly compressed images, for `ntm likelihood`."""

import logging
import math
import pathlib

import numpy as np

from ntm.commands import entry_point
from ntm.commands.progress import progress
from ntm.likelihood import compression
from ntm.sampling import pictures

_LOG = logging.getLogger("ntm")


def write(path: str, model, images: np.ndarray, labels: np.ndarray | None, num_steps: int,
          level_spacing: float, seed: int) -> dict[str, float | bool]:
  """Compresses images into a file, decodes it, and prints and returns what the code costs.

  The file appears only if it decodes to the same images and labels.

  Args:
    path: of the file.
    model: a restored NTM (`ntm.api.Model`) that `compression.check_codable` accepts.
    images: float32 [B, *image_shape] in [-1, 1], on levels.
    labels: class indices [B], or None for a model without classes.
    num_steps: T.
    level_spacing: h, distance of the levels.
    seed: of the initial bits.

  Returns:
    Number of images, settings, "equal", and `compression.figures`.

  Raises:
    ValueError: images or a model that cannot be coded, or a file that decodes to something else.
  """
  _LOG.info("compressing %d images", len(images))
  with progress("compressing", "images") as report:
    data, sizes = compression.compress(model, images, labels, num_steps, level_spacing, seed,
                                       report)
  entry_point.make_parent(path)
  partial = pathlib.Path(f"{path}.partial")
  try:
    partial.write_bytes(data)
    with progress("decompressing", "images") as report:
      decoded, decoded_labels = compression.decompress(model, partial.read_bytes(), report)
    if not (np.array_equal(decoded, images) and np.array_equal(decoded_labels, labels)):
      raise ValueError(f"the images of {path} did not come back as they were, and it is not "
                       "written; expected a lossless code. Try another --seed, and report it.")
    partial.replace(path)
  finally:
    partial.unlink(missing_ok=True)
  result = {"images": len(images), "checkpoint": model.step, "num_steps": num_steps,
            "level_spacing": level_spacing, "equal": True} | compression.figures(
                model, sizes, images, labels, num_steps, level_spacing)
  _print(path, result, labels is not None)
  return result


def read(path: str) -> bytes:
  """The content of --decompress, a file that `write` wrote.

  Raises:
    ValueError: it cannot be read.
  """
  try:
    return pathlib.Path(path).read_bytes()
  except OSError as error:
    raise ValueError(f"--decompress is {path}, which cannot be read ({error.strerror}); expected a "
                     "file of --compress.") from error


def write_images(output: str, model, data: bytes) -> None:
  """Decodes the content of a file to OUTPUT.npz, `images` and `labels`, and OUTPUT.png.

  Args:
    output: path without suffix.
    model: the restored NTM that compressed the images.
    data: as `read` returns it.

  Raises:
    ValueError: as `compression.decompress`.
  """
  with progress("decompressing", "images") as report:
    images, labels = compression.decompress(model, data, report)
  entry_point.make_parent(output)
  np.savez(f"{output}.npz", images=images, **({} if labels is None else {"labels": labels}))
  columns = math.isqrt(len(images) - 1) + 1
  blank = np.ones((-len(images) % columns, *images.shape[1:]), images.dtype)
  pictures.save(f"{output}.png", pictures.draw(
      np.concatenate([images, blank]).reshape(-1, columns, *images.shape[1:])))
  _LOG.info("wrote %s.npz and .png: %d images", output, len(images))


def _print(path, result, labelled) -> None:
  """Prints the cost with its definition."""
  print(f"Code of {result['images']} test images, T = {result['num_steps']}, in bits/dim:\n"
        f"  net, what the images added           {result['bits_per_dim']:.4f}\n"
        f"  bound of the same trajectories       {result['bound_of_the_same_draws']:.4f}"
        f"   (net differs by {result['longer_by']:+.4%})\n"
        f"  file, with initial bits and labels   {result['file_bits_per_dim']:.4f}\n"
        f"{path}: {result['file_bits'] // 8:,} bytes, which decode to the same images"
        f"{' and labels' if labelled else ''}.")
