"""What `tests.tools.fuzz` damages: configs, command lines, converted files, checkpoints, images."""

import contextlib
import functools
import importlib
import io
import json
import math
import pathlib
import shutil
import tempfile
import warnings

import jax
import numpy as np

from ntm import config as config_lib
from ntm.commands import main
from ntm.conversion import converter, families
from ntm.data.folder import Folder
from tests.helpers import damaged_files, damaged_images, in_memory, options, runs, tiny
from tests.tools.fuzz import WrongAcceptance

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
_KL = {"image_channels": 3, "latent_channels": 4, "encoder_widths": [32, 64],
       "decoder_widths": [32, 64], "num_blocks": 1, "attention": True, "moments_conv": True,
       "latent_conv": True, "old_names": False}
ARCHITECTURES = {
    "sit": {"layers": 1, "width": 384, "num_heads": 6, "mlp_ratio": 1, "grid_shape": [2, 2],
            "patch_size": 2, "channels": 3, "num_classes": 4, "learn_sigma": True},
    "tarflow": {"num_blocks": 2, "layers": 2, "width": 64, "num_heads": 1, "num_tokens": 6,
                "patch_size": 2, "image_channels": 3, "mlp_ratio": 2, "num_classes": 4,
                "scales": True},
    "flux2": {"layout": "diffusers", "width": 32, "num_heads": 2, "double_layers": 1,
              "single_layers": 1, "text_width": 12, "in_channels": 8, "out_channels": 8,
              "axes": [4, 4, 4, 4], "mlp_ratio": 3.0, "time_width": 32},
    "autoencoder_kl": _KL | {"scale": 0.18215},
    "autoencoder_flux2": _KL | {"patch": 2},
}
_ODD = [None, True, "", "nan", "64", 0, -1, 1, 2, 7, 2**31, -2**63, 0.0, -0.5, 1e-300, 1e300, 0.5,
        math.nan, math.inf, (), (1,), [2, 2], [2.0], (0, 4, 1), (3, 4, 1), {}, {"kind": 3}, "sit",
        "coupling", "history", "velocity", "bfloat16", b"x", object]


def configurations(rng: np.random.Generator) -> None:
  """Settings good and bad, or of any type, in a config; some accepted ones are traced."""
  if rng.random() < 0.5:
    drawn = options.random_changes(rng)
    config = tiny.config(**drawn)
    if rng.random() < 1 / 40 and options.refused(drawn)[0]:
      try:
        options.trace(config)
      except Exception as error:
        raise WrongAcceptance(f"{drawn} does not trace: {error}") from error
    return
  values = config_lib.to_dict(config_lib.Config())
  for _ in range(rng.integers(1, 4)):
    node, key = values, _pick(rng, list(values))
    while isinstance(node[key], dict) and node[key] and rng.random() < 0.95:
      node = node[key]
      key = _pick(rng, list(node))
    node[key if rng.random() < 0.95 else f"{key}s"] = _pick(rng, _ODD)
  config = config_lib.from_dict(values)
  if not _kept(values, config_lib.to_dict(config)):
    raise WrongAcceptance(f"{values} became {config}")


def command_lines(rng: np.random.Generator) -> None:
  """Random flags with random values of a random command; where it reads a file, none exists."""
  command = _pick(rng, list(main.COMMANDS))
  # Less the keys of configs, which a command line before this one has left there.
  known = sorted(flag for flag in importlib.import_module(f"ntm.commands.{command}").FLAGS
                 if "." not in flag)
  with tempfile.TemporaryDirectory() as directory:
    good = {"config": _CONFIGS / "digits.py", "workdir": f"{directory}/run",
            "teacher": f"{directory}/run", "source": f"{directory}/none.safetensors",
            "target": f"{directory}/ours", "family": "sit", "topology": "cpu:0"}
    # Nothing may get to work: there is no run, no source, no such topology, and no such class.
    arguments = [f"--{flag}={value}" for flag, value in good.items()
                 if flag in known and rng.random() < 0.9]
    arguments += ["--config.model.num_classes=3"] * (command == "train")
    for _ in range(rng.integers(0, 4)):
      flag = _pick(rng, [*known, "confg", "config.train.steps", "config.model", "config.x.y", ""])
      value = _pick(rng, [*_ODD, "/", "a/../b", "gs://bucket/run", "-", "1,2", "é", "x" * 5000])
      arguments.append(_pick(rng, [f"--{flag}={value}", f"--{flag}={value}", f"--{flag}",
                                   f"{value}", f"--no{flag}", f"-{flag}={value}"]))
    rng.shuffle(arguments)
    arguments = [text for text in arguments if text not in ("-h", "--h", "--help")]
    # Last, so that it counts: `ntm table --reduced` needs no input and trains for hours.
    arguments += ["--only=none"] * (command == "table")
    code, stderr = runs.call(command, *arguments)
    left = list(pathlib.Path(directory).iterdir())
  if code == 0 or left:
    raise WrongAcceptance(f"ntm {command} {arguments} ended with {code} and left {left}")
  lines = stderr.splitlines()
  if code != 1 or len(lines) > 3 or not lines[-1].startswith("error: "):
    raise RuntimeError(f"ntm {command} {arguments} ended with {code} and said {stderr}")
  raise ValueError(lines[-1])


def converted(rng: np.random.Generator) -> None:
  """A published file of a random family and kind, its bytes damaged."""
  name, kind = _pick(rng, list(ARCHITECTURES)), _pick(rng, ["safetensors", "pt", "sharded"])
  with tempfile.TemporaryDirectory() as directory:
    directory = pathlib.Path(directory)
    source = _source(name, kind, directory)
    damaged = _pick(rng, [path for path in directory.iterdir() if path.is_file()])
    if kind == "safetensors" or (kind == "sharded" and damaged.suffix == ".safetensors"):
      # The format has no checksum: of its numbers, only their header can be damaged and noticed.
      damaged_files.damage_header(rng, damaged)
    else:
      damaged_files.damage(rng, damaged)
    with contextlib.redirect_stdout(io.StringIO()):
      converter.convert(families.get(name), source, directory / "ours")
    _, _, params = converter.load(directory / "ours")
    _require_same(params, _original(name), f"{name}, {kind}, {damaged.name}")


def checkpoints(rng: np.random.Generator) -> None:
  """A converted directory, which is a checkpoint of a run too, one of its files damaged."""
  name = _pick(rng, list(ARCHITECTURES))
  with tempfile.TemporaryDirectory() as directory:
    target = pathlib.Path(directory) / "ours"
    shutil.copytree(_converted(name), target)
    damaged = _pick(rng, sorted(path for path in target.rglob("*") if path.is_file()))
    damaged_files.damage(rng, damaged)
    _, _, params = converter.load(target)
    _require_same(params, _original(name), f"{name}, {damaged.relative_to(target)}")


def images(rng: np.random.Generator) -> None:
  """An image file of a random kind in a folder of classes, damaged."""
  with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Pillow's own, about what it reads all the same.
    directory, shape = pathlib.Path(directory), (8, 8, int(_pick(rng, [1, 3])))
    path = damaged_images.write(rng, directory)
    folder = Folder(str(directory), "train", shape, 0.1)
    damaged_images.damage(rng, path)
    pixels = folder[0]["image"]
    if pixels.shape != shape or pixels.dtype != np.float32 or not np.abs(pixels).max() <= 1:
      raise WrongAcceptance(f"{path.name} became {pixels.dtype} of shape {pixels.shape} with "
                            f"values from {pixels.min()} to {pixels.max()}")


SUBJECTS = {"configurations": configurations, "command lines": command_lines,
            "converted": converted, "checkpoints": checkpoints, "images": images}


def _kept(given, found) -> bool:
  """Whether a config has all settings as given: a number may stand for a tuple of one."""
  if isinstance(given, dict):
    return all(key in found and _kept(value, found[key]) for key, value in given.items())
  if isinstance(found, tuple):
    return found == (tuple(given) if isinstance(given, list | tuple) else (given,))
  return found == given


@functools.cache
def _original(family):
  """Random parameters of a small model, as a nested dict."""
  rng, params = np.random.default_rng(0), {}
  for target, shape in families.get(family).target_shapes(ARCHITECTURES[family]).items():
    node, (*path, last) = params, target.split("/")
    for key in path:
      node = node.setdefault(key, {})
    node[last] = rng.uniform(0.1, 1, shape).astype(np.float32)  # Variances have to be positive.
  return params


def _source(family, kind, directory):
  """Their file, or files, with these parameters."""
  import safetensors.numpy
  state = in_memory.write(families.get(family), ARCHITECTURES[family], _original(family))
  state = {name: np.ascontiguousarray(array) for name, array in state.items()}
  if kind == "pt":
    import torch
    path = directory / "model.pt"
    torch.save({name: torch.from_numpy(array) for name, array in state.items()}, path)
    return path
  if kind == "safetensors":
    path = directory / "model.safetensors"
    safetensors.numpy.save_file(state, path)
    return path
  where = {name: f"part-{i % 2}.safetensors" for i, name in enumerate(state)}
  for part in set(where.values()):
    safetensors.numpy.save_file({n: a for n, a in state.items() if where[n] == part},
                                directory / part)
  path = directory / "model.safetensors.index.json"
  path.write_text(json.dumps({"weight_map": where}))
  return path


@functools.cache
def _converted(family):
  """A directory with the converted parameters, undamaged."""
  directory = pathlib.Path(tempfile.mkdtemp())
  source = _source(family, "safetensors", directory)
  converter.convert(families.get(family), source, directory / "ours")
  return directory / "ours"


def _require_same(params, original, what):
  same = jax.tree.structure(params) == jax.tree.structure(original) and all(
      np.array_equal(a, b) for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(original)))
  if not same:
    raise WrongAcceptance(f"other parameters were read from a damaged file: {what}")


def _pick(rng, values):
  return values[rng.integers(len(values))]
