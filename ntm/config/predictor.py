"""The sections of the Gaussian predictor and its network, with what they must satisfy."""

import dataclasses
from typing import Literal

from ntm.config import extension
from ntm.config.checking import require, unread
from ntm.config.extension import Extension
from ntm.config.transformer import TransformerConfig


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
    text_tokens: dit, flux2: tokens of the text that stands in for a class; 0 for none.
    text_width: dit, flux2: width of its features, if they come from elsewhere.
    vocab_size: dit: token ids, each with a learned vector, in place of features; 0 for features.
    text_layers: dit: layers that these vectors pass on their own, of the network's width.
  """

  kind: Literal["dit", "sit", "flux2"] | Extension = "dit"
  double_layers: int = 0
  text_tokens: int = 0
  text_width: int = 0
  vocab_size: int = 0
  text_layers: int = 2


def check_predictor(model) -> None:
  """Raises ValueError unless the PredictorConfig of a ModelConfig fits its kind."""
  predictor = model.predictor
  if model.kind == "flow_matching":
    unread(predictor, "model.predictor", "model.kind 'ntm'", context="markov",
           mean_correction=False)
    return
  require(predictor.output == "velocity" or not predictor.mean_correction,
          "model.predictor.mean_correction", predictor.mean_correction,
          "False unless model.predictor.output is 'velocity'")
  require(predictor.output != "velocity" or predictor.reads_noise,
          "model.predictor.reads_noise", predictor.reads_noise,
          "True with model.predictor.output = 'velocity': a velocity is read off its input")


def check_backbone(model, axes: int) -> None:
  """Raises ValueError unless the BackboneConfig of a ModelConfig fits the rest of it.

  Args:
    model: a ModelConfig.
    axes: spatial axes of its images, 1 to 3.
  """
  backbone, predictor, kind = model.backbone, model.predictor, model.backbone.kind
  if extension.is_path(kind):
    return
  velocity = model.kind == "flow_matching" or (
      predictor.output == "velocity" and predictor.context == "markov")
  require(kind == "dit" or velocity, "model.backbone.kind", kind, "'dit' unless model.kind is "
          "'flow_matching', or model.predictor has output 'velocity' and context 'markov'")
  require(kind == "dit" or axes == 2, "model.image_shape", model.image_shape,
          f"rows, columns and channels with model.backbone.kind = {kind!r}")
  require(kind != "sit" or len(set(model.patch_shape)) == 1, "model.patch_shape",
          model.patch_shape, "square patches with model.backbone.kind = 'sit'")
  require(kind != "sit" or model.num_classes, "model.num_classes", model.num_classes,
          "1 or more with model.backbone.kind = 'sit'")
  _check_text(backbone)
  require(not backbone.text_tokens or not model.num_classes, "model.backbone.text_tokens",
          backbone.text_tokens, f"0 with model.num_classes = {model.num_classes}: a model is "
          "conditioned on a class or on a text; set one of the two to 0")
  require(not backbone.text_tokens or predictor.context == "markov", "model.backbone.text_tokens",
          backbone.text_tokens, "0 with model.predictor.context = 'history', which reads no text")
  if kind == "flux2":
    require(backbone.double_layers >= 1, "model.backbone.double_layers", backbone.double_layers,
            "1 or more with model.backbone.kind = 'flux2'")
  else:
    unread(backbone, "model.backbone", "kind 'flux2'", double_layers=0)
  if kind != "dit":
    require(predictor.num_kv_heads == predictor.num_heads, "model.predictor.num_kv_heads",
            predictor.num_kv_heads,
            f"num_heads, {predictor.num_heads}, with model.backbone.kind = {kind!r}")
    # Of SiT's position table, and of the four rotary axes of FLUX.2.
    size, divisor = {"sit": (predictor.width, 4),
                     "flux2": (predictor.width // predictor.num_heads, 8)}[kind]
    require(size % divisor == 0, "model.predictor.width", predictor.width,
            f"a width{' per head' * (kind == 'flux2')} divisible by {divisor} with "
            f"model.backbone.kind = {kind!r}")


def _check_text(backbone):
  tokens, width, kind = backbone.text_tokens, backbone.text_width, backbone.kind
  if backbone.vocab_size:
    require(kind == "dit" and backbone.vocab_size >= 2, "model.backbone.vocab_size",
            backbone.vocab_size, "2 or more with model.backbone.kind = 'dit', or 0")
    require(tokens >= 1, "model.backbone.text_tokens", tokens, "the tokens of a text, 1 or more, "
            "with model.backbone.vocab_size")
    require(not width, "model.backbone.text_width", width,
            f"0 with model.backbone.vocab_size = {backbone.vocab_size}: text_width is of features "
            "that are made elsewhere, vocab_size of token ids that the network embeds in its own "
            "width; set one of the two to 0")
    require(backbone.text_layers >= 1, "model.backbone.text_layers", backbone.text_layers,
            "1 or more: without a layer of its own the order of a text is lost")
    return
  unread(backbone, "model.backbone", "a vocab_size", text_layers=2)
  both = min(tokens, width) >= 1
  neither = (tokens, width) == (0, 0)
  known = {"dit": both or neither, "sit": neither, "flux2": both}
  require(known[kind], "model.backbone.text_tokens", tokens,
          f"to fit model.backbone.text_width = {width}: both are positive with kind 'flux2', both "
          "0 with 'sit', either with 'dit'; for token ids that the network embeds set vocab_size "
          "in place of text_width")
