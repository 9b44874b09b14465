"""The autoregressive block of ntm in plain PyTorch, to compare with.

Same parameters, same arithmetic, written as one would write it there: modules
in a loop, scaled_dot_product_attention, and an inverse with a key/value cache
in preallocated tensors. Needs `pip install torch`.
"""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def _linear(params) -> nn.Linear:
  """A linear layer from a flax kernel (inputs..., outputs...) and bias."""
  bias = torch.tensor(np.asarray(params["bias"]).reshape(-1))
  kernel = torch.tensor(np.asarray(params["kernel"]).reshape(-1, bias.numel()))
  if kernel.numel() != kernel.shape[0] * bias.numel():
    raise ValueError("kernel and bias do not fit.")
  layer = nn.Linear(kernel.shape[0], bias.numel())
  layer.weight.data, layer.bias.data = kernel.T.contiguous(), bias
  return layer


def _out(params) -> nn.Linear:
  """The attention's output projection, [heads, head_width, D]."""
  kernel = np.asarray(params["kernel"])
  return _linear({"kernel": kernel.reshape(-1, kernel.shape[-1]), "bias": params["bias"]})


def _rms(x, weight=None):
  return F.rms_norm(x, x.shape[-1:], weight, eps=1e-6)


class Layer(nn.Module):
  """One pre-norm layer with adaptive modulation."""

  def __init__(self, params, modulation, num_heads: int):
    super().__init__()
    attention = params["attention"]
    self.num_heads = num_heads
    self.query, self.key, self.value = (_linear(attention[n]) for n in ("query", "key", "value"))
    self.out = _out(attention["out"])
    self.query_norm = nn.Parameter(torch.tensor(np.asarray(attention["query_norm"]["scale"])))
    self.key_norm = nn.Parameter(torch.tensor(np.asarray(attention["key_norm"]["scale"])))
    self.up, self.down = _linear(params["mlp"]["up"]), _linear(params["mlp"]["down"])
    self.modulation = _linear(modulation["out"])

  def modulations(self, c):
    """Shift, scale and gate of both branches."""
    return self.modulation(F.silu(c)).unflatten(-1, (6, -1)).unbind(-2)

  def forward(self, x, modulation, cos, sin, cache=None, index=None):
    """x [B, M, D]; with a cache, the one token at `index`."""
    shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = modulation
    h = _rms(x) * (1 + scale_a) + shift_a
    heads = lambda a: a.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
    turn = lambda a: _rotate(a, cos, sin)
    query = turn(_rms(heads(self.query(h)), self.query_norm))
    key = turn(_rms(heads(self.key(h)), self.key_norm))
    value = heads(self.value(h))
    if cache is not None:
      cache[0][:, :, index], cache[1][:, :, index] = key[:, :, 0], value[:, :, 0]
      key, value = cache[0][:, :, :index + 1], cache[1][:, :, :index + 1]
    h = F.scaled_dot_product_attention(query, key, value, is_causal=cache is None)
    x = x + self.out(h.transpose(1, 2).flatten(2)) * gate_a
    h = _rms(x) * (1 + scale_m) + shift_m
    return x + self.down(F.gelu(self.up(h), approximate="tanh")) * gate_m


def _rotate(x, cos, sin):
  first, second = x.chunk(2, dim=-1)
  return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class Block(nn.Module):
  """Affine autoregressive block: forward with log-determinant, and inverse."""

  def __init__(self, params, angles, num_heads: int, bound: float):
    super().__init__()
    stack = params["stack"]
    depth = len(np.asarray(stack["layers"]["mlp"]["up"]["bias"]))
    cut = lambda tree, i: {k: cut(v, i) if isinstance(v, dict) else v[i] for k, v in tree.items()}
    self.layers = nn.ModuleList(
        Layer(cut(stack["layers"], i), cut(stack["modulation"], i), num_heads)
        for i in range(depth))
    self.embed, self.readout = _linear(params["embed"]), _linear(params["readout"])
    self.time_in, self.time_out = _linear(params["time"]["in"]), _linear(params["time"]["out"])
    self.start = nn.Parameter(torch.tensor(np.asarray(params["start"])))
    self.position = nn.Parameter(torch.tensor(np.asarray(params["position"]["table"])))
    self.norm = nn.Parameter(torch.tensor(np.asarray(params["norm"]["scale"])))
    self.bound, self.num_heads = bound, num_heads
    angles = torch.tensor(np.asarray(angles), dtype=torch.float32)
    self.register_buffer("cos", angles.cos())
    self.register_buffer("sin", angles.sin())

  def condition(self, time):
    """c [B, 1, D] from times [B]."""
    frequencies = torch.tensor(np.geomspace(np.pi / 8, 1000.0, 64), dtype=torch.float32)
    angles = time[:, None] * frequencies
    h = torch.cat([angles.cos(), angles.sin()], dim=-1)
    return self.time_out(F.silu(self.time_in(h)))[:, None]

  def affine(self, h):
    """(mean, log-scale) read off the last layer."""
    raw = self.readout(_rms(h, self.norm)).unflatten(-1, (2, -1))
    return raw[..., 0, :], self.bound * torch.tanh(raw[..., 1, :] / self.bound)

  def forward(self, x, time):
    """(u, log_det) of x [B, N, C]."""
    c = self.condition(time)
    start = self.start.expand(len(x), 1, -1)
    h = torch.cat([start, self.embed(x[:, :-1])], dim=1) + self.position
    for layer in self.layers:
      h = layer(h, layer.modulations(c), self.cos, self.sin)
    mean, log_scale = self.affine(h)
    return (x - mean) * torch.exp(-log_scale), -log_scale.sum((1, 2))

  @torch.no_grad()
  def inverse(self, u, time):
    """x [B, N, C], token after token."""
    c = self.condition(time)
    modulations = [layer.modulations(c) for layer in self.layers]
    batch_size, length, _ = u.shape
    head_width = self.layers[0].query.out_features // self.num_heads
    caches = [torch.empty(2, batch_size, self.num_heads, length, head_width)
              for _ in self.layers]
    x, h = torch.empty_like(u), self.start.expand(batch_size, 1, -1)
    for n in range(length):
      h = h + self.position[n]
      for layer, modulation, cache in zip(self.layers, modulations, caches):
        h = layer(h, modulation, self.cos[n:n + 1], self.sin[n:n + 1], cache, n)
      mean, log_scale = self.affine(h)
      x[:, n] = u[:, n] * torch.exp(log_scale[:, 0]) + mean[:, 0]
      h = self.embed(x[:, n:n + 1])
    return x


def parameter_count(block: Block) -> int:
  """Number of parameters, to compare with ours."""
  return sum(math.prod(p.shape) for p in block.parameters())
