import pathlib
import re
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from ntm.config import BackboneConfig, DataConfig, ModelConfig
from ntm.data import pipeline, sources


def _write(images=6, **arrays):
  """A directory with latents of 2 x 3 x 4, both splits alike, and these arrays a split."""
  root = pathlib.Path(tempfile.mkdtemp())
  rng = np.random.default_rng(0)
  for split in sources.SPLITS:
    (root / split).mkdir()
    np.save(root / split / "image.npy", 9 * rng.normal(size=(images, 2, 3, 4)).astype(np.float16))
    for name, array in arrays.items():
      np.save(root / split / f"{name}.npy", array)
  return root


def _model(**changes):
  values = {"image_shape": (2, 3, 4), "patch_shape": (1, 1), "num_classes": 0}
  return ModelConfig(**values | changes)


def _of_text():
  return _model(backbone=BackboneConfig(text_tokens=2, text_width=3))


def _texts(count=6):
  return np.arange(count * 6, dtype=np.float32).reshape(count, 2, 3)


def _load(root, model, split="train"):
  return sources.load(DataConfig(source="arrays", path=str(root)), model, split)


class ArraysTest(parameterized.TestCase):

  def test_reads_latents_as_they_are_with_their_condition(self):
    plain = _load(_write(), _model())
    self.assertEqual((len(plain), list(plain[0])), (6, ["image"]))
    self.assertEqual((plain[0]["image"].dtype, plain[0]["image"].shape), (np.float32, (2, 3, 4)))
    self.assertGreater(np.abs(plain[0]["image"]).max(), 2)
    classes = _load(_write(label=np.arange(6)), _model(num_classes=6), "test")
    self.assertEqual([int(classes[i]["label"]) for i in range(6)], list(range(6)))
    texts = _load(_write(text=_texts()), _of_text())
    np.testing.assert_array_equal(texts[4]["text"], _texts()[4])
    self.assertIsNone(texts.null_text)

  def test_texts_are_dropped_at_the_rate_and_at_the_same_places_again(self):
    root = _write(text=1 + _texts())
    np.save(root / "null_text.npy", np.zeros((2, 3), np.float16))
    draw = lambda batches, **state: _batches(_load(root, _of_text()), batches, **state)
    texts, state = draw(100)
    dropped = (texts == 0).all(axis=(1, 2))
    self.assertBetween(dropped.mean(), 0.2, 0.3)  # 0.25; its standard error is 0.02.
    self.assertFalse((texts[~dropped] == 0).any())
    np.testing.assert_array_equal(texts, draw(100)[0])
    half, state = draw(50)
    np.testing.assert_array_equal(np.concatenate([half, draw(50, state=state)[0]]), texts)

  def test_dropping_needs_the_empty_text(self):
    with self.assertRaisesRegex(ValueError, "label_dropout is 0.25, but there is no null_text.npy"):
      _batches(_load(_write(text=_texts()), _of_text()), 1)

  @parameterized.parameters(
      (dict(), _model(num_classes=3), "label.npy cannot be read"),
      (dict(), _model(image_shape=(2, 2, 4)), r"shape \(6, 2, 3, 4\); expected floats of shape"),
      (dict(label=np.arange(6)), _model(num_classes=3), "classes 0 to 5, but config.model.num_cl"),
      (dict(label=np.arange(5)), _model(num_classes=6), "6 images and 5 labels"),
      (dict(label=np.ones(6)), _model(num_classes=6), "float64 of shape .* expected integers"),
      (dict(text=_texts()[:, :1]), _of_text(), r"\(6, 1, 3\); expected floats of shape \(n, 2, 3"))
  def test_mistakes_are_named(self, arrays, model, message):
    with self.assertRaisesRegex(ValueError, message):
      _load(_write(**arrays), model)

  @parameterized.parameters(
      np.complex64, "datetime64[s]", "timedelta64[s]", bool, "S4", "U4", np.int32, np.uint8, "V2",
      np.dtype([("a", np.float32)]))
  def test_images_of_other_types_are_refused_by_name(self, dtype):
    root = _write()
    np.save(root / "train" / "image.npy", np.zeros((6, 2, 3, 4), dtype))
    message = rf"train/image.npy holds {re.escape(str(np.dtype(dtype)))} of shape .* in float16"
    with self.assertRaisesRegex(ValueError, message):
      _load(root, _model())

  @parameterized.parameters(">f2", ">f4", "<f8", ">f8", np.longdouble)
  def test_every_float_and_byte_order_and_layout_is_the_same(self, dtype):
    root, values = _write(), np.arange(144).reshape(6, 2, 3, 4)
    for order in "CF":
      np.save(root / "train" / "image.npy", np.asarray(values, dtype, order=order))
      source = _load(root, _model())
      np.testing.assert_array_equal(np.stack([source[i]["image"] for i in range(6)]), values)
      self.assertEqual(source[0]["image"].dtype, np.float32)

  @parameterized.parameters(">i8", "<u2", np.int8, np.uint64)
  def test_labels_of_every_integer(self, dtype):
    source = _load(_write(label=np.arange(6).astype(dtype)), _model(num_classes=6))
    self.assertEqual([int(source[i]["label"]) for i in range(6)], list(range(6)))

  @parameterized.parameters(
      (np.arange(-1, 5), "holds classes -1 to 4"), (np.arange(1, 7), "holds classes 1 to 6"),
      (np.full(6, 2**63, np.uint64), "holds classes 9223372036854775808"),
      (np.zeros((6, 1), int), r"int64 of shape \(6, 1\); expected integers of shape \(n,\)"),
      (np.zeros(6, bool), "bool of shape"), (np.int32(3), r"int32 of shape \(\); expected"),
      (np.zeros(0, int), r"int64 of shape \(0,\); expected .* n at least 1"))
  def test_labels_that_are_no_classes_are_refused(self, labels, message):
    with self.assertRaisesRegex(ValueError, f"label.npy {message}" if message.startswith("holds")
                                else f"label.npy holds {message}"):
      _load(_write(label=labels), _model(num_classes=6))

  @parameterized.parameters(
      (lambda data: b"", "cannot be read as an array"),
      (lambda data: data[:40], "cannot be read as an array"),
      (lambda data: data[:-1], "cannot be read as an array"),
      (lambda data: data + b"0", "has 417 bytes, and by its header 416"),
      (lambda data: b"PK" + data, "cannot be read as an array"),
      (lambda data: data.replace(b"(6,", b"(4,"), "has 416 bytes, and by its header 320"),
      (lambda data: data.replace(b"descr", b"desc\xff"), "cannot be read as an array"),
      (lambda data: data.replace(b"False", b"Fals("), "cannot be read as an array"))
  def test_damaged_arrays_are_one_line(self, damage, message):
    root = _write()
    path = root / "train" / "image.npy"
    path.write_bytes(damage(path.read_bytes()))
    with self.assertRaisesRegex(ValueError, f"image.npy {message}") as raised:
      _load(root, _model())
    self.assertNotIn("\n", str(raised.exception))

  def test_pickles_and_archives_are_refused(self):
    root = _write()
    path = root / "train" / "image.npy"
    np.save(path, np.array([{}] * 6), allow_pickle=True)
    with self.assertRaisesRegex(ValueError, "image.npy cannot be read as an array .*bject"):
      _load(root, _model())
    with path.open("wb") as file:
      np.savez(file, np.zeros(6))
    with self.assertRaisesRegex(ValueError, "image.npy is an archive of arrays"):
      _load(root, _model())

  @parameterized.parameters((np.nan, np.float32), (-np.inf, np.float16), (1e300, np.float64))
  def test_values_that_are_not_finite_are_named_with_their_place(self, value, dtype):
    root, images = _write(), np.zeros((6, 2, 3, 4), dtype)
    images[4, 1, 2, 0] = value
    np.save(root / "train" / "image.npy", images)
    source = _load(root, _model())
    self.assertTrue((source[3]["image"] == 0).all())
    message = re.escape(f"train/image.npy[4] holds {dtype(value)} at [1, 2, 0]; expected values")
    with self.assertRaisesRegex(ValueError, message):
      source[4]
    # A run that comes to it ends with that error, and so does an evaluation.
    with self.assertRaisesRegex(ValueError, message):
      _batches(source, 3, name="image", text_dropout=0)
    with self.assertRaisesRegex(ValueError, message):
      pipeline.ordered_batches(source, 2, range(6))

  def test_texts_that_are_not_finite_are_named(self):
    texts = _texts()
    texts[2, 1, 1] = np.nan
    with self.assertRaisesRegex(ValueError, r"train/text.npy\[2\] holds nan at \[1, 1\]"):
      _load(_write(text=texts), _of_text())[2]
    root = _write(text=_texts())
    np.save(root / "null_text.npy", np.full((2, 3), np.inf))
    with self.assertRaisesRegex(ValueError, r"null_text.npy holds inf at \[0, 0\]"):
      _load(root, _of_text())

  def test_the_record_says_split_type_and_shape(self):
    source = _load(_write(label=np.arange(6)), _model(num_classes=6), "test")
    self.assertEqual(source.record(), ["test/image.npy float16 [6, 2, 3, 4]",
                                       "test/label.npy int64 [6]"])

  def test_a_missing_directory_and_a_short_empty_text_are_named(self):
    with self.assertRaisesRegex(ValueError, "'/nowhere', which has no directory 'train'"):
      _load("/nowhere", _model())
    root = _write(text=_texts())
    np.save(root / "null_text.npy", np.zeros((1, 3)))
    with self.assertRaisesRegex(ValueError, "null_text.npy has 1 tokens, the texts have 2"):
      _load(root, _of_text())

  def test_images_have_no_texts_and_arrays_no_levels(self):
    model = ModelConfig(num_classes=0, backbone=BackboneConfig(text_tokens=2, text_width=3))
    with self.assertRaisesRegex(ValueError, "'digits', which has no text features"):
      sources.load(DataConfig(), model, "train")
    with self.assertRaisesRegex(ValueError, "expected images whose values have levels"):
      sources.level_spacing(DataConfig(source="arrays"))


def _batches(source, count, state=None, name="text", text_dropout=0.25):
  """(texts of `count` batches of 4, a quarter of them dropped; the state after them)."""
  iterator = pipeline.train_iterator(source, 4, 0, text_dropout=text_dropout)
  if state:
    iterator.set_state(state)
  texts = np.concatenate([next(iterator)[name] for _ in range(count)])
  return texts, iterator.get_state()


if __name__ == "__main__":
  absltest.main()
