"""The sections of a model and its transporter, with what they must satisfy."""

import dataclasses
import math
from typing import Literal

from ntm.config import extension
from ntm.config.checking import require, unread
from ntm.config.extension import Extension
from ntm.config.predictor import BackboneConfig, PredictorConfig, check_backbone, check_predictor
from ntm.config.transformer import TransformerConfig, check_transformer


@dataclasses.dataclass(frozen=True)
class TransporterConfig(TransformerConfig):
  """The invertible transporter f_T.

  Attributes:
    kind: 'autoregressive' (TarFlow) or 'coupling' blocks, or an extension.
    num_blocks: blocks; 0 is the identity (Gaussian diffusion).
    log_scale_bound: log sigma_T of one block stays within plus and minus this.
    spline_bins: K, bins of a monotone spline after the affine map of every channel, see
      `ntm.flows.spline`; 0 leaves the map affine.
    spline_range: R; the spline acts on [-R, R] and is the identity outside.
    autoregressive_channels: autoregressive: the map of a channel also depends on the channels
      before it in the same token, see `ntm.flows.channels`; odd blocks reverse their order.
    class_conditional: give the blocks the class too. Guidance is then off:
      its two branches would live in different u-spaces.
    features: F, features per token of the noisier state that the blocks read too,
      which makes every step a conditional flow; the predictor gives them. 0 is a
      transporter that reads the level alone. Guidance is off with them too, and
      sampling takes an inverse per step.
    split: coupling: 'checkerboard' or 'halves' of the tokens are kept.
    reversible: coupling: rebuild activations in the backward pass.
  """

  kind: Literal["autoregressive", "coupling"] | Extension = "autoregressive"
  layers: int = 4
  num_blocks: int = 2
  log_scale_bound: float = 3.0
  spline_bins: int = 0
  spline_range: float = 4.0
  autoregressive_channels: bool = False
  class_conditional: bool = False
  features: int = 0
  split: Literal["checkerboard", "halves"] = "checkerboard"
  reversible: bool = True


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
    patch_shape: tokens, one entry per spatial axis.
    num_classes: classes; 0 is unconditional.
    dtype: compute type of the networks; parameters are float32, affine maps
      and likelihoods float32 or better.
    remat: what the backward pass computes again: 'none', 'full' (every layer),
      'dots' (all but matrix products with parameters) or 'attention' (all but
      what attention gives).
    unroll: layers unrolled in one iteration of the scan over depth.
    attention_kernel: whether whole sequences are attended to by the accelerator's own kernel:
      'auto' (on GPUs; on TPUs from 1,024 tokens on), 'always' or 'never', see `ntm.nn.kernels`.
      A frozen text encoder has 'auto'.
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
  attention_kernel: Literal["auto", "always", "never"] = "auto"
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


def check_model(model) -> None:
  """Raises ValueError unless the sizes of a ModelConfig fit together."""
  axes = len(model.image_shape) - 1
  require(1 <= axes <= 3 and min(model.image_shape) >= 1, "model.image_shape",
          model.image_shape, "1 to 3 positive spatial axes and a channel axis")
  require(len(model.patch_shape) == axes and min(model.patch_shape, default=0) >= 1
          and not any(i % p for i, p in zip(model.image_shape, model.patch_shape)),
          "model.patch_shape", model.patch_shape,
          f"one entry for every spatial axis of image_shape {model.image_shape}, dividing it")
  require(model.num_classes >= 0, "model.num_classes", model.num_classes,
          "0 (unconditional) or more")
  require(model.unroll >= 1, "model.unroll", model.unroll, "at least 1")
  for name, part in (("transporter", model.transporter), ("predictor", model.predictor)):
    check_transformer(f"model.{name}", part, axes)
  _check_transporter(model)
  _check_inverse(model.inverse)
  check_predictor(model)
  check_backbone(model, axes)


def _check_transporter(model):
  transporter = model.transporter
  require(transporter.num_blocks >= 0, "model.transporter.num_blocks", transporter.num_blocks,
          "0 (no transporter) or more")
  # exp of a log-scale, and of the sum over a few blocks, has to stay within float32.
  require(1e-3 <= transporter.log_scale_bound <= 20, "model.transporter.log_scale_bound",
          transporter.log_scale_bound, "a number from 0.001 to 20, such as 3")
  # Of one bin there is only the identity; 128 at their least width fill an eighth of the range.
  require(transporter.spline_bins == 0 or 2 <= transporter.spline_bins <= 128,
          "model.transporter.spline_bins", transporter.spline_bins,
          "0 (affine maps alone) or 2 to 128 bins, such as 16")
  require(0.1 <= transporter.spline_range <= 100, "model.transporter.spline_range",
          transporter.spline_range, "the end of an interval [-R, R] that holds nearly all of the "
          "normalised data: R from 0.1 to 100, such as 4")
  if not transporter.spline_bins:
    unread(transporter, "model.transporter", "spline_bins of 2 or more", spline_range=4.0)
  if not transporter.num_blocks and not extension.is_path(transporter.kind):
    unread(transporter, "model.transporter", "model.transporter.num_blocks of 1 or more",
           features=0, autoregressive_channels=False)
  if transporter.kind == "coupling":
    unread(transporter, "model.transporter", "a model.transporter.kind 'autoregressive'",
           autoregressive_channels=False)
  require(not transporter.autoregressive_channels or model.num_channels > 1,
          "model.transporter.autoregressive_channels", True,
          "False for tokens of one channel: there is none before it")
  require(transporter.kind != "coupling" or model.num_tokens > 1,
          "model.transporter.kind", transporter.kind,
          "'autoregressive' for a single token, which has no halves")
  require(model.num_classes or not transporter.class_conditional,
          "model.transporter.class_conditional", transporter.class_conditional,
          "False for a model without classes")
  require(transporter.features >= 0, "model.transporter.features", transporter.features,
          "0 (none) or more")


def _check_inverse(inverse):
  require(inverse.segment >= 0, "model.inverse.segment", inverse.segment,
          "0 (4 sqrt(N) tokens) or more")
  require(inverse.chunk >= 1, "model.inverse.chunk", inverse.chunk, "at least 1")
  require(0 < inverse.tolerance < 1, "model.inverse.tolerance", inverse.tolerance,
          "a change of an entry between 0 and 1, such as 1e-6")
  require(inverse.max_iterations >= 0, "model.inverse.max_iterations", inverse.max_iterations,
          "0 (as many as are exact) or more")
