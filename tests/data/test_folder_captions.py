"""Folders of images with captions feed training as they feed `ntm encode`."""

import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from ntm.data import folder, folder_captions, images, pipeline, sources
from ntm.data.encode_folder import FolderChunks
from ntm.data.folder_captions import CaptionedFolder
from ntm.data.unreadable import UnreadableError
from ntm.data.words import Words
from tests.helpers import encoding, tiny

_TEXTS = [f"{number} {colour} ring{'s' * (number != 'one')}" for number in ("two", "three")
          for colour in ("red", "blue", "green", "yellow", "purple")]


def _config(path, **changes):
  return tiny.config(**{
      "data__source": "folder", "data__path": str(path), "data__test_fraction": 0.2,
      "model__image_shape": (8, 8, 3), "model__patch_shape": (4, 4), "model__num_classes": 0,
      "model__backbone": {"text_tokens": 8, "vocab_size": 54}, "text__tokenizer": "scenes",
      "train__batch_size": 8} | changes)


class CaptionedFolderTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(tempfile.mkdtemp())
    for i in range(10):
      encoding.picture(i).save(self.root / f"{i}.png")

  def _write_texts(self):
    for i, text in enumerate(_TEXTS):
      (self.root / f"{i}.txt").write_text(f"{text}\n")

  def _write_table(self, rows):
    (self.root / "captions.csv").write_text(
        "file,caption\n" + "".join(f"{name},{text}\n" for name, text in rows))

  def _open(self, split="train", fraction=0.2):
    return CaptionedFolder(str(self.root), split, (8, 8, 3), fraction)

  @parameterized.parameters("texts", "table")
  def test_examples_are_the_images_and_captions_that_are_encoded(self, kind):
    if kind == "texts":
      self._write_texts()
    else:
      self._write_table((f"{i}.png", text) for i, text in enumerate(_TEXTS))
    theirs = {item.key: item.load(8) for item in FolderChunks(str(self.root), 99).chunk(0)}
    splits = [self._open(split) for split in sources.SPLITS]
    self.assertEqual([len(split) for split in splits], [8, 2])
    self.assertEqual(sorted(splits[0].record() + splits[1].record()), sorted(theirs))
    for split in splits:
      for i, name in enumerate(split.names):
        example = split[i]
        self.assertEqual(example["caption"], theirs[name].caption)
        np.testing.assert_array_equal(example["image"], theirs[name].pixels)

  def test_captions_of_one_image_are_in_one_split(self):
    self._write_table((f"{i}.png", f"{text} {k}") for k in "ab" for i, text in enumerate(_TEXTS))
    train, test = self._open("train"), self._open("test")
    self.assertEqual((len(train), len(test)), (16, 4))
    self.assertEmpty(set(train.names) & set(test.names))

  def test_batches_have_the_tokens_of_the_captions(self):
    self._write_texts()
    iterator, held_out = pipeline.training_data(_config(self.root, train__label_dropout=0.0))
    known = {images.example(folder.read(self.root, f"{i}.png"), 0, (8, 8, 3))["image"].tobytes():
             Words(8)([text]).ids_BM[0] for i, text in enumerate(_TEXTS)}
    for batch in (next(iterator), *held_out):
      for image, ids in zip(batch["image"], batch["ids"]):
        np.testing.assert_array_equal(ids, known[image.tobytes()])
    np.testing.assert_array_equal(held_out[0]["ids"], Words(8)(iterator.captions).ids_BM)

  def test_missing_captions_are_one_error(self):
    with self.assertRaisesRegex(ValueError, "10 of 10 images without a caption .0.png, 1.png, .*"
                                "and 5 more.; expected NAME.txt next to each, or one CSV file"):
      pipeline.training_data(_config(self.root))
    self._write_texts()
    (self.root / "3.txt").unlink()
    (self.root / "5.txt").write_text("")
    with self.assertRaisesRegex(ValueError, "2 of 10 images without a caption .3.png, 5.png.;"):
      self._open("test")
    with self.assertRaisesRegex(ValueError, "config.data.path is '', which is not a directory"):
      CaptionedFolder("", "train", (8, 8, 3), 0.2)
    with self.assertRaisesRegex(ValueError, "has no test images"):
      self._write_texts()
      self._open("test", 0.01)

  def test_what_cannot_be_read_is_replaced_in_training_and_left_out_of_held_out_data(self):
    self._write_texts()
    (self.root / "0.png").write_bytes(b"not a picture")
    held_out_names = self._open("test").names
    (self.root / held_out_names[0]).write_bytes(b"")
    with self.assertLogs("ntm", "WARNING") as logs:
      iterator, held_out = pipeline.training_data(_config(self.root))
    self.assertIn(f"1 of 2 examples cannot be read: {held_out_names[0]}", " ".join(logs.output))
    for _ in range(2):
      self.assertEqual(next(iterator)["image"].shape, (8, 8, 8, 3))
    self.assertIn("0.png", iterator.unreadable)
    np.testing.assert_array_equal(held_out[0]["ids"], Words(8)(iterator.captions).ids_BM)

  def test_a_byte_order_mark_is_no_part_of_a_caption(self):
    self._write_texts()
    (self.root / "0.txt").write_text(_TEXTS[0], encoding="utf-8-sig")
    self.assertEqual(folder_captions.text_of(self.root, "0.png"), _TEXTS[0])
    (self.root / "captions.csv").write_text(f"file,caption\n0.png,{_TEXTS[1]}\n",
                                            encoding="utf-8-sig")
    self.assertEqual(folder_captions.table(self.root, "--source"), (["0.png"], [_TEXTS[1]]))

  @parameterized.parameters((b" \n", "it is blank"), (b"\xff", "it is not UTF-8"))
  def test_a_caption_that_cannot_be_read_is_an_unreadable_example(self, content, reason):
    self._write_texts()
    (self.root / "0.txt").write_bytes(content)
    with self.assertRaisesRegex(UnreadableError, f"caption 0.txt cannot be read: {reason}"):
      self._open()[0]

  def test_a_table_without_a_caption_is_refused(self):
    self._write_table([("0.png", "one"), ("1.png", " ")])
    with self.assertRaisesRegex(ValueError, "has no file or no caption in row 2; complete"):
      self._open()
    (self.root / "other.csv").write_text("")
    with self.assertRaisesRegex(ValueError, "config.data.path is .*, which holds 2 CSV files"):
      self._open()


if __name__ == "__main__":
  absltest.main()
