"""Every example of an extension is checked, not the first alone."""

import dataclasses

import numpy as np
from absl.testing import absltest, parameterized

from ntm.config import ModelConfig
from ntm.data import external, pipeline
from ntm.data.unreadable import UnreadableError

_MODEL = ModelConfig()
_GOOD = {"image": np.zeros(_MODEL.image_shape, np.float32), "label": 3}


class _Source:
  """Good examples, with others in places of theirs; an error is raised."""

  num_classes = 10
  names = ("first", "second")

  def __init__(self, changes=(), count=1000):
    self.changes, self.count = dict(changes), count

  def __len__(self):
    return self.count

  def __getitem__(self, index):
    found = self.changes.get(index, _GOOD)
    if isinstance(found, Exception):
      raise found
    return found

  def record(self):
    return ["a source"]


class ExternalTest(parameterized.TestCase):

  def test_good_examples_are_passed_on(self):
    source = external.External(_Source(), "mine:source", _MODEL)
    self.assertLen(source, 1000)
    self.assertIs(source[7], _GOOD)
    self.assertEqual((source.record(), source.names), (["a source"], ("first", "second")))
    self.assertEqual(next(pipeline.train_iterator(source, 4, 0))["label"].tolist(), [3] * 4)

  @parameterized.named_parameters(
      ("label", _GOOD | {"label": 10}, "has label 10; expected an integer from 0 to 9"),
      ("negative", _GOOD | {"label": -1}, "has label -1"),
      ("float", _GOOD | {"label": 3.0}, "has label 3.0"),
      ("vector", _GOOD | {"label": [3]}, r"has label \[3\]"),
      ("no_label", {"image": _GOOD["image"]}, "has label None"),
      ("nan", _GOOD | {"image": _GOOD["image"] * np.nan}, "has NaN or infinite values"),
      ("shape", _GOOD | {"image": np.zeros((8, 8), np.float32)}, r"has an image .* shape \(8, 8\)"),
      ("type", _GOOD | {"image": np.zeros((8, 8, 1))}, "has an image of type float64"),
      ("tuple", (_GOOD["image"], 3), "is of type tuple; expected a dictionary"))
  def test_a_bad_example_is_named_wherever_it_is(self, bad, message):
    for index in (0, 999):  # Both ends are read at the start.
      with self.assertRaisesRegex(ValueError, f"^example {index} of 'mine:source' {message}"):
        external.External(_Source({index: bad}), "mine:source", _MODEL)
    source = external.External(_Source({5: bad}), "mine:source", _MODEL)
    with self.assertRaisesRegex(ValueError, f"^example 5 of 'mine:source' {message}"):
      pipeline.ordered_batches(source, 4, range(8))

  def test_examples_are_probed_all_over_a_source(self):
    bad = _GOOD | {"label": 99}
    with self.assertRaisesRegex(ValueError, "^example [5-9].. of .* has label 99"):
      external.External(_Source({i: bad for i in range(500, 1000)}), "mine:source", _MODEL)

  def test_labels_of_an_unconditional_model_are_not_read(self):
    model = dataclasses.replace(_MODEL, num_classes=0)
    self.assertLen(external.External(_Source({0: {"image": _GOOD["image"]}}), "a:b", model), 1000)

  def test_unreadable_examples_are_left_to_the_pipeline(self):
    lost = UnreadableError("first", "it is lost", "/first")
    source = external.External(_Source({0: lost}), "mine:source", _MODEL)
    with self.assertRaises(UnreadableError):
      source[0]

  def test_one_example_and_none(self):
    self.assertLen(external.External(_Source(count=1), "mine:source", _MODEL), 1)
    with self.assertRaises(ValueError):
      external.External(_Source(count=0), "mine:source", _MODEL)


if __name__ == "__main__":
  absltest.main()
