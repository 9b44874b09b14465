import dataclasses
import functools

import numpy as np
from absl.testing import absltest, parameterized

from ntm.data.scene_captions import Phrase
from ntm.data.scenes import CATEGORIES, SIDES, Scenes
from ntm.evaluation import scenes as scorer

_COUNT = 500  # Per category.


@functools.cache
def _drawn(side):
  return Scenes("test", side).batch(range(_COUNT * 6))


def _shares(right, scenes):
  return {name: row["share"] for name, row in scorer.breakdown(right, scenes).items()}


class ScorerTest(parameterized.TestCase):

  @parameterized.product(side=SIDES, noise=(0.0, 0.05))
  def test_true_pictures_are_right(self, side, noise):
    images, scenes = _drawn(side)
    if noise:
      images = images + noise * np.random.default_rng(0).standard_normal(images.shape, np.float32)
    shares = _shares(scorer.score(images, scenes), scenes)
    self.assertLen(shares, 7)
    for category in CATEGORIES:
      self.assertGreaterEqual(shares[category], 0.99, category)

  def test_unseen_combinations_are_right_too(self):
    images, scenes = Scenes("unseen").batch(range(900))
    self.assertGreaterEqual(min(_shares(scorer.score(images, scenes), scenes).values()), 0.98)

  def test_shuffled_captions_are_right_by_chance(self):
    images, scenes = _drawn(32)
    others = scenes[6:] + scenes[:6]  # Of the same category.
    found = _shares(scorer.score(images, others), scenes)
    # Chance by the truth, over as many draws and over more.
    here = _shares([scorer.shows(a.objects, b) for a, b in zip(scenes, others)], scenes)
    more = [Scenes("test", seed=1).scene(i) for i in range(12_000)]
    pairs = zip(more, more[6:] + more[:6])
    chance = _shares([scorer.shows(a.objects, b) for a, b in pairs], more)
    for category in CATEGORIES:
      self.assertAlmostEqual(found[category], here[category], delta=0.01)
      self.assertAlmostEqual(found[category], chance[category], delta=0.05)
      self.assertLess(chance[category], 0.15)

  def test_finds_what_is_there(self):
    images, scenes = Scenes("test", 64).batch(range(300))
    agree = 0
    for found, scene in zip(scorer.find(images), scenes):
      key = lambda thing: (thing.row, thing.column)
      if len(found) == len(scene.objects):
        for a, b in zip(sorted(found, key=key), sorted(scene.objects, key=key)):
          same = (a.shape, a.colour, a.size) == (b.shape, b.colour, b.size)
          agree += same and max(abs(a.row - b.row), abs(a.column - b.column)) < 0.01
    self.assertGreaterEqual(agree, 0.99 * sum(len(scene.objects) for scene in scenes))

  def test_empty_grey_and_noise_show_nothing(self):
    scenes = [Scenes("test").scene(i) for i in range(6)]
    for images in (np.zeros((6, 32, 32, 3)), np.full((6, 32, 32, 3), 5.0),
                   np.random.default_rng(0).uniform(-1, 1, (6, 32, 32, 3))):
      self.assertFalse(scorer.score(images, scenes).any())

  def test_every_named_attribute_counts(self):
    scene = next(s for i in range(600) if (s := Scenes("test").scene(i)).category == "position"
                 and s.phrases[0].colour and s.relation == "above")
    things = list(scene.objects)
    self.assertTrue(scorer.shows(things, scene))
    self.assertTrue(scorer.shows(things[::-1], scene))
    self.assertFalse(scorer.shows(things[1:], scene))
    self.assertFalse(scorer.shows([*things, things[0]], scene))
    wrong = lambda **change: [dataclasses.replace(things[0], **change), *things[1:]]
    self.assertFalse(scorer.shows(wrong(colour=scorer.NOTHING), scene))
    self.assertFalse(scorer.shows(wrong(shape=scorer.NOTHING), scene))
    self.assertFalse(scorer.shows(wrong(row=0.99), scene))
    self.assertTrue(scorer.shows(wrong(size="any"), scene))
    sized = dataclasses.replace(scene, relation=None, phrases=(Phrase(1, "ring", size="small"),))
    ring = dataclasses.replace(things[0], shape="ring", size="small")
    self.assertTrue(scorer.shows([ring], sized))
    self.assertFalse(scorer.shows([dataclasses.replace(ring, size="large")], sized))

  @parameterized.parameters("left of", "right of", "above", "below")
  def test_relations_are_of_the_first_to_the_second(self, relation):
    scene = next(s for i in range(600) if (s := Scenes("test").scene(i)).relation == relation)
    self.assertTrue(scorer.shows(scene.objects, scene))
    turned = [dataclasses.replace(t, row=1 - t.row, column=1 - t.column) for t in scene.objects]
    self.assertFalse(scorer.shows(turned, scene))

  def test_the_breakdown_has_shares_and_errors(self):
    scenes = [Scenes("test").scene(i) for i in range(600)]
    right = np.array([i % 6 == 0 or i < 300 for i in range(600)])
    table = scorer.breakdown(right, scenes)
    self.assertEqual([table[c]["share"] for c in CATEGORIES], [1.0] + [0.5] * 5)
    self.assertAlmostEqual(table["counting"]["standard_error"], 0.05)
    self.assertGreater(table["single object"]["standard_error"], 0)
    self.assertEqual([row["count"] for row in table.values()], [100] * 6 + [600])
    self.assertAlmostEqual(table["mean"]["share"], 3.5 / 6)
    errors = [table[c]["standard_error"] for c in CATEGORIES]
    self.assertAlmostEqual(table["mean"]["standard_error"], np.linalg.norm(errors) / 6)
    self.assertEqual([*scorer.breakdown(right[:1], scenes[:1])], ["single object", "mean"])

  @parameterized.parameters(
      (np.zeros((2, 32, 32, 3)), r"shape \(2, 32, 32, 3\); expected \(1, side"),
      (np.zeros((1, 32, 32, 1)), r"shape \(1, 32, 32, 1\); expected"),
      (np.zeros((1, 16, 32, 3)), "one square picture per scene"),
      (np.zeros((1, 32, 32, 3), np.uint8), "images have type uint8; expected floats"),
      (np.full((1, 32, 32, 3), 200.0), "images reach 200; expected"),
      (np.full((1, 32, 32, 3), np.nan), "images have NaN or infinite values"))
  def test_bad_images_are_named(self, images, message):
    with self.assertRaisesRegex(ValueError, message):
      scorer.score(images, [Scenes("test").scene(0)])

  @parameterized.parameters(
      (np.ones(2, bool), 1, r"right_B has shape \(2,\) and type bool"),
      (np.ones(1), 1, "type float64; expected .* bool"),
      (np.ones(0, bool), 0, "scenes is empty"))
  def test_bad_results_are_named(self, right_B, count, message):
    with self.assertRaisesRegex(ValueError, message):
      scorer.breakdown(right_B, [Scenes("test").scene(0)] * count)


if __name__ == "__main__":
  absltest.main()
