"""The commands that make one row of results, and what identifies them.

Commands are templates: `{configs}` and `{results}` stand for two folders, so that a recipe is the
same wherever it runs.
"""

import dataclasses
import hashlib
import os
import pathlib

import ml_collections

from ntm import config as config_lib
from ntm.ablations.experiments import EXPERIMENTS, Experiment

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
CLASSIFIER = "classifier.npz"  # In the folder of results: judges all models of endless digits.
NUM_SAMPLES, DRAWS = 2000, 2  # Samples of each way; trajectories per image behind a likelihood.
_QUICK_SAMPLES = 20
_QUICK = {"train.steps": 3, "train.sample_every": 3, "train.checkpoint_every": 3,
          "optimizer.warmup_steps": 1}
_DENOISER = "digits_denoiser.py"


@dataclasses.dataclass(frozen=True)
class Recipe:
  """How one row of results is made.

  Attributes:
    experiment: name in `EXPERIMENTS`.
    seed: of training and of sampling.
    sampler: name in the experiment's `samplers`.
    quick: three updates and few samples, to see that it runs.
  """

  experiment: str
  seed: int
  sampler: str
  quick: bool = False

  @property
  def spec(self) -> Experiment:
    """What is trained."""
    return EXPERIMENTS[self.experiment]

  @property
  def key(self) -> tuple[str, int, str]:
    """What a row is of."""
    return self.experiment, self.seed, self.sampler

  @property
  def workdir(self) -> str:
    """Template of the run's folder."""
    return f"{{results}}/{self.experiment}-{self.seed}"

  @property
  def json(self) -> str:
    """Template of the path of what `ntm evaluate` writes."""
    return f"{self.workdir}/{self.sampler.replace(' ', '')}.json"

  def train(self) -> list[str]:
    """`ntm train` of the model."""
    return ["ntm", "train", f"--config={{configs}}/{self.spec.config}",
            f"--workdir={self.workdir}", *_flags(self.changes())]

  def distill(self) -> list[str]:
    """`ntm distill` of its denoiser; empty if it has none."""
    if not self.spec.denoiser:
      return []
    changes = self.spec.denoiser | (_QUICK if self.quick else {}) | {"train.seed": self.seed}
    return ["ntm", "distill", f"--config={{configs}}/{_DENOISER}", f"--teacher={self.workdir}",
            *_flags(changes)]

  def evaluate(self) -> list[str]:
    """`ntm evaluate` of this way to sample."""
    config = self.config(pathlib.Path())
    flags = [f"--num_samples={_QUICK_SAMPLES if self.quick else NUM_SAMPLES}",
             f"--seed={self.seed}"]
    if config.model.kind == "ntm":
      first = self.sampler == next(iter(self.spec.samplers))
      own_steps = "--steps" in " ".join(self.spec.samplers[self.sampler])
      flags.append(f"--draws={DRAWS if first or own_steps else 0}")
    if config.data.augment:
      flags.append(f"--features={{results}}/{CLASSIFIER}")
    return ["ntm", "evaluate", f"--workdir={self.workdir}", f"--json={self.json}", *flags,
            *self.spec.samplers[self.sampler]]

  def commands(self) -> list[list[str]]:
    """All of them in their order."""
    needs_denoiser = "--refine=denoiser" in self.spec.samplers[self.sampler]
    return [self.train(), *([self.distill()] if needs_denoiser else []), self.evaluate()]

  def sha256(self) -> str:
    """Of the templates: two rows with the same were made by the same commands."""
    return hashlib.sha256("\n".join(map(" ".join, self.commands())).encode()).hexdigest()

  def changes(self) -> dict:
    """{key: value} of what differs from the config file; a source is a template."""
    source = {"finetune.source": f"{{results}}/{self.spec.source}-{self.seed}"}
    return {**self.spec.changes, **(source if self.spec.source else {}),
            **(_QUICK if self.quick else {}), "train.seed": self.seed}

  def config(self, results: pathlib.Path) -> config_lib.Config:
    """The config that `ntm train` will have.

    Args:
      results: folder of the results, which the path of a source begins with.

    Raises:
      ValueError: the folder of configs is missing.
    """
    if not CONFIGS.is_dir():
      raise ValueError(f"the configs of the experiments are not in {CONFIGS}; expected a clone of "
                       "the repository, installed with `pip install -e .`.")
    values: ml_collections.ConfigDict = config_lib.load_sibling(str(CONFIGS / "_"),
                                                                self.spec.config)
    values.update_from_flattened_dict({
        key: value.format(results=results) if isinstance(value, str) else value
        for key, value in self.changes().items()})
    return config_lib.from_dict(values)


def chosen(names: list[str], seeds: list[int], quick: bool) -> list[Recipe]:
  """Recipes of experiments, seeds and all ways to sample.

  One seed comes after the other, so that a first seed of everything is there early; of a seed
  what others start from comes first, and belongs to them even if it is not named.

  Args:
    names: of experiments; empty is all.
    seeds: of training and sampling.
    quick: as in `Recipe`.

  Raises:
    ValueError: an unknown name.
  """
  if unknown := [name for name in names if name not in EXPERIMENTS]:
    raise ValueError(f"--only has {', '.join(unknown)}; expected some of {', '.join(EXPERIMENTS)}.")
  wanted = {*names, *(EXPERIMENTS[name].source for name in names)} if names else {*EXPERIMENTS}
  return [Recipe(name, seed, sampler, quick) for seed in seeds for name in EXPERIMENTS
          if name in wanted for sampler in EXPERIMENTS[name].samplers]


def filled(command: list[str], results: pathlib.Path) -> list[str]:
  """A command with its folders, as short as they are from the current one."""
  configs = os.path.relpath(CONFIGS)
  return [part.format(configs=configs, results=results) for part in command]


def _flags(changes: dict) -> list[str]:
  return [f"--config.{key}={value}" for key, value in changes.items()]
