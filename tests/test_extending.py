"""docs/extending.md: what the page shows is what runs."""

import contextlib
import pathlib
import re
import sys
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

import ntm
from ntm.config import extension
from ntm.data import pipeline
from ntm.losses import task
from ntm.training import loop
from tests.helpers import tiny

_PAGE = (pathlib.Path(__file__).parents[1] / "docs" / "extending.md").read_text()
_FILES = dict(re.findall(r"```python\n# (\w+)\.py\n(.*?)```", _PAGE, re.S))
_KEYS = dict(re.findall(r"--config\.([\w.]+)=(\w+:\w+)", _PAGE))
_SMALL = {"layers": 1, "width": 16, "num_heads": 2, "num_kv_heads": 2}


class ExtendingTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    directory = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    for name, text in _FILES.items():
      (directory / f"{name}.py").write_text(text)
      self.addCleanup(sys.modules.pop, name, None)
    self.enterContext(contextlib.chdir(directory))
    self.addCleanup(setattr, sys, "path", list(sys.path))

  def _config(self, *keys, **changes):
    """A tiny config with these lines of the page."""
    values = {"data.source": "rings:source"} | {key: _KEYS[key] for key in keys}
    return tiny.config(
        model__image_shape=(8, 8, 1), model__num_classes=10, model__transporter=dict(_SMALL),
        model__predictor=dict(_SMALL), train__steps=2, train__sample_every=2,
        train__checkpoint_every=2, mesh__data=-1,
        **{key.replace(".", "__"): value for key, value in values.items()}, **changes)

  def test_examples_are_short_and_all_are_run(self):
    self.assertEqual(set(_FILES), {"bent_flow", "mixer", "rings", "calm", "alone"})
    self.assertLen(_KEYS, 4)
    for name, text in _FILES.items():
      self.assertLessEqual(len(text.splitlines()), 40, name)

  def test_all_parts_train_together_and_are_restored(self):
    config = self._config(*_KEYS)
    loop.train(task.density, config, "run", *pipeline.training_data(config))
    model = ntm.restore("run")
    self.assertEqual(model.config, config)
    images = model.sample(jax.random.key(0), [3, 1])
    self.assertTrue(np.isfinite(images).all())
    result = model.log_prob(jax.random.key(1), images.clip(-1, 1))
    self.assertTrue(np.isfinite(result.bound_B).all())
    self.assertIn("bijectors_0", model.params["transporter"])
    self.assertIn("LayerNorm_0", model.params["predictor"]["network"])

  def test_the_objective_adds_its_penalty(self):
    config, usual = self._config("train.objective"), self._config()
    self.assertGreater(self._loss(config), self._loss(usual))

  def _loss(self, config):
    what = task.density(config)
    params = tiny.random_params(lambda rng: {"params": what.init(rng)})
    batch = {"image": jnp.zeros((8, 8, 8, 1)), "label": jnp.arange(8)}
    return float(jax.jit(lambda p: what.loss(jax.random.key(0), p, None, batch, 0)[0])(params))

  def test_the_flow_alone_obeys_the_laws(self):
    exec(compile(_FILES["alone"], "alone.py", "exec"), {})

  @parameterized.parameters(
      ("nowhere:flow", "cannot be imported .No module named 'nowhere'.; start where"),
      ("bent_flow:nothing", "the module of 'bent_flow:nothing' has no 'nothing'"))
  def test_what_cannot_be_loaded_is_named(self, path, message):
    with self.assertRaisesRegex(ValueError, message):
      extension.load(path)


if __name__ == "__main__":
  absltest.main()
