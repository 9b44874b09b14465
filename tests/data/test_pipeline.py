from unittest import mock

import chex
import numpy as np
from absl.testing import absltest, parameterized

from ntm import config as config_lib
from ntm.data import digits, pipeline
from tests.helpers.numbered import Numbers, labels


class PipelineTest(parameterized.TestCase):

  def test_the_order_is_a_function_of_the_seed(self):
    draw = lambda seed: labels(pipeline.train_iterator(Numbers(20), 4, seed), 10)
    np.testing.assert_array_equal(draw(0), draw(0))
    self.assertFalse(np.array_equal(draw(0), draw(1)))

  def test_epochs_are_whole_and_reshuffled(self):
    epochs = labels(pipeline.train_iterator(Numbers(20), 4, 0), 10).reshape(2, 20)
    for epoch in epochs:
      np.testing.assert_array_equal(np.sort(epoch), np.arange(20))
    self.assertFalse(np.array_equal(*epochs))

  @parameterized.parameters(1, 2, 4)
  def test_the_order_depends_neither_on_the_number_of_hosts_nor_on_their_rows(self, hosts):
    whole = labels(pipeline.train_iterator(Numbers(23), 8, 3), 12)
    for order in (np.arange(8), np.random.default_rng(0).permutation(8)):
      for rows in map(np.sort, np.split(order, hosts)):
        part = labels(pipeline.train_iterator(Numbers(23), 8, 3, rows), 12)
        np.testing.assert_array_equal(part, whole[:, rows])

  def test_state_restores_the_position(self):
    iterator = pipeline.train_iterator(Numbers(20), 4, 0)
    labels(iterator, 7)
    state, expected = iterator.get_state(), labels(iterator, 5)
    for rows in (None, np.array([0, 2])):  # On another mesh too.
      fresh = pipeline.train_iterator(Numbers(20), 4, 0, rows)
      fresh.set_state(state)
      np.testing.assert_array_equal(labels(fresh, 5), expected if rows is None else
                                    expected[:, rows])

  def test_endless_digits_resume_exactly(self):
    make = lambda: pipeline.train_iterator(digits.EndlessDigits("train"), 4, 0)
    iterator = make()
    images = [next(iterator)["image"] for _ in range(5)]
    state, expected = iterator.get_state(), [next(iterator) for _ in range(3)]
    fresh = make()
    fresh.set_state(state)
    chex.assert_trees_all_equal([next(fresh) for _ in range(3)], expected)
    self.assertLen(np.unique(np.concatenate(images).reshape(20, 64), axis=0), 20)

  def test_ordered_batches_keep_the_remainder(self):
    batches = pipeline.ordered_batches(Numbers(20), 8, range(18))
    self.assertEqual([len(batch["label"]) for batch in batches], [8, 8, 2])
    np.testing.assert_array_equal(np.concatenate([b["label"] for b in batches]), np.arange(18))

  def test_fewer_examples_than_there_are_come_from_all_of_a_source(self):
    np.testing.assert_array_equal(pipeline.spaced(9, 3), [0, 4, 8])
    np.testing.assert_array_equal(pipeline.spaced(4, 9), [0, 1, 2, 3])
    source = Numbers(2000)  # In order of class, as a folder of classes.
    source.record = lambda: []
    with mock.patch.object(pipeline, "load_split", lambda config, split: source):
      _, test, _ = pipeline.evaluation_data(config_lib.from_dict({}), 5)
    np.testing.assert_array_equal(test["label"], [0, 500, 1000, 1499, 1999])

  def test_mistakes_are_named(self):
    with self.assertRaisesRegex(ValueError, "source is empty"):
      pipeline.train_iterator(Numbers(0), 6, 0)


class HeldOutTest(absltest.TestCase):

  def test_no_more_examples_than_memory_is_set_aside_for(self):
    config = config_lib.from_dict({"model": {"image_shape": (8, 8, 1)}})
    count = lambda: sum(len(b["label"]) for b in pipeline.training_data(config)[1])
    self.assertEqual(count(), 297)  # All test digits.
    example = 8 * 8 * 4 + 4  # Float32 pixels and an int32 label.
    with mock.patch.object(pipeline, "_HELD_OUT_BYTES", 10 * example + 1):
      self.assertEqual(count(), 10)

  def test_of_endless_data_as_many_as_are_asked_for(self):
    config = config_lib.from_dict({"data": {"augment": True}})
    iterator, held_out = pipeline.training_data(config)
    self.assertEqual(next(iterator)["image"].shape, (256, 8, 8, 1))
    self.assertEqual(sum(len(batch["label"]) for batch in held_out), 1024)
    train, test, record = pipeline.evaluation_data(config, 300)
    self.assertEqual((len(train["image"]), len(test["image"])), (300, 300))
    self.assertSetEqual(set(record), {"train", "test"})

  def test_draws_of_a_known_density_are_evaluated_in_one_split(self):
    config = config_lib.from_dict({
        "data": {"source": "mixture"},
        "model": {"image_shape": (2, 1), "patch_shape": (1,), "num_classes": 0}})
    train, test, record = pipeline.evaluation_data(config, 300)
    self.assertIsNone(train)
    self.assertLen(test["image"], 300)
    self.assertSetEqual(set(record), {"train", "test"})  # As a workdir records it.

  def test_the_log_counts_no_endless_examples(self):
    for data, model, text in (
        ({}, {}, "1500 training and 297 test images"),
        ({"augment": True}, {}, "training on fresh draws, each seen once"),
        ({"source": "scenes"}, {"image_shape": (32, 32, 3), "num_classes": 6},
         "training on fresh draws, each seen once"),
        ({"source": "mixture"}, {"image_shape": (2, 1), "patch_shape": (1,), "num_classes": 0},
         "training on fresh draws, each seen once")):
      with self.assertLogs("ntm", "INFO") as logs:
        pipeline.training_data(config_lib.from_dict({"data": data, "model": model}))
      self.assertIn(text, logs.output[0])


class MissingTest(parameterized.TestCase):

  @parameterized.parameters(
      ({"source": "folder", "path": "/no/images"},
       "^config.data.path is '/no/images', .* config.autoencoder.path is /no/vae, but .*`ntm conv"),
      ({"source": "shards", "path": "/no/shards"},
       "^config.data.path is '/no/shards', .* config.autoencoder.path is /no/vae, but .*`ntm conv"),
      ({"source": "scenes"}, "^config.autoencoder.path is /no/vae, but [^;]*`ntm convert[^;]*$"))
  def test_networks_and_data_that_are_missing_are_named_together(self, data, message):
    config = config_lib.from_dict({
        "autoencoder": {"path": "/no/vae"}, "data": data,
        "model": {"image_shape": (8, 8, 4), "num_classes": 6}})
    with self.assertRaisesRegex(ValueError, message):
      pipeline.training_data(config)


if __name__ == "__main__":
  absltest.main()
