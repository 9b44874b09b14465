"""SiT in plain PyTorch, for tests: the checkpoint's names, its own time and its images."""

import math

import torch
from torch import nn


class SiT(nn.Module):
  """(image [B, C, rows, columns], s [B], label [B]) → [B, C or 2 C, rows, columns].

  s is 1 at data; the first C channels are the velocity data - noise.
  """

  def __init__(self, layers, width, num_heads, mlp_ratio=4, grid_shape=(16, 16), patch_size=2,
               channels=4, num_classes=1000, learn_sigma=True):
    super().__init__()
    self.grid_shape, self.patch_size, self.width = grid_shape, patch_size, width
    self.x_embedder = nn.ModuleDict(
        {"proj": nn.Conv2d(channels, width, patch_size, stride=patch_size)})
    self.t_embedder = nn.ModuleDict({"mlp": nn.Sequential(
        nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))})
    self.y_embedder = nn.ModuleDict({"embedding_table": nn.Embedding(num_classes + 1, width)})
    self.pos_embed = nn.Parameter(torch.zeros(1, grid_shape[0] * grid_shape[1], width),
                                  requires_grad=False)
    self.blocks = nn.ModuleList(_Block(width, num_heads, mlp_ratio) for _ in range(layers))
    self.out_channels = channels * (2 if learn_sigma else 1)
    self.final_layer = nn.ModuleDict({
        "linear": nn.Linear(width, patch_size ** 2 * self.out_channels),
        "adaLN_modulation": nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))})

  def forward(self, image, s, label):
    """See above; also the hidden state before the final layer [B, N, D]."""
    h = self.x_embedder["proj"](image).flatten(2).mT + self.pos_embed
    rates = torch.tensor([math.exp(-math.log(10000) * i / 128) for i in range(128)])
    angles = torch.outer(s, rates)
    c = self.t_embedder["mlp"](torch.cat((angles.cos(), angles.sin()), 1))
    c = c + self.y_embedder["embedding_table"](label)
    for block in self.blocks:
      h = block(h, c)
    shift, scale = self.final_layer["adaLN_modulation"](c)[:, None].chunk(2, -1)
    out = self.final_layer["linear"](_normalise(h) * (1 + scale) + shift)
    rows, columns = self.grid_shape
    out = out.unflatten(2, (self.patch_size, self.patch_size, self.out_channels))
    out = out.unflatten(1, (rows, columns)).permute(0, 5, 1, 3, 2, 4)
    return out.flatten(4).flatten(2, 3), h


class _Block(nn.Module):

  def __init__(self, width, num_heads, mlp_ratio):
    super().__init__()
    self.num_heads = num_heads
    self.attn = nn.ModuleDict(
        {"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
    self.mlp = nn.ModuleDict(
        {"fc1": nn.Linear(width, mlp_ratio * width), "fc2": nn.Linear(mlp_ratio * width, width)})
    self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

  def forward(self, h, c):
    shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (
        self.adaLN_modulation(c)[:, None].chunk(6, -1))
    branch = self.attn["qkv"](_normalise(h) * (1 + scale_a) + shift_a)
    q, k, v = branch.unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
    weights = torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), -1)
    h = h + gate_a * self.attn["proj"]((weights @ v).transpose(1, 2).flatten(2))
    branch = self.mlp["fc1"](_normalise(h) * (1 + scale_m) + shift_m)
    branch = self.mlp["fc2"](nn.functional.gelu(branch, approximate="tanh"))
    return h + gate_m * branch


def sincos(rows, columns, width):
  """The fixed table [1, N, D], entry by entry."""
  quarter = width // 4
  out = torch.empty(1, rows * columns, width, dtype=torch.float64)
  for row in range(rows):
    for column in range(columns):
      for i in range(quarter):
        rate = 10000 ** (-i / quarter)
        for part, value in enumerate((math.sin(column * rate), math.cos(column * rate),
                                      math.sin(row * rate), math.cos(row * rate))):
          out[0, row * columns + column, part * quarter + i] = value
  return out.float()


def _normalise(h):
  return nn.functional.layer_norm(h, h.shape[-1:], eps=1e-6)
