"""The sections of a run's configuration, with their defaults and choices: see `ntm.config`."""

import dataclasses
import math
from typing import Literal, NewType

# "module:name" of something outside of `ntm`, see `ntm.config.extension`.
Extension = NewType("Extension", str)


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Where images come from.

  Attributes:
    source: 'digits' (scikit-learn's, bundled), 'folder', 'tfds', 'arrays' or an extension.
    path: folder: the directory of images, one sub-directory a class;
      tfds: the data set's name, such as 'cifar10'; arrays: the directory of
      latents and conditions prepared ahead, see `ntm.data.arrays`.
    data_dir: tfds: where prepared data sets lie; '' is tfds's default.
    test_fraction: folder: share of every class held out as the test split.
    left_out: digits: a class that the run never sees, for `ntm likelihood` to
      find strange; -1 leaves none out.
  """

  source: Literal["digits", "folder", "tfds", "arrays"] | Extension = "digits"
  path: str = ""
  data_dir: str = ""
  test_fraction: float = 0.1
  left_out: int = -1


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
  """One stack of Transformer layers.

  Attributes:
    layers: depth.
    width: D, divisible by num_heads; the head width D / num_heads is even.
    num_heads: H, query heads.
    num_kv_heads: key/value heads, a divisor of num_heads.
    mlp_ratio: feed-forward width over D.
  """

  layers: int = 4
  width: int = 128
  num_heads: int = 4
  num_kv_heads: int = 4
  mlp_ratio: int = 4


@dataclasses.dataclass(frozen=True)
class TransporterConfig(TransformerConfig):
  """The invertible transporter f_T.

  Attributes:
    kind: 'autoregressive' (TarFlow) or 'coupling' blocks, or an extension.
    num_blocks: blocks; 0 is the identity (Gaussian diffusion).
    log_scale_bound: log sigma_T of one block stays within plus and minus this.
    class_conditional: give the blocks the class too. Guidance is then off:
      its two branches would live in different u-spaces.
    split: coupling: 'checkerboard' or 'halves' of the tokens are kept.
    reversible: coupling: rebuild activations in the backward pass.
  """

  kind: Literal["autoregressive", "coupling"] | Extension = "autoregressive"
  layers: int = 4
  num_blocks: int = 2
  log_scale_bound: float = 3.0
  class_conditional: bool = False
  split: Literal["checkerboard", "halves"] = "checkerboard"
  reversible: bool = True


@dataclasses.dataclass(frozen=True)
class PredictorConfig(TransformerConfig):
  """The Gaussian predictor f_P.

  Attributes:
    context: 'markov' (step k reads u_k) or 'history' (u_k, ..., u_T).
    reads_noise: read u_T itself, or a learned token in its place. Both are
      exact likelihoods; u_T carries no information about u_{T-1}.
    output: what the network gives for mu_P: 'mean', itself; 'clean', an
      estimate of u_0, and mu_P is the posterior mean A u_k + B u_0; 'velocity',
      the same from u_0 = u_k - t v, and sigma_P is relative to the posterior's
      C: what a flow-matching model becomes.
    mean_correction: velocity: add a learned correction to mu_P, zero at first.
  """

  context: Literal["markov", "history"] = "markov"
  reads_noise: bool = False
  output: Literal["mean", "clean", "velocity"] = "mean"
  mean_correction: bool = False


@dataclasses.dataclass(frozen=True)
class BackboneConfig:
  """Which network gives a velocity; its sizes are those of `PredictorConfig`.

  Attributes:
    kind: 'dit', ours; 'sit' or 'flux2', published ones, for velocities alone; or an
      extension.
    double_layers: flux2: blocks before the `layers` single-stream ones.
    text_tokens: dit, flux2: tokens of the text features that stand in for a
      class; 0 is no text.
    text_width: dit, flux2: width of those features.
  """

  kind: Literal["dit", "sit", "flux2"] | Extension = "dit"
  double_layers: int = 0
  text_tokens: int = 0
  text_width: int = 0


@dataclasses.dataclass(frozen=True)
class InverseConfig:
  """How the transporter is inverted; see `ntm.flows.solvers`. All are exact.

  Attributes:
    solver: 'scan', 'jacobi' or 'gs_jacobi'.
    segment: tokens by which the key/value cache grows; the nearest divisor of
      the number of tokens N is taken. 0 is 4 sqrt(N): shorter ones attend to
      fewer empty positions, but each is compiled on its own.
    chunk: gs_jacobi: tokens solved at once, the nearest divisor likewise.
    tolerance: jacobi, gs_jacobi: largest change of an entry in the last
      iteration; at least 8 units in the last place of 1.
    max_iterations: jacobi, gs_jacobi: of one chunk, before the block is
      inverted by scan; 0 is as many as are exact.
  """

  solver: Literal["scan", "jacobi", "gs_jacobi"] = "scan"
  segment: int = 0
  chunk: int = 16
  tolerance: float = 1e-6
  max_iterations: int = 0


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """Shapes and numerics of the model; what a checkpoint must agree with.

  Attributes:
    kind: 'ntm', the density, or 'flow_matching', a velocity network of the shape
      of `predictor`, without a transporter.
    image_shape: (H, W, channels) of an image, (L, channels) of audio or
      (frames, H, W, channels) of video.
    patch_shape: tokens, one entry a spatial axis.
    num_classes: classes; 0 is unconditional.
    dtype: compute type of the networks; parameters are float32, affine maps
      and likelihoods float32 or better.
    remat: what the backward pass computes again: 'none', 'full' (every layer),
      'dots' (all but matrix products with parameters) or 'attention' (all but
      what attention gives).
    unroll: layers unrolled in one iteration of the scan over depth.
    inverse: solver of the transporter's inverse.
  """

  kind: Literal["ntm", "flow_matching"] = "ntm"
  image_shape: tuple[int, ...] = (8, 8, 1)
  patch_shape: tuple[int, ...] = (2, 2)
  num_classes: int = 10
  transporter: TransporterConfig = TransporterConfig()
  predictor: PredictorConfig = PredictorConfig()
  backbone: BackboneConfig = BackboneConfig()
  dtype: Literal["float32", "bfloat16"] = "float32"
  remat: Literal["none", "full", "dots", "attention"] = "none"
  unroll: int = 1
  inverse: InverseConfig = InverseConfig()

  @property
  def grid_shape(self) -> tuple[int, ...]:
    """Tokens along every spatial axis."""
    return tuple(i // p for i, p in zip(self.image_shape[:-1], self.patch_shape))

  @property
  def num_tokens(self) -> int:
    """N."""
    return math.prod(self.grid_shape)

  @property
  def num_channels(self) -> int:
    """C, channels of one token."""
    return math.prod(self.patch_shape) * self.image_shape[-1]


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
    peak: learning rate after the warm-up.
    end: learning rate after the last step.
    warmup: steps of warm-up.
    b1: Adam's first decay.
    b2: Adam's second decay.
    weight_decay: decoupled, on matrices only (not biases, norms, embeddings).
    clip: global gradient norm; larger gradients are scaled down to it.
    ema: decay of the parameter average, ramped up over the first steps.
  """

  peak: float = 1e-4
  end: float = 1e-6
  warmup: int = 1000
  b1: float = 0.9
  b2: float = 0.95
  weight_decay: float = 1e-4
  clip: float = 1.0
  ema: float = 0.9999


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """One run.

  Attributes:
    objective: 'end_to_end' (all steps of a trajectory), 'pair_wise' (one random step
      per example, about 1/T of the compute) or an extension.
    time_sampling: flow matching: levels drawn 'uniform' or 'logit_normal'.
    steps: updates.
    batch_size: examples an update, over all devices and accumulation rounds.
    accumulation: gradient accumulation rounds; divides batch_size.
    label_dropout: probability of the null class or the empty text, for guidance.
    seed: of parameters, data order and noise.
    log_every: steps between metric lines.
    sample_every: steps between sample grids; the first comes early.
    checkpoint_every: steps between checkpoints, each with a held-out likelihood.
    keep_last: newest checkpoints kept, besides the best.
    skip_nonfinite: updates with a loss or gradient that is not finite that a run
      may leave out; one more stops it.
    profile_at: first step of a profile, written to WORKDIR/profile; 0 takes none.
    profile_steps: steps in it.
  """

  objective: Literal["end_to_end", "pair_wise"] | Extension = "end_to_end"
  time_sampling: Literal["uniform", "logit_normal"] = "logit_normal"
  steps: int = 100_000
  batch_size: int = 256
  accumulation: int = 1
  label_dropout: float = 0.1
  seed: int = 0
  log_every: int = 100
  sample_every: int = 1000
  checkpoint_every: int = 1000
  keep_last: int = 2
  skip_nonfinite: int = 0
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
  """Devices along every mesh axis; at most one -1 takes what is left.

  Attributes:
    data: batch is split, parameters are copied.
    fsdp: batch and parameters are split.
    tensor: heads and feed-forward are split.
  """

  data: int = -1
  fsdp: int = 1
  tensor: int = 1


@dataclasses.dataclass(frozen=True)
class Config:
  """A run, complete; `denoiser` is read by distillation alone."""

  data: DataConfig = DataConfig()
  model: ModelConfig = ModelConfig()
  process: ProcessConfig = ProcessConfig()
  optimizer: OptimizerConfig = OptimizerConfig()
  train: TrainConfig = TrainConfig()
  finetune: FinetuneConfig = FinetuneConfig()
  mesh: MeshConfig = MeshConfig()
  denoiser: TransformerConfig = TransformerConfig()
