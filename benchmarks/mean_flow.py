"""MeanFlow [arXiv 2505.13447], a published few-step method, trained from scratch as a baseline.

The network of a flow-matching config gives the mean velocity u(z_t, r, t) between two levels
r <= t, which satisfies u = v - (t - r) du/dt along the path z_t = (1 - t) x + t eps with
v = eps - x. The right side is a fixed target, its derivative one Jacobian-vector product:

  loss = mean of |u - target|^2 / (|u - target|^2 + c), the denominator held fixed; c = 1e-3;
  z_r = z_t - (t - r) u(z_t, r, t)                                              (sampling).

|.|^2 sums over the entries of an example. t and r are logit-normal (mean -0.4, width 1), and equal
for three quarters of the examples, where the loss is flow matching's: the best settings of the
paper's comparison on ImageNet. The loss has derivatives by time, so the network reads levels
divided by 100: its fastest sinusoid then turns by 10 radians from data to noise, not by 1,000.

A recipe of benchmarks/endless.py trains it: objective=mean_flow.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ntm.config import Config
from ntm.losses import flow_matching, trajectory_likelihood
from ntm.losses import task as task_lib
from ntm.models import build
from ntm.typing import Array, Condition

_EQUAL_SHARE, _LEVEL_MEAN, _WEIGHT_OFFSET = 0.75, -0.4, 1e-3
_TIME_SCALE = 0.01


def task(config: Config) -> task_lib.Task:
  """The task of training the mean velocity; the config is one of flow matching."""
  velocity = _velocity(config)

  def loss(rng, params, frozen, batch, step):
    del frozen, step
    x_BNC, cond = task_lib.to_tokens(batch, config)
    rng_label, rng_levels, rng_noise, rng_equal = jax.random.split(rng, 4)
    cond = trajectory_likelihood.drop_labels(rng_label, cond, config.model.num_classes,
                                             config.train.label_dropout)
    levels_2B = jax.nn.sigmoid(
        _LEVEL_MEAN + jax.random.normal(rng_levels, (2, len(x_BNC))))
    t_B = levels_2B.max(axis=0)
    equal_B = jax.random.uniform(rng_equal, t_B.shape) < _EQUAL_SHARE
    r_B = jnp.where(equal_B, t_B, levels_2B.min(axis=0))
    noise_BNC = jax.random.normal(rng_noise, x_BNC.shape)
    v_BNC = noise_BNC - x_BNC
    z_BNC = (1 - _tokens(t_B)) * x_BNC + _tokens(t_B) * noise_BNC
    u_BNC, target_BNC = prediction_and_target(
        lambda z, r, t: velocity(params, z, cond, r, t), z_BNC, v_BNC, r_B, t_B)
    error_B = ((u_BNC - jax.lax.stop_gradient(target_BNC)) ** 2).sum(axis=(1, 2))
    weight_B = jax.lax.stop_gradient(1 / (error_B + _WEIGHT_OFFSET))
    mean_B = error_B / x_BNC[0].size
    return (weight_B * error_B).mean(), flow_matching.Metrics(mean_B.sum(),
                                                              jnp.float32(mean_B.size))

  def init(rng):
    x_BNC = jnp.zeros((1, config.model.num_tokens, config.model.num_channels))
    cond = task_lib.example_condition(config).at(jnp.zeros((1, 1)), jnp.zeros((1, 1)))
    return _network(config).init(rng, x_BNC[:, None], cond)["params"]

  return task_lib.Task(init=init, loss=loss, evaluate=None, samples=None, primary_metric="mse",
                       unit="squared error / dim")


def prediction_and_target(velocity: Callable, z_BNC: Array, v_BNC: Array, r_B: Array, t_B: Array
                          ) -> tuple[Array, Array]:
  """(u, v - (t - r) du/dt) of a mean velocity u(z, r, t); equal where it is the true one."""
  u_BNC, change_BNC = jax.jvp(velocity, (z_BNC, r_B, t_B),
                              (v_BNC, jnp.zeros_like(r_B), jnp.ones_like(t_B)))
  return u_BNC, v_BNC - _tokens(t_B - r_B) * change_BNC


def sample(velocity: Callable, z_BNC: Array, num_steps: int) -> Array:
  """Clean data from noise in steps of equal length, one evaluation of u(z, r, t) each."""
  levels_K = jnp.linspace(1, 0, num_steps + 1)

  def step(z_BNC, levels):
    t_B, r_B = (jnp.full((len(z_BNC),), level) for level in levels)
    return z_BNC - _tokens(t_B - r_B) * velocity(z_BNC, r_B, t_B), None

  return jax.lax.scan(step, z_BNC, (levels_K[:-1], levels_K[1:]))[0]


def make_generator(config: Config) -> Callable:
  """(rng, params, cond, batch_size, num_steps) → images, num_steps evaluations of the network."""
  velocity, patches = _velocity(config), build.patches(config.model)

  def generate(rng, params, cond: Condition, batch_size: int, num_steps: int) -> Array:
    """Images; batch_size and num_steps are static."""
    z_BNC = jax.random.normal(rng, (batch_size, *patches.token_shape))
    return patches.to_images(sample(lambda z, r, t: velocity(params, z, cond, r, t), z_BNC,
                                    num_steps))

  return jax.jit(generate, static_argnums=(3, 4))


def _network(config):
  return build.network(config.model, {"readout": (config.model.num_channels,)})


def _velocity(config):
  """(params, z_BNC, cond, r_B, t_B) → u_BNC."""
  network = _network(config)

  def velocity(params, z_BNC, cond, r_B, t_B):
    t_B1, r_B1 = _TIME_SCALE * t_B[:, None], _TIME_SCALE * r_B[:, None]
    out = network.apply({"params": params}, z_BNC[:, None], cond.at(t_B1, r_B1))
    return out["readout"][:, 0]

  return velocity


def _tokens(a_B):
  return a_B[:, None, None]
