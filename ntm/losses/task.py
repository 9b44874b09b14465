"""What a run trains: the seam between the loop and the losses.

The loop, the step and the checkpoints know a `Task` and nothing else, so that
the density, its denoiser and other models are trained by the same code.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ntm.config import Config, extension
from ntm.losses import alignment as alignment_lib
from ntm.losses import inputs, trajectory_likelihood
from ntm.losses.inputs import Batch, Frozen
from ntm.models import autoencoder, build
from ntm.process.trajectory import draw_trajectory
from ntm.sampling import generate, pictures
from ntm.typing import Array, Condition, Trajectory

_LARGE_SHARE = 0.05  # Of entries outside of a spline's range.


@dataclasses.dataclass(frozen=True)
class Task:
  """Pure functions of parameters, and what they read besides.

  Attributes:
    init: rng → parameters, boxed with their logical axes.
    loss: (rng, params, frozen, batch, step) → (loss, metrics). Metrics are sums
      over the batch with `merge` and `scalars`, as `trajectory_likelihood.Metrics`.
    evaluate: (params, frozen, batch, rng) → metrics on held-out data.
    samples: (params, frozen, batch) → {name: images [rows, columns, *image_shape]}, for the texts
      of the batch in a model that reads texts.
    primary_metric: the scalar that is logged, and whose smallest held-out value marks
      the best checkpoint.
    unit: of the primary metric.
    frozen: parameters that are read and never updated; None if there are none.
    frozen_init: rng → arrays of the same shapes, boxed with their logical axes.
    pretrained: parameters that replace those of `init` at the same paths.
    levels: states of an example that go through the networks in an update.
    warning: scalars of the training metrics → what to warn of, "" for nothing.
  """

  init: Callable
  loss: Callable
  evaluate: Callable
  samples: Callable
  primary_metric: str
  unit: str
  frozen: Frozen | None = None
  frozen_init: Callable | None = None
  pretrained: Any = None
  levels: int = 1
  warning: Callable[[dict[str, float]], str] = lambda scalars: ""


def density(config: Config, frozen: Frozen | None = None) -> Task:
  """Maximum likelihood of trajectories [3.4]: the NTM itself.

  Args:
    config: of the run.
    frozen: of the run; its teacher is the flow-matching model to start from and to stay
      aligned with, None to start from scratch.
  """
  model, name = build.ntm(config), config.train.objective
  teacher = None if frozen is None else frozen.teacher
  objective = (extension.load(name) if extension.is_path(name)
               else trajectory_likelihood.OBJECTIVES[name])
  num_steps = config.process.num_steps[0]
  generator = generate.make_generator(model, build.patches(config.model), config.process, "score")
  decode = inputs.make_decoder(config)

  def loss(rng, params, frozen, batch, step):
    alignment = (None if teacher is None
                 else alignment_lib.alignment(config, frozen.teacher, step))
    batch = inputs.encode(rng, frozen, batch, config)
    out = objective(rng, model, params, *to_tokens(batch, config), config, alignment)
    _check_objective(name, out)
    return out

  def evaluate(params, frozen, batch, rng):
    """One forward trajectory per example, at the fixed level t_min."""
    x0_BNC, cond = to_tokens(inputs.encode(rng, frozen, batch, config), config)
    t_min_B = jnp.full((x0_BNC.shape[0],), config.process.t_min)
    trajectory = draw_trajectory(rng, x0_BNC, cond, config.process, t_min_B, num_steps)
    return trajectory_likelihood.trajectory_loss(model, params, trajectory)[1]

  def draw(params, frozen, examples=None):
    """Raw and refined samples; one sample's trajectory per row, or of points one level per row."""
    cond, shape = grid_condition(config, frozen, examples)
    rng = jax.random.key(config.train.seed)
    out = generator(rng, params, cond, shape[0] * shape[1], num_steps)
    strips = jnp.concatenate([out.states[::-1], out.images[None]])
    if not pictures.planar(config.model.image_shape):
      strips = jnp.moveaxis(strips[:, ::shape[1]], 0, 1)
    drawn = {"raw": out.raw.reshape(shape), "refined": out.images.reshape(shape),
             "trajectory": strips}
    return {name: decode(frozen, images) for name, images in drawn.items()}

  return Task(
      init=lambda rng: model.init(rng, example(config), method="log_prob")["params"],
      loss=loss, evaluate=evaluate, samples=draw, primary_metric="nats_per_dim", unit="nats/dim",
      frozen=frozen,
      frozen_init=inputs.boxed_init(frozen, config,
                                    velocity_init(alignment_lib.velocity_config(config))),
      pretrained=teacher and {"predictor": teacher},
      levels=2 if config.train.objective == "pair_wise" else max(config.process.num_steps),
      warning=functools.partial(_warning, config.model.transporter.spline_range))


def _warning(limit, scalars):
  """Says so if data often leave the range of the splines, which then do little."""
  share = scalars.get("spline/outside", 0.0)
  if share <= _LARGE_SHARE:
    return ""
  return (f"{share:.0%} of the entries are outside of the splines' range, [-{limit:g}, {limit:g}], "
          "where they do nothing; expected few: raise config.model.transporter.spline_range in a "
          "new run if the share does not fall.")


def _check_objective(name, out):
  """Raises ValueError unless an objective gave a loss and metrics."""
  if not (isinstance(out, tuple) and len(out) == 2 and jnp.shape(out[0]) == ()
          and all(hasattr(out[1], part) for part in ("loss", "merge", "scalars"))):
    kinds = [f"{type(part).__name__}{list(jnp.shape(part)) if hasattr(part, 'shape') else ''}"
             for part in (out if isinstance(out, tuple) else (out,))]
    raise ValueError(f"the objective {name!r} returns ({', '.join(kinds)}); expected (scalar loss, "
                     "metrics), metrics as ntm.losses.trajectory_likelihood.Metrics.")


def velocity_init(config: Config) -> Callable:
  """rng → boxed parameters of the flow-matching model of `config`."""
  model = build.velocity(config)
  x_BNC = jnp.zeros((1, config.model.num_tokens, config.model.num_channels))
  return lambda rng: model.init(rng, x_BNC, example_condition(config).at(jnp.zeros(1)))["params"]


def to_tokens(batch: Batch, config: Config) -> tuple[Array, Condition]:
  """(x0_BNC, the class or text of each example) of a batch as `inputs.encode` gives it."""
  return build.patches(config.model).to_tokens(batch["image"]), condition(batch, config)


def condition(batch: Batch, config: Config) -> Condition:
  """The class or text of each example of a batch, as `inputs.encode` gives it."""
  backbone = config.model.backbone
  if backbone.vocab_size:
    return Condition(ids_BM=batch["ids"], mask_BM=batch["mask"])
  if backbone.text_tokens:
    return Condition(text_BMW=batch["text"], mask_BM=batch["mask"] if config.text.lengths else None)
  return Condition(label_B=batch["label"] if config.model.num_classes else None)


def batch_shapes(config: Config, size: int) -> dict[str, jax.ShapeDtypeStruct]:
  """What a batch of `size` examples holds: images, and classes, token ids or text features.

  Images are pixels, latents, or of shards the moments of latents, "mean" and "std".
  """
  array = lambda shape, dtype: jax.ShapeDtypeStruct((size, *shape), dtype)
  backbone, codec = config.model.backbone, autoencoder.codec(config)
  length = (backbone.text_tokens,)
  if config.data.source == "shards":
    shapes = {name: array(codec.moments_shape, jnp.float32) for name in ("mean", "std")}
  else:
    shapes = {"image": array(autoencoder.image_shape(config), jnp.float32)}
  if config.text.tokenizer:
    return shapes | {"ids": array(length, jnp.int32), "mask": array(length, jnp.bool_)}
  if backbone.text_tokens:
    return shapes | {"text": array((*length, backbone.text_width), jnp.float32)}
  return shapes | {"label": array((), jnp.int32)}


def example_condition(config: Config) -> Condition:
  """A condition of the right shapes for one example."""
  backbone = config.model.backbone
  row = jnp.zeros((1, backbone.text_tokens), jnp.int32)
  return condition({
      "ids": row, "mask": row > 0, "label": jnp.zeros(1, jnp.int32),
      "text": jnp.zeros((*row.shape, backbone.text_width))}, config)


def grid_condition(config: Config, frozen: Frozen | None = None, examples: Batch | None = None
                   ) -> tuple[Condition, tuple[int, ...]]:
  """Classes or texts of a sample grid, and the shape of its images.

  A row has ten images of a class (of ten at most), or 2,000 points of the plane, which need only
  one row without classes. Of texts, the first 16 of `examples` have an image each, four in a row.
  """
  if config.model.backbone.text_tokens:
    count = len(jax.tree.leaves(examples)[0])
    columns = min(4, count)
    rows = min(4, count // columns)
    first = jax.tree.map(lambda a: a[:rows * columns], examples)
    cond = condition(inputs.encode_text(frozen, first, config), config)
    return cond, (rows, columns) + config.model.image_shape
  classes, planar = min(config.model.num_classes, 10), pictures.planar(config.model.image_shape)
  rows, columns = classes or (1 if planar else 4), 2000 if planar else 10
  label_B = jnp.arange(rows).repeat(columns) if classes else None
  return Condition(label_B=label_B), (rows, columns) + config.model.image_shape


def example(config: Config) -> Trajectory:
  """A trajectory of the right shape, to trace initialisation with."""
  num_steps, model = max(config.process.num_steps), config.model
  num_steps_B = jnp.full((1,), num_steps) if len(config.process.num_steps) > 1 else None
  return Trajectory(
      x_KBNC=jnp.zeros((num_steps + 1, 1, model.num_tokens, model.num_channels)),
      times_KB=jnp.linspace(0, 1, num_steps + 1)[:, None],
      cond=example_condition(config).replace(num_steps_B=num_steps_B),
      valid_SB=jnp.ones((num_steps, 1)))
