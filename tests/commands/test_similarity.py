"""CLIP score and LPIPS of samples and of real pictures, by stand-ins for the networks."""

import json
import pathlib
import tempfile
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from ntm.commands import similarity
from ntm.commands.similarity import Similarity
from ntm.evaluation.clip import Scores
from ntm.training import multihost
from tests.helpers import runs

_SHAPE = (8, 8, 3)


class _Redness:
  """Scores 1 for pictures whose caption says rightly whether they are red, and 0 for others."""

  record = {"clip_model": "redness"}

  def __call__(self, images, captions, report):
    report(len(images), len(images))
    red = images[:, 0, 0, 0].astype(float) > images[:, 0, 0, 2]
    says = np.array(["red" in caption for caption in captions])
    return Scores((red == says).astype(float), np.zeros(len(images), bool))


class _Difference:
  """The mean absolute difference."""

  record = {"lpips_network": "difference"}

  def __call__(self, first, second, report):
    report(len(first), len(first))
    return np.abs(first - second).mean(axis=(1, 2, 3))


def _images(levels):
  return np.broadcast_to(np.float32(levels)[:, None, None, None], (len(levels), *_SHAPE))


class FiguresTest(parameterized.TestCase):

  def test_nothing_is_measured_that_is_not_asked_for(self):
    measures = similarity.load(None, None, None, 5, (4, 4, 2))
    self.assertFalse(measures.asked)
    self.assertEqual(measures.figures(_images([0, 1]), None), {})
    self.assertEqual(measures.held_out(runs.config(), {}, 5), {})
    self.assertEqual(measures.record(), {})

  @parameterized.parameters(
      ([0, 1, 0, 1], (0.2 + 0.5) / 2),  # 0 and 0.2, and 1 and 0.5.
      (["a", "a", "b", "b"], (1 + 0.3) / 2),
      (None, (1 + 0.3) / 2),  # All of one kind.
      ([0, 1, 2, 0], 0.5))
  def test_the_distance_is_of_pairs_of_the_same_condition(self, conditions, expected):
    measures = Similarity(True, distance=_Difference(), pairs_of="the same class")
    found = measures.figures(_images([0, 1, 0.2, 0.5]), conditions, "x_")
    self.assertAlmostEqual(found["x_lpips_diversity"], expected, places=6)
    self.assertEqual(found["x_lpips_num_pairs"], 1 if conditions == [0, 1, 2, 0] else 2)
    self.assertEqual(measures.record(),
                     {"lpips_network": "difference", "lpips_pairs": "the same class"})

  def test_without_pairs_there_is_no_distance(self):
    found = Similarity(True, distance=_Difference()).figures(_images([0, 1]), ["a", "b"])
    self.assertEqual(found, {"lpips_num_pairs": 0})

  def test_no_more_pairs_than_are_needed(self):
    found = Similarity(True, distance=_Difference()).figures(_images(np.arange(6000)), None)
    self.assertEqual((found["lpips_num_pairs"], found["lpips_diversity"]), (2000, 1))

  def test_every_picture_is_scored_with_its_own_caption(self):
    measures, pictures = Similarity(True, clip=_Redness()), np.zeros((4, *_SHAPE), np.uint8)
    pictures[::2, ..., 0] = 255
    captions = ["a red ring", "a blue ring"] * 2
    self.assertEqual(measures.figures(pictures, captions)["clip_score"], 1)
    self.assertEqual(measures.figures(pictures, captions[::-1])["clip_score"], 0)
    found = measures.figures(pictures, captions[:2] + ["a red ring"] * 2, "unseen_")
    self.assertEqual((found["unseen_clip_score"], found["unseen_clip_num_pictures"]), (0.75, 4))


class HeldOutTest(parameterized.TestCase):

  @parameterized.parameters((4, 4), (30, 10))
  def test_real_pictures_have_their_own_captions(self, count, expected):
    root = pathlib.Path(tempfile.mkdtemp())
    for i in range(20):
      colour = ("red", "blue")[(i // 2) % 2]
      Image.new("RGB", (8, 8), colour).save(root / f"{i:02}.png")
      (root / f"{i:02}.txt").write_text(f"a {colour} ring")
    config = runs.config(
        num_classes=0, image_shape=_SHAPE, backbone={"text_tokens": 8, "vocab_size": 54},
        data={"source": "folder", "path": str(root), "test_fraction": 0.5},
        text={"tokenizer": "scenes"})
    measures = Similarity(True, clip=_Redness())
    with mock.patch.object(similarity, "_BATCH", 3):
      found = measures.held_out(config, {"image": None}, count)
    self.assertContainsSubset({"real_clip_score": 1, "real_clip_num_pictures": expected}, found)
    self.assertEqual(
        Similarity(True, distance=_Difference()).held_out(config, {"image": None}, count), {})

  def test_pairs_of_real_pictures_have_the_same_class(self):
    test = {"image": _images([0, 1, 0.2, 0.5]), "label": np.array([3, 5, 3, 5])}
    measures = Similarity(True, distance=_Difference())
    of_classes = measures.held_out(runs.config(), test, 9)
    self.assertAlmostEqual(of_classes["real_lpips_diversity"], 0.35, places=6)
    without = measures.held_out(runs.config(num_classes=0), test, 9)
    self.assertAlmostEqual(without["real_lpips_diversity"], 0.65, places=6)

  def test_latents_are_no_pictures(self):
    measures = Similarity(True, distance=_Difference())
    self.assertEqual(measures.held_out(runs.config(), {"mean": 0}, 9), {})


class LoadTest(absltest.TestCase):

  def test_what_cannot_be_measured_is_known_before_anything_is_loaded(self):
    with mock.patch.object(similarity, "_load") as load:
      with self.assertRaisesRegex(ValueError, "--lpips is alex, .* no two of 3 samples have the"):
        similarity.load(None, "alex", ["a", "b", "c"], 3, _SHAPE)
      with self.assertRaisesRegex(ValueError, r"shape \(4, 4, 2\); expected"):
        similarity.load("folder", None, ["a"], 1, (4, 4, 2))
      with self.assertRaisesRegex(ValueError, "'vgg' reduces pictures of 8 x 8 pixels to nothing"):
        similarity.load(None, "vgg", None, 4, _SHAPE)
    load.assert_not_called()

  def test_lpips_is_tried_on_pictures_as_large_as_samples(self):
    shape = (32, 32, 3)
    with mock.patch.object(similarity, "Lpips") as made:
      for conditions, pairs_of in ((np.arange(4) % 2, "the same class"), (None, "any"),
                                   (np.array(["a", "a"]), "the same caption")):
        self.assertEqual(similarity.load(None, "vgg", conditions, 4, shape).pairs_of, pairs_of)
    made.assert_called_with("vgg")
    self.assertEqual(made.return_value.call_args.args[0].shape[1:], shape)


class ProcessesTest(absltest.TestCase):

  def _as(self, process, sent):
    """While active, this process is one of two, and the primary one sends a text."""
    stack = mock.patch.multiple(jax, process_count=lambda: 2, process_index=lambda: process)
    return stack, mock.patch.object(multihost, "allgather_strings", lambda text: [sent, text])

  def test_others_load_nothing_and_have_the_results_of_the_primary_one(self):
    processes, gathered = self._as(1, "")
    with processes, gathered, mock.patch.object(similarity, "_load") as load:
      measures = similarity.load("folder", None, ["a"], 1, _SHAPE)
    load.assert_not_called()
    self.assertEqual((measures.asked, measures.clip), (True, None))
    processes, gathered = self._as(1, json.dumps({"clip_score": 3.5}))
    with processes, gathered:
      self.assertEqual(measures.figures(_images([0]), ["a"]), {"clip_score": 3.5})

  def test_an_error_of_the_primary_one_ends_all(self):
    processes, gathered = self._as(1, "--clip is folder, which holds no CLIP")
    with processes, gathered, self.assertRaisesRegex(ValueError, "which holds no CLIP"):
      similarity.load("folder", None, ["a"], 1, _SHAPE)
    with (mock.patch.object(similarity, "_load", side_effect=ImportError("pip install")),
          self.assertRaisesRegex(ImportError, "pip install")):
      similarity.load("folder", None, ["a"], 1, _SHAPE)


if __name__ == "__main__":
  absltest.main()
