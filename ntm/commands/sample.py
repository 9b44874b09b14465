"""Draws images: ntm sample --workdir=runs/digits --labels=0,1,2 --num=8.

Writes OUTPUT.png, one row a label, and OUTPUT.npz with `images` (float32,
[-1, 1]) and `labels`.
"""

import logging
import pathlib

import jax
import numpy as np
from absl import flags

from ntm import api
from ntm.commands import program
from ntm.inference import ode, pictures

_LOG = logging.getLogger("ntm")
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run.")
_OUTPUT = flags.DEFINE_string(
    "output", None, "Path without suffix; default WORKDIR/samples/sample.")
_LABELS = flags.DEFINE_list("labels", None, "Classes, one row each; default all (at most 10).")
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
  classes = model.config.model.num_classes
  try:
    rows = ([int(label) for label in _LABELS.value] if _LABELS.value
            else list(range(min(classes, 10))))
  except ValueError as error:
    raise ValueError(f"--labels is {_LABELS.value}; expected integers, as in 0,1,2.") from error
  labels = np.repeat(rows, _NUM.value).astype(np.int32) if rows else None
  how = {} if _STEPS.value is None else {"num_steps": _STEPS.value}
  if isinstance(model, api.Model):
    program.refuse(["solver"], "the model is an NTM")
    how |= {"refine": None if _REFINE.value == "none" else _REFINE.value,
            "clip_percentile": _CLIP.value}
  else:
    program.refuse(["refine", "clip_percentile"], "the model is a flow-matching one")
    how |= {"solver": _SOLVER.value}
  images = model.sample(jax.random.key(_SEED.value), labels, guidance=_GUIDANCE.value,
                        num_samples=None if rows else _NUM.value, **how)
  output = pathlib.Path(_OUTPUT.value or pathlib.Path(_WORKDIR.value) / "samples" / "sample")
  output.parent.mkdir(parents=True, exist_ok=True)
  arrays = {"images": images} if labels is None else {"images": images, "labels": labels}
  np.savez(f"{output}.npz", **arrays)
  if images.ndim == 4:
    pictures.save(f"{output}.png", pictures.grid(
        images.reshape(len(rows) or 1, _NUM.value, *images.shape[1:])))
  _LOG.info("wrote %s.npz and .png: %d images of checkpoint %d", output, len(images), model.step)


def run(argv=None) -> None:
  """Entry point."""
  program.run(main, argv)


if __name__ == "__main__":
  run()
