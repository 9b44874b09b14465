"""CLIP scores, by tiny CLIPs of transformers with random weights."""

import functools
import pathlib
import sys
import tempfile
from unittest import mock

import numpy as np
import pytest
from absl.testing import absltest, parameterized
from PIL import Image

from ntm.evaluation.clip import Clip, Scores

tiny_clip = pytest.importorskip("tests.helpers.tiny_clip")
torch, transformers = tiny_clip.torch, tiny_clip.transformers
_CAPTIONS = ["a red ring", "ö", "two blue squares"] * 6  # Of 8, 4 and 17 tokens.


@functools.cache
def _saved():
  """(folder, model) of a tiny CLIP."""
  directory = tempfile.mkdtemp()
  return directory, tiny_clip.save(directory)


@functools.cache
def _clip():
  return Clip(_saved()[0])


def _images(count=18, height=20, width=30, channels=3):
  rng = np.random.default_rng(0)
  return rng.uniform(-1.2, 1.2, (count, height, width, channels)).astype(np.float32)


def _pixel_values(images):
  """Those of OpenAI's preprocessing, by hand: bicubic, centre crop, its mean and deviation."""
  mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
  found = []
  for pixels in (images.clip(-1, 1) * 127.5 + 127.5).round().astype(np.uint8):
    height, width, _ = pixels.shape
    scaled = Image.fromarray(pixels).resize(
        (tiny_clip.SIDE * width // height, tiny_clip.SIDE), Image.Resampling.BICUBIC)
    left = (scaled.width - tiny_clip.SIDE) // 2
    found.append((np.asarray(scaled)[:, left:left + tiny_clip.SIDE] / 255 - mean) / std)
  return torch.tensor(np.stack(found), dtype=torch.float32).permute(0, 3, 1, 2)


class ClipTest(parameterized.TestCase):

  def test_it_is_the_cosine_that_the_models_own_logits_are_made_of(self):
    scores = _clip()(_images(), _CAPTIONS)
    tokens = tiny_clip.tokenizer()(_CAPTIONS, padding=True, truncation=True, return_tensors="pt",
                                   max_length=tiny_clip.LENGTH)
    model = _saved()[1]
    with torch.no_grad():
      logits = model(**tokens, pixel_values=_pixel_values(_images())).logits_per_image
      cosines = (logits / model.logit_scale.exp()).diagonal().numpy()
    self.assertLess(cosines.min(), -0.05)  # Both signs come.
    self.assertGreater(cosines.max(), 0.05)
    np.testing.assert_allclose(scores.values, 100 * cosines.clip(0), atol=1e-4)

  def test_pictures_are_scored_one_by_one_in_any_batch(self):
    images, whole = _images(), _clip()(_images(), _CAPTIONS)
    for rows in (slice(0, 1), slice(3, 7)):
      part = _clip()(images[rows], _CAPTIONS[rows])
      np.testing.assert_allclose(part.values, whole.values[rows], atol=1e-4)
    self.assertEmpty(_clip()(images[:0], []).values)
    reports = []
    _clip()(images, _CAPTIONS, lambda *done: reports.append(done))
    self.assertEqual(reports, [(16, 18), (18, 18)])

  def test_grey_pictures_and_bytes_are_what_they_show(self):
    grey = _images(3, channels=1)
    scores = _clip()(grey, _CAPTIONS[:3]).values
    np.testing.assert_array_equal(
        _clip()(np.repeat(grey, 3, axis=3), _CAPTIONS[:3]).values, scores)
    pixels = (grey.clip(-1, 1) * 127.5 + 127.5).round().astype(np.uint8)
    np.testing.assert_array_equal(_clip()(pixels, _CAPTIONS[:3]).values, scores)

  def test_captions_that_are_cut_are_counted_and_scored_by_their_beginning(self):
    longer = [f"{caption} and more" for caption in _CAPTIONS]
    scores, more = _clip()(_images(), _CAPTIONS), _clip()(_images(), longer)
    np.testing.assert_array_equal(scores.truncated, [False, False, True] * 6)
    self.assertEqual(scores.figures()["clip_num_truncated"], 6)
    same = np.arange(18) % 3 == 2
    np.testing.assert_allclose(more.values[same], scores.values[same], atol=1e-4)
    self.assertGreater(np.abs(more.values - scores.values)[~same].max(), 1)

  def test_results_say_what_they_depend_on(self):
    other = tempfile.mkdtemp()
    tiny_clip.save(other, seed=1)
    record, again = _clip().record, Clip(_saved()[0]).record
    self.assertEqual(record, again)
    self.assertContainsSubset(
        {"clip_model": _saved()[0], "clip_context_length": tiny_clip.LENGTH,
         "clip_definition": "100 max(cos, 0)",
         "clip_resize": "bicubic to shortest_edge 16, centre crop to height 16, width 16"}, record)
    self.assertNotEqual(Clip(other).record["clip_sha256"], record["clip_sha256"])
    figures = Scores(np.array([1.0, 3.0]), np.array([False, True])).figures()
    self.assertEqual(figures, {"clip_score": 2, "clip_score_standard_error": 1,
                               "clip_num_pictures": 2, "clip_num_truncated": 1})

  def test_one_caption_per_image(self):
    with self.assertRaisesRegex(ValueError, "there are 3 images and 2 captions; expected one"):
      _clip()(_images(3), _CAPTIONS[:2])


class RefusalsTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(tempfile.mkdtemp())

  def _refused(self, message, name=None):
    with self.assertRaisesRegex(ValueError, message) as caught:
      Clip(name or str(self.folder))
    self.assertNotIn("\n", str(caught.exception))

  @parameterized.parameters("transformers", "torch")
  def test_the_extra_is_named(self, missing):
    with (mock.patch.dict(sys.modules, {missing: None}),
          self.assertRaisesRegex(ImportError, r"pip install 'ntm\[eval\]'")):
      Clip(_saved()[0])

  def test_what_is_not_there_is_not_asked_of_the_hub(self):
    self._refused("--clip is ./nothing, which does not exist; expected the folder", "./nothing")

  @parameterized.parameters("config.json", "model.safetensors", "preprocessor_config.json")
  def test_a_missing_file(self, name):
    tiny_clip.save(self.folder)
    (self.folder / name).unlink()
    self._refused("holds no CLIP that can be read .*; expected the folder of a CLIP of transform")

  def test_another_model(self):
    transformers.BertConfig().save_pretrained(self.folder)
    self._refused("holds a model of the type 'bert'; expected a CLIP")

  def test_weights_that_are_left_random(self):
    model = tiny_clip.save(self.folder)
    weights = model.state_dict()
    del weights["visual_projection.weight"]
    model.save_pretrained(self.folder, state_dict=weights)
    self._refused("lacks 1 arrays of a CLIP, such as visual_projection.weight")

  @parameterized.parameters({"vocab_size": 100}, {"eos_token_id": 7})
  def test_the_tokenizer_of_another_model(self, **changes):
    tiny_clip.save(self.folder, **changes)
    self._refused("whose tokenizer has 514 ids and makes .512, 320, 513. of 'a', and whose CLIP")

  def test_no_tokenizer(self):
    tiny_clip.save(self.folder)
    for path in self.folder.glob("tokenizer*"):
      path.unlink()
    self._refused("whose tokenizer has|holds no CLIP that can be read")

  def test_configs_of_early_clips_end_texts_with_the_largest_id(self):
    tiny_clip.save(self.folder, eos_token_id=2)
    values = Clip(str(self.folder))(_images(), _CAPTIONS).values
    np.testing.assert_allclose(values, _clip()(_images(), _CAPTIONS).values, atol=1e-4)

  def test_pictures_of_another_size(self):
    tiny_clip.save(self.folder)
    transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 8}, do_center_crop=False).save_pretrained(self.folder)
    self._refused(r"gives pictures of \(8, 8\), and whose CLIP reads \(16, 16\)")

  def test_no_memory_is_known_before_samples_are_drawn(self):
    full = mock.Mock(side_effect=torch.OutOfMemoryError("full"))
    with mock.patch.object(Clip, "_cosines", full):
      self._refused("has no memory next to JAX; set XLA_CLIENT_MEM_FRACTION", _saved()[0])


if __name__ == "__main__":
  absltest.main()
