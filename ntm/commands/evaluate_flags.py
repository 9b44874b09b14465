"""The flags of `ntm evaluate`, and which of them apply to a model."""

import pathlib

from absl import flags

from ntm import api
from ntm.api import checks
from ntm.api.velocity import DEFAULT_STEPS
from ntm.commands import entry_point, shared_flags
from ntm.config import Config
from ntm.evaluation import lpips, resize

LIMIT = 10_000  # Images read of either split, or points drawn of a known density,
ENDLESS_LIMIT = 2000  # or of other endless data drawn.

FLAGS = flags.FlagValues()
WORKDIR = shared_flags.workdir(FLAGS)
CHECKPOINT = shared_flags.checkpoint(FLAGS)
JSON = shared_flags.json(FLAGS)
NUM_SAMPLES = shared_flags.count(
    FLAGS, "num_samples", 2000, f"Number of samples to draw. Likelihoods are of up to {LIMIT:,} "
    f"images per split, of endless digits, scenes, sounds or clips {ENDLESS_LIMIT:,}, and of data "
    f"of known density (data.source 'mixture') {LIMIT:,} draws.",
    lowest=4)  # `neighbours.LEAST`, whose module would import scikit-learn for every --help.
STEPS = shared_flags.sampling_steps(FLAGS)
GUIDANCE = shared_flags.guidance(FLAGS)
REFINE = shared_flags.refine(FLAGS)
SOLVER = shared_flags.solver(FLAGS)
FEATURES = flags.DEFINE_string(
    "features", None, "What images are compared in: 'classifier', a small one fitted to the "
    "training images, the default up to 64 pixels; DIRECTORY of the converted Inception; FILE.npz "
    "of a saved classifier; or MODULE:FUNCTION of uint8 images [B, H, W, C] that gives [B, F].",
    flag_values=FLAGS)
REFERENCE = flags.DEFINE_string(
    "reference", None, "What samples are compared with: a folder of images, or a .npz file as "
    "ADM's; by default at most 50,000 of the training images.", flag_values=FLAGS)
RESIZE = flags.DEFINE_enum(
    "resize", "tf1", resize.METHODS, "How Inception's images are resized: as TensorFlow 1 did, "
    "like published FIDs, or bicubic and antialiased.", flag_values=FLAGS)
CLIP = flags.DEFINE_string(
    "clip", None, "CLIP that scores samples with their captions: a folder that save_pretrained of "
    "transformers wrote, or a name on the hub.", flag_values=FLAGS)
LPIPS = flags.DEFINE_enum(
    "lpips", None, lpips.NETWORKS, "Network of LPIPS, which measures how different samples of the "
    "same caption or class are.", flag_values=FLAGS)
LABEL_FREQUENCIES = flags.DEFINE_enum(
    "label_frequencies", "uniform", ["uniform", "training"], "Classes of the samples: equally many "
    "of each, or as frequent as among the training images.", flag_values=FLAGS)
EXPORT = flags.DEFINE_enum(
    "export", None, ["adm"], "Write the samples to OUTPUT.npz as ADM's evaluator reads them; "
    "without --features and --reference, nothing else is done.", flag_values=FLAGS)
OUTPUT = shared_flags.output(FLAGS, "WORKDIR/samples/adm")
SAMPLES_DIR = flags.DEFINE_string(
    "samples_dir", None, "Folder to keep the samples in, part by part. The same command continues "
    "where an interrupted one stopped, and other features measure the same samples, or --export "
    "writes them; but a classifier's samples are not rounded, and serve classifiers alone.",
    flag_values=FLAGS)
DRAWS = shared_flags.count(
    FLAGS, "draws", 8, "Forward trajectories per image behind the likelihoods of an NTM and, for "
    "data of known density, its divergence from the truth; 0 leaves them out.", lowest=0)
SEED = shared_flags.seed(FLAGS, "samples and trajectories")


def check_paths() -> None:
  """Refuses paths that cannot be written; ValueError."""
  if JSON.value:
    entry_point.check_output("json", JSON.value)
  if SAMPLES_DIR.value:
    entry_point.check_directory("samples_dir", SAMPLES_DIR.value)
  if not EXPORT.value:
    entry_point.refuse(FLAGS, ["output"], "only --export writes samples")


def is_known(config: Config) -> bool:
  """Whether the density of the data is known."""
  return config.data.source == "mixture"


def is_captioned(config: Config) -> bool:
  """Whether samples are scored by what their captions say of a scene."""
  return config.data.source == "scenes" and bool(config.text.tokenizer)


def check_data(config: Config) -> None:
  """Refuses flags that do not apply to the data and the condition of a run; ValueError."""
  source = config.data.source
  if is_known(config):
    entry_point.refuse(FLAGS, ["refine"], "samples of known data are compared at their own level")
    entry_point.refuse(FLAGS, ["lpips"], "known data are no pictures")
  if is_known(config) or is_captioned(config):
    entry_point.refuse(FLAGS, ["features", "reference", "resize", "label_frequencies", "export",
                               "samples_dir"],
                       f"the data are {source}, which have measures of their own")
  if source in ("sounds", "clips"):
    entry_point.refuse(FLAGS, ["export", "lpips", "reference", "resize"],
                       f"the data are {source}, which are no pictures")
  if not config.text.tokenizer:
    entry_point.refuse(FLAGS, ["clip"], "the model reads no captions")
  if not config.model.num_classes:
    entry_point.refuse(FLAGS, ["label_frequencies"], "the model has no classes")
  if not FEATURES.value or not pathlib.Path(FEATURES.value).is_dir():
    entry_point.refuse(FLAGS, ["resize"], "only Inception resizes images")


def sampling(model: api.Model | api.VelocityModel) -> dict:
  """Arguments of `model.sample` from the flags, but for guidance.

  Raises:
    ValueError: a flag that does not apply to the kind of model, or a value that this one does not
      support, guidance included.
  """
  config = model.config
  checks.guidance_scale(config, GUIDANCE.value)
  if not isinstance(model, api.Model):
    scored = ["draws"] if DRAWS.value else []
    entry_point.refuse(FLAGS, ["refine", *scored], "the model is a flow-matching one")
    return {"solver": SOLVER.value, "num_steps": STEPS.value or DEFAULT_STEPS}
  entry_point.refuse(FLAGS, ["solver"], "the model is an NTM")
  refine = "none" if is_known(config) else REFINE.value
  checks.refinement(refine, model.denoiser_params is not None)
  return {"refine": refine, "num_steps": checks.num_steps(config, STEPS.value)}
