import itertools

import numpy as np
from absl.testing import absltest, parameterized

from ntm.config import DataConfig, ModelConfig
from ntm.data import pipeline, scenes, sources
from ntm.data.scenes import CATEGORIES, HELD_OUT, Scenes


def _combinations(scene):
  """Those of a scene that are held out."""
  found = [("size", (thing.size, thing.shape)) for thing in scene.objects]
  found += [("colour", (thing.colour, thing.shape)) for thing in scene.objects]
  found += [("count", (phrase.count, phrase.shape)) for phrase in scene.phrases]
  found += [("pair", tuple(phrase.shape for phrase in scene.phrases))]
  return {(kind, pair) for kind, pair in found if pair in HELD_OUT[kind]}


class ScenesTest(parameterized.TestCase):

  @parameterized.product(split=scenes.SPLITS, side=scenes.SIDES)
  def test_a_scene_is_a_function_of_seed_split_and_index(self, split, side):
    indices = [2 ** 30 - 1, 0, 5, 5, 70_000]
    images, truths = Scenes(split, side, seed=3).batch(indices)
    self.assertEqual((images.shape, images.dtype), ((5, side, side, 3), np.float32))
    again = Scenes(split, side, seed=3)
    for image, truth, index in zip(images, truths, indices):
      np.testing.assert_array_equal(again[index]["image"], image)
      self.assertEqual(again.scene(index), truth)
      self.assertEqual(CATEGORIES[again[index]["label"]], truth.category)
    for other in (Scenes(split, side, seed=4),
                  Scenes("test" if split == "train" else "train", side, seed=3)):
      self.assertFalse((other[5]["image"] == images[2]).all())
      self.assertNotEqual(other.record(), again.record())

  def test_the_same_scene_in_both_sides(self):
    self.assertEqual(*(Scenes("train", side).batch(range(12))[1] for side in scenes.SIDES))

  def test_in_many_parts_or_few(self):
    source = Scenes("train")
    images, truths = source.batch(range(150))  # More than are drawn at once.
    self.assertEqual(truths, [source.scene(i) for i in range(150)])
    np.testing.assert_array_equal(images[149], source[149]["image"])
    self.assertEqual(source.batch([])[0].shape, (0, 32, 32, 3))

  @parameterized.parameters(*scenes.SPLITS)
  def test_held_out_combinations_are_in_unseen_scenes_alone(self, split):
    kinds = dict(zip(CATEGORIES, ("size", "pair", "count", "colour", "pair", "colour")))
    for index in range(1500):
      scene = Scenes(split).scene(index)
      found = _combinations(scene)
      if split != "unseen":
        self.assertEmpty(found)
      else:
        self.assertEqual({kind for kind, _ in found}, {kinds[scene.category]})
        self.assertLen(found, 1)

  def test_every_other_combination_is_seen(self):
    seen = [Scenes("train").scene(index) for index in range(6000)]
    objects = [thing for scene in seen for thing in scene.objects]
    self.assertLen({(t.colour, t.shape) for t in objects}, 48 - 8)
    self.assertLen({(t.size, t.shape) for t in objects}, 18 - 3)
    self.assertLen({(s.phrases[0].count, s.phrases[0].shape) for s in seen
                    if s.category == "counting"}, 18 - 3)
    self.assertLen({tuple(p.shape for p in s.phrases) for s in seen
                    if s.category == "two objects"}, 30 - 6)

  def test_things_touch_neither_each_other_nor_the_frame(self):
    for index in range(2000):
      things = Scenes("train").scene(index).objects
      self.assertBetween(len(things), 1, 4)
      for thing in things:
        for centre in (thing.row, thing.column):
          self.assertBetween(centre, thing.radius + 0.029, 1 - thing.radius - 0.029)
      for a, b in itertools.combinations(things, 2):
        apart = max(abs(a.row - b.row), abs(a.column - b.column))
        self.assertGreaterEqual(apart, a.radius + b.radius + 0.059)

  def test_scenes_are_what_their_categories_say(self):
    for index in range(1200):
      scene = Scenes("train").scene(index)
      self.assertEqual(scene.category, CATEGORIES[index % 6])
      counts = [phrase.count for phrase in scene.phrases]
      self.assertEqual(sum(counts), len(scene.objects))
      named = [phrase.colour is not None for phrase in scene.phrases]
      things = iter(scene.objects)
      for phrase in scene.phrases:
        for thing in itertools.islice(things, phrase.count):
          self.assertEqual(thing.shape, phrase.shape)
          self.assertIn(phrase.colour, (None, thing.colour))
          self.assertIn(phrase.size, (None, thing.size))
      if scene.category in ("two objects", "colour attribution"):
        self.assertEqual(counts, [1, 1])
        self.assertEqual(all(named), scene.category == "colour attribution")
        self.assertEqual(any(named), scene.category == "colour attribution")
      self.assertEqual(scene.relation is not None, scene.category == "position")

  def test_relations_are_equally_frequent(self):
    found = [Scenes("train").scene(6 * i + 4).relation for i in range(2000)]
    for relation in set(found):
      self.assertAlmostEqual(found.count(relation) / 2000, 1 / 4, delta=0.05)

  def test_bad_arguments_are_named(self):
    with self.assertRaisesRegex(ValueError, "split is 'fresh'; expected one of"):
      Scenes("fresh")
    for seed in (-1, 1.5):
      with self.assertRaisesRegex(ValueError, f"the seed of scenes is {seed}; expected an integer"):
        scenes.Scenes("test", seed=seed)
    with self.assertRaisesRegex(ValueError, "a side of 48 pixels; expected one of"):
      Scenes("train", 48)

  @parameterized.parameters(-1, 2 ** 30, 2 ** 40)
  def test_indices_out_of_range_are_refused(self, index):
    source = Scenes("train")
    for read in (source.scene, source.__getitem__, lambda index: source.batch([0, index])):
      with self.assertRaisesRegex(IndexError, f"scene {index} is out of range; indices are 0 to"):
        read(index)


class SourceTest(parameterized.TestCase):

  def _model(self, shape=(32, 32, 3), classes=0):
    return ModelConfig(image_shape=shape, patch_shape=(8, 8), num_classes=classes)

  @parameterized.parameters(0, 6)
  def test_with_and_without_classes(self, classes):
    data = DataConfig(source="scenes")
    train, test = (sources.load(data, self._model(classes=classes), s) for s in sources.SPLITS)
    self.assertEqual((train[7]["image"].shape, int(train[7]["label"])), ((32, 32, 3), 1))
    self.assertFalse((train[7]["image"] == test[7]["image"]).all())
    self.assertNotEqual(train.record(), test.record())

  def test_training_resumes_exactly(self):
    source = sources.load(DataConfig(source="scenes"), self._model(), "train")
    first, again = (pipeline.train_iterator(source, 4, seed=5) for _ in range(2))
    next(first)
    state = first.get_state()
    expected = next(first)
    again.set_state(state)
    np.testing.assert_array_equal(next(again)["image"], expected["image"])

  @parameterized.parameters(
      ((32, 32, 1), 0, "scenes images have shape"), ((32, 64, 3), 0, "scenes images have shape"),
      ((48, 48, 3), 0, "a side of 48 pixels"), ((32, 32, 3), 5, "scenes has 6 classes"))
  def test_models_of_other_shapes_are_refused(self, shape, classes, message):
    with self.assertRaisesRegex(ValueError, message):
      sources.load(DataConfig(source="scenes"), self._model(shape, classes), "train")

  def test_values_have_no_levels(self):
    with self.assertRaisesRegex(ValueError, "source is 'scenes'; expected images whose values"):
      sources.level_spacing(DataConfig(source="scenes"))


if __name__ == "__main__":
  absltest.main()
