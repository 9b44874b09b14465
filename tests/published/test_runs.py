"""Converted velocity models in use: sampled by every solver, and as the start of an NTM."""

import dataclasses
import pathlib
import runpy
import tempfile

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
import torch
from absl.testing import absltest, parameterized

import ntm as package
from ntm import config as config_lib
from ntm.conversion import converter, families
from ntm.losses import alignment, task
from ntm.losses.inputs import Frozen
from ntm.models import build
from ntm.nn import partitioning
from ntm.sampling import ode
from ntm.training import checkpoint, step
from ntm.training import state as state_lib
from ntm.typing import Condition
from tests.helpers import flux2_pair, in_memory, torch_sit

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


def _converted(family, tensors):
  """Directory of the converted tensors, from a file of the kind that the family is published in."""
  root = pathlib.Path(tempfile.mkdtemp())
  source = root / ("source.pt" if family == "sit" else "source.safetensors")
  if family == "sit":
    torch.save({name: torch.tensor(array) for name, array in tensors.items()}, source)
  else:
    safetensors.numpy.save_file(tensors, source)
  converter.convert(families.get(family), source, root / "target")
  return root / "target"


def _sit(**changes):
  torch.manual_seed(0)
  model = torch_sit.SiT(1, 384, 6, mlp_ratio=1, grid_shape=(2, 2), patch_size=2, channels=3,
                        num_classes=5, **changes)
  with torch.no_grad():
    for parameter in model.parameters():
      parameter.normal_(0, 0.1)
  return model


def _finetuned(config, **changes):
  """The config of an NTM that starts from the model of `config`."""
  values = config_lib.to_dict(config)
  values["model"] |= {"kind": "ntm"}
  values["model"]["predictor"] |= {"output": "velocity", "reads_noise": True}
  values["model"]["transporter"] |= {"width": 16, "num_heads": 2, "num_kv_heads": 1, "layers": 1}
  values["process"] |= {"t_min_low": 0.01, "num_steps": (2,), "schedule": "uniform"}
  values["finetune"] |= {"source": "somewhere"}
  return config_lib.from_dict(values)


class RunsTest(parameterized.TestCase):

  def test_sit_is_restored_and_sampled_by_every_solver(self):
    theirs = _sit()
    model = package.restore(_converted("sit", in_memory.state_of(theirs)))
    self.assertEqual(model.config.model.image_shape, (4, 4, 3))
    for solver in ode.SOLVERS:
      images = model.sample(jax.random.key(0), [0, 4], num_steps=2, solver=solver, guidance=1.0)
      self.assertEqual(images.shape, (2, 4, 4, 3))
      self.assertTrue(np.isfinite(images).all())
    # One Euler step from noise is the noise less its velocity.
    image = model.sample(jax.random.key(0), [3], num_steps=1, solver="euler")
    rng = jax.random.split(jax.random.fold_in(jax.random.key(0), 0))[0]
    noise = np.asarray(jax.random.normal(rng, (1, 4, 12))).reshape(2, 2, 2, 2, 3)
    noise = torch.from_numpy(noise.transpose(4, 0, 2, 1, 3).reshape(1, 3, 4, 4).copy())
    with torch.no_grad():
      data = noise + theirs(noise, torch.zeros(1), torch.tensor([3]))[0][:, :3]
    np.testing.assert_allclose(image[0], data[0].permute(1, 2, 0).numpy(), atol=1e-4)

  def test_sit_starts_an_ntm(self):
    directory = _converted("sit", in_memory.state_of(_sit()))
    theirs, params, _ = checkpoint.restore_ema(directory)
    self._starts_an_ntm(theirs, params, Condition(label_B=jnp.asarray([1, 2])))

  def test_sizes_that_no_run_has_are_converted_without_a_config(self):
    flux2 = flux2_pair.tensors(flux2_pair.transformer())  # Another width of the sinusoids.
    for family, tensors in (("sit", in_memory.state_of(_sit(learn_sigma=False))),
                            ("flux2", flux2)):
      with self.assertLogs("ntm", "WARNING") as logs:
        directory = _converted(family, tensors)
      self.assertIn("has no config.json", logs.output[0])
      self.assertFalse((directory / "config.json").exists())
      converter.export(directory, directory.parent / "back.safetensors")
      back = safetensors.numpy.load_file(directory.parent / "back.safetensors")
      self.assertSetEqual(set(back), set(tensors))
      for name, tensor in tensors.items():
        np.testing.assert_array_equal(back[name], tensor)

  def test_flux2_samples_and_starts_an_ntm(self):
    tensors = flux2_pair.tensors(flux2_pair.transformer(
        in_channels=4, timestep_guidance_channels=256))
    theirs, params, _ = checkpoint.restore_ema(_converted("flux2", tensors))
    self.assertEqual(theirs.model.image_shape, (32, 32, 4))
    for path, distilled in (
        ("/data/flux-2-klein-4b.safetensors", True), ("/database/flux.safetensors", True),
        ("/data/flux-2-klein-base-4b.safetensors", False),
        ("/FLUX.2-klein-Base-4B/transformer/diffusion_pytorch_model.safetensors", False)):
      self.assertEqual(alignment.may_be_distilled(theirs, [path]), distilled, path)
    backbone = dataclasses.replace(theirs.model.backbone, text_tokens=5)
    theirs = dataclasses.replace(theirs, model=dataclasses.replace(
        theirs.model, image_shape=(2, 3, 4), backbone=backbone))
    model = build.velocity(theirs)
    text = jax.random.normal(jax.random.key(1), (2, 5, 24))
    cond = Condition(text_BMW=text)

    @jax.jit
    def sample(params):
      velocity = lambda *args: model.apply({"params": params}, *args)
      return ode.sample(jax.random.key(0), ode.guided(
          velocity, cond, jax.tree.map(jnp.zeros_like, cond), 1.5),
                        jnp.linspace(0, 1, 3), (2, 6, 4), "heun")

    self.assertTrue(np.isfinite(sample(params)).all())
    self._starts_an_ntm(theirs, params, cond)

  def _starts_an_ntm(self, theirs, params, cond):
    """The NTM predicts the posterior mean of the velocity model, and has its gradient."""
    config = _finetuned(theirs)
    alignment.check_source(config, theirs)
    what = task.density(config, Frozen(jax.tree.map(jnp.asarray, params)))
    started = jax.jit(lambda rng: nn.unbox(what.init(rng)))(jax.random.key(0))
    state = state_lib.TrainState(0, True, started, started, None)
    started = state_lib.with_pretrained(state, what.pretrained).params
    example = task.example(config)
    x_KBNC = jax.random.normal(jax.random.key(2), (3, 2, *example.x_KBNC.shape[2:]))
    times_KB = jnp.broadcast_to(jnp.asarray([0.1, 0.5, 1.0])[:, None], (3, 2))
    trajectory = example.replace(x_KBNC=x_KBNC, times_KB=times_KB, cond=cond,
                                 valid_SB=jnp.ones((2, 2)))
    model = build.ntm(config)
    result = jax.jit(lambda p: model.apply({"params": p}, trajectory, method="log_prob"))(started)
    expected = jax.jit(lambda params: alignment.posterior_mean(config, params, trajectory))(params)
    np.testing.assert_allclose(result.mean_SBNC, expected, atol=1e-5)
    batch = {"image": x_KBNC[0].reshape(2, *config.model.image_shape),
             "text": cond.text_BMW, "label": cond.label_B}
    grads = jax.device_get(jax.jit(jax.grad(
        lambda p, frozen: what.loss(jax.random.key(0), p, frozen, batch, 0)[0]))(
            started, what.frozen))
    backbone = grads["predictor"]["network"]["backbone"]
    self.assertGreater(max(np.abs(g).max() for g in jax.tree.leaves(backbone)), 0)
    self.assertTrue(all(np.isfinite(g).all() for g in jax.tree.leaves(grads)))

  @parameterized.parameters(("sit_xl_256", 675_129_632), ("flux2_klein_512_arrays", 3_875_544_576))
  @pytest.mark.slow  # Innermost: the cases inherit the marks of the function alone.
  def test_full_size_configs_compile(self, name, published):
    """The training step, for one device of unlimited memory; nothing is allocated."""
    config = config_lib.from_dict(runpy.run_path(str(_CONFIGS / f"{name}.py"))["get_config"]())
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, batch_size=4))
    model = build.velocity(dataclasses.replace(
        config, model=dataclasses.replace(config.model, kind="flow_matching"),
        finetune=config_lib.FinetuneConfig()))
    example = task.example(config)
    source = nn.unbox(jax.eval_shape(
        model.init, jax.random.key(0), example.x_KBNC[0], example.cond.at(example.times_KB[0])))
    what = task.density(config, Frozen(source["params"]))
    backbone = source["params"]["network"]["backbone"]
    self.assertEqual(sum(leaf.size for leaf in jax.tree.leaves(backbone)), published)
    mesh = partitioning.make_mesh(config.mesh, jax.devices()[:1])
    state = state_lib.abstract_state(what, config, mesh)
    # The weights of the source have their places in the model.
    shapes = jax.tree.map(jnp.shape, source["params"]["network"]["backbone"])
    self.assertEqual(jax.tree.map(jnp.shape, state.params["predictor"]["network"]["backbone"]),
                     shapes)
    text = config.model.backbone.text_tokens
    batch = {"image": jax.ShapeDtypeStruct((4, *config.model.image_shape), jnp.float32),
             "text" if text else "label": jax.tree.leaves(jax.tree.map(
                 lambda a: jax.ShapeDtypeStruct((4, *a.shape[1:]), a.dtype), example.cond))[0]}
    train_step = step.make_train_step(what, config, mesh)
    compiled = train_step.lower(state, batch, what.frozen).compile()
    # Parameters, their average and two moments in float32, and the frozen source.
    size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    frozen = sum(leaf.size for leaf in jax.tree.leaves(source["params"]))
    self.assertGreaterEqual(compiled.memory_analysis().argument_size_in_bytes,
                            4 * (4 * size + frozen))


if __name__ == "__main__":
  absltest.main()
