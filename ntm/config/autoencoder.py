"""The section of the autoencoder between pixels and latents, with what it must satisfy."""

import dataclasses

from ntm.config.checking import require


@dataclasses.dataclass(frozen=True)
class AutoencoderConfig:
  """A frozen autoencoder inside of the update; `model.image_shape` is then that of its latents.

  Attributes:
    path: workdir of an autoencoder converted by `ntm convert`; '' for none, where the data are
      what the model reads.
  """

  path: str = ""


def check_autoencoder(config) -> None:
  """Raises ValueError unless the AutoencoderConfig of a Config fits its model and data."""
  path = config.autoencoder.path
  require(not path or len(config.model.image_shape) == 3, "autoencoder.path", path,
          f"'' unless model.image_shape is (height, width, channels) of latents; it is "
          f"{config.model.image_shape}")
  require(path or config.data.source != "shards", "autoencoder.path", path,
          "the autoencoder that `ntm encode` was given, with data.source 'shards'")
  require(not path or config.data.source != "mixture", "autoencoder.path", path,
          "'' with data.source 'mixture', which draws no RGB images")
