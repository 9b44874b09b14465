"""Draws images from a trained model.

  ntm sample --workdir=runs/digits --labels=0,1,2 --num=8

Writes OUTPUT.npz with `images` (float32, nominally [-1, 1], not clipped) and `labels`,
and OUTPUT.png with one row per label or text; latents are written as .npz alone.
"""

import logging

import jax
import numpy as np
from absl import flags

from ntm import api
from ntm.api import checks
from ntm.commands import entry_point, shared_flags
from ntm.commands.progress import progress
from ntm.data import text_features
from ntm.sampling import pictures

_LOG = logging.getLogger("ntm")
FLAGS = flags.FlagValues()
_WORKDIR = shared_flags.workdir(FLAGS)
_CHECKPOINT = shared_flags.checkpoint(FLAGS)
_OUTPUT = shared_flags.output(FLAGS, "WORKDIR/samples/sample")
_LABELS = flags.DEFINE_list("labels", None, "Class indices, one row of images per class; by "
                            "default all classes, at most the first 10.", flag_values=FLAGS)
_TEXT = flags.DEFINE_string(
    "text", None, "Text features for a model conditioned on text: a .npz file with `text` "
    "[rows, M, W] and, for guidance, `null_text` [M, W].", flag_values=FLAGS)
_NUM = shared_flags.count(FLAGS, "num", 8, "Number of images per label or text; for an "
                          "unconditional model, in total.")
_STEPS = shared_flags.sampling_steps(FLAGS)
_GUIDANCE = shared_flags.guidance(FLAGS)
_REFINE = shared_flags.refine(FLAGS)
_SOLVER = shared_flags.solver(FLAGS)
_CLIP = flags.DEFINE_float("clip_percentile", 100.0, "Percentile of the score's entries beyond "
                           "which they are clipped; 100 does not clip.", 0, 100, flag_values=FLAGS)
_SEED = shared_flags.seed(FLAGS, "sampling")


def main(_) -> None:
  """Samples and writes the files."""
  output = entry_point.output_path(_OUTPUT, _WORKDIR.value, "samples/sample", (".npz", ".png"))
  model = api.restore(_WORKDIR.value, _CHECKPOINT.value)
  rows, how = _conditions(model.config.model)
  labels = np.repeat(rows, _NUM.value, axis=0) if len(rows) else None
  how |= {} if _STEPS.value is None else {"num_steps": _STEPS.value}
  if isinstance(model, api.Model):
    entry_point.refuse(FLAGS, ["solver"], "the model is an NTM")
    how |= {"refine": _REFINE.value, "clip_percentile": _CLIP.value}
  else:
    entry_point.refuse(FLAGS, ["refine", "clip_percentile"], "the model is a flow-matching one")
    how |= {"solver": _SOLVER.value}
  with progress("sampling") as report:
    images = model.sample(jax.random.key(_SEED.value), labels, guidance=_GUIDANCE.value,
                          num_samples=None if len(rows) else _NUM.value, progress=report, **how)
  checks.finite("images", images)
  entry_point.make_parent(output)
  np.savez(f"{output}.npz", images=images, **({} if labels is None else {"labels": labels}))
  drawn = pictures.drawable(images.shape[1:])
  if drawn:
    pictures.save(f"{output}.png", pictures.draw(
        images.reshape(len(rows) or 1, _NUM.value, *images.shape[1:])))
  _LOG.info("wrote %s.npz%s: %d images of checkpoint %d", output, " and .png" if drawn else "",
            len(images), model.step)


def _conditions(config) -> tuple[np.ndarray, dict]:
  """(labels or text features of the rows, empty if unconditional; arguments for guidance)."""
  if config.backbone.text_tokens:
    entry_point.refuse(FLAGS, ["labels"], "the model is conditioned on text")
    if not _TEXT.value:
      raise ValueError("the model is conditioned on text; expected features in --text=FILE.npz.")
    rows, null_text = text_features.read(_TEXT.value, with_null=bool(_GUIDANCE.value))
    return rows, {} if null_text is None else {"null_text": null_text}
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


run = entry_point.command(main, FLAGS, __doc__)

if __name__ == "__main__":
  run()
