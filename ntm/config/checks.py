"""What a configuration must satisfy; each failure names value and expectation.

Types, choices and 32 bits are checked where a section is built, in `ntm.config`; here is what
makes sense, alone and together.
"""

from ntm.config import extension


def _require(ok, where, value, expected):
  if not ok:
    raise ValueError(f"config.{where} is {value!r}; expected {expected}.")


def _unread(section, where, reader, **defaults):
  """Raises unless settings that nothing reads have their defaults."""
  for key, default in defaults.items():
    value = getattr(section, key)
    _require(value == default, f"{where}.{key}", value, f"{default!r}: only {reader} reads it")


def check_model(model) -> None:
  """Raises ValueError unless the sizes of a ModelConfig fit together."""
  axes = len(model.image_shape) - 1
  _require(1 <= axes <= 3 and min(model.image_shape) >= 1, "model.image_shape",
           model.image_shape, "1 to 3 positive spatial axes and a channel axis")
  _require(len(model.patch_shape) == axes and min(model.patch_shape, default=0) >= 1
           and not any(i % p for i, p in zip(model.image_shape, model.patch_shape)),
           "model.patch_shape", model.patch_shape,
           f"one entry for every spatial axis of image_shape {model.image_shape}, dividing it")
  _require(model.num_classes >= 0, "model.num_classes", model.num_classes,
           "0 (unconditional) or more")
  _require(model.unroll >= 1, "model.unroll", model.unroll, "at least 1")
  for name, part in (("transporter", model.transporter), ("predictor", model.predictor)):
    check_transformer(f"model.{name}", part, axes)
  _check_transporter(model)
  _check_inverse(model.inverse)
  _check_predictor(model)
  _check_backbone(model, axes)


def _check_transporter(model):
  transporter = model.transporter
  _require(transporter.num_blocks >= 0, "model.transporter.num_blocks", transporter.num_blocks,
           "0 (no transporter) or more")
  # exp of a log-scale, and of the sum over a few blocks, has to stay within float32.
  _require(1e-3 <= transporter.log_scale_bound <= 20, "model.transporter.log_scale_bound",
           transporter.log_scale_bound, "a number from 0.001 to 20, such as 3")
  _require(transporter.kind != "coupling" or model.num_tokens > 1,
           "model.transporter.kind", transporter.kind,
           "'autoregressive' for a single token, which has no halves")
  _require(model.num_classes or not transporter.class_conditional,
           "model.transporter.class_conditional", transporter.class_conditional,
           "False for a model without classes")


def _check_inverse(inverse):
  _require(inverse.segment >= 0, "model.inverse.segment", inverse.segment,
           "0 (4 sqrt(N) tokens) or more")
  _require(inverse.chunk >= 1, "model.inverse.chunk", inverse.chunk, "at least 1")
  _require(0 < inverse.tolerance < 1, "model.inverse.tolerance", inverse.tolerance,
           "a change of an entry between 0 and 1, such as 1e-6")
  _require(inverse.max_iterations >= 0, "model.inverse.max_iterations", inverse.max_iterations,
           "0 (as many as are exact) or more")


def _check_predictor(model):
  predictor = model.predictor
  if model.kind == "flow_matching":
    _unread(predictor, "model.predictor", "model.kind 'ntm'", context="markov",
            mean_correction=False)
    return
  _require(predictor.output == "velocity" or not predictor.mean_correction,
           "model.predictor.mean_correction", predictor.mean_correction,
           "False unless model.predictor.output is 'velocity'")
  _require(predictor.output != "velocity" or predictor.reads_noise,
           "model.predictor.reads_noise", predictor.reads_noise,
           "True with model.predictor.output = 'velocity': a velocity is read off its input")


def _check_backbone(model, axes):
  backbone, predictor, kind = model.backbone, model.predictor, model.backbone.kind
  if extension.is_path(kind):
    return
  velocity = model.kind == "flow_matching" or (
      predictor.output == "velocity" and predictor.context == "markov")
  _require(kind == "dit" or velocity, "model.backbone.kind", kind, "'dit' unless model.kind is "
           "'flow_matching', or model.predictor has output 'velocity' and context 'markov'")
  _require(kind == "dit" or axes == 2, "model.image_shape", model.image_shape,
           f"rows, columns and channels with model.backbone.kind = {kind!r}")
  _require(kind != "sit" or len(set(model.patch_shape)) == 1, "model.patch_shape",
           model.patch_shape, "square patches with model.backbone.kind = 'sit'")
  _require(kind != "sit" or model.num_classes, "model.num_classes", model.num_classes,
           "1 or more with model.backbone.kind = 'sit'")
  text = (backbone.text_tokens, backbone.text_width)
  known = {"dit": text == (0, 0) or min(text) >= 1, "sit": text == (0, 0), "flux2": min(text) >= 1}
  _require(known[kind], "model.backbone.text_tokens", text, "tokens and width of the text "
           "features: both positive with kind 'flux2', both 0 with 'sit', either with 'dit'")
  _require(not text[0] or (not model.num_classes and predictor.context == "markov"),
           "model.backbone.text_tokens", text, "0 and 0 with classes or the history predictor: a "
           "model is conditioned on a class or on a text")
  if kind == "flux2":
    _require(backbone.double_layers >= 1, "model.backbone.double_layers", backbone.double_layers,
             "1 or more with model.backbone.kind = 'flux2'")
  else:
    _unread(backbone, "model.backbone", "kind 'flux2'", double_layers=0)
  if kind != "dit":
    _require(predictor.num_kv_heads == predictor.num_heads, "model.predictor.num_kv_heads",
             predictor.num_kv_heads,
             f"num_heads, {predictor.num_heads}, with model.backbone.kind = {kind!r}")
    # Of SiT's position table, and of the four rotary axes of FLUX.2.
    size, divisor = {"sit": (predictor.width, 4),
                     "flux2": (predictor.width // predictor.num_heads, 8)}[kind]
    _require(size % divisor == 0, "model.predictor.width", predictor.width,
             f"a width{' per head' * (kind == 'flux2')} divisible by {divisor} with "
             f"model.backbone.kind = {kind!r}")


def check_transformer(where, part, axes) -> None:
  """Raises ValueError unless the sizes of a TransformerConfig fit together."""
  _require(part.layers >= 1, f"{where}.layers", part.layers, "at least 1")
  _require(part.mlp_ratio >= 1, f"{where}.mlp_ratio", part.mlp_ratio, "at least 1")
  _require(part.num_heads >= 1 and part.width >= 1
           and part.width % (2 * part.num_heads) == 0, f"{where}.num_heads",
           part.num_heads, f"a number that divides the width {part.width} into even head widths")
  _require(part.num_kv_heads >= 1 and part.num_heads % part.num_kv_heads == 0,
           f"{where}.num_kv_heads", part.num_kv_heads,
           f"a divisor of num_heads {part.num_heads}")
  _require(part.width // part.num_heads >= 2 * axes, f"{where}.num_heads", part.num_heads,
           f"head widths of at least {2 * axes} for {axes} rotary axes")


def check_run(config) -> None:
  """Raises ValueError unless the rest of a Config makes sense."""
  check_transformer("denoiser", config.denoiser, len(config.model.image_shape) - 1)
  _require(0 < config.data.test_fraction < 1, "data.test_fraction",
           config.data.test_fraction, "a share strictly between 0 and 1")
  _require(-1 <= config.data.left_out <= 9
           and (config.data.left_out < 0 or config.data.source == "digits"),
           "data.left_out", config.data.left_out, "a digit, with data.source 'digits', or -1")
  _check_process(config)
  _check_train(config)
  _check_optimizer(config.optimizer, config.train.steps)
  mesh = config.mesh
  sizes = (mesh.data, mesh.fsdp, mesh.tensor)
  _require(all(n == -1 or n >= 1 for n in sizes) and sizes.count(-1) <= 1, "mesh",
           sizes, "positive sizes with at most one -1")


def _check_process(config):
  process, model = config.process, config.model
  _require(process.num_steps and min(process.num_steps) >= 1
           and len(set(process.num_steps)) == len(process.num_steps),
           "process.num_steps", process.num_steps, "different numbers of steps, each at least 1")
  _require(0 <= process.t_min_low <= process.t_min_high < 1, "process.t_min_high",
           process.t_min_high, f"t_min_low {process.t_min_low} <= t_min_high < 1, from 0 on")
  _require(0 < process.t_min < 1, "process.t_min", process.t_min,
           "a level strictly between 0 and 1")
  if model.kind == "ntm":
    _require(process.t_min_low <= process.t_min <= process.t_min_high, "process.t_min",
             process.t_min, f"a level that training draws, from t_min_low {process.t_min_low} to "
             f"t_min_high {process.t_min_high}")
  velocity = model.kind == "ntm" and model.predictor.output == "velocity"
  _require(not velocity or process.t_min_low > 0, "process.t_min_low", process.t_min_low,
           "a positive level with model.predictor.output = 'velocity': sigma_P is relative to "
           "the posterior's C, which is 0 at t_min = 0")
  _require(config.finetune.alignment >= 0, "finetune.alignment", config.finetune.alignment,
           "0 (none) or more")
  _require(velocity or not config.finetune.source, "finetune.source", config.finetune.source,
           "'' unless model.kind is 'ntm' and model.predictor.output is 'velocity'")


def _check_train(config):
  train = config.train
  _require(train.objective != "pair_wise" or config.model.predictor.context == "markov",
           "train.objective", train.objective,
           "'end_to_end' with the history predictor, which reads all levels above its own")
  if config.model.kind == "flow_matching":
    _unread(train, "train", "model.kind 'ntm'", objective="end_to_end")
  else:
    _unread(train, "train", "model.kind 'flow_matching'", time_sampling="logit_normal")
  for key in ("steps", "batch_size", "accumulation", "log_every",
              "sample_every", "checkpoint_every", "keep_last", "profile_steps"):
    _require(getattr(train, key) >= 1, f"train.{key}", getattr(train, key), "at least 1")
  _require(train.skip_nonfinite >= 0, "train.skip_nonfinite", train.skip_nonfinite,
           "0 (none) or more")
  _require(0 <= train.profile_at <= train.steps, "train.profile_at", train.profile_at,
           f"0 (no profile), or a step of the run's {train.steps}")
  _require(train.batch_size % train.accumulation == 0, "train.accumulation",
           train.accumulation, f"a divisor of batch_size {train.batch_size}")
  _require(train.seed >= 0, "train.seed", train.seed, "0 or more")
  _require(0 <= train.label_dropout < 1, "train.label_dropout", train.label_dropout,
           "a probability from 0 to below 1, which would leave no example its condition")


def _check_optimizer(optimizer, steps):
  _require(0 < optimizer.peak <= 1, "optimizer.peak", optimizer.peak,
           "a learning rate above 0, at most 1")
  _require(0 <= optimizer.end <= optimizer.peak, "optimizer.end", optimizer.end,
           f"between 0 and the peak {optimizer.peak}")
  _require(0 <= optimizer.warmup < steps, "optimizer.warmup", optimizer.warmup,
           f"between 0 and train.steps {steps}, exclusive")
  for key in ("b1", "b2", "ema"):
    _require(0 <= getattr(optimizer, key) < 1, f"optimizer.{key}", getattr(optimizer, key),
             "between 0 and 1, exclusive")
  _require(0 <= optimizer.weight_decay * optimizer.peak < 1, "optimizer.weight_decay",
           optimizer.weight_decay, f"from 0 to below 1 / peak, {1 / optimizer.peak:g}: an update "
           "takes the share peak * weight_decay off the weights")
  # Adam divides by the gradient's size plus 1e-8, to which smaller ones vanish.
  _require(optimizer.clip >= 1e-6, "optimizer.clip", optimizer.clip,
           "a norm of at least 1e-6, such as 1")
