import dataclasses
import json
import pathlib
import shutil
import tempfile

from absl.testing import absltest

from ntm import api
from ntm import config as config_lib
from ntm.data import captions
from ntm.training import checks, frozen_record
from tests.helpers import runs, tiny, tiny_autoencoder, tiny_text_encoder, tiny_tokenizer


def _at(config, path):
  return dataclasses.replace(config, autoencoder=config_lib.AutoencoderConfig(str(path)))


def _other(path):
  """An autoencoder of the same sizes and other numbers."""
  other = pathlib.Path(tempfile.mkdtemp()) / "other"
  shutil.copytree(path, other)
  manifest = other / "checkpoints" / "0" / "checksums" / "metadata"
  written = json.loads(manifest.read_text())
  first = min(written["arrays"]["ema"])
  written["arrays"]["ema"][first][2] += 1
  del written["checksum"]
  manifest.write_text(json.dumps(frozen_record.converter.checksums.seal(written)))
  return other


class FrozenRecordTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    self.config = tiny_autoencoder.config("kl", mesh__data=-1)
    self.workdir = pathlib.Path(tempfile.mkdtemp()) / "run"
    runs.write(self.workdir, self.config)

  def test_a_copy_at_another_path_is_the_same(self):
    copy = pathlib.Path(tempfile.mkdtemp()) / "copy"
    shutil.copytree(self.config.autoencoder.path, copy)
    checks.check_run(_at(self.config, copy), self.workdir)
    self.assertEqual(json.loads((self.workdir / "frozen.json").read_text()),
                     frozen_record.of(self.config))

  def test_other_networks_are_refused(self):
    other = _other(self.config.autoencoder.path)
    with self.assertRaisesRegex(
        ValueError, f"with config.autoencoder.path = .*, and now it is another: {other}"):
      checks.check_run(_at(self.config, other), self.workdir)
    with self.assertRaisesRegex(ValueError, "now it is another: none"):
      checks.check_run(_at(self.config, ""), self.workdir)
    (self.workdir / "frozen.json").unlink()
    with self.assertRaisesRegex(ValueError, "with config.autoencoder.path = none, and"):
      api.restore(self.workdir)

  def test_a_run_starts_from_a_model_of_the_same_autoencoder(self):
    start = lambda config, source=self.workdir: frozen_record.check_source(dataclasses.replace(
        config, finetune=config_lib.FinetuneConfig(str(source))))
    start(self.config)
    with self.assertRaisesRegex(
        ValueError, f"autoencoder.path is .*other, but the flow-matching model in {self.workdir} "
        f"was trained with another, {self.config.autoencoder.path}; set it to a copy"):
      start(_at(self.config, _other(self.config.autoencoder.path)))
    # Of what is not known of one of them, nothing is said.
    start(_at(self.config, ""))
    start(self.config, tempfile.mkdtemp())

  def test_a_text_encoder_is_recorded_too(self):
    workdir, config = pathlib.Path(tempfile.mkdtemp()) / "text", tiny_text_encoder.config()
    runs.write(workdir, config)
    record = json.loads((workdir / "frozen.json").read_text())
    self.assertEqual(record["text_encoder"]["path"], config.text.encoder)
    frozen_record.check(workdir, config)
    (workdir / "frozen.json").write_text(json.dumps(
        {"text_encoder": record["text_encoder"] | {"checksum": 1}}))
    with self.assertRaisesRegex(
        ValueError, "trained with config.text.encoder = .*, and now it is another"):
      frozen_record.check(workdir, config)

  def test_a_tokenizer_is_known_by_what_it_does(self):
    folders = [pathlib.Path(tempfile.mkdtemp()) / name for name in ("first", "copy", "left")]
    for folder, side in zip(folders, ("right", "right", "left")):
      tiny_tokenizer.save(folder, padding_side=side)
    configs = [runs.config(num_classes=0, backbone={"text_tokens": 8, "vocab_size": 300},
                           text={"tokenizer": str(folder)}) for folder in folders]
    workdir = pathlib.Path(tempfile.mkdtemp()) / "run"
    runs.write(workdir, configs[0])
    frozen_record.check(workdir, configs[1])
    with self.assertRaisesRegex(ValueError, "with config.text.tokenizer = .*first, and now it is "
                                "another: .*left"):
      frozen_record.check(workdir, configs[2])
    settings = folders[1] / "tokenizer_config.json"  # Of the copy, which now cuts elsewhere.
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"truncation_side": "left"}))
    captions.tokenizer.cache_clear()
    with self.assertRaisesRegex(ValueError, "now it is another: .*copy"):
      frozen_record.check(workdir, configs[1])
    words = runs.config(num_classes=0, backbone={"text_tokens": 8, "vocab_size": 300},
                        text={"tokenizer": "scenes"})
    with self.assertRaisesRegex(ValueError, "now it is another: scenes"):
      frozen_record.check(workdir, words)
    # Where it cannot be read, what needs it says so.
    shutil.rmtree(folders[2])
    captions.tokenizer.cache_clear()
    frozen_record.check(workdir, configs[2])

  def test_a_damaged_record_is_named(self):
    (self.workdir / "frozen.json").write_text("[")
    with self.assertRaisesRegex(ValueError, "frozen.json is damaged"):
      frozen_record.check(self.workdir, self.config)

  def test_runs_without_frozen_networks_have_none(self):
    workdir = pathlib.Path(tempfile.mkdtemp()) / "plain"
    runs.write(workdir, tiny.config())
    frozen_record.check(workdir, tiny.config())
    self.assertFalse((workdir / frozen_record.FILE).exists())
    # Any networks may be in a workdir where nothing has been saved.
    frozen_record.check(tempfile.mkdtemp(), self.config)


if __name__ == "__main__":
  absltest.main()
