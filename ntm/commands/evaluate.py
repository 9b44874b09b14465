"""Measures likelihood and sample quality of a trained model.

  ntm evaluate --workdir=runs/digits --json=result.json

For an NTM: negative log-likelihood of training and test images in nats per dimension,
per step and averaged over the steps. For any model: Fréchet distance, precision and recall
of samples, next to those of the test images, with what they depend on. The features are those
of a small classifier that is fitted to the training images, which also gives class accuracy, or
with --features=DIRECTORY those of Inception, which give FID, sFID and the Inception Score:

  ntm evaluate --workdir=DIR --features=runs/inception --reference=REFERENCE.npz --num_samples=50000

Samples are compared with training images, or with --reference; of endless digits or scenes with
20,000 fresh draws, next to as many other fresh ones. Samples that are not finite are counted and
left out, never drawn again. Of several processes each draws and measures its share. With
--samples_dir=DIRECTORY samples are kept, and the command that was killed goes on where it was.

For scenes with captions: the share of samples that show what their caption says, by
category, of captions as in training, and of as many with a combination of words that no
training caption has.

With --clip=DIRECTORY, for models of captions, the CLIP score of samples with their captions, and
with --lpips=NETWORK the mean LPIPS of samples of the same caption or class, next to those of real
pictures.

For data of known density (data.source 'mixture'), whose draws are all fresh: the likelihood
of 10,000 of them, the divergence from the truth in nats per trajectory, next to that of the
best Gaussian steps, and the share of samples in a mode and total variations, next to those
of exact draws.
"""

import functools
import logging
import pathlib

import jax
import numpy as np
from absl import flags

from ntm import api
from ntm.api import checks
from ntm.api.velocity import DEFAULT_STEPS
from ntm.commands import entry_point, scene_comparison, scoring, shared_flags, similarity
from ntm.commands.progress import progress
from ntm.data import pipeline, sources
from ntm.evaluation import lpips, resize, truth
from ntm.models import autoencoder
from ntm.training import data_record, multihost
from ntm.truth import named

_LOG = logging.getLogger("ntm")
FLAGS = flags.FlagValues()
_WORKDIR = shared_flags.workdir(FLAGS)
_CHECKPOINT = shared_flags.checkpoint(FLAGS)
_JSON = shared_flags.json(FLAGS)
_NUM_SAMPLES = shared_flags.count(FLAGS, "num_samples", 2000, "Number of samples to draw. "
                                  "Likelihoods are of up to 10,000 images per "
                                  "split, of endless data 2,000.", lowest=2)
_STEPS = shared_flags.sampling_steps(FLAGS)
_GUIDANCE = shared_flags.guidance(FLAGS)
_REFINE = shared_flags.refine(FLAGS)
_SOLVER = shared_flags.solver(FLAGS)
_FEATURES = flags.DEFINE_string(
    "features", None, "What images are compared in: 'classifier', a small one fitted to the "
    "training images, the default up to 64 pixels; DIRECTORY of the converted Inception; FILE.npz "
    "of a saved classifier; or MODULE:FUNCTION of uint8 images [B, H, W, C] that gives [B, F].",
    flag_values=FLAGS)
_REFERENCE = flags.DEFINE_string(
    "reference", None, "What samples are compared with: a folder of images, or a .npz file as "
    "ADM's; by default at most 50,000 of the training images.", flag_values=FLAGS)
_RESIZE = flags.DEFINE_enum(
    "resize", "tf1", resize.METHODS, "How Inception's images are resized: as TensorFlow 1 did, "
    "like published FIDs, or bicubic and antialiased.", flag_values=FLAGS)
_CLIP = flags.DEFINE_string(
    "clip", None, "CLIP that scores samples with their captions: a folder that save_pretrained of "
    "transformers wrote, or a name on the hub.", flag_values=FLAGS)
_LPIPS = flags.DEFINE_enum(
    "lpips", None, lpips.NETWORKS, "Network of LPIPS, which measures how different samples of the "
    "same caption or class are.", flag_values=FLAGS)
_LABELS = flags.DEFINE_enum(
    "label_frequencies", "uniform", ["uniform", "training"], "Classes of the samples: equally many "
    "of each, or as frequent as among the training images.", flag_values=FLAGS)
_EXPORT = flags.DEFINE_enum(
    "export", None, ["adm"], "Write the samples to OUTPUT.npz as ADM's evaluator reads them; "
    "without --features and --reference, nothing else is done.", flag_values=FLAGS)
_OUTPUT = shared_flags.output(FLAGS, "WORKDIR/samples/adm")
_SAMPLES_DIR = flags.DEFINE_string(
    "samples_dir", None, "Folder to keep the samples in, part by part. The same command continues "
    "where an interrupted one stopped, and other features measure the same samples.",
    flag_values=FLAGS)
_DRAWS = shared_flags.count(FLAGS, "draws", 8, "Forward trajectories per image behind the "
                            "likelihoods of an NTM; 0 leaves them out.", lowest=0)
_SEED = shared_flags.seed(FLAGS, "samples and trajectories")

_LIMIT = 10_000  # Images read of either split, or points drawn,
_ENDLESS_LIMIT = 2000  # or endless digits or scenes drawn.
_MANY = 10_000  # Samples whose loss would hurt.


def main(_) -> None:
  """Prints the results and writes them as JSON."""
  if _JSON.value:
    entry_point.check_output("json", _JSON.value)
  if _SAMPLES_DIR.value:
    entry_point.check_directory("samples_dir", _SAMPLES_DIR.value)
  if not _EXPORT.value:
    entry_point.refuse(FLAGS, ["output"], "only --export writes samples")
  model = api.restore(_WORKDIR.value, _CHECKPOINT.value)
  config = model.config
  checks.guidance_scale(config, _GUIDANCE.value)
  if isinstance(model, api.Model):
    checks.num_steps(config, _STEPS.value)
    checks.refinement(_REFINE.value, model.denoiser_params is not None)
  known = config.data.source == "mixture"
  captioned = config.data.source == "scenes" and bool(config.text.tokenizer)
  if known:
    entry_point.refuse(FLAGS, ["refine"], "samples of known data are compared at their own level")
    entry_point.refuse(FLAGS, ["lpips"], "known data are no pictures")
  if known or captioned:
    entry_point.refuse(FLAGS, ["features", "reference", "resize", "label_frequencies", "export",
                               "samples_dir"],
                       f"the data are {config.data.source}, which have measures of their own")
  if config.data.source in ("sounds", "clips"):
    entry_point.refuse(FLAGS, ["export", "lpips", "reference", "resize"],
                       f"the data are {config.data.source}, which are no pictures")
  if not config.text.tokenizer:
    entry_point.refuse(FLAGS, ["clip"], "the model reads no captions")
  rng_nll, rng_sample = jax.random.split(jax.random.key(_SEED.value))
  with progress("reading images"):
    endless = sources.endless(config.data) and not known
    train, test, record = pipeline.evaluation_data(config, _ENDLESS_LIMIT if endless else _LIMIT)
    data_record.warn_if_changed(_WORKDIR.value, record)
  result = {"checkpoint": model.step, "num_samples": _NUM_SAMPLES.value,
            "guidance": _GUIDANCE.value}
  nll = dict
  if isinstance(model, api.Model):
    entry_point.refuse(FLAGS, ["solver"], "the model is an NTM")
    how = {"refine": "none" if known else _REFINE.value}
    result["num_steps"] = _STEPS.value or config.process.num_steps[0]
    if _DRAWS.value:
      # After the samples: a flag that the model does not support is refused before the long part.
      nll = functools.partial(
          *(scoring.divergence, model, rng_nll) if known else (scoring.nll, model, rng_nll, train),
          test, _STEPS.value, _DRAWS.value)
  else:
    entry_point.refuse(FLAGS, ["refine", "draws"], "the model is a flow-matching one")
    how = {"solver": _SOLVER.value}
    result["num_steps"] = _STEPS.value or DEFAULT_STEPS
  how |= {} if _STEPS.value is None else {"num_steps": _STEPS.value}
  if known:
    samples = _draw(model, rng_sample, how)
    result |= nll() | how | _against_truth(model, samples)
  elif captioned:
    measures = _similarity(config, _captions(config, "test"))
    samples = _draw(model, rng_sample, how)
    result |= nll() | how | scene_comparison.metrics(samples, lambda split: _draw(
        model, jax.random.fold_in(rng_sample, 1), how, split), measures)
  else:
    result |= _against_data(model, rng_sample, how, nll, train, test)
  if multihost.is_primary_process():
    _write(result, config)


def _write(result, config) -> None:
  with np.printoptions(suppress=True):
    width = max(map(len, result))
    for name, value in result.items():  # Adding 0 makes -0 positive.
      print(f"{name:{width}} {value if isinstance(value, str) else np.round(value, 4) + 0}")
  entry_point.write_json(_JSON.value, result | entry_point.provenance(_WORKDIR.value, config))


def _against_truth(model, samples) -> dict[str, float]:
  """Metrics of samples, and of as many exact draws."""
  mixture = named.build(model.config.data, model.config.model.image_shape)
  level = model.config.process.t_min if isinstance(model, api.Model) else 0.0
  exact = truth.draw(_SEED.value, mixture, len(samples), level)
  return truth.sample_metrics(mixture, samples.reshape(exact.shape), level) | {
      f"exact_{name}": value for name, value in truth.sample_metrics(mixture, exact, level).items()}


def _against_data(model, rng, how, nll, train, test) -> dict[str, float]:
  """Likelihoods, and metrics of samples and of real images."""
  # Known data are evaluated without scikit-learn.
  from ntm.commands import drawing, sample_comparison
  from ntm.evaluation import features, references
  has_images, config, count = "image" in test, model.config, _NUM_SAMPLES.value
  # Without features, a model without classes is measured by what else is asked for.
  uncompared = not _FEATURES.value and not _REFERENCE.value and bool(
      _EXPORT.value or (_CLIP.value or _LPIPS.value) and not config.model.num_classes)
  if not has_images and not _REFERENCE.value and (_EXPORT.value or not uncompared):
    raise ValueError(f"{_WORKDIR.value} was trained on latents prepared ahead, and samples are "
                     "compared with images; expected them in --reference, a folder or a file of "
                     "ADM.")
  if not config.model.num_classes:
    entry_point.refuse(FLAGS, ["label_frequencies"], "the model has no classes")
  output = _EXPORT.value and entry_point.output_path(
      _OUTPUT, _WORKDIR.value, "samples/adm", (".npz",))
  image_shape = autoencoder.image_shape(config)
  by_classifier = not uncompared and sample_comparison.uses_classifier(
      _FEATURES.value, image_shape, train)
  if not _FEATURES.value or not pathlib.Path(_FEATURES.value).is_dir():
    entry_point.refuse(FLAGS, ["resize"], "only Inception resizes images")
  extract = None if by_classifier or uncompared else features.load(
      _FEATURES.value, _RESIZE.value)
  # What can be wrong with code or a reference of the user's shows before samples are drawn.
  if isinstance(extract, features.OfFunction):
    extract(np.zeros((2, *image_shape), np.float32))
  if _REFERENCE.value:
    references.check(_REFERENCE.value,
                     None if isinstance(extract, features.OfInception) else image_shape)
  classes, frequencies = drawing.labels(config, _LABELS.value, count)
  measures = _similarity(config, classes)
  as_uint8 = not by_classifier and (uncompared or extract.record["rounding"] != "none")
  how_drawn = how | {"guidance": _GUIDANCE.value}
  parts = _SAMPLES_DIR.value and drawing.open_parts(
      _SAMPLES_DIR.value, _WORKDIR.value, model, classes, image_shape, as_uint8, num_samples=count,
      seed=_SEED.value, labels=frequencies, **how_drawn)
  _LOG.info("drawing %d samples%s", count, "; --samples_dir would keep them if this is interrupted"
            if count > _MANY and not parts else "")
  samples, finite = drawing.draw(model, rng, classes, count, image_shape, as_uint8, parts,
                                 **how_drawn)
  result = {"num_nonfinite_samples": int((~finite).sum()), "labels": frequencies}
  if output and multihost.is_primary_process():
    entry_point.make_parent(output)
    references.export_adm(f"{output}.npz", samples)
    _LOG.info("wrote %s.npz: %d samples", output, len(samples))
  result |= measures.record() | measures.figures(
      samples, None if classes is None else classes[finite]) | measures.held_out(
          config, test, count)
  if uncompared and not measures.asked:
    return result | how
  if has_images:
    result |= nll()
  else:
    _LOG.info("the likelihoods are left out: they need images, and the data are latents")
  if uncompared:
    return result | how
  return result | how | sample_comparison.against_data(
      extract or sample_comparison.fit_classifier(config, train), config, _REFERENCE.value, samples,
      classes[finite] if config.model.num_classes else None, test)


def _similarity(config, conditions) -> similarity.Similarity:
  """What --clip and --lpips ask for, of samples with these captions or classes."""
  return similarity.load(_CLIP.value, _LPIPS.value, conditions, _NUM_SAMPLES.value,
                         autoencoder.image_shape(config))


def _captions(config, split):
  """Those of the first scenes of a split, one per sample."""
  side, *_ = autoencoder.image_shape(config)
  return [scene.caption for scene in scene_comparison.scenes(split, side, _NUM_SAMPLES.value)]


def _draw(model, rng, how, split="test"):
  """Samples of known data, or of the captions of a split; all must be finite."""
  _LOG.info("drawing %d samples", _NUM_SAMPLES.value)
  labels = None
  if model.config.model.num_classes:
    labels = np.arange(_NUM_SAMPLES.value) % model.config.model.num_classes
  if model.config.text.tokenizer:
    labels = _captions(model.config, split)
  with progress("sampling") as report:
    samples = model.sample(rng, labels, guidance=_GUIDANCE.value, num_samples=_NUM_SAMPLES.value,
                           progress=report, **how)
  checks.finite("samples", samples)
  return samples


run = entry_point.command(main, FLAGS, __doc__, several_processes=True)

if __name__ == "__main__":
  run()
