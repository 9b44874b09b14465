"""Draws images: ntm sample --workdir=runs/digits --labels=0,1,2 --num=8.

Writes OUTPUT.png, one row a label or text, and OUTPUT.npz with `images` (float32,
[-1, 1]) and `labels`; latents as .npz alone.
"""

import logging
import pathlib

import jax
import numpy as np
from absl import flags

from ntm import api
from ntm.api import checks
from ntm.commands import program
from ntm.inference import ode, pictures

_LOG = logging.getLogger("ntm")
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run.")
_OUTPUT = flags.DEFINE_string(
    "output", None, "Path without suffix; default WORKDIR/samples/sample.")
_LABELS = flags.DEFINE_list("labels", None, "Classes, one row each; default all (at most 10).")
_TEXT = flags.DEFINE_string(
    "text", None, "Of a model of texts: .npz with features `text` [rows, M, W] and, for guidance, "
    "`null_text` [M, W].")
_NUM = flags.DEFINE_integer("num", 8, "Images a label.", lower_bound=1)
_STEPS = flags.DEFINE_integer(
    "steps", None, "T; default the first the model was trained for; of flow matching, 50.")
_GUIDANCE = flags.DEFINE_float("guidance", 0.0, "Classifier-free guidance scale.")
_REFINE = flags.DEFINE_enum("refine", "score", ["none", "score", "denoiser"],
                            "How the last state of an NTM is denoised.")
_SOLVER = flags.DEFINE_enum("solver", "euler", ode.SOLVERS, "Of a flow-matching model.")
_CLIP = flags.DEFINE_float("clip_percentile", 100.0, "Clips the score's entries; 100 does not.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the samples.", lower_bound=0)
_STEP = flags.DEFINE_integer("checkpoint", None, "Checkpoint step; default the newest.")
flags.mark_flag_as_required("workdir")


def main(_) -> None:
  """Samples and writes the files."""
  model = api.restore(_WORKDIR.value, _STEP.value)
  rows, how = _conditions(model.config.model)
  labels = np.repeat(rows, _NUM.value, axis=0) if len(rows) else None
  how |= {} if _STEPS.value is None else {"num_steps": _STEPS.value}
  if isinstance(model, api.Model):
    program.refuse(["solver"], "the model is an NTM")
    how |= {"refine": None if _REFINE.value == "none" else _REFINE.value,
            "clip_percentile": _CLIP.value}
  else:
    program.refuse(["refine", "clip_percentile"], "the model is a flow-matching one")
    how |= {"solver": _SOLVER.value}
  images = model.sample(jax.random.key(_SEED.value), labels, guidance=_GUIDANCE.value,
                        num_samples=None if len(rows) else _NUM.value, **how)
  checks.finite("images", images)
  output = pathlib.Path(_OUTPUT.value or pathlib.Path(_WORKDIR.value) / "samples" / "sample")
  output.parent.mkdir(parents=True, exist_ok=True)
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
    program.refuse(["labels"], "the model is conditioned on text")
    if not _TEXT.value:
      raise ValueError("the model is conditioned on text; expected features in --text=FILE.npz.")
    with np.load(_TEXT.value) as file:
      if "text" not in file or (_GUIDANCE.value and "null_text" not in file):
        raise ValueError(f"{_TEXT.value} holds {', '.join(file) or 'nothing'}; expected `text` "
                         "and, with --guidance, `null_text`.")
      return file["text"], {"null_text": file["null_text"]} if _GUIDANCE.value else {}
  program.refuse(["text"], "the model is not conditioned on text")
  try:
    rows = ([int(label) for label in _LABELS.value] if _LABELS.value
            else range(min(config.num_classes, 10)))
  except ValueError as error:
    raise ValueError(f"--labels is {_LABELS.value}; expected integers, as in 0,1,2.") from error
  return np.asarray(rows, np.int32), {}


def run(argv=None) -> None:
  """Entry point."""
  program.run(main, argv)


if __name__ == "__main__":
  run()
