"""A tiny FLUX.2 of diffusers with random parameters, and its tensors in both layouts."""

import numpy as np
import pytest
from flax import traverse_util

from ntm.conversion import mapping
from ntm.published.flux2 import mapping as flux2_mapping
from tests.helpers import in_memory

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

TINY = dict(in_channels=8, num_layers=2, num_single_layers=2, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=24, timestep_guidance_channels=32,
            axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False)
KLEIN = {
    "4B": dict(num_layers=5, num_single_layers=20, num_attention_heads=24,
               joint_attention_dim=7680, guidance_embeds=False),
    "9B": dict(num_layers=8, num_single_layers=24, num_attention_heads=32,
               joint_attention_dim=12288, guidance_embeds=False),
}


def transformer(**changes):
  """The PyTorch module, every entry random, gains of norms around 1."""
  model = diffusers.Flux2Transformer2DModel(**TINY | changes).eval()
  rng = np.random.default_rng(3)
  with torch.no_grad():
    for parameter in model.parameters():
      noise = torch.from_numpy(rng.normal(size=parameter.shape)).float()
      parameter.copy_(1 + 0.3 * noise if parameter.ndim == 1
                      else noise / parameter.shape[-1] ** 0.5)
  return model


def tensors(model) -> dict[str, np.ndarray]:
  """Its state dict."""
  return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def shapes(model) -> dict[str, tuple[int, ...]]:
  """Shapes alone, also of a model on the meta device."""
  return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def read_tree(tensors: dict[str, np.ndarray]):
  """(Flux2Config, parameters) from the tensors of a file, the mapping checked first."""
  architecture = flux2_mapping.FAMILY.recognise({name: a.shape for name, a in tensors.items()})
  entries = flux2_mapping.FAMILY.entries(architecture)
  targets = flux2_mapping.FAMILY.target_shapes(architecture)
  mapping.check(entries, {name: a.shape for name, a in tensors.items()}, targets,
                flux2_mapping.FAMILY.ignored(architecture))
  leaves = {target: in_memory.read_leaf(entries, tensors.__getitem__, target) for target in targets}
  return flux2_mapping.config(architecture), traverse_util.unflatten_dict(leaves, sep="/")


_ORIGINAL = [
    ("single_transformer_blocks", "single_blocks"),
    ("transformer_blocks", "double_blocks"),
    ("attn.to_qkv_mlp_proj", "linear1"),
    ("attn.to_out.0.weight", "img_attn.proj.weight"),
    ("attn.to_out", "linear2"),
    ("attn.to_add_out", "txt_attn.proj"),
    ("ff.linear_in", "img_mlp.0"),
    ("ff.linear_out", "img_mlp.2"),
    ("ff_context.linear_in", "txt_mlp.0"),
    ("ff_context.linear_out", "txt_mlp.2"),
    ("attn.norm_added_q.weight", "txt_attn.norm.query_norm.scale"),
    ("attn.norm_added_k.weight", "txt_attn.norm.key_norm.scale"),
    ("time_guidance_embed.timestep_embedder.linear_1", "time_in.in_layer"),
    ("time_guidance_embed.timestep_embedder.linear_2", "time_in.out_layer"),
    ("modulation_img.linear", "modulation_img.lin"),
    ("modulation_txt.linear", "modulation_txt.lin"),
    ("stream_modulation.linear", "stream_modulation.lin"),
    ("x_embedder", "img_in"),
    ("context_embedder", "txt_in"),
    ("proj_out", "final_layer.linear"),
]


def original_layout(theirs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """The tensors of diffusers as Black Forest Labs publish them."""
  theirs, out = dict(theirs), {}
  scale, shift = np.split(theirs.pop("norm_out.linear.weight"), 2)
  out["final_layer.adaLN_modulation.1.weight"] = np.concatenate([shift, scale])
  for i in range(TINY["num_layers"]):
    for stream, parts in (("img", ("to_q", "to_k", "to_v")),
                          ("txt", ("add_q_proj", "add_k_proj", "add_v_proj"))):
      out[f"double_blocks.{i}.{stream}_attn.qkv.weight"] = np.concatenate(
          [theirs.pop(f"transformer_blocks.{i}.attn.{part}.weight") for part in parts])
  for name, array in theirs.items():
    norm = "norm." if name.startswith("single") else "img_attn.norm."
    for old, new in [("attn.norm_q.weight", norm + "query_norm.scale"),
                     ("attn.norm_k.weight", norm + "key_norm.scale"), *_ORIGINAL]:
      name = name.replace(old, new)
    out[name] = array
  return out
