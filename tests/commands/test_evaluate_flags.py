"""The flags of `ntm evaluate` that do not apply to a run are refused, and the others are passed on.
"""

import pathlib
import tempfile

from absl.testing import absltest, flagsaver, parameterized

from ntm import api
from ntm.commands import evaluate_flags
from ntm.evaluation import neighbours
from tests.helpers import runs

_POINTS = {"image_shape": (2, 1), "patch_shape": (1,), "num_classes": 0,
           "data": {"source": "mixture"}}
_SCENES = {"image_shape": (32, 32, 3), "patch_shape": (16, 16), "num_classes": 0,
           "backbone": {"text_tokens": 16, "vocab_size": 54}, "data": {"source": "scenes"},
           "text": {"tokenizer": "scenes"}}
_SOUNDS = {"image_shape": (1024, 1), "patch_shape": (1024,), "data": {"source": "sounds"},
           "num_classes": 2}


class EvaluateFlagsTest(parameterized.TestCase):

  def test_the_fewest_samples_are_those_of_precision_and_recall(self):
    parser = evaluate_flags.FLAGS["num_samples"].parser
    self.assertEqual(parser.parse(str(neighbours.LEAST)), neighbours.LEAST)
    with self.assertRaises(ValueError):
      parser.parse(str(neighbours.LEAST - 1))

  def _set(self, *arguments):
    """Parses a command line in place of the last one."""
    self.doCleanups()
    saved = flagsaver.save_flag_values(evaluate_flags.FLAGS)
    self.addCleanup(flagsaver.restore_flag_values, saved, evaluate_flags.FLAGS)
    evaluate_flags.FLAGS(["ntm evaluate", "--workdir=run", *arguments])

  @parameterized.parameters(
      (_POINTS, "--refine=none", "known data are compared at their own level"),
      (_POINTS, "--lpips=vgg", "known data are no pictures"),
      (_POINTS, "--reference=a", "the data are mixture, which have measures of their own"),
      (_SCENES, "--features=classifier", "the data are scenes, which have measures of their own"),
      (_SOUNDS, "--export=adm", "the data are sounds, which are no pictures"),
      ({}, "--clip=a", "the model reads no captions"),
      ({"num_classes": 0}, "--label_frequencies=uniform", "the model has no classes"),
      ({}, "--resize=tf1", "only Inception resizes images"))
  def test_flags_that_do_not_apply_to_the_data_are_refused(self, changes, flag, reason):
    config = runs.config(**changes)
    self._set()
    evaluate_flags.check_data(config)
    self._set(flag)
    with self.assertRaisesRegex(ValueError, f"{flag.partition('=')[0]} does not apply: .*{reason}"):
      evaluate_flags.check_data(config)

  def test_flags_that_apply_are_not(self):
    self._set("--clip=a", "--lpips=alex")
    evaluate_flags.check_data(runs.config(**_SCENES))
    self._set(f"--features={tempfile.mkdtemp()}", "--resize=antialiased",
              "--label_frequencies=training", "--reference=a")
    evaluate_flags.check_data(runs.config())

  @parameterized.parameters(
      ([], {}, {"refine": "score", "num_steps": 2}),
      (["--refine=none", "--steps=2"], {}, {"refine": "none", "num_steps": 2}),
      ([], _POINTS, {"refine": "none", "num_steps": 2}),
      ([], {"kind": "flow_matching"}, {"solver": "euler", "num_steps": 50}),
      (["--steps=7", "--solver=heun"], {"kind": "flow_matching"},
       {"solver": "heun", "num_steps": 7}))
  def test_what_is_passed_on(self, arguments, changes, expected):
    self._set(*arguments)
    self.assertEqual(evaluate_flags.sampling(self._model(**changes)), expected)

  @parameterized.parameters(
      ("--solver=heun", {}, "--solver does not apply: the model is an NTM"),
      ("--draws=3", {"kind": "flow_matching"}, "--draws does not apply: .* flow-matching one"),
      ("--steps=3", {}, "num_steps is 3, but the model was trained for 2 steps"),
      ("--refine=denoiser", {}, "this model has none"),
      ("--guidance=1", {"num_classes": 0}, "guidance is 1.0, but the model is unconditional"))
  def test_what_the_model_does_not_support_is_refused(self, flag, changes, message):
    self._set(flag)
    with self.assertRaisesRegex(ValueError, message):
      evaluate_flags.sampling(self._model(**changes))

  def test_the_help_says_how_much_is_read(self):
    text = evaluate_flags.FLAGS["num_samples"].help
    for source, limit in (("endless digits, scenes, sounds or clips", evaluate_flags.ENDLESS_LIMIT),
                          ("known density", evaluate_flags.LIMIT)):
      self.assertRegex(text, f"of {source}[^,]* {limit:,}")

  def test_paths_are_checked(self):
    root = pathlib.Path(tempfile.mkdtemp())
    (root / "file").write_text("")
    for flag, message in (
        (f"--json={root}", "--json is .*Is a directory"),
        (f"--samples_dir={root / 'file'}", "--samples_dir is .*cannot be written"),
        ("--output=a", "--output does not apply: only --export")):
      self._set(flag)
      with self.assertRaisesRegex(ValueError, message):
        evaluate_flags.check_paths()
    self._set("--output=a", "--export=adm", f"--json={root / 'a.json'}")
    evaluate_flags.check_paths()

  def _model(self, **changes):
    config = runs.config(**changes)
    kind = api.Model if config.model.kind == "ntm" else api.VelocityModel
    return kind(config, {}, 0)


if __name__ == "__main__":
  absltest.main()
