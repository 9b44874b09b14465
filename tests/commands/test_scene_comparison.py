"""Samples of scenes against their captions, and against real pictures of the same scenes."""

from unittest import mock

import numpy as np
from absl.testing import absltest

from ntm.commands import scene_comparison
from ntm.commands.similarity import Similarity
from ntm.data.scenes import Scenes
from ntm.evaluation import sample_metrics

_COUNT, _SIDE = 30, 32


def _real(split):
  return Scenes(split, _SIDE).batch(range(_COUNT))


class SceneComparisonTest(absltest.TestCase):

  def _metrics(self, samples, unseen, measures=None):
    reference = mock.Mock(metrics=lambda images, labels: {"mean": images.mean()})
    fresh = {"image": np.ones((_COUNT, _SIDE, _SIDE, 3))}
    with mock.patch.object(sample_metrics, "scenes", lambda side, count: (reference, fresh)):
      return scene_comparison.metrics(
          samples, {"unseen": unseen}.__getitem__, measures or Similarity())

  def test_the_scenes_are_the_first_of_the_split(self):
    for split in ("test", "unseen"):
      self.assertEqual(scene_comparison.scenes(split, _SIDE, _COUNT), _real(split)[1])

  def test_real_pictures_show_what_their_captions_say_and_those_of_others_do_not(self):
    test, unseen = _real("test")[0], _real("unseen")[0]
    right = self._metrics(test, unseen)
    self.assertEqual((right["score"], right["unseen_score"]), (1, 1))
    self.assertEqual((right["mean"], right["fresh_mean"]), (test.mean(), 1))
    self.assertNotIn("clip_score", right)
    wrong = self._metrics(test, np.roll(unseen, 1, axis=0))
    self.assertEqual(wrong["score"], 1)
    self.assertLess(wrong["unseen_score"], 0.2)

  def test_what_else_is_asked_for_is_measured_of_samples_and_of_real_pictures(self):
    measures = mock.Mock(asked=True, record=lambda: {"clip_model": "x"},
                         figures=mock.Mock(side_effect=lambda *given: {given[2]: 0}))
    samples, unseen = (np.zeros((_COUNT, _SIDE, _SIDE, 3)) + i for i in range(2))
    result = self._metrics(samples, unseen, measures)
    self.assertEqual(result["clip_model"], "x")
    given = {prefix: (images, captions)
             for (images, captions, prefix), _ in measures.figures.call_args_list}
    self.assertEqual(list(given), ["", "real_", "unseen_", "unseen_real_"])
    for prefix, split, drawn in (("", "test", samples), ("unseen_", "unseen", unseen)):
      images, scenes = _real(split)
      for name, expected in ((prefix, drawn), (f"{prefix}real_", images)):
        np.testing.assert_array_equal(given[name][0], expected)
        self.assertEqual(given[name][1], [scene.caption for scene in scenes])


if __name__ == "__main__":
  absltest.main()
