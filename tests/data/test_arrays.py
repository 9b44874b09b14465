import pathlib
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
    texts, state = draw(200)
    dropped = (texts == 0).all(axis=(1, 2))
    self.assertBetween(dropped.mean(), 0.2, 0.3)  # 0.25; its standard error is 0.015.
    self.assertFalse((texts[~dropped] == 0).any())
    np.testing.assert_array_equal(texts, draw(200)[0])
    half, state = draw(100)
    np.testing.assert_array_equal(np.concatenate([half, draw(100, state=state)[0]]), texts)

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
    with self.assertRaisesRegex(ValueError, "expected images, whose values have levels"):
      sources.level_spacing(DataConfig(source="arrays"))


def _batches(source, count, state=None):
  """(texts of `count` batches of 4, a quarter of them dropped; the state after them)."""
  iterator = pipeline.train_iterator(source, 4, 0, text_dropout=0.25)
  if state:
    iterator.set_state(state)
  texts = np.concatenate([next(iterator)["text"] for _ in range(count)])
  return texts, iterator.get_state()


if __name__ == "__main__":
  absltest.main()
