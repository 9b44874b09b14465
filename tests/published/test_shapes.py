"""Of every family: a tensor of another shape is refused by name, however well its size fits."""

import collections
import functools
import json

import torch
from absl.testing import absltest, parameterized
from diffusers import AutoencoderKL, AutoencoderKLFlux2

from ntm.conversion import families, mapping
from tests.helpers import flux2_pair, qwen_pair, torch_sit, torch_tarflow


def _sit():
  return torch_sit.SiT(2, 384, 6, mlp_ratio=3, grid_shape=(2, 2), patch_size=2, channels=3,
                       num_classes=5, learn_sigma=True)


def _tarflow(**changes):
  return torch_tarflow.TarFlow(**{**dict(
      num_blocks=2, layers=2, width=64, num_heads=1, num_tokens=10, patch_size=2,
      image_channels=3, mlp_ratio=3, num_classes=5, scales=True), **changes})


def _autoencoder(cls, **changes):
  return cls(block_out_channels=(32, 64), layers_per_block=1,
             down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
             **changes)


_MODELS = {
    "sit": ("sit", _sit),
    "tarflow": ("tarflow", _tarflow),
    "tarflow_unconditional": ("tarflow", lambda: _tarflow(num_classes=0, scales=False)),
    "autoencoder_kl": ("autoencoder_kl", lambda: _autoencoder(AutoencoderKL, latent_channels=4)),
    "autoencoder_flux2": ("autoencoder_flux2",
                          lambda: _autoencoder(AutoencoderKLFlux2, latent_channels=8)),
    "flux2": ("flux2", flux2_pair.transformer),
    "qwen3": ("qwen3", lambda: qwen_pair.language_model("qwen3")),
    "qwen2_5_vl": ("qwen2_5_vl", lambda: qwen_pair.language_model("qwen2_5_vl")),
}


def _other_shapes(shape):
  """Shapes of as many numbers, and of one axis more or less."""
  size = 1
  for length in shape:
    size *= length
  found = {shape[::-1], (size,), (1, *shape), (*shape, 1), shape[1:], (2, *shape)}
  found |= {(shape[1], shape[0], *shape[2:])} if len(shape) > 1 else {(1, size), (size, 1)}
  return found - {shape}


def _check(family, shapes, settings):
  """As `converter.convert`, on shapes and config.json; None if the file is not recognised."""
  architecture = family.recognise(shapes)
  if architecture is None:
    return None
  if family.configure:
    architecture = family.configure(architecture, settings)
  mapping.check(family.entries(architecture), shapes,
                _target_shapes(family.name, json.dumps(architecture)), family.ignored(architecture))
  return architecture


@functools.cache  # Most shapes do not change the architecture, and tracing a model takes a second.
def _target_shapes(name, architecture):
  return families.get(name).target_shapes(json.loads(architecture))


class ShapesTest(parameterized.TestCase):

  @parameterized.parameters(*_MODELS)
  def test_another_shape_is_refused(self, name):
    family, build = _MODELS[name]
    family = families.get(family)
    with torch.device("meta" if family.name in ("sit", "tarflow") else "cpu"):
      model = build()
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    settings = json.loads(model.config.to_json_string()) if family.configure else None
    architecture = _check(family, shapes, settings)
    self.assertIsNotNone(architecture)
    used = {source for entry in family.entries(architecture) for source, _ in entry.pieces()}
    # Layers are alike; of some hundred tensors one of each kind is enough.
    kinds = collections.OrderedDict()
    for source in sorted(used):
      kinds.setdefault((source.split(".")[0], source.split(".")[-2:][0], source.split(".")[-1],
                        shapes[source]), source)
    for source in kinds.values():
      for shape in _other_shapes(shapes[source]):
        with self.subTest(source=source, shape=shape):
          with self.assertRaises(ValueError) as raised:
            self.assertIsNone(_check(family, shapes | {source: shape}, settings))
            raise ValueError(f"not recognised, for {source}")
          self.assertIn(source, str(raised.exception))


if __name__ == "__main__":
  absltest.main()
