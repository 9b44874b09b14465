"""docs/extending.md: what the page shows is what runs."""

import contextlib
import dataclasses
import pathlib
import re
import sys
import tempfile
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

import ntm
from ntm.data import pipeline
from ntm.losses import task
from ntm.training import loop
from tests.helpers import tiny

_PAGE = (pathlib.Path(__file__).parents[1] / "docs" / "extending.md").read_text()
_FILES = dict(re.findall(r"```python\n# (\w+)\.py\n(.*?)```", _PAGE, re.S))
_KEYS = dict(re.findall(r"--config\.([\w.]+)=(\w+:\w+)", _PAGE))
_SMALL = {"layers": 1, "width": 16, "num_heads": 2, "num_kv_heads": 2}
_ONE_BLOCK = _SMALL | {"num_blocks": 1}
_BAD = '''
import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from ntm.flows.bijector import Chain


class Bad(nn.Module):
  u: int = 4
  log_det: tuple = ()
  inverse: int = 4
  scalar: bool = False

  def forward_and_log_det(self, x, cond):
    log_det = jnp.zeros((len(x),) + self.log_det)
    return x[..., :self.u], log_det.sum() if self.scalar else log_det

  def inverse_and_log_det(self, u, cond):
    return u[..., :self.inverse], jnp.zeros(len(u))


class Half(nn.Module):
  def forward_and_log_det(self, x, cond):
    return x, jnp.zeros(len(x))


class Network(nn.Module):
  array: bool = False

  def __call__(self, u, cond):
    return u if self.array else {}


class Rings(list):
  num_classes = 10

  def record(self):
    return []


example = lambda side=8, label=0: {"image": np.zeros((side, side, 1), np.float32), "label": label}
rings = lambda *examples: Rings(100 * list(examples))
one_argument = lambda config: Bad()
not_a_module = lambda config, numerics: 3
one_method = lambda config, numerics: Half()
# A log-det without the batch would be broadcast to that of the next part.
chained = lambda config, numerics: Chain((Bad(scalar=True), Bad()))
short_u = lambda config, numerics: Bad(u=1)
log_det_of_tokens = lambda config, numerics: Bad(log_det=(1,))
wrong_inverse = lambda config, numerics: Bad(inverse=1)
no_readout = lambda config, numerics, outputs: Network()
an_array = lambda config, numerics, outputs: Network(True)
vector = lambda rng, model, params, x0, *rest: (x0, {})
no_record = lambda data, model, split: [example()]
large = lambda data, model, split: rings(example(9))
high_label = lambda data, model, split: rings(example(label=99))


def few_classes(data, model, split):
  source = rings(example())
  source.num_classes = 3
  return source
'''


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
        model__image_shape=(8, 8, 1), model__patch_shape=(4, 4), model__num_classes=10,
        model__transporter=dict(_ONE_BLOCK), model__predictor=dict(_SMALL), train__steps=2,
        train__sample_every=2, train__checkpoint_every=2, mesh__data=-1,
        **{key.replace(".", "__"): value for key, value in values.items()}, **changes)

  def test_examples_are_short_and_all_are_run(self):
    self.assertEqual(set(_FILES), {"bent_flow", "mixer", "rings", "calm", "alone"})
    self.assertLen(_KEYS, 4)
    for name, text in _FILES.items():
      self.assertLessEqual(len(text.splitlines()), 40, name)

  def test_all_parts_train_together_and_are_restored(self):
    config = self._config(*_KEYS)
    one, iterator, held_out = jax.devices()[:1], *pipeline.training_data(config)
    # Pictures are drawn by the program of `Model.sample`.
    make_task = lambda config: dataclasses.replace(
        task.density(config), samples=lambda params, frozen, examples: {})
    with mock.patch.object(jax, "devices", lambda: one):
      loop.train(make_task, config, "run", iterator, held_out[:1])
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

  def _write_bad(self):
    pathlib.Path("bad.py").write_text(_BAD)
    self.addCleanup(sys.modules.pop, "bad", None)

  @parameterized.parameters(
      ("model.transporter.kind", "bad:one_argument",
       r"cannot be called with the arguments \(ModelConfig, Numerics\): too many"),
      ("model.transporter.kind", "bad:not_a_module", "returns int; expected a linen module"),
      ("model.transporter.kind", "bad:one_method", "Half, which lacks inverse_and_log_det; add"),
      ("model.transporter.kind", "bad:chained", r"Bad.forward_and_log_det returns .*; expected"),
      ("model.transporter.kind", "bad:short_u", r"Bad.forward_and_log_det returns .*; expected"),
      ("model.transporter.kind", "bad:log_det_of_tokens", r"Bad.forward_and_log_det returns .*one"),
      ("model.transporter.kind", "bad:wrong_inverse", "Bad.inverse_and_log_det returns"),
      ("model.backbone.kind", "bad:no_readout", "Network returns outputs of shapes {}; expected"),
      ("model.backbone.kind", "bad:an_array", "returns .*; expected a dictionary of arrays"),
      ("train.objective", "bad:vector", "the objective 'bad:vector' returns .*; expected .scalar"),
      ("data.source", "bad:no_record", "returns list without record; expected examples"),
      ("data.source", "bad:large", r"example 0 of 'bad:large' has an image .* \(9, 9, 1\)"),
      ("data.source", "bad:few_classes", "has num_classes 3, but config.model.num_classes is 10"),
      ("data.source", "bad:high_label", "example 0 of 'bad:high_label' has label 99"))
  def test_what_breaks_its_contract_is_named_before_anything_is_written(self, key, path, message):
    self._write_bad()
    values = {"data.source": "rings:source", key: path}
    config = tiny.config(
        model__image_shape=(8, 8, 1), model__num_classes=10, model__transporter=dict(_ONE_BLOCK),
        model__predictor=dict(_SMALL), mesh__data=-1,
        **{name.replace(".", "__"): value for name, value in values.items()})
    with self.assertRaisesRegex(ValueError, message):
      loop.train(task.density, config, "run", *pipeline.training_data(config))
    self.assertFalse(pathlib.Path("run").exists())


if __name__ == "__main__":
  absltest.main()
