"""Shards are read as they were encoded, mirrored in training alone, or refused by name."""

import dataclasses
import functools
import pathlib
import shutil
import tempfile
from unittest import mock

import jax
import numpy as np
import pytest
from absl.testing import absltest, parameterized

import ntm
from ntm.config import DataConfig, ModelConfig, TextConfig
from ntm.conversion import converter
from ntm.data import pipeline, shard_format, sources
from ntm.data.encode_images import Encoder
from ntm.data.shards import Shards
from ntm.losses import inputs, task
from ntm.training import loop
from tests.helpers import encoding, tiny, tiny_text_encoder


def _model(**changes):
  return ModelConfig(**{"image_shape": encoding.LATENT, "patch_shape": (2, 2),
                        "num_classes": 2} | changes)


def _load(path, split="train", model=None, **data):
  return sources.load(DataConfig(source="shards", path=str(path), **data), model or _model(), split)


class ShardsTest(parameterized.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.encoded = encoding.encode(encoding.folder(count=10))
    cls.records = encoding.records(cls.encoded)

  def test_every_example_is_in_one_split_with_its_moments_and_class(self):
    splits = [_load(self.encoded, split, test_fraction=0.2) for split in sources.SPLITS]
    self.assertEqual([len(split) for split in splits], [16, 4])
    expected = {(moments[0].astype(np.float32).tobytes(), header["label"])
                for header, moments in self.records}
    found = {(np.stack([example["mean"], example["std"]]).tobytes(), int(example["label"]))
             for split in splits for example in (split[i] for i in range(len(split)))}
    self.assertEqual(found, expected)
    self.assertEqual(splits[0][3]["mean"].dtype, np.float32)
    self.assertLen({line for split in splits for line in split.record()},
                   sum(len(split.record()) for split in splits))

  def test_a_directory_per_split(self):
    root = pathlib.Path(tempfile.mkdtemp())
    shutil.copytree(self.encoded, root / "train")
    encoding.encode(encoding.folder(count=2), root / "test")
    self.assertEqual([len(_load(root, split)) for split in sources.SPLITS], [20, 4])

  def test_splits_that_were_encoded_in_different_ways_are_refused(self):
    root = pathlib.Path(tempfile.mkdtemp())
    shutil.copytree(self.encoded, root / "train")
    encoding.encode(encoding.folder(count=1), root / "test", image_size=32)
    with self.assertRaisesRegex(ValueError, "with image_size 16, and .*test with 32; encode both"):
      _load(root)

  def test_training_draws_the_image_or_its_mirror_image_anew_every_epoch(self):
    source = _load(self.encoded)
    by_bytes = {moments[m].astype(np.float32).tobytes(): (header["key"], m)
                for header, moments in self.records for m in range(2)}
    draw = lambda: [by_bytes[np.stack([mean, std]).tobytes()]
                    for batch in [next(iterator) for _ in range(9)]
                    for mean, std in zip(batch["mean"], batch["std"])]
    iterator = pipeline.train_iterator(source, 6, seed=0)
    first = draw()
    self.assertLen({key for key, _ in first}, 18)
    epochs = [dict(first[start:start + 18]) for start in (0, 18, 36)]
    self.assertTrue(all(len(epoch) == 18 for epoch in epochs))
    self.assertGreater(len({tuple(sorted(epoch.items())) for epoch in epochs}), 1)
    self.assertBetween(np.mean([m for _, m in first]), 0.25, 0.75)
    iterator = pipeline.train_iterator(source, 6, seed=0)
    self.assertEqual(draw(), first)
    # Two processes together draw what one draws.
    parts = [pipeline.train_iterator(source, 6, 0, rows) for rows in np.split(np.arange(6), 2)]
    iterator = iter({name: np.concatenate([half[name] for half in halves]) for name in halves[0]}
                    for halves in ([next(part) for part in parts] for _ in range(9)))
    self.assertEqual(draw(), first)

  def test_held_out_batches_are_not_mirrored(self):
    config = tiny.config(model__image_shape=encoding.LATENT, model__num_classes=2, data={
        "source": "shards", "path": str(self.encoded)}, train__batch_size=8, mesh__data=-1,
                         autoencoder__path=str(encoding.autoencoder()))
    iterator, (held_out,) = pipeline.training_data(config)
    self.assertEqual(next(iterator)["mean"].shape, (8, *encoding.LATENT))
    images = {moments[0, 0].astype(np.float32).tobytes() for _, moments in self.records}
    self.assertTrue({mean.tobytes() for mean in held_out["mean"]} <= images)
    self.assertEqual(set(held_out), {"mean", "std", "label"})

  def test_shards_of_another_autoencoder_are_refused(self):
    config = tiny.config(model__image_shape=encoding.LATENT, model__num_classes=2, data={
        "source": "shards", "path": str(self.encoded)},
                         autoencoder__path=str(encoding.autoencoder()))
    other = mock.patch.object(converter, "checksum", return_value=1)
    with other, self.assertRaisesRegex(ValueError, "were encoded by another autoencoder"):
      pipeline.training_data(config)
    with self.assertRaisesRegex(ValueError, "autoencoder.path is ''; expected the autoencoder"):
      tiny.config(model__image_shape=encoding.LATENT, data__source="shards")

  def test_an_update_from_shards_is_one_from_pixels(self):
    config = tiny.config(model__image_shape=encoding.LATENT, model__num_classes=2,
                         autoencoder__path=str(encoding.autoencoder()))
    pixels = np.random.default_rng(0).uniform(-1, 1, (8, 16, 16, 3)).astype(np.float32)
    moments = np.asarray(Encoder(encoding.autoencoder(), 16, 8).start(list(pixels)))[:, 0]
    labels = {"label": np.arange(8, dtype=np.int32) % 2}
    shards = {"mean": moments[:, 0].astype(np.float32), "std": moments[:, 1].astype(np.float32)}
    frozen, rng = jax.device_put(inputs.load(config)), jax.random.key(0)
    what = task.density(config, frozen)
    encode = jax.jit(lambda batch: inputs.encode(rng, frozen, batch, config)["image"])
    ours, theirs = encode(shards | labels), encode({"image": pixels} | labels)
    # Shards hold float16: 11 bits of the largest entry.
    np.testing.assert_allclose(ours, theirs, atol=2 ** -11 * np.abs(theirs).max())
    params = tiny.random_params(lambda rng: {"params": what.init(rng)})
    loss = jax.jit(lambda batch: what.loss(rng, params, frozen, batch, 0)[0])
    self.assertAlmostEqual(float(loss(shards | labels)), float(loss({"image": pixels} | labels)),
                           places=2)

  def test_captions_read_with_latents_train_as_features_prepared_ahead(self):
    root = encoding.folder(classes=1, count=10)
    for path in root.glob("*/*.png"):
      path.with_suffix(".txt").write_text(f"picture {path.stem}", encoding="utf-8")
    config = tiny_text_encoder.config(
        model__image_shape=encoding.LATENT, autoencoder__path=str(encoding.autoencoder()),
        data={"source": "shards", "path": str(encoding.encode(root))})
    batch = next(pipeline.training_data(config)[0])
    shapes = {name: (a.shape, a.dtype) for name, a in batch.items()}
    self.assertEqual(shapes, {name: (a.shape, a.dtype)
                              for name, a in task.batch_shapes(config, 8).items()})
    ahead = dataclasses.replace(config, text=TextConfig())
    frozen, rng = jax.device_put(inputs.load(config)), jax.random.key(0)
    features = inputs.encode_text(frozen, batch, config)
    self.assertEqual({name: a.shape for name, a in features.items()},
                     {name: a.shape for name, a in task.batch_shapes(ahead, 8).items()})
    ours, theirs = task.density(config, frozen), task.density(ahead, frozen)
    params = tiny.random_params(lambda rng: {"params": ours.init(rng)})
    found, expected = (
        float(jax.jit(lambda b, what=what: what.loss(rng, params, frozen, b, 0)[0])(b))
        for what, b in ((ours, batch), (theirs, features)))
    self.assertAlmostEqual(found, expected, delta=1e-5 * abs(expected))

  @pytest.mark.slow
  def test_a_run_from_shards_samples_pixels(self):
    config = tiny.config(
        model__image_shape=encoding.LATENT, model__num_classes=2, train__steps=2,
        train__sample_every=2, autoencoder__path=str(encoding.autoencoder()), mesh__data=-1,
        data={"source": "shards", "path": str(self.encoded)})
    workdir = pathlib.Path(tempfile.mkdtemp())
    loop.train(functools.partial(task.density, frozen=inputs.load(config)), config, workdir,
               *pipeline.training_data(config))
    self.assertNotEmpty(list((workdir / "samples").glob("*.png")))
    images = ntm.restore(workdir).sample(jax.random.key(0), [0, 1, 1])
    self.assertEqual(images.shape, (3, 16, 16, 3))
    self.assertLessEqual(np.abs(images).max(), 1)

  def test_captions_of_models_of_text_stay_strings(self):
    root = encoding.folder(classes=1)
    for path in root.glob("*/*.png"):
      path.with_suffix(".txt").write_text(f"picture {path.stem} é\n", encoding="utf-8")
    text = ModelConfig(image_shape=encoding.LATENT, patch_shape=(2, 2), num_classes=0,
                       backbone=tiny.config(model__num_classes=0, model__backbone={
                           "text_tokens": 3, "text_width": 5}).model.backbone)
    target = encoding.encode(root)
    source = _load(target, model=text)
    self.assertEqual(source[2]["caption"], "picture 002 é")
    batch = next(pipeline.train_iterator(source, 2, seed=0))
    self.assertStartsWith(str(batch["caption"][1]), "picture 00")
    self.assertEqual(set(_load(target, model=_model(num_classes=0))[0]), {"mean", "std"})
    for path, model, message in (
        (target, _model(), "has no classes, but config.model.num_classes is 2"),
        (self.encoded, text, "has no captions, but config.model.backbone.text_tokens is 3")):
      with self.assertRaisesRegex(ValueError, message):
        _load(path, model=model)
    with self.assertRaisesRegex(ValueError, "6 examples, of which none are in the split 'test'"):
      _load(target, "test", text, test_fraction=0.1)

  @parameterized.parameters(
      (dict(image_shape=(8, 8, 3)), r"have shape \(8, 8, 4\), but config.model.image_shape is"),
      (dict(num_classes=1), "holds classes 0 to 1, but config.model.num_classes is 1"))
  def test_models_that_do_not_fit_are_refused(self, changes, message):
    with self.assertRaisesRegex(ValueError, message):
      _load(self.encoded, model=_model(**changes))

  def test_what_is_damaged_or_missing_is_named(self):
    root = pathlib.Path(tempfile.mkdtemp()) / "copy"

    def assert_refused(message, damage, model=None):
      shutil.copytree(self.encoded, root, dirs_exist_ok=True)
      damage(root / "shard-000001.array_record", root / "index.json")
      with self.assertRaisesRegex(ValueError, message):
        source = Shards(str(root), "train", model or _model(), 0.1)
        [source[i] for i in range(len(source))]
      shutil.rmtree(root)

    assert_refused("shard-000001.array_record does not exist, and by its index it has .* bytes",
                   lambda shard, index: shard.unlink())
    assert_refused("shard-000001.array_record has 100 bytes, and by its index",
                   lambda shard, index: shard.write_bytes(shard.read_bytes()[:100]))
    assert_refused("shard-000001.array_record does not exist", lambda shard, index: shard.unlink(),
                   _model(image_shape=(4, 4, 4)))  # Before the shapes, which are quickly set.

    def flip(data):
      place = data.index(b"class_0/006.png") + 200
      return data[:place] + bytes([data[place] ^ 1]) + data[place + 1:]

    assert_refused("shard-000001.array_record cannot be read .*; run `ntm encode` again",
                   lambda shard, index: shard.write_bytes(flip(shard.read_bytes())))
    assert_refused("copy/index.json does not exist", lambda shard, index: index.unlink())
    assert_refused("index.json is damaged or was edited",
                   lambda shard, index: index.write_text(index.read_text().replace("16", "17")))
    assert_refused("index.json is of version 2, and this ntm reads version 1",
                   lambda shard, index: shard_format.write_json(
                       index, shard_format.read_json(index) | {"version": 2}))
    assert_refused("an encoding that has not ended, with 0 of 4 shards",
                   lambda shard, index: shard_format.write_json(
                       index, shard_format.read_json(index) | {"complete": False}))
    with self.assertRaisesRegex(ValueError, "'/nowhere', which is not a directory"):
      _load("/nowhere")


if __name__ == "__main__":
  absltest.main()
