"""Model FLOPs in closed form, of one pass and of every unit of work.

Counted are matrix products, attention's among them, a multiply-add as two. Left
out is all else: norms, softmax, rotary positions, affine maps, lookups, the
optimizer. XLA's own count includes that, but a scanned layer only once.

- Attention counts the pairs of query and key that the mask lets through, so
  N (N + 1) / 2 in a causal block: what the model needs, whichever kernel runs.
  (PaLM's convention for utilisation has N^2.) All else is counted as it is
  written, such as the tokens that a coupling block keeps.
- A gradient by parameters is two forward passes, rematerialisation none.
- What all steps share, an embedded text or number of steps, is counted once.
- Trajectories of several T are padded to the largest, and counted so.

Letters are those of `ntm.typing`; V is the width of keys, D by key heads over
heads, F that of a feed-forward layer. A pass is that of one example; the units
of work at the end are those of a batch.
"""

import dataclasses

from ntm.config import Config, ModelConfig, TransformerConfig
from ntm.published.flux2.mapping import flux2_config
from ntm.published.sit.mapping import sit_config

_SINUSOIDS = 128  # Of `embeddings.sinusoidal`.
_SIT_SINUSOIDS = 256  # Of `sit.time_features`.


@dataclasses.dataclass(frozen=True)
class Flops:
  """A forward pass, by what its gradients cost.

  Attributes:
    tokens: products of parameters with tokens.
    attention: scores and weighted values, 4 D a pair of query and key.
    condition: products of parameters with what does not depend on the tokens.
  """

  tokens: int = 0
  attention: int = 0
  condition: int = 0

  def __add__(self, other: "Flops") -> "Flops":
    return Flops(self.tokens + other.tokens, self.attention + other.attention,
                 self.condition + other.condition)

  def __mul__(self, times: int) -> "Flops":
    return Flops(self.tokens * times, self.attention * times, self.condition * times)

  @property
  def forward(self) -> int:
    """All of them."""
    return self.tokens + self.attention + self.condition

  @property
  def training(self) -> int:
    """Forward and gradient by parameters: 3 forward passes."""
    return 3 * self.forward

  @property
  def score(self) -> int:
    """Forward and gradient by tokens: 2 of their products, 3 of attention, 1 of the condition."""
    return 2 * self.tokens + 3 * self.attention + self.condition


def transformer(net: TransformerConfig, num_tokens: int, pairs: int, levels: int = 1) -> Flops:
  """`nn.stack.Stack`: L layers of 2 M D (2 D + 2 V + 2 F), 4 P D for P pairs, 12 G D^2."""
  width = net.width
  keys, hidden = width * net.num_kv_heads // net.num_heads, net.mlp_ratio * width
  return Flops(2 * num_tokens * width * (2 * width + 2 * keys + 2 * hidden), 4 * pairs * width,
               12 * levels * width ** 2) * net.layers


def scalar_embedding(width: int) -> Flops:
  """`embeddings.ScalarEmbedding` of one number: 2 (128 D + D^2)."""
  return Flops(condition=2 * width * (_SINUSOIDS + width))


def text_embedding(model: ModelConfig, width: int) -> Flops:
  """M text tokens of width W to width D: 2 M W D."""
  return Flops(condition=2 * model.backbone.text_tokens * model.backbone.text_width * width)


def transporter(config: Config, num_levels: int) -> Flops:
  """f_T on K levels, either way: every block 2 N C D in, a stack, 4 N C D out, and the level.

  A causal block reads N - 1 tokens and sees N (N + 1) / 2 pairs, a coupling
  block N and N^2. An inverse counts as much; an iterative solver's is longer
  by a number of iterations that depends on the data.
  """
  model, net = config.model, config.model.transporter
  causal, number = net.kind == "autoregressive", model.num_tokens
  ends = 2 * model.num_channels * net.width * (number - causal + 2 * number)
  pairs = number * (number + 1) // 2 if causal else number ** 2
  block = Flops(ends) + transformer(net, number, pairs) + scalar_embedding(net.width)
  return (block * num_levels + _shared_steps(config, net.width)) * net.num_blocks


def backbone(model: ModelConfig, net: TransformerConfig, channels: int, scalars: int,
             levels: int = 1) -> Flops:
  """`models.dit.Backbone` on G levels, without a text's embedding.

  2 G N D (C + channels read out), a stack on G N tokens and M of text with
  (N + M)^2 G (G + 1) / 2 pairs (a level reads itself and noisier ones), the
  scalars of every level, and 4 G D^2 for the last modulation.
  """
  number, texts = model.num_tokens, model.backbone.text_tokens
  ends = 2 * levels * number * net.width * (model.num_channels + channels)
  pairs = (number + texts) ** 2 * levels * (levels + 1) // 2
  return (Flops(ends, condition=4 * levels * net.width ** 2)
          + transformer(net, levels * number + texts, pairs, levels)
          + scalar_embedding(net.width) * (scalars * levels))


def sit(model: ModelConfig) -> Flops:
  """`backbones.sit.SiT`: 2 N C D in, 4 N C D out, layers as ours, 2 (256 D + D^2) + 4 D^2."""
  net, width = sit_config(model), model.predictor.width
  ends = 2 * net.num_tokens * net.num_channels * width * (2 + net.learn_sigma)
  layers = dataclasses.replace(model.predictor, num_kv_heads=net.num_heads)
  return (Flops(ends, condition=2 * _SIT_SINUSOIDS * width + 6 * width ** 2)
          + transformer(layers, net.num_tokens, net.num_tokens ** 2))


def flux2(model: ModelConfig) -> Flops:
  """`backbones.flux2.Flux2` without the text's embedding.

  4 N C D for both ends; every block, double or single, (M + N) (8 D^2 + 6 D F)
  and 4 (M + N)^2 D; 17 vectors of modulation and the level, 36 D^2 + 2 256 D.
  """
  net = flux2_config(model)
  width, length = net.width, model.num_tokens + model.backbone.text_tokens
  block = Flops(length * (8 * width ** 2 + 6 * width * net.mlp_width), 4 * length ** 2 * width)
  return (Flops(2 * model.num_tokens * width * (net.in_channels + net.out_channels),
                condition=36 * width ** 2 + 2 * net.time_width * width)
          + block * (net.double_layers + net.single_layers))


def velocity(config: Config, num_levels: int = 1) -> Flops:
  """`models.velocity.FlowMatching` on K levels of one example."""
  model = config.model
  if model.backbone.kind == "dit":
    network = backbone(model, model.predictor, model.num_channels, scalars=1)
  else:
    network = sit(model) if model.backbone.kind == "sit" else flux2(model)
  return network * num_levels + text_embedding(model, model.predictor.width)


def predictor(config: Config, num_steps: int) -> Flops:
  """f_P on S steps: one by one (markov), or as one sequence of S levels (history).

  Ours reads two levels and gives 2 C a token, or 3 C with a mean correction. A
  published network gives C; the rest, 2 N D C each, and the level predicted,
  2 (128 D + D^2), are added to it.
  """
  model, net = config.model, config.model.predictor
  channels = model.num_channels * (2 + net.mean_correction)
  if model.backbone.kind != "dit":
    added = 2 * model.num_tokens * net.width * (channels - model.num_channels)
    network = velocity(config, num_steps) + (
        Flops(added) + scalar_embedding(net.width)) * num_steps
  elif net.context == "history":
    network = backbone(model, net, channels, scalars=2, levels=num_steps)
  else:
    network = (backbone(model, net, channels, scalars=2) * num_steps
               + text_embedding(model, net.width))
  return network + _shared_steps(config, net.width)


def denoiser(config: Config) -> Flops:
  """`models.denoiser.Denoiser`: a backbone that reads one level and gives C a token."""
  model, net = config.model, config.denoiser
  return (backbone(model, net, model.num_channels, scalars=1) + text_embedding(model, net.width)
          + _shared_steps(config, net.width))


def density(config: Config, num_steps: int) -> Flops:
  """log p of a trajectory of S steps that ends at noise, which is not transported."""
  return transporter(config, num_steps) + predictor(config, num_steps)


def recomputed(config: Config, program: str, refine: str | None = None) -> int:
  """What `config.model.remat` computes again in one unit of `program`, at least.

  A forward pass of what is differentiated under 'full', the same without
  attention under 'attention', nothing otherwise.

  Args:
    config: of the run.
    program: 'train', 'distill' or 'sample'.
    refine: of a sample; a velocity model has none.
  """
  if program == "train":
    again = _trained(config)
  elif program == "distill":
    again = density(config, max(config.process.num_steps)) + denoiser(config)
  elif config.model.kind == "ntm" and refine == "score":
    again = density(config, config.process.num_steps[0])
  else:
    again = Flops()
  if config.model.remat == "attention":
    again = dataclasses.replace(again, attention=0)
  elif config.model.remat != "full":
    again = Flops()
  return config.train.batch_size * again.forward


def train_step(config: Config) -> int:
  """One update: `config.train.batch_size` examples, over all accumulation rounds.

  An NTM trains on its largest T, or on a pair of levels and the step between
  them (pair_wise); finetuning adds one pass of the frozen velocity model.
  """
  example = _trained(config).training
  if config.model.kind == "ntm" and config.finetune.source:
    pair = config.train.objective == "pair_wise"
    example += velocity(config, 1 if pair else max(config.process.num_steps)).forward
  return config.train.batch_size * example


def distill_step(config: Config) -> int:
  """One update of the denoiser: the teacher's score and u_{t_0}, and the student's training."""
  teacher = density(config, max(config.process.num_steps)).score + transporter(config, 1).forward
  return config.train.batch_size * (teacher + denoiser(config).training)


def sample(config: Config, batch_size: int, num_steps: int, refine: str | None = None,
           guidance: float | None = None) -> int:
  """A batch of samples, as `sampling.generate` and `sampling.ode` draw them.

  Args:
    config: of the model; its denoiser is that of `config.denoiser`.
    batch_size: samples.
    num_steps: T; of a velocity model, network evaluations (`ode.evaluations`).
    refine: None (one state transported back), 'score' (all T, then the score)
      or 'denoiser' (none).
    guidance: not None doubles the steps.

  Raises:
    ValueError: another refinement, or one of a velocity model.
  """
  branches = 1 if guidance is None else 2
  if config.model.kind == "flow_matching":
    known, example = (None,), velocity(config, num_steps).forward * branches
  else:
    known, example = (None, "score", "denoiser"), predictor(config, num_steps).forward * branches
    if refine == "denoiser":
      example += denoiser(config).forward
    else:
      example += transporter(config, num_steps if refine else 1).forward
    if refine == "score":
      example += density(config, num_steps).score
  if refine not in known:
    raise ValueError(f"refine is {refine!r}; expected one of {known} for a model of kind "
                     f"{config.model.kind!r}.")
  return batch_size * example


def _trained(config: Config) -> Flops:
  """A forward pass of what an update differentiates."""
  if config.model.kind == "flow_matching":
    return velocity(config)
  pair = config.train.objective == "pair_wise"
  num_steps = 1 if pair else max(config.process.num_steps)
  return transporter(config, num_steps + pair) + predictor(config, num_steps)


def _shared_steps(config: Config, width: int) -> Flops:
  """The number of steps, embedded once an example if one model serves several."""
  return scalar_embedding(width) * (len(config.process.num_steps) > 1)
