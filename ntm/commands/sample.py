"""Draws images, sounds or clips from a trained model.

  ntm sample --workdir=runs/digits --labels=0,1,2 --num=8
  ntm sample --workdir=runs/shapes --prompts="a red ring above a blue square" --num=4

Writes OUTPUT.npz with `images` (float32, nominally [-1, 1], not clipped) and `labels` or
`prompts`, and OUTPUT.png with one row per label, text or prompt; sounds also as OUTPUT.wav, and
latents of a model without an autoencoder as .npz alone. For the official tools of GenEval and
DPG-Bench:

  ntm sample --workdir=DIR --layout=geneval --prompts_file=evaluation_metadata.jsonl --output=OUT
"""

import dataclasses
import hashlib
import json
import logging
import pathlib
import re

import jax
import numpy as np
from absl import flags

from ntm import api
from ntm.api import batching, checks
from ntm.api.velocity import DEFAULT_STEPS
from ntm.commands import entry_point, sampled_prompts, shared_flags
from ntm.commands.progress import progress
from ntm.config import Config, MeshConfig
from ntm.data import text_features
from ntm.data.prompts import Tokens
from ntm.evaluation import layouts
from ntm.sampling import pictures, sounds
from ntm.training import multihost
from ntm.training import workdir as workdir_lib

_LOG = logging.getLogger("ntm")
FLAGS = flags.FlagValues()
_WORKDIR = shared_flags.workdir(FLAGS)
_CHECKPOINT = shared_flags.checkpoint(FLAGS)
_OUTPUT = shared_flags.output(FLAGS, "WORKDIR/samples/sample", "the .npz, of the .png unless "
                              "samples are latents, and of the .wav of sounds,")
_LABELS = flags.DEFINE_list("labels", None, "Class indices, one row of samples per class; by "
                            "default all classes, at most the first 10.", flag_values=FLAGS)
_TEXT = flags.DEFINE_string(
    "text", None, "Text features for a model conditioned on text: a .npz file with `text` "
    "[rows, M, W] and, for guidance, `null_text` [M, W].", flag_values=FLAGS)
_PROMPTS = flags.DEFINE_multi_string(
    "prompts", None, "A text, for a model that reads prompts. Repeat the flag for more rows.",
    flag_values=FLAGS)
# absl's remark that the flag may be repeated would follow the sentence that says so.
FLAGS["prompts"].help = FLAGS["prompts"].help.partition(";\n")[0]
_PROMPTS_FILE = flags.DEFINE_string("prompts_file", None, "File with one prompt per line.",
                                    flag_values=FLAGS)
_LAYOUT = flags.DEFINE_enum(
    "layout", None, layouts.LAYOUTS, "Write PNG files into the folder --output as the tools of "
    "GenEval or DPG-Bench read them; --prompts_file is then their own file or folder of prompts. "
    "The same command continues where an interrupted one stopped.", flag_values=FLAGS)
_NUM = shared_flags.count(FLAGS, "num", None, "Number of samples per label, text or prompt; for an "
                          "unconditional model, in total. 8 by default, 4 with --layout.")
_STEPS = shared_flags.sampling_steps(FLAGS)
_GUIDANCE = shared_flags.guidance(FLAGS)
_REFINE = shared_flags.refine(FLAGS)
_SOLVER = shared_flags.solver(FLAGS)
_CLIP = flags.DEFINE_float("clip_percentile", 100.0, "Percentile of the score's entries beyond "
                           "which they are clipped; 100 does not clip.", 0, 100, flag_values=FLAGS)
_SEED = shared_flags.seed(FLAGS, "sampling")
_MESH = flags.DEFINE_list("mesh", None, "Sizes of a mesh over all devices, DATA,FSDP,TENSOR, as in "
                          "2,4,1; one -1 takes what is left. By default one device samples, which "
                          "several processes cannot.", flag_values=FLAGS)


def main(_) -> None:
  """Samples and writes the files."""
  if _LAYOUT.value:
    return _sample_benchmark()
  output = entry_point.output_path(_OUTPUT, _WORKDIR.value, "samples/sample",
                                   (".npz", ".png", ".wav"))
  config, num = _config(), _NUM.value or 8
  how = _settings(config)
  rows, texts, conditions = _conditions(config)
  model = _restore()
  labels = np.repeat(rows, num, axis=0) if len(rows) else None
  read = labels if texts is None else texts.rows(np.repeat(np.arange(len(rows)), num))
  with progress("sampling", compiles=True) as report:
    images = model.sample(jax.random.key(_SEED.value), read, num_samples=None if len(rows) else num,
                          progress=report, **conditions, **how)
  checks.finite("images", images)
  if not multihost.is_primary_process():
    return
  entry_point.make_parent(output)
  np.savez(f"{output}.npz", images=images, **(
      {} if labels is None else {"labels" if texts is None else "prompts": labels}))
  drawn = pictures.drawable(images.shape[1:])
  if drawn:
    grid = images.reshape(len(rows) or 1, num, *images.shape[1:])
    pictures.save(f"{output}.png", pictures.draw(grid) if texts is None else
                  pictures.captioned(grid, labels.reshape(grid.shape[:2])))
  audible = config.data.source == "sounds"  # Of other data on one axis the rate is unknown.
  if audible:
    sounds.save(f"{output}.wav", images)
  _LOG.info("wrote %s.npz%s%s: %d images of checkpoint %d", output, ", .wav" if audible else "",
            " and .png" if drawn else "", len(images), model.step)


def _config() -> Config:
  """The config of the run: flags are checked against it before the checkpoint is read."""
  config = workdir_lib.read(_WORKDIR.value)
  return _restore().config if config is None else config  # Which says what is missing.


def _restore():
  """The model on its mesh."""
  sizes = _MESH.value
  if sizes is not None and (len(sizes) != 3 or sizes.count("-1") > 1 or not all(
      re.fullmatch(r"-1|[1-9]\d{0,5}", size) for size in sizes)):
    raise ValueError(f"--mesh is {','.join(sizes)}; expected three sizes, DATA,FSDP,TENSOR, as in "
                     "2,4,1, positive with at most one -1.")
  if sizes is None and jax.process_count() > 1:
    raise ValueError(f"--mesh is missing, and {jax.process_count()} processes sample on one mesh "
                     "over the devices of all; expected three sizes, such as --mesh=-1,1,1.")
  mesh = None if sizes is None else MeshConfig(*map(int, sizes))
  return api.restore(_WORKDIR.value, _CHECKPOINT.value, mesh=mesh)


def _settings(config: Config) -> dict:
  """Arguments of `sample` from the flags; ValueError for one that the model does not read."""
  how = {"guidance": _GUIDANCE.value}
  how |= {} if _STEPS.value is None else {"num_steps": _STEPS.value}
  if config.model.kind == "ntm":
    entry_point.refuse(FLAGS, ["solver"], "the model is an NTM")
    return how | {"refine": _REFINE.value, "clip_percentile": _CLIP.value}
  entry_point.refuse(FLAGS, ["refine", "clip_percentile"], "the model is a flow-matching one")
  return how | {"solver": _SOLVER.value}


def _sample_benchmark() -> None:
  """Samples of all prompts of a benchmark, those that are done left out."""
  layout, num = _LAYOUT.value, _NUM.value or layouts.NUM_IMAGES
  for flag, purpose in ((_OUTPUT, "a folder for the pictures"),
                        (_PROMPTS_FILE, "the benchmark's own file or folder of prompts")):
    if not flag.value:
      raise ValueError(f"--layout is {layout}, and --{flag.name} is missing; expected {purpose}.")
  entry_point.check_directory("output", _OUTPUT.value)
  entry_point.refuse(FLAGS, ["prompts"], f"--layout={layout} reads those of --prompts_file")
  if layout == "dpg" and num != layouts.NUM_IMAGES:
    raise ValueError(f"--num is {num}; expected {layouts.NUM_IMAGES} with --layout=dpg, whose "
                     "files are grids of 2 x 2.")
  directory = pathlib.Path(_OUTPUT.value)
  layouts.check_apart(directory, _PROMPTS_FILE.value)
  items, config = layouts.read(layout, _PROMPTS_FILE.value), _config()
  if not config.text.tokenizer:
    raise ValueError(f"--layout is {layout}, but the model in {_WORKDIR.value} has no tokenizer; "
                     "expected one that reads prompts.")
  how, size = _settings(config), max(1, batching.SIZE // num)
  tokens = sampled_prompts.tokens(
      config, [item.prompt for item in items],
      lambda i: layouts.place(layout, _PROMPTS_FILE.value, items[i]))
  model = _restore()
  texts = json.dumps([dataclasses.astuple(item) for item in items])
  made_by = entry_point.provenance(workdir_lib.absolute(_WORKDIR.value), config)
  steps = (checks.num_steps(config, _STEPS.value) if config.model.kind == "ntm"
           else _STEPS.value or DEFAULT_STEPS)
  settings = {name: value for name, value in how.items() if name != "num_steps"} | {
      "layout": layout, "steps": steps, "prompts": len(items), "num": num, "seed": _SEED.value,
      "checkpoint": model.step, "prompts_sha256": hashlib.sha256(texts.encode()).hexdigest(),
      **{name: made_by[name] for name in ("workdir", "config_sha256")}}
  if multihost.is_primary_process():  # It alone writes, and knows what is there.
    layouts.check_settings(directory, settings)
  done = json.loads(multihost.allgather_strings(json.dumps(
      [item.name for item in items if layouts.is_done(layout, directory, item, num)]))[0])
  with progress("sampling", compiles=True) as report:
    # The same groups and keys in every run: what is drawn does not depend on where one stopped.
    for i, start in enumerate(range(0, len(items), size)):
      group = items[start:start + size]
      if not all(item.name in done for item in group):
        texts = tokens.rows(np.repeat(np.arange(start, start + len(group)), num))
        images = model.sample(jax.random.fold_in(jax.random.key(_SEED.value), i), texts, **how)
        checks.finite("images", images)
        for item, rows in zip(group, images.reshape(len(group), num, *images.shape[1:])):
          if item.name not in done and multihost.is_primary_process():
            layouts.write(layout, directory, item, rows)
      report(start + len(group), len(items))
  _LOG.info("wrote %d images per prompt for %d prompts to %s, of checkpoint %d; %d prompts were "
            "there before", num, len(items) - len(done), directory, model.step, len(done))


def _conditions(config: Config) -> tuple[np.ndarray, Tokens | None, dict]:
  """What conditions the rows.

  Returns:
    (labels, prompts or text features of the rows, empty if unconditional; the token ids of
    prompts; guidance's arguments).
  """
  if config.text.tokenizer:
    entry_point.refuse(FLAGS, ["labels", "text"], "the model reads prompts")
    prompts, path = sampled_prompts.read(_PROMPTS.value, _PROMPTS_FILE.value), _PROMPTS_FILE.value
    place = path and (lambda i: f"line {i + 1} of {path}")
    return np.array(prompts), sampled_prompts.tokens(config, prompts, place or None), {}
  entry_point.refuse(FLAGS, ["prompts", "prompts_file"], "the model has no tokenizer")
  config = config.model
  if config.backbone.text_tokens:
    entry_point.refuse(FLAGS, ["labels"], "the model is conditioned on text")
    if not _TEXT.value:
      raise ValueError("the model is conditioned on text; expected features in --text=FILE.npz.")
    rows, null_text = text_features.read(_TEXT.value, with_null=bool(_GUIDANCE.value))
    return rows, None, {} if null_text is None else {"null_text": null_text}
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
  return np.asarray(rows, np.int32), None, {}


run = entry_point.command(main, FLAGS, __doc__, several_processes=True)

if __name__ == "__main__":
  run()
