"""TarFlow in plain PyTorch, for tests: the checkpoint's names and conventions."""

import math

import torch
from torch import nn


class TarFlow(nn.Module):
  """(images [B, c, rows, columns], label [B] or None) → (z [B, N, C], mean log-det [B]).

  Labels below zero are no class. z is not divided by sqrt(var), which `reverse`
  multiplies by.
  """

  def __init__(self, num_blocks, layers, width, num_heads, num_tokens, patch_size,
               image_channels=3, mlp_ratio=4, num_classes=0, scales=True):
    super().__init__()
    self.patch_size = patch_size
    channels = image_channels * patch_size ** 2
    self.blocks = nn.ModuleList(
        _Block(i % 2 == 1, layers, width, num_heads, num_tokens, channels, mlp_ratio, num_classes,
               scales) for i in range(num_blocks))
    self.register_buffer("var", torch.ones(num_tokens, channels))

  def forward(self, image, label=None):
    z, log_det = self.cut(image), 0
    for block in self.blocks:
      alpha, shift = block(z, label)
      z, log_det = (z - shift) * torch.exp(-alpha), log_det - alpha.mean((1, 2))
    return z, log_det

  def reverse(self, z, label=None):
    """Standard normal z → patches, one whole pass a token, those not yet known being zero."""
    x = z * self.var.sqrt()
    for block in reversed(self.blocks):
      z, x = x, torch.zeros_like(x)
      order = range(z.shape[1])
      for n in reversed(order) if block.backwards else order:
        alpha, shift = block(x, label)
        x[:, n] = z[:, n] * torch.exp(alpha[:, n]) + shift[:, n]
    return x

  def cut(self, image):
    """Patches of images, channels slowest: [B, N, C]."""
    return nn.functional.unfold(image, self.patch_size, stride=self.patch_size).mT


class _Block(nn.Module):
  """Patches in the image's order → (alpha, shift) in the same order."""

  def __init__(self, backwards, layers, width, num_heads, num_tokens, channels, mlp_ratio,
               num_classes, scales):
    super().__init__()
    self.backwards, self.scales = backwards, scales
    self.proj_in = nn.Linear(channels, width)
    self.pos_embed = nn.Parameter(torch.randn(num_tokens, width))
    self.class_embed = nn.Parameter(torch.randn(num_classes, 1, width)) if num_classes else None
    self.attn_blocks = nn.ModuleList(_Layer(width, num_heads, mlp_ratio) for _ in range(layers))
    self.proj_out = nn.Linear(width, (2 if scales else 1) * channels)
    self.register_buffer("attn_mask", torch.ones(num_tokens, num_tokens).tril())

  def forward(self, x, label):
    h = self.proj_in(x) + self.pos_embed
    if self.class_embed is not None:
      rows = [self.class_embed.mean(0) if label is None or label[b] < 0 else
              self.class_embed[label[b]] for b in range(len(x))]
      h = h + torch.stack(rows)
    h = h.flip(1) if self.backwards else h
    for layer in self.attn_blocks:
      h = layer(h, self.attn_mask)
    out = self.proj_out(h)
    out = nn.functional.pad(out, (0, 0, 1, 0))[:, :-1]
    out = out.flip(1) if self.backwards else out
    if self.scales:
      return out.tensor_split(2, -1)
    return torch.zeros_like(out), out


class _Layer(nn.Module):

  def __init__(self, width, num_heads, mlp_ratio):
    super().__init__()
    self.num_heads = num_heads
    self.attention = nn.ModuleDict({
        "norm": nn.LayerNorm(width), "qkv": nn.Linear(width, 3 * width),
        "proj": nn.Linear(width, width)})
    self.mlp = nn.ModuleDict({
        "norm": nn.LayerNorm(width),
        "main": nn.Sequential(nn.Linear(width, mlp_ratio * width), nn.GELU(),
                              nn.Linear(mlp_ratio * width, width))})

  def forward(self, h, mask):
    fused = self.attention["qkv"](self.attention["norm"](h))
    q, k, v = fused.unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
    scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(mask == 0, -math.inf)
    h = h + self.attention["proj"]((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
    return h + self.mlp["main"](self.mlp["norm"](h))
