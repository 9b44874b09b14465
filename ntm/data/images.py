"""Image files to arrays: every kind of pixel becomes 8-bit grey or RGB, or is refused by name.

What becomes of which kind is tabulated in docs/data.md. In short: the first
frame, turned as its EXIF orientation says, over white where it is transparent,
of 16 bits the upper 8. Refused are pixels without a stated range (float, 32-bit
or signed integers) or without a conversion to RGB (LAB).
"""

from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF")
_BACKGROUND = (255, 255, 255)  # Under transparent pixels.
_EIGHT_BIT = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LA", "La", "PA", "RGBA", "RGBa"}
_SIXTEEN_BIT = {"I;16", "I;16L", "I;16B", "I;16N"}
_NO_RANGE = ("whose range is not known; save it with 8 or 16 bits, or prepare arrays "
             "(config.data.source = 'arrays')")
_REFUSED = {
    "F": f"it has float pixels (mode F), {_NO_RANGE}",
    "I": f"it has 32-bit or signed pixels (mode I), {_NO_RANGE}",
    "LAB": "it has LAB pixels, which are not converted; save it as RGB",
}
# How PNG packs pixels whose transparent colour Pillow does not scale with them.
_RAW_WITHOUT_TRANSPARENCY = {"I;16B", "L;2", "L;4", "RGB;16B"}
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # TIFF tags.
_WHITE_IS_ZERO, _UNSIGNED, _UNDEFINED = 0, 1, 4  # Values of theirs.


def decode(file: BinaryIO) -> Image.Image:
  """The first frame of an image file, as 8-bit grey (L) or RGB.

  Raises:
    ValueError: a damaged file, more pixels than Pillow decodes, pixels of a
      kind that is refused; says why in one line, without the file's name.
  """
  try:
    with Image.open(file, formats=_FORMATS) as image:
      refusal = _refusal(image)
      if not refusal:
        return _eight_bit(image)
  except Image.DecompressionBombError as error:
    refusal = f"{str(error).rstrip('.')}; scale it down"
  except Exception as error:  # On damaged files Pillow raises errors of a dozen types.
    if isinstance(error, Image.UnidentifiedImageError):
      refusal = f"it is in none of the formats {', '.join(_FORMATS)}"
    else:
      refusal = " ".join(f"{error or type(error).__name__}".split())
  raise ValueError(refusal)


def example(image: Image.Image, label: int, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
  """One example of an 8-bit image.

  Args:
    image: grey (L) or RGB.
    label: its class.
    shape: (height, width, channels), channels 1 or 3. The image is cropped to
      this aspect around the centre, then resized, up or down.

  Returns:
    {"image": float32 of this shape, x / 127.5 - 1, "label": int32}.
  """
  height, width, channels = shape
  image = image.convert("L" if channels == 1 else "RGB")
  if image.size != (width, height):
    scale = max(width / image.width, height / image.height)
    box_width, box_height = width / scale, height / scale
    left, top = (image.width - box_width) / 2, (image.height - box_height) / 2
    image = image.resize((width, height), Image.Resampling.BICUBIC,
                         box=(left, top, left + box_width, top + box_height))
  pixels = np.asarray(image, np.float32).reshape(shape) / 127.5 - 1
  return {"image": pixels, "label": np.int32(label)}


def from_pixels(pixels: np.ndarray) -> Image.Image:
  """An array of unsigned 8- or 16-bit pixels, as 8-bit grey (L) or RGB.

  Args:
    pixels: [height, width] or [height, width, 1 to 4]: grey, grey and alpha,
      RGB, RGB and alpha.

  Raises:
    ValueError: another type or shape.
  """
  pixels = np.asarray(pixels)
  if pixels.dtype not in (np.uint8, np.uint16):
    raise ValueError(f"it has {pixels.dtype} pixels, {_NO_RANGE}")
  if pixels.ndim not in (2, 3) or not pixels.size or pixels.shape[2:] > (4,):
    raise ValueError(f"it has shape {pixels.shape}; expected (height, width, 1 to 4 channels)")
  if pixels.dtype == np.uint16:
    pixels = _upper_bits(pixels, 2**16 - 1)
  if pixels.shape[2:] == (1,):
    pixels = pixels[..., 0]
  return _eight_bit(Image.fromarray(np.ascontiguousarray(pixels)))


def _refusal(image):
  """Why an opened image is refused, or nothing."""
  if image.format == "TIFF":
    kinds = set(np.atleast_1d(image.tag_v2.get(_SAMPLE_FORMAT, _UNSIGNED)).tolist())
    if kinds - {_UNSIGNED, _UNDEFINED} and image.mode not in _REFUSED:
      return f"it has signed pixels, {_NO_RANGE}"
  if image.mode in _REFUSED:
    return _REFUSED[image.mode]
  if image.mode not in _EIGHT_BIT | _SIXTEEN_BIT:
    return f"it has pixels of mode {image.mode}, which are not converted; save it as RGB"
  raw = {str(tile[3][0] if isinstance(tile[3], tuple) else tile[3]) for tile in image.tile}
  if image.format == "PNG" and "transparency" in image.info and raw & _RAW_WITHOUT_TRANSPARENCY:
    return "it has a transparent colour of other than 8 bits; save it with an alpha channel"
  return ""


def _eight_bit(image):
  """L or RGB, upright and opaque."""
  if image.mode in _SIXTEEN_BIT:
    tags = getattr(image, "tag_v2", {})
    bits = np.atleast_1d(tags.get(_BITS, 16))[0]
    white_is_zero = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    ImageOps.exif_transpose(image, in_place=True)
    pixels = _upper_bits(np.asarray(image), 2**int(bits) - 1)
    return Image.fromarray(255 - pixels if white_is_zero else pixels)
  ImageOps.exif_transpose(image, in_place=True)
  if image.has_transparency_data:
    # Pillow knows the transparent colour of a bilevel image as one of grey.
    colours = (image.convert("L") if image.mode == "1" else image).convert("RGBA")
    opaque = Image.new("RGBA", image.size, _BACKGROUND)
    opaque.alpha_composite(colours)
    return opaque.convert("RGB")
  return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _upper_bits(pixels, white):
  """Pixels in 0 .. white as 8-bit ones, rounded to the nearest."""
  return (pixels.astype(np.float64) * (255 / white)).round().clip(0, 255).astype(np.uint8)
