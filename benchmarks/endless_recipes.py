"""Recipes of benchmarks/endless.py: config values that differ from configs/digits_endless.py."""

import ast
import pathlib

from ntm import config as config_lib

_FLOW_MATCHING = "model.kind=flow_matching model.unroll=5 train.batch_size=128 "
RECIPES = {
    "no_transporter": "model.transporter.num_blocks=0",
    "affine_4": "",  # As the config: four blocks, 128 noisy states per update.
    "flow_matching": _FLOW_MATCHING + "model.predictor.layers=5",  # 128 states, one per image.
}
_CONFIG = pathlib.Path(__file__).parents[1] / "configs" / "digits_endless.py"
_MEAN_FLOW = "objective=mean_flow"


def chosen_recipes(names: list[str] | None, more: list[str]) -> dict[str, str]:
  """{name: changes} of the recipes to run, those of --recipe among them.

  Raises:
    ValueError: an unknown name, or a recipe without a name.
  """
  added = {}
  for text in more:
    name, colon, changes = text.partition(":")
    if not colon or not name.strip().replace("_", "").replace(".", "").isalnum():
      raise ValueError(f"--recipe is {text!r}; expected 'NAME: KEY=VALUE ...', the name of "
                       "letters, digits, _ and .")
    added[name.strip()] = changes.strip()
  known = RECIPES | added
  if names is None:
    return known
  if unknown := [name for name in names if name not in known]:
    raise ValueError(f"--recipes has {unknown}; expected some of {list(known)}.")
  return {name: known[name] for name in names} | added


def config_of(changes: str) -> config_lib.Config:
  """The config with 'section.key=value ...' changed; values are Python literals or words.

  Raises:
    ValueError: an unknown key, a value that does not fit, or a word without '='.
  """
  values = config_lib.load_sibling(str(_CONFIG), _CONFIG.name).to_dict()
  for change in changes.split():
    if change == _MEAN_FLOW:
      continue
    path, equals, text = change.partition("=")
    if not equals:
      raise ValueError(f"{change!r} is not a change; expected section.key=value.")
    *sections, key = path.split(".")
    inner = values
    for section in sections:
      inner = inner.setdefault(section, {})
    try:
      inner[key] = ast.literal_eval(text)
    except (SyntaxError, ValueError):
      inner[key] = text
  return config_lib.from_dict(values)


def objective_of(config: dict, changes: str) -> dict[str, str]:
  """{"objective": "mean_flow"} if the changes say so, which no config does; otherwise nothing.

  Raises:
    ValueError: it is said of a model that is not a velocity.
  """
  if _MEAN_FLOW not in changes.split():
    return {}
  if config["model"]["kind"] != "flow_matching":
    raise ValueError(f"{_MEAN_FLOW} with model.kind={config['model']['kind']}; expected "
                     "model.kind=flow_matching, whose network it trains.")
  return {"objective": "mean_flow"}
