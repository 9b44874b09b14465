"""Draws images from a trained model.

  ntm sample --workdir=runs/digits --labels=0,1,2 --num=8

Writes OUTPUT.png, one row a label or text, and OUTPUT.npz with `images` (float32,
nominally [-1, 1], not clipped) and `labels`; latents as .npz alone.
"""

import logging
import pathlib
import zipfile
import zlib

import jax
import numpy as np
from absl import flags

from ntm import api
from ntm.api import checks
from ntm.commands import entry_point
from ntm.commands.progress import progress
from ntm.sampling import ode, pictures

_LOG = logging.getLogger("ntm")
FLAGS = flags.FlagValues()
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run.", required=True,
                               flag_values=FLAGS)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Path without suffix of the files to write; WORKDIR/samples/sample if left "
    "out.", flag_values=FLAGS)
_LABELS = flags.DEFINE_list("labels", None, "Classes, one row of images each; all, at most the "
                            "first 10, if left out.", flag_values=FLAGS)
_TEXT = flags.DEFINE_string(
    "text", None, "For a model of texts: .npz file with features `text` [rows, M, W] and, for "
    "guidance, `null_text` [M, W].", flag_values=FLAGS)
_NUM = flags.DEFINE_integer("num", 8, "Images per label or text; of an unconditional model, in "
                            "all.", 1, entry_point.MANY, flag_values=FLAGS)
_STEPS = flags.DEFINE_integer(
    "steps", None, "Sampling steps T; the first T the model was trained for if left out, 50 of a "
    "flow-matching model.", 1, entry_point.MANY, flag_values=FLAGS)
_GUIDANCE = flags.DEFINE_float("guidance", 0.0, "Scale of classifier-free guidance; 0 is none.",
                               0, entry_point.MANY, flag_values=FLAGS)
_REFINE = flags.DEFINE_enum("refine", "score", ["none", "score", "denoiser"],
                            "How the last state of an NTM is denoised.", flag_values=FLAGS)
_SOLVER = flags.DEFINE_enum("solver", "euler", ode.SOLVERS, "ODE solver of a flow-matching model.",
                            flag_values=FLAGS)
_CLIP = flags.DEFINE_float("clip_percentile", 100.0, "Percentile at which the entries of the score "
                           "are clipped; 100 clips none.", 0, 100, flag_values=FLAGS)
_SEED = flags.DEFINE_integer("seed", 0, "Random seed for sampling.", 0, entry_point.MAX_SEED,
                             flag_values=FLAGS)
_STEP = flags.DEFINE_integer("checkpoint", None, "Step of the checkpoint; the newest if left out.",
                             flag_values=FLAGS)


def main(_) -> None:
  """Samples and writes the files."""
  output = _OUTPUT.value or str(pathlib.Path(_WORKDIR.value) / "samples" / "sample")
  if not _OUTPUT.value and "://" in _WORKDIR.value:
    raise ValueError(f"--workdir is {_WORKDIR.value}, which is not on this machine; expected a "
                     "local path for the images in --output.")
  entry_point.check_output("output", output, (".npz", ".png"))
  model = api.restore(_WORKDIR.value, _STEP.value)
  rows, how = _conditions(model.config.model)
  labels = np.repeat(rows, _NUM.value, axis=0) if len(rows) else None
  how |= {} if _STEPS.value is None else {"num_steps": _STEPS.value}
  if isinstance(model, api.Model):
    entry_point.refuse(FLAGS, ["solver"], "the model is an NTM")
    how |= {"refine": None if _REFINE.value == "none" else _REFINE.value,
            "clip_percentile": _CLIP.value}
  else:
    entry_point.refuse(FLAGS, ["refine", "clip_percentile"], "the model is a flow-matching one")
    how |= {"solver": _SOLVER.value}
  with progress("sampling") as report:
    images = model.sample(jax.random.key(_SEED.value), labels, guidance=_GUIDANCE.value,
                          num_samples=None if len(rows) else _NUM.value, progress=report, **how)
  checks.finite("images", images)
  pathlib.Path(output).parent.mkdir(parents=True, exist_ok=True)
  arrays = {"images": images} if labels is None else {"images": images, "labels": labels}
  np.savez(f"{output}.npz", **arrays)
  drawn = pictures.drawable(images.shape[1:])
  if drawn:
    pictures.save(f"{output}.png", pictures.grid(
        images.reshape(len(rows) or 1, _NUM.value, *images.shape[1:])))
  _LOG.info("wrote %s.npz%s: %d images of checkpoint %d", output, " and .png" if drawn else "",
            len(images), model.step)


def _conditions(config) -> tuple[np.ndarray, dict]:
  """(labels or text features of the rows, or none; keywords for guidance) by the flags."""
  if config.backbone.text_tokens:
    entry_point.refuse(FLAGS, ["labels"], "the model is conditioned on text")
    if not _TEXT.value:
      raise ValueError("the model is conditioned on text; expected features in --text=FILE.npz.")
    return _texts(_TEXT.value)
  entry_point.refuse(FLAGS, ["text"], "the model is not conditioned on text")
  if not config.num_classes:
    entry_point.refuse(FLAGS, ["labels"], "the model is unconditional")
  try:
    rows = ([int(label) for label in _LABELS.value] if _LABELS.value
            else range(min(config.num_classes, 10)))
  except ValueError as error:
    raise ValueError(f"--labels is {','.join(_LABELS.value)}; expected integers, as in "
                     "0,1,2.") from error
  for label in rows:
    if not 0 <= label < config.num_classes:
      raise ValueError(f"label {label} is out of range; classes are 0 to "
                       f"{config.num_classes - 1}.")
  return np.asarray(rows, np.int32), {}


def _texts(path) -> tuple[np.ndarray, dict]:
  """Features of the rows, and those of the empty text as a keyword if there is guidance."""
  try:
    file = np.load(path)
    if not isinstance(file, np.lib.npyio.NpzFile):
      raise ValueError("it is one array")
    names = ["text", "null_text"] if _GUIDANCE.value else ["text"]
    arrays = {name: file[name] for name in names if name in file}
  except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
    raise ValueError(f"--text is {path}, which cannot be read ({error}); expected a .npz file as "
                     "numpy.savez writes it.") from error
  if len(arrays) < len(names):
    raise ValueError(f"{path} holds {', '.join(file) or 'nothing'}; expected `text` and, with "
                     "--guidance, `null_text`.")
  rows = arrays.pop("text")
  if not rows.ndim or not len(rows):
    raise ValueError(f"{path} holds `text` of shape {rows.shape}; expected features [rows, M, W], "
                     "at least one row.")
  return rows, arrays


def run(argv=None) -> None:
  """Entry point."""
  entry_point.run(main, argv, values=FLAGS, about=__doc__)


if __name__ == "__main__":
  run()
