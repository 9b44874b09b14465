"""Bits-back coding of one image with the density of its trajectory.

Encoding pops x_{t_0} with the noise that dequantises, then for k = 1 .. T pops x_k from the forward
process given x_{k-1} and pushes x_{k-1} with p(x_{k-1} | x_k), and pushes x_T with N(0, I): in all
-log2 w of the importance weight in `ntm.likelihood.bounds`. A step pushes x_{k-1} by taking its
grid points through the blocks of the transporter (`ntm.likelihood.cells`), data to latent, and the
result with the predictor's Gaussian. Decoding does the opposite of all this in the opposite order;
the image is the level in whose cell x_{t_0} lies, and the bits that were popped come back.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from ntm.flows.bijector import Alternating, Identity
from ntm.flows.coupling import CouplingChain
from ntm.likelihood import cells, gaussian_bins
from ntm.likelihood.ans import Stack
from ntm.models.ntm import NTM
from ntm.process.kernel import forward_kernel
from ntm.typing import Condition

_UNIT = gaussian_bins.UNIT
_FINE = 2.0 ** cells.FINE_BITS


def check_codable(model: NTM) -> None:
  """Raises ValueError for a history predictor or a transporter of an unknown kind."""
  if model.predictor.context != "markov":
    raise ValueError("config.model.predictor.context is 'history'; compression codes every step "
                     "given the next state alone and expects 'markov'.")
  if not isinstance(model.transporter, (Alternating, CouplingChain, Identity)):
    raise ValueError(f"the transporter is a {type(model.transporter).__name__}; compression "
                     "expects autoregressive or coupling blocks, or none.")


class TrajectoryCodec:
  """Codes token arrays [N, C] of level numbers, one image at a time.

  Attributes:
    shape: (N, C).
  """

  def __init__(self, model: NTM, params, times_K: np.ndarray, shape: tuple[int, int],
               level_spacing: float, reads_class: bool):
    """Prepares the programs.

    Args:
      model: the density, with a markov predictor.
      params: its parameters.
      times_K: ascending levels, t_0 above 0 first, 1 last.
      shape: (N, C).
      level_spacing: h, of data in [-1, 1].
      reads_class: whether there are classes.

    Raises:
      ValueError: as `check_codable`.
    """
    check_codable(model)
    self.shape, self._model, self._params = shape, model, params
    self._times_K, self._spacing, self._reads_class = times_K, level_spacing, reads_class
    self._predict = jax.jit(self._predict_step)
    self._edges = jax.jit(self._edges_of_block, static_argnums=1)
    self._inverse = jax.jit(self._inverse_of_block, static_argnums=1)

  def encode(self, stack: Stack, level_D: np.ndarray, label: int) -> np.ndarray:
    """Pushes an image and returns the trajectory that its bits were, float64 [K, D].

    Args:
      stack: gives and takes the bits.
      level_D: numbers of the levels, 0 is -1.
      label: its class; not coded.
    """
    x_D = np.array([gaussian_bins.pop(stack, *self._dequantiser(level)) for level in level_D])
    states = [x_D * _UNIT]
    for k in range(1, len(self._times_K)):
      noisier_D = np.array([gaussian_bins.pop(stack, *forward)
                            for forward in self._forward(x_D, k)])
      mean_D, scale_D, cond = self._step(noisier_D, label, k)
      for block in range(self._num_blocks):
        x_D = cells.encode(stack, x_D, self._order(block),
                           functools.partial(self._at, self._edges, block, cond))
      _push(stack, x_D, zip(mean_D, scale_D))
      x_D = noisier_D
      states.append(x_D * _UNIT)
    _push(stack, x_D, itertools.repeat((0.0, 1.0), len(x_D)))
    return np.stack(states)

  def decode(self, stack: Stack, label: int) -> np.ndarray:
    """Pops an image: `encode` undone, level_D."""
    x_D = np.array([gaussian_bins.pop(stack, 0.0, 1.0) for _ in range(np.prod(self.shape))])
    for k in reversed(range(1, len(self._times_K))):
      noisier_D = x_D
      mean_D, scale_D, cond = self._step(noisier_D, label, k)
      x_D = np.array([gaussian_bins.pop(stack, *gaussian) for gaussian in zip(mean_D, scale_D)])
      for block in reversed(range(self._num_blocks)):
        x_D = cells.decode(
            stack, x_D, self._order(block),
            functools.partial(self._at, self._edges, block, cond),
            functools.partial(self._at, self._inverse, block, cond))
      _push(stack, noisier_D, self._forward(x_D, k))
    level_D = self._level_of(x_D)
    _push(stack, x_D, [self._dequantiser(level) for level in level_D])
    return level_D

  def _dequantiser(self, level):
    """(mean, scale, low, high) of x_{t_0} given a level."""
    t = float(self._times_K[0])
    return ((1 - t) * (-1 + self._spacing * level), t, self._edge(level), self._edge(level + 1))

  def _edge(self, level):
    """The first grid point of a level's cell."""
    t = float(self._times_K[0])
    return round((1 - t) * (-1 + self._spacing * (int(level) - 0.5)) / _UNIT)

  def _level_of(self, x_D):
    """The levels in whose cells grid points lie."""
    number = round(2 / self._spacing) + 1
    edges = np.array([self._edge(level) for level in range(number + 1)])
    level_D = np.searchsorted(edges, x_D, side="right") - 1
    if (level_D < 0).any() or (level_D >= number).any():
      raise ValueError("the code leads to a state that no image has; expected the model and the "
                       "machine that wrote it.")
    return level_D

  def _forward(self, x_D, k):
    """(mean, scale) of every entry of x_k given x_{k-1}."""
    alpha, sigma = (float(a) for a in forward_kernel(*self._times_K[k - 1:k + 1]))
    return [(alpha * x * _UNIT, sigma) for x in x_D.tolist()]

  def _step(self, noisier_D, label, k):
    """(mean, scale) of the predictor, and what the transporter reads."""
    x_BNC = (noisier_D * _UNIT).astype(np.float32).reshape(1, *self.shape)
    label_B = np.full(1, label, np.int32) if self._reads_class else None
    cond = self._model.condition(Condition(label_B=label_B), len(self._times_K) - 1, 1)
    time_B, cleaner_B = (np.full(1, self._times_K[i], np.float32) for i in (k, k - 1))
    mean, log_scale, features_BNF = jax.device_get(
        self._predict(self._params, x_BNC, cond.at(time_B, cleaner_B)))
    flat = lambda a: np.asarray(a, np.float64).reshape(-1)
    return (flat(mean).tolist(), np.exp(flat(log_scale)).tolist(),
            cond.at(cleaner_B).replace(features_BNF=features_BNF))

  def _predict_step(self, params, x_BNC, cond):
    """The predictor's Gaussian of one step, with what the transporter makes of the noisier state.
    """
    times = cond.time_B[None], cond.next_time_B[None]
    apply = lambda method, *args: self._model.apply({"params": params}, *args, method=method)
    u_SBNC = apply("predictor_input", x_BNC[None], cond.at(times[0]))
    mean, log_scale, features = apply("predict", u_SBNC, cond.at(*times))
    return mean[0], log_scale[0], None if features is None else features[0]

  @property
  def _num_blocks(self):
    transporter = self._model.transporter
    if isinstance(transporter, Identity):
      return 0
    return (transporter.num_blocks if isinstance(transporter, CouplingChain)
            else len(transporter.block))

  def _order(self, block):
    """Groups of entries in the order in which a block can be undone."""
    number = np.arange(np.prod(self.shape)).reshape(self.shape)
    if isinstance(self._model.transporter, CouplingChain):
      return [number.reshape(-1).tolist()]
    if block % 2:
      number = number[::-1]
    channels = self._model.transporter.block[block].channels
    if channels == "independent":
      return number.tolist()
    if channels == "descending":
      number = number[:, ::-1]
    return [[i] for i in number.reshape(-1).tolist()]

  def _at(self, function, block, cond, *arrays_D):
    """A program of a block, of grid points, in float64."""
    with jax.enable_x64(True):
      arrays = [a.astype(np.float64).reshape(1, *self.shape) for a in arrays_D]
      return np.asarray(function(self._params, block, cond, *arrays)).reshape(
          *([2] if function is self._edges else []), -1)

  def _edges_of_block(self, params, block, cond, x_BNC):
    maps, order = self._maps(params, block, cond, x_BNC)
    at = lambda x_BNC: maps.forward(order(x_BNC) * _UNIT)[0] * (_FINE / _UNIT)
    return jnp.stack([order(at(x_BNC)), order(at(x_BNC + 1))])

  def _inverse_of_block(self, params, block, cond, x_BNC, z_BNC):
    maps, order = self._maps(params, block, cond, x_BNC)
    return order(maps.inverse(order(z_BNC) * (_UNIT / _FINE))[0]) / _UNIT

  def _maps(self, params, block, cond, x_BNC):
    """(the maps of a block, what puts tokens into its order and back)."""
    if isinstance(self._model.transporter, CouplingChain):
      return self._model.apply({"params": params}, x_BNC * _UNIT, method=lambda model, x_BNC:
                               model.transporter.maps_at(x_BNC, cond, block)), lambda a: a
    order = (lambda a: a[:, ::-1]) if block % 2 else (lambda a: a)
    ordered = cond.replace(features_BNF=jax.tree.map(order, cond.features_BNF))
    maps = self._model.apply(
        {"params": params}, order(x_BNC) * _UNIT,
        method=lambda model, x_BNC: model.transporter.block[block].maps_at(x_BNC, ordered))
    return maps, order


def _push(stack, x_D, gaussians):
  """Grid points under their Gaussians, the last first."""
  for x, gaussian in reversed(list(zip(x_D.tolist(), gaussians))):
    gaussian_bins.push(stack, x, *gaussian)
