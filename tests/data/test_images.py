"""Every kind of pixel that Pillow writes is read as it looks, or refused by name."""

import io
import struct

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image, ImageOps, TiffImagePlugin

from ntm.data import images

_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB",
          "HSV", "I", "I;16", "I;16L", "I;16B", "F")
_LOSSLESS = ("PNG", "BMP", "GIF", "TIFF", "WEBP")


def _grey():
  """A ramp of 16 x 16 levels of grey, all of them."""
  return np.arange(256, dtype=np.uint8).reshape(16, 16)


def _colours():
  """Red and green ramps over constant blue."""
  ramp = np.arange(16, dtype=np.uint8) * 17
  return np.stack([*np.meshgrid(ramp, ramp), np.full((16, 16), 85, np.uint8)], axis=-1)


def _drawn(mode):
  """(an image of this mode, what it looks like as RGB over white), or None."""
  grey, colours = _grey(), _colours()
  alpha = grey.T.copy()
  over_white = lambda pixels: np.rint(
      pixels * (alpha / 255.0)[..., None] + 255.0 * (1 - alpha / 255.0)[..., None])
  as_grey = lambda pixels: np.repeat(pixels[..., None], 3, axis=-1)
  if mode == "1":
    return Image.fromarray(grey > 127), as_grey(np.where(grey > 127, 255, 0))
  if mode == "L":
    return Image.fromarray(grey), as_grey(grey)
  if mode in ("LA", "La"):
    image = Image.fromarray(np.stack([grey, alpha], axis=-1))
    return image if mode == "LA" else image.convert("La"), over_white(as_grey(grey))
  if mode in ("RGBA", "RGBa"):
    image = Image.fromarray(np.dstack([colours, alpha]))
    return image if mode == "RGBA" else image.convert("RGBa"), over_white(colours)
  if mode in ("P", "PA"):
    image = Image.fromarray(colours).convert("P", palette=Image.Palette.ADAPTIVE)
    if mode == "P":
      return image, colours
    image = image.convert("PA")
    image.putalpha(Image.fromarray(alpha))
    return image, over_white(colours)
  if mode in ("RGB", "RGBX", "CMYK", "YCbCr", "HSV"):
    return Image.fromarray(colours).convert(mode), colours
  if mode.startswith("I;16"):
    order = ">u2" if mode == "I;16B" else "<u2"
    return (Image.frombytes(mode, (16, 16), (grey.astype(np.uint16) * 257).astype(order).tobytes()),
            as_grey(grey))
  return Image.new(mode, (16, 16)), None


def _rgb_of_ycbcr(pixels):
  """By the formulas of JPEG (ITU-T T.871)."""
  y, blue, red = pixels[..., 0], pixels[..., 1] - 128, pixels[..., 2] - 128
  return np.stack([y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue],
                  axis=-1).clip(0, 255)


def _file(image, kind, **options):
  file = io.BytesIO()
  image.save(file, kind, **options | ({"lossless": True, "exact": True} if kind == "WEBP" else {}))
  return file


def _decoded(file):
  return np.asarray(images.decode(file).convert("RGB"), np.float32)


def _kinds():
  """(mode, format) of all that Pillow writes without loss of the mode."""
  for mode in _MODES:
    for kind in _LOSSLESS:
      try:
        if Image.open(_file(_drawn(mode)[0], kind)).mode in (mode, "I;16" if "I" in mode else mode):
          yield mode, kind
      except (OSError, ValueError):
        continue  # Pillow does not write this mode in this format.


_KINDS = tuple(_kinds())


class ModesTest(parameterized.TestCase):

  def test_the_table_has_every_mode_that_a_lossless_file_can_have(self):
    self.assertContainsSubset(
        {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "I;16", "F"},
        {mode for mode, _ in _KINDS})

  @parameterized.parameters(*_KINDS)
  def test_is_read_as_it_looks_or_refused_by_name(self, mode, kind):
    image, expected = _drawn(mode)
    file = _file(image, kind)
    if mode in ("LAB", "I", "F"):
      with self.assertRaisesRegex(ValueError, f"mode {mode}|{mode} pixels"):
        images.decode(file)
      return
    if mode == "P":
      expected = np.asarray(image.convert("RGB"))  # 256 colours of the 256 may be fewer.
    if mode == "YCbCr":  # Its integers are not those of all colours.
      expected = _rgb_of_ycbcr(np.asarray(image, np.float32))
    np.testing.assert_allclose(_decoded(file), expected, atol=1)

  @parameterized.parameters("L", "RGB", "CMYK", "RGBA")
  def test_grey_models_get_the_luminance(self, mode):
    image, expected = _drawn(mode)
    pixels = images.example(images.decode(_file(image, "TIFF")), 0, (16, 16, 1))["image"]
    luminance = np.asarray(expected, np.float32) @ np.float32([0.299, 0.587, 0.114])
    np.testing.assert_allclose((pixels[..., 0] + 1) * 127.5, luminance, atol=1.5)

  def test_jpeg_of_every_mode_keeps_its_look(self):
    smooth = np.asarray(Image.fromarray(_colours()[:2, :2]).resize((16, 16)))
    for mode in ("L", "RGB", "CMYK", "YCbCr"):
      expected = Image.fromarray(smooth).convert("L" if mode == "L" else "RGB").convert("RGB")
      file = _file(Image.fromarray(smooth).convert(mode), "JPEG", quality=100)
      np.testing.assert_allclose(_decoded(file), np.asarray(expected), atol=6, err_msg=mode)


class TransparencyTest(parameterized.TestCase):

  @parameterized.parameters(
      ("L", 77, 77), ("P", 3, None), ("RGB", (0, 17, 85), None), ("1", 0, 0))
  def test_a_transparent_colour_is_white(self, mode, colour, grey):
    image, _ = _drawn(mode)
    before = np.asarray(image.convert("RGB"))
    if mode == "P":
      chosen = np.asarray(image) == colour
    else:
      chosen = (before == (colour if grey is None else (grey,) * 3)).all(axis=-1)
    self.assertTrue(chosen.any())
    after = _decoded(_file(image, "PNG", transparency=colour))
    np.testing.assert_array_equal(after, np.where(chosen[..., None], 255, before))

  def test_a_transparent_entry_of_a_gif_is_white(self):
    image, _ = _drawn("P")
    before, chosen = np.asarray(image.convert("RGB")), np.asarray(image) == 3
    after = _decoded(_file(image, "GIF", transparency=3))
    np.testing.assert_array_equal(after, np.where(chosen[..., None], 255, before))

  def test_a_palette_with_alpha_is_blended(self):
    image, _ = _drawn("P")
    before = np.asarray(image.convert("RGB"), np.float32)
    after = _decoded(_file(image, "PNG", transparency=bytes([128] * 256)))
    np.testing.assert_allclose(after, before * (128 / 255) + 255 * (127 / 255), atol=1)

  def test_a_transparent_level_of_16_bits_is_refused(self):
    with self.assertRaisesRegex(ValueError, "transparent colour of other than 8 bits"):
      images.decode(_file(_drawn("I;16")[0], "PNG", transparency=300))


class FilesTest(parameterized.TestCase):

  @parameterized.product(orientation=tuple(range(1, 9)), kind=("PNG", "JPEG", "TIFF", "WEBP"))
  def test_exif_orientation_is_applied(self, orientation, kind):
    corner = np.zeros((16, 32, 3), np.uint8)
    corner[:8, :8] = 255
    image, exif = Image.fromarray(corner), Image.Exif()
    exif[0x0112] = orientation
    image.info["exif"] = exif.tobytes()
    expected = np.asarray(ImageOps.exif_transpose(
        Image.open(_file(Image.fromarray(corner), "PNG", exif=exif))))
    self.assertEqual(expected.shape, (32, 16, 3) if orientation > 4 else (16, 32, 3))
    np.testing.assert_allclose(_decoded(_file(image, kind, exif=exif)), expected, atol=8)

  def test_exif_orientation_of_16_bits(self):
    exif = Image.Exif()
    exif[0x0112] = 6
    image, look = _drawn("I;16")
    np.testing.assert_array_equal(_decoded(_file(image, "PNG", exif=exif)), np.rot90(look, -1))

  @parameterized.parameters(("GIF", "P"), ("PNG", "RGB"), ("WEBP", "RGB"), ("TIFF", "RGB"),
                            ("MPO", "RGB"))
  def test_the_first_of_several_frames_is_read(self, kind, mode):
    frames = [Image.new("RGB", (8, 8), colour).convert(mode) for colour in ("red", "blue", "lime")]
    file = _file(frames[0], kind, save_all=True, append_images=frames[1:])
    self.assertEqual(Image.open(file).n_frames, 3)
    np.testing.assert_allclose(_decoded(file), np.full((8, 8, 3), (255, 0, 0)),
                               atol=2 if kind == "MPO" else 0)

  @parameterized.parameters(0, 1)
  def test_tiff_of_16_bits_with_white_or_black_as_zero(self, photometric):
    grey = _grey().astype(np.uint16) * 257
    stored = grey if photometric else 65535 - grey
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[262] = photometric
    file = _file(Image.fromarray(stored), "TIFF", tiffinfo=tags)
    # Pillow writes its own tag of that number: put ours in its place.
    data = bytearray(file.getvalue())
    place = data.index(b"\x06\x01\x03\x00\x01\x00\x00\x00")
    data[place + 8] = photometric
    np.testing.assert_array_equal(_decoded(io.BytesIO(data))[..., 0], _grey())

  def test_tiff_of_12_bits(self):
    pixels = bytes([0x00, 0x0F, 0xFF, 0x80, 0x00, 0x00])  # 0, 4095, 2048 and padding.
    tags = ((256, 3), (257, 1), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1),
            (279, 6))
    data = (b"II*\0" + struct.pack("<I", 14) + pixels + struct.pack("<H", len(tags))
            + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags) + bytes(4))
    np.testing.assert_array_equal(_decoded(io.BytesIO(data))[0, :, 0], [0, 255, 128])

  def test_tiff_of_signed_bytes_is_refused(self):
    file = _file(_drawn("L")[0], "TIFF", tiffinfo={339: 2})
    with self.assertRaisesRegex(ValueError, "signed pixels, whose range is not known"):
      images.decode(file)

  def test_more_pixels_than_pillow_decodes(self):
    data = bytearray(_file(Image.new("L", (8, 8)), "BMP").getvalue())
    data[18:26] = np.int32([100_000, 100_000]).tobytes()
    with self.assertRaisesRegex(ValueError, r"10000000000 pixels\) exceeds limit of 178956970"):
      images.decode(io.BytesIO(data))

  def test_other_formats_are_not_opened(self):
    file = io.BytesIO(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n")
    with self.assertRaisesRegex(ValueError, "none of the formats PNG, JPEG"):
      images.decode(file)


class ArraysOfPixelsTest(parameterized.TestCase):

  @parameterized.parameters(((16, 16),), ((16, 16, 1),), ((16, 16, 2),), ((16, 16, 3),),
                            ((16, 16, 4),))
  def test_all_numbers_of_channels_and_both_depths(self, shape):
    grey = np.broadcast_to(_grey().reshape((16, 16) + (1,) * (len(shape) - 2)), shape).copy()
    if shape[2:] in ((2,), (4,)):
      grey[..., -1] = 255
    for pixels in (grey, grey.astype(np.uint16) * 257):
      np.testing.assert_array_equal(
          np.asarray(images.from_pixels(pixels).convert("RGB"))[..., 1], _grey())

  def test_alpha_is_over_white(self):
    hidden = np.zeros((4, 4, 4), np.uint8)
    np.testing.assert_array_equal(np.asarray(images.from_pixels(hidden)), 255)

  @parameterized.parameters(
      (np.zeros((4, 4, 3), np.float32), "float32 pixels, whose range is not known"),
      (np.zeros((4, 4, 3), np.int16), "int16 pixels"),
      (np.zeros((4, 4, 5), np.uint8), r"shape \(4, 4, 5\)"),
      (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
      (np.zeros((2, 4, 4, 3), np.uint8), r"shape \(2, 4, 4, 3\)"))
  def test_others_are_refused(self, pixels, message):
    with self.assertRaisesRegex(ValueError, message):
      images.from_pixels(pixels)


if __name__ == "__main__":
  absltest.main()
