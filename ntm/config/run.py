"""The sections of a run other than its model, with their defaults and what they must satisfy."""

import dataclasses
from typing import Literal

from ntm.config.autoencoder import AutoencoderConfig, check_autoencoder
from ntm.config.checking import require, unread
from ntm.config.data import DataConfig, check_data
from ntm.config.extension import Extension
from ntm.config.model import ModelConfig
from ntm.config.text import TextConfig, check_text
from ntm.config.transformer import TransformerConfig, check_transformer


@dataclasses.dataclass(frozen=True)
class ProcessConfig:
  """The grids a model is trained on.

  Attributes:
    schedule: 'uniform' or 'shifted'.
    num_steps: the T to train for; several train one model for all of them.
    t_min_low: training draws t_min ~ U[t_min_low, t_min_high].
    t_min_high: see t_min_low.
    t_min: the cleanest level when sampling and evaluating.
  """

  schedule: Literal["uniform", "shifted"] = "shifted"
  num_steps: tuple[int, ...] = (4,)
  t_min_low: float = 0.0
  t_min_high: float = 0.05
  t_min: float = 0.02


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
  """AdamW with linear warm-up and cosine decay.

  Attributes:
    peak_learning_rate: after the warm-up.
    final_learning_rate: after the last step.
    warmup_steps: steps of the linear warm-up.
    b1: Adam's first decay.
    b2: Adam's second decay.
    weight_decay: decoupled, on matrices only (not biases, norms, embeddings).
    max_grad_norm: larger gradients are scaled down to this global norm.
    ema_decay: of the parameter average, ramped up over the first steps.
  """

  peak_learning_rate: float = 1e-4
  final_learning_rate: float = 1e-6
  warmup_steps: int = 1000
  b1: float = 0.9
  b2: float = 0.95
  weight_decay: float = 1e-4
  max_grad_norm: float = 1.0
  ema_decay: float = 0.9999


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """One run.

  Attributes:
    objective: 'end_to_end' (all steps of a trajectory), 'pair_wise' (one random step
      per example, about 1/T of the compute) or an extension.
    time_sampling: flow matching: levels drawn 'uniform' or 'logit_normal'.
    steps: updates.
    batch_size: examples per update, over all devices and accumulation steps.
    grad_accumulation_steps: parts of a batch whose gradients are averaged; divides
      batch_size.
    label_dropout: probability of the null class or the empty text, for guidance.
    seed: of parameters, data order and noise.
    log_every: steps between metric lines.
    sample_every: steps between sample grids; the first comes early.
    checkpoint_every: steps between checkpoints, each with a held-out likelihood.
    max_to_keep: newest checkpoints kept, in addition to the best.
    max_nonfinite_steps: updates that a run may skip because their loss or gradient is
      not finite; one more stops it.
    profile_at: first step of a profile, written to WORKDIR/profile; 0 takes none.
    profile_steps: steps in it.
  """

  objective: Literal["end_to_end", "pair_wise"] | Extension = "end_to_end"
  time_sampling: Literal["uniform", "logit_normal"] = "logit_normal"
  steps: int = 100_000
  batch_size: int = 256
  grad_accumulation_steps: int = 1
  label_dropout: float = 0.1
  seed: int = 0
  log_every: int = 100
  sample_every: int = 1000
  checkpoint_every: int = 1000
  max_to_keep: int = 2
  max_nonfinite_steps: int = 0
  profile_at: int = 0
  profile_steps: int = 3


@dataclasses.dataclass(frozen=True)
class FinetuneConfig:
  """How an NTM starts from a flow-matching model [3.6-3.8].

  Attributes:
    source: workdir of the flow-matching model; '' starts from scratch.
    alignment: lambda, weight of the squared distance between mu_P and mu_FM at
      the first step; decays to zero by a cosine over the run.
  """

  source: str = ""
  alignment: float = 2.5


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """Devices of a slice along every mesh axis; at most one -1 takes what is left.

  Attributes:
    data: batch is split, parameters are copied.
    fsdp: batch and parameters are split.
    tensor: heads and feed-forward are split.
    slices: of TPUs, each with an interconnect of its own; they split the batch as `data` does. -1
      is as many as there are. Of other devices, groups in order; -1 is one.
  """

  data: int = -1
  fsdp: int = 1
  tensor: int = 1
  slices: int = -1


@dataclasses.dataclass(frozen=True)
class Config:
  """A run, complete; `denoiser` is read by distillation alone."""

  data: DataConfig = DataConfig()
  autoencoder: AutoencoderConfig = AutoencoderConfig()
  model: ModelConfig = ModelConfig()
  text: TextConfig = TextConfig()
  process: ProcessConfig = ProcessConfig()
  optimizer: OptimizerConfig = OptimizerConfig()
  train: TrainConfig = TrainConfig()
  finetune: FinetuneConfig = FinetuneConfig()
  mesh: MeshConfig = MeshConfig()
  denoiser: TransformerConfig = TransformerConfig()


def check_run(config) -> None:
  """Raises ValueError unless the rest of a Config makes sense."""
  check_transformer("denoiser", config.denoiser, len(config.model.image_shape) - 1)
  check_data(config.data, config.model.image_shape)
  check_autoencoder(config)
  check_text(config)
  _check_process(config)
  _check_train(config)
  _check_optimizer(config.optimizer, config.train.steps)
  mesh = config.mesh
  sizes = (mesh.data, mesh.fsdp, mesh.tensor)
  require(all(n == -1 or n >= 1 for n in sizes) and sizes.count(-1) <= 1, "mesh",
          sizes, "positive sizes with at most one -1")
  require(mesh.slices == -1 or mesh.slices >= 1, "mesh.slices", mesh.slices,
          "a positive number, or -1 for as many as the devices have")


def _check_process(config):
  process, model = config.process, config.model
  require(process.num_steps and min(process.num_steps) >= 1
          and len(set(process.num_steps)) == len(process.num_steps),
          "process.num_steps", process.num_steps, "different numbers of steps, each at least 1")
  require(0 <= process.t_min_low <= process.t_min_high < 1, "process.t_min_high",
          process.t_min_high, f"t_min_low {process.t_min_low} <= t_min_high < 1, from 0 on")
  require(0 < process.t_min < 1, "process.t_min", process.t_min,
          "a level strictly between 0 and 1")
  if model.kind == "ntm":
    require(process.t_min_low <= process.t_min <= process.t_min_high, "process.t_min",
            process.t_min, f"a level that training draws, from t_min_low {process.t_min_low} to "
            f"t_min_high {process.t_min_high}")
  velocity = model.kind == "ntm" and model.predictor.output == "velocity"
  require(not velocity or process.t_min_low > 0, "process.t_min_low", process.t_min_low,
          "a positive level with model.predictor.output = 'velocity': sigma_P is relative to "
          "the posterior's C, which is 0 at t_min = 0")
  require(config.finetune.alignment >= 0, "finetune.alignment", config.finetune.alignment,
          "0 (none) or more")
  require(velocity or not config.finetune.source, "finetune.source", config.finetune.source,
          "'' unless model.kind is 'ntm' and model.predictor.output is 'velocity'")


def _check_train(config):
  train = config.train
  require(train.objective != "pair_wise" or config.model.predictor.context == "markov",
          "train.objective", train.objective,
          "'end_to_end' with the history predictor, which reads all levels above its own")
  if config.model.kind == "flow_matching":
    unread(train, "train", "model.kind 'ntm'", objective="end_to_end")
  else:
    unread(train, "train", "model.kind 'flow_matching'", time_sampling="logit_normal")
  for key in ("steps", "batch_size", "grad_accumulation_steps", "log_every",
              "sample_every", "checkpoint_every", "max_to_keep", "profile_steps"):
    require(getattr(train, key) >= 1, f"train.{key}", getattr(train, key), "at least 1")
  require(train.max_nonfinite_steps >= 0, "train.max_nonfinite_steps", train.max_nonfinite_steps,
          "0 (none) or more")
  require(0 <= train.profile_at <= train.steps, "train.profile_at", train.profile_at,
          f"0 (no profile), or a step of the run's {train.steps}")
  require(train.batch_size % train.grad_accumulation_steps == 0, "train.grad_accumulation_steps",
          train.grad_accumulation_steps, f"a divisor of batch_size {train.batch_size}")
  require(train.seed >= 0, "train.seed", train.seed, "0 or more")
  require(0 <= train.label_dropout < 1, "train.label_dropout", train.label_dropout,
          "a probability from 0 to below 1, which would leave no example its condition")


def _check_optimizer(optimizer, steps):
  peak, final = optimizer.peak_learning_rate, optimizer.final_learning_rate
  require(0 < peak <= 1, "optimizer.peak_learning_rate", peak,
          "a learning rate above 0, at most 1")
  require(0 <= final <= peak, "optimizer.final_learning_rate", final,
          f"between 0 and the peak {peak}")
  require(0 <= optimizer.warmup_steps < steps, "optimizer.warmup_steps", optimizer.warmup_steps,
          f"0 or more and below train.steps = {steps}; lower it for a short run")
  for key in ("b1", "b2", "ema_decay"):
    require(0 <= getattr(optimizer, key) < 1, f"optimizer.{key}", getattr(optimizer, key),
            "between 0 and 1, exclusive")
  require(0 <= optimizer.weight_decay * peak < 1, "optimizer.weight_decay",
          optimizer.weight_decay, f"from 0 to below 1 / peak_learning_rate, {1 / peak:g}: an "
          "update takes the share peak_learning_rate * weight_decay off the weights")
  # Adam divides by the gradient's size plus 1e-8, to which smaller ones vanish.
  require(optimizer.max_grad_norm >= 1e-6, "optimizer.max_grad_norm", optimizer.max_grad_norm,
          "a norm of at least 1e-6, such as 1")
