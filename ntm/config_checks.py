"""What a configuration must satisfy; each failure names value and expectation."""

_DTYPES = ("float32", "bfloat16", "float64")
_REMAT_POLICIES = ("none", "full", "dots", "attention")


def _require(ok, where, value, expected):
  if not ok:
    raise ValueError(f"config.{where} is {value!r}; expected {expected}.")


def _choice(where, value, known):
  _require(value in known, where, value, f"one of {', '.join(known)}")


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
  _choice("model.dtype", model.dtype, _DTYPES)
  _choice("model.remat", model.remat, _REMAT_POLICIES)
  _require(model.unroll >= 1, "model.unroll", model.unroll, "at least 1")
  for name, part in (("transporter", model.transporter), ("predictor", model.predictor)):
    check_transformer(f"model.{name}", part, axes)
  _require(model.transporter.num_blocks >= 0, "model.transporter.num_blocks",
           model.transporter.num_blocks, "0 (no transporter) or more")
  _require(model.transporter.log_scale_bound > 0, "model.transporter.log_scale_bound",
           model.transporter.log_scale_bound, "a positive number")
  _choice("model.transporter.kind", model.transporter.kind, ("autoregressive", "coupling"))
  _choice("model.transporter.split", model.transporter.split, ("checkerboard", "halves"))
  _require(model.transporter.kind == "autoregressive" or model.num_tokens > 1,
           "model.transporter.kind", model.transporter.kind,
           "'autoregressive' for a single token, which has no halves")
  inverse = model.inverse
  _choice("model.inverse.solver", inverse.solver, ("scan", "jacobi", "gs_jacobi"))
  _require(inverse.segment >= 0, "model.inverse.segment", inverse.segment,
           "0 (4 sqrt(N) tokens) or more")
  _require(inverse.chunk >= 1, "model.inverse.chunk", inverse.chunk, "at least 1")
  _require(inverse.tolerance > 0, "model.inverse.tolerance", inverse.tolerance,
           "a positive change of an entry, such as 1e-6")
  _require(inverse.max_iterations >= 0, "model.inverse.max_iterations", inverse.max_iterations,
           "0 (as many as are exact) or more")
  _choice("model.predictor.context", model.predictor.context, ("markov", "history"))
  kind = model.backbone.kind
  _choice("model.backbone.kind", kind, ("dit", "sit", "flux2"))
  velocity = model.kind == "flow_matching" or (
      model.predictor.output == "velocity" and model.predictor.context == "markov")
  _require(kind == "dit" or velocity, "model.backbone.kind", kind, "'dit' unless model.kind is "
           "'flow_matching', or model.predictor has output 'velocity' and context 'markov'")
  _require(kind != "sit" or (axes == 2 and len(set(model.patch_shape)) == 1 and model.num_classes),
           "model.patch_shape", model.patch_shape,
           "square patches of a class-conditional image with model.backbone.kind = 'sit'")
  text = (model.backbone.text_tokens, model.backbone.text_width)
  known = {"dit": text == (0, 0) or min(text) >= 1, "sit": text == (0, 0), "flux2": min(text) >= 1}
  _require(known[kind], "model.backbone.text_tokens", text, "tokens and width of the text "
           "features: both positive with kind 'flux2', both 0 with 'sit', either with 'dit'")
  _require(not text[0] or (not model.num_classes and model.predictor.context == "markov"),
           "model.backbone.text_tokens", text, "0 and 0 with classes or the history predictor: a "
           "model is conditioned on a class or on a text")
  _require(kind != "flux2" or model.backbone.double_layers >= 1, "model.backbone.double_layers",
           model.backbone.double_layers, "1 or more")
  _require(model.num_classes or not model.transporter.class_conditional,
           "model.transporter.class_conditional", model.transporter.class_conditional,
           "False for a model without classes")
  _choice("model.kind", model.kind, ("ntm", "flow_matching"))
  _choice("model.predictor.output", model.predictor.output, ("mean", "clean", "velocity"))
  _require(model.predictor.output == "velocity" or not model.predictor.mean_correction,
           "model.predictor.mean_correction", model.predictor.mean_correction,
           "False unless model.predictor.output is 'velocity'")
  _require(model.predictor.output != "velocity" or model.predictor.reads_noise,
           "model.predictor.reads_noise", model.predictor.reads_noise,
           "True with model.predictor.output = 'velocity': a velocity is read off its input")


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
  process, optimizer, train, mesh = (config.process, config.optimizer, config.train, config.mesh)
  check_transformer("denoiser", config.denoiser, len(config.model.image_shape) - 1)
  _choice("data.source", config.data.source, ("digits", "folder", "tfds", "arrays"))
  _require(0 < config.data.test_fraction < 1, "data.test_fraction",
           config.data.test_fraction, "a share strictly between 0 and 1")
  _require(-1 <= config.data.left_out <= 9
           and (config.data.left_out < 0 or config.data.source == "digits"),
           "data.left_out", config.data.left_out, "a digit, with data.source 'digits', or -1")
  _choice("process.schedule", process.schedule, ("uniform", "shifted"))
  _require(process.num_steps and min(process.num_steps) >= 1
           and len(set(process.num_steps)) == len(process.num_steps),
           "process.num_steps", process.num_steps, "different numbers of steps, each at least 1")
  _require(0 <= process.t_min_low <= process.t_min_high < 1, "process.t_min_high",
           process.t_min_high, f"t_min_low {process.t_min_low} <= t_min_high < 1, from 0 on")
  _require(0 < process.t_min < 1, "process.t_min", process.t_min,
           "a level strictly between 0 and 1")
  _choice("train.objective", train.objective, ("end_to_end", "pair_wise"))
  _require(train.objective == "end_to_end" or config.model.predictor.context == "markov",
           "train.objective", train.objective,
           "'end_to_end' with the history predictor, which reads all levels above its own")
  _choice("train.time_sampling", train.time_sampling, ("uniform", "logit_normal"))
  _require(config.finetune.alignment >= 0, "finetune.alignment", config.finetune.alignment,
           "0 (none) or more")
  velocity = config.model.kind == "ntm" and config.model.predictor.output == "velocity"
  _require(velocity or not config.finetune.source, "finetune.source", config.finetune.source,
           "'' unless model.kind is 'ntm' and model.predictor.output is 'velocity'")
  _require(not velocity or process.t_min_low > 0, "process.t_min_low", process.t_min_low,
           "a positive level with model.predictor.output = 'velocity': sigma_P is relative to "
           "the posterior's C, which is 0 at t_min = 0")
  for key in ("steps", "batch_size", "accumulation", "log_every",
              "sample_every", "checkpoint_every", "keep_last", "profile_steps"):
    _require(getattr(train, key) >= 1, f"train.{key}", getattr(train, key), "at least 1")
  for key in ("skip_nonfinite", "profile_at"):
    _require(getattr(train, key) >= 0, f"train.{key}", getattr(train, key), "0 (none) or more")
  _require(train.batch_size % train.accumulation == 0, "train.accumulation",
           train.accumulation, f"a divisor of batch_size {train.batch_size}")
  _require(train.seed >= 0, "train.seed", train.seed, "0 or more")
  _require(0 <= train.label_dropout <= 1, "train.label_dropout", train.label_dropout,
           "a probability")
  _require(optimizer.peak > 0, "optimizer.peak", optimizer.peak, "a positive learning rate")
  _require(0 <= optimizer.end <= optimizer.peak, "optimizer.end", optimizer.end,
           f"between 0 and the peak {optimizer.peak}")
  _require(0 <= optimizer.warmup < train.steps, "optimizer.warmup", optimizer.warmup,
           f"between 0 and train.steps {train.steps}, exclusive")
  for key in ("b1", "b2", "ema"):
    _require(0 <= getattr(optimizer, key) < 1, f"optimizer.{key}", getattr(optimizer, key),
             "between 0 and 1, exclusive")
  _require(optimizer.weight_decay >= 0, "optimizer.weight_decay", optimizer.weight_decay,
           "0 or more")
  _require(optimizer.clip > 0, "optimizer.clip", optimizer.clip, "a positive norm")
  sizes = (mesh.data, mesh.fsdp, mesh.tensor)
  _require(all(n == -1 or n >= 1 for n in sizes) and sizes.count(-1) <= 1, "mesh",
           sizes, "positive sizes with at most one -1")
