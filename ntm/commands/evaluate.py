"""Measures likelihood and sample quality of a model, and its divergence from a known truth.

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

import jax
import numpy as np

from ntm import api
from ntm.api import checks
from ntm.commands import entry_point, scene_comparison, scoring, similarity
from ntm.commands import evaluate_flags as given
from ntm.commands.progress import progress
from ntm.data import pipeline, sources
from ntm.evaluation import truth
from ntm.models import autoencoder
from ntm.training import data_record, multihost
from ntm.truth import named

_LOG = logging.getLogger("ntm")
FLAGS = given.FLAGS

_MANY = 10_000  # Samples whose loss would hurt.


def main(_) -> None:
  """Prints the results and writes them as JSON."""
  given.check_paths()
  model = api.restore(given.WORKDIR.value, given.CHECKPOINT.value)
  config = model.config
  given.check_data(config)
  how = given.sampling(model)
  known = given.is_known(config)
  rng_nll, rng_sample = jax.random.split(jax.random.key(given.SEED.value))
  shown, frequencies = _conditions(config)
  # Their networks are read first: what is wrong with a flag shows before images are read.
  measures = similarity.load(given.CLIP.value, given.LPIPS.value, shown, given.NUM_SAMPLES.value,
                             autoencoder.image_shape(config))
  with progress("reading images"):
    endless = sources.endless(config.data) and not known
    train, test, record = pipeline.evaluation_data(
        config, given.ENDLESS_LIMIT if endless else given.LIMIT)
    data_record.warn_if_changed(given.WORKDIR.value, record)
  result = {"checkpoint": model.step, "num_samples": given.NUM_SAMPLES.value,
            "seed": given.SEED.value, "guidance": given.GUIDANCE.value,
            "num_steps": how["num_steps"]}
  nll = dict
  if isinstance(model, api.Model) and given.DRAWS.value:
    # Called after the samples are drawn, in which most of what can be wrong shows.
    nll = functools.partial(
        *(scoring.divergence, model, rng_nll) if known else (scoring.nll, model, rng_nll, train),
        test, how["num_steps"], given.DRAWS.value)
  if known:
    samples = _draw(model, rng_sample, how)
    result |= nll() | how | _against_truth(model, samples)
  elif given.is_captioned(config):
    samples = _draw(model, rng_sample, how)
    result |= nll() | how | scene_comparison.metrics(samples, lambda split: _draw(
        model, jax.random.fold_in(rng_sample, 1), how, split), measures)
  else:
    result |= _against_data(model, rng_sample, how, nll, (train, test), (shown, frequencies),
                            measures)
  if multihost.is_primary_process():
    _write(result, config)


def _write(result, config) -> None:
  with np.printoptions(suppress=True):
    width = max(map(len, result))
    for name, value in result.items():  # Adding 0 makes -0 positive.
      print(f"{name:{width}} {value if isinstance(value, str) else np.round(value, 4) + 0}")
  entry_point.write_json(
      given.JSON.value, result | entry_point.provenance(given.WORKDIR.value, config))


def _against_truth(model, samples) -> dict[str, float]:
  """Metrics of samples, and of as many exact draws."""
  mixture = named.build(model.config.data, model.config.model.image_shape)
  level = model.config.process.t_min if isinstance(model, api.Model) else 0.0
  exact = truth.draw(given.SEED.value, mixture, len(samples), level)
  return truth.sample_metrics(mixture, samples.reshape(exact.shape), level) | {
      f"exact_{name}": value for name, value in truth.sample_metrics(mixture, exact, level).items()}


def _against_data(model, rng, how, nll, data, shown, measures) -> dict[str, float]:
  """Likelihoods, and metrics of samples and of real images.

  Args:
    model: a restored one.
    rng: of the samples.
    how: arguments of `model.sample`.
    nll: gives the results of likelihoods.
    data: training and test images.
    shown: as `_conditions`.
    measures: other ones that were asked for.
  """
  # Known data are evaluated without scikit-learn.
  from ntm.commands import drawing, sample_comparison
  from ntm.evaluation import features, references
  (train, test), (classes, frequencies) = data, shown
  has_images, config, count = "image" in test, model.config, given.NUM_SAMPLES.value
  # Without features, a model without classes is measured by what else is asked for.
  uncompared = not given.FEATURES.value and not given.REFERENCE.value and bool(
      given.EXPORT.value or
      (given.CLIP.value or given.LPIPS.value) and not config.model.num_classes)
  if not has_images and not given.REFERENCE.value and (given.EXPORT.value or not uncompared):
    raise ValueError(f"{given.WORKDIR.value} was trained on latents prepared ahead, and samples "
                     "are compared with images; expected them in --reference, a folder or a file "
                     "of ADM.")
  output = given.EXPORT.value and entry_point.output_path(
      given.OUTPUT, given.WORKDIR.value, "samples/adm", (".npz",))
  image_shape = autoencoder.image_shape(config)
  by_classifier = not uncompared and sample_comparison.uses_classifier(
      given.FEATURES.value, image_shape, train)
  extract = None if by_classifier or uncompared else features.load(
      given.FEATURES.value, given.RESIZE.value)
  # What can be wrong with code or a reference of the user's shows before samples are drawn.
  if isinstance(extract, features.OfFunction):
    extract(np.zeros((2, *image_shape), np.float32))
  if given.REFERENCE.value:
    references.check(given.REFERENCE.value, image_shape, extract)
  as_uint8 = not by_classifier and (uncompared or extract.record["rounding"] != "none")
  how_drawn = how | {"guidance": given.GUIDANCE.value}
  parts = given.SAMPLES_DIR.value and drawing.open_parts(
      given.SAMPLES_DIR.value, given.WORKDIR.value, model, classes, image_shape, as_uint8,
      num_samples=count, seed=given.SEED.value, labels=frequencies, **how_drawn)
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
      extract or sample_comparison.fit_classifier(config, train), config, given.REFERENCE.value,
      samples, classes[finite] if config.model.num_classes else None, test)


def _conditions(config):
  """(classes or captions of the samples or None, how often classes occur among them)."""
  if given.is_known(config):
    return None, "none"
  if given.is_captioned(config):
    return _captions(config, "test"), ""
  from ntm.commands import drawing
  return drawing.labels(config, given.LABEL_FREQUENCIES.value, given.NUM_SAMPLES.value)


def _captions(config, split):
  """Those of the first scenes of a split, one per sample."""
  side, *_ = autoencoder.image_shape(config)
  return [scene.caption for scene in scene_comparison.scenes(split, side, given.NUM_SAMPLES.value)]


def _draw(model, rng, how, split="test"):
  """Samples of known data, or of the captions of a split; all must be finite."""
  labels, count = None, given.NUM_SAMPLES.value
  _LOG.info("drawing %d samples", count)
  if model.config.model.num_classes:
    labels = np.arange(count) % model.config.model.num_classes
  if model.config.text.tokenizer:
    labels = _captions(model.config, split)
  with progress("sampling", compiles=True) as report:
    samples = model.sample(rng, labels, guidance=given.GUIDANCE.value, num_samples=count,
                           progress=report, **how)
  checks.finite("samples", samples)
  return samples


run = entry_point.command(main, FLAGS, __doc__, several_processes=True)

if __name__ == "__main__":
  run()
