"""The command line of a command: --help, and one line for every mistake.

Every command has its own `absl.flags.FlagValues`, which excludes the flags of absl and of
other modules.
"""

import difflib
import os
import re
import textwrap
import traceback

import ml_collections
from absl import flags

from ntm import config as config_lib
from ntm.config import renamed

_HELP = ("--help", "-help", "-h", "--h", "-?", "--helpshort", "--helpfull")
_WIDTH = 100
_MAX_CHARACTERS = 60  # Of a value that a message quotes.
_ABSENT = "must have a value other than None"


def wants_help(argv: list[str]) -> bool:
  """Whether one of the arguments asks for help."""
  return any(argument in _HELP for argument in argv[1:])


def help_text(name: str, about: str, values: flags.FlagValues) -> str:
  """The text of --help: usage, purpose, and every flag with its type and default."""
  required = [flag.name for flag in _listed(values) if _is_required(flag)]
  usage = [f"usage: {name}", *(f"--{flag}=..." for flag in required), "[--flag=value ...]"]
  lines = [" ".join(usage), "", about, ""]
  # absl puts the choices of an enum before its help; here they are shown as its type.
  rows = [(f"--{flag.name}", f"{re.sub('^<.*?>: ', '', flag.help)} ({_kind(flag)})")
          for flag in _listed(values)]
  if "config" in values:
    rows.append(("--config.KEY=VALUE", "Changes one key of the config, as in "
                 "--config.train.batch_size=64. May be repeated. `python -c 'import ntm.config as "
                 "c; print(c.default())'` prints all keys; ntm/config/ explains them. Kinds of "
                 "transporter and backbone, the source of data and the objective may also be "
                 "module:name, code of your own; see docs/extending.md."))
  indent = max((len(flag) for flag, _ in rows), default=0) + 4
  for flag, text in rows:
    lines += textwrap.wrap(text, _WIDTH, initial_indent=f"  {flag}".ljust(indent),
                           subsequent_indent=" " * indent)
  return "\n".join(lines)


def parse(name: str, values: flags.FlagValues, argv: list[str]) -> None:
  """Sets the flags of the command `name` from the command line.

  Raises:
    ValueError: an unknown flag or key, a value of the wrong type or out of range, a flag
      without value, a config file that cannot be loaded.
  """
  if "config" in values:
    _check_config_file(name, argv)
  try:
    left = values(argv)
  except Exception as error:  # A config file may raise any error.
    raise ValueError(_explain(name, values, argv, error)) from error
  if left[1:]:
    raise ValueError(f"{left[1]!r} is not a flag; expected --name=value. {_see(name)}")
  for flag in _listed(values):
    if flag.present and flag.value in ("", []):
      raise ValueError(f"--{flag.name} is empty; expected a value. {_see(name)}")
    if flag.present and str(flag.value).startswith("--"):  # `--workdir --steps=3`.
      raise ValueError(f"--{flag.name} is {flag.value}; expected a value, not another flag. "
                       f"{_see(name)}")


def _explain(name, values, argv, error) -> str:
  """The message for an error of the parser."""
  text = str(error)
  if (where := _config_frame(argv, error)) is not None:
    return where
  if isinstance(error, flags.UnrecognizedFlagError):
    return _unknown_flag(name, values, error.flagname)
  if missing := re.findall(rf"--(\S+)=None: .*{_ABSENT}", text):
    return f"--{missing[0]} is missing; expected --{missing[0]}=VALUE. {_see(name)}"
  if unknown := _unknown_key(argv):
    return unknown
  if early := re.match(r"Found --?([^=\s]+).* before a value for --config", text):
    return f"--{early[1]} is given before --config; expected --config=FILE first. {_see(name)}"
  if illegal := re.match(r"flag --([^=\s]+)=(.*?): ", text, re.DOTALL):
    flag = values[illegal[1]] if illegal[1] in values else None
    value = illegal[2]
    value = value if len(value) <= _MAX_CHARACTERS else f"{value[:_MAX_CHARACTERS]}..."
    value = value if value.isprintable() else repr(value)
    return f"--{illegal[1]} is {value}; expected {_expected(flag, argv)}. {_see(name)}"
  first = (text.strip().splitlines() or [type(error).__name__])[0].rstrip(".")
  return f"{first}; expected --name=value. {_see(name)}"


def _unknown_flag(name, values, flag) -> str:
  if flag.startswith("config.") and "config" in values:
    return f"--{flag} changes a config, and there is none; expected --config=FILE before it."
  near = difflib.get_close_matches(flag, [f.name for f in _listed(values)], n=1)
  hint = f"did you mean --{near[0]}? " if near else ""
  return f"--{flag} is not a flag of `{name}`; {hint}{_see(name)}"


def _unknown_key(argv) -> str | None:
  """The message for the first override of an unknown key; None if all keys are known."""
  known = _keys(config_lib.default())
  for argument in argv[1:]:
    key = argument.lstrip("-").split("=", 1)[0]
    if not argument.startswith("-") or not key.removeprefix("no").startswith("config."):
      continue
    key = key.removeprefix("no").removeprefix("config.")
    if key in renamed.RENAMED:
      return f"--config.{key} was renamed; use --config.{renamed.today(key)}."
    if key not in known:
      last = key.rsplit(".", 1)[-1]
      likeness = lambda path, key=key, last=last: (
          difflib.SequenceMatcher(None, last, path.rsplit(".", 1)[-1]).ratio(),
          difflib.SequenceMatcher(None, key, path).ratio())
      near = sorted(known, key=likeness, reverse=True)[:3]
      return (f"--config.{key} is not a known key; the nearest are "
              f"{', '.join(f'--config.{path}' for path in near)}.")
  return None


def _keys(config: ml_collections.ConfigDict, prefix: str = "") -> list[str]:
  """Paths of all sections and keys of a config."""
  paths = []
  for key, value in config.items():
    inner = isinstance(value, ml_collections.ConfigDict)
    paths += [prefix + key, *(_keys(value, f"{prefix}{key}.") if inner else ())]
  return paths


def _config_path(argv) -> str | None:
  """The path in the last --config, without the argument after a colon; None if not given."""
  path = None
  for argument, following in zip(argv, [*argv[1:], ""]):
    if found := re.fullmatch("--?config(=.*)?", argument, re.DOTALL):
      path = following if found[1] is None else found[1][1:]
  return path if path is None else path.split(":", 1)[0]


def _check_config_file(name, argv) -> None:
  path = _config_path(argv)
  if path is not None and not os.path.isfile(path):
    kind = "a directory" if os.path.isdir(path) else "not a file"
    raise ValueError(f"--config is {path!r}, which is {kind}; expected a Python file with "
                     f"get_config(), as configs/digits.py. {_see(name)}")


def _config_frame(argv, error) -> str | None:
  """The message for an error raised in the config file; None if it was raised elsewhere."""
  path = _config_path(argv)
  if path is None:
    return None
  if f"--config=None: Flag --config {_ABSENT}" in str(error):
    return (f"config file {path}: get_config() returns None; expected a config, as "
            "configs/digits.py.")
  while error is not None:  # The parser wraps some errors; the innermost has the location.
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
             if os.path.abspath(frame.filename) == os.path.abspath(path)]
    if isinstance(error, SyntaxError) and error.filename == path:
      lines = [error.lineno]
    if lines and (hint := _renamed_in(error)):
      return f"config file {path}, line {lines[-1]}: {hint}"
    if lines:
      message = re.sub("Other fields present.*", "", str(error).strip("\"'"), flags=re.DOTALL)
      return (f"config file {path}, line {lines[-1]}: {type(error).__name__}: "
              f"{textwrap.shorten(message, 200)}; correct it, or start from a file in configs/.")
    if "no attribute 'get_config'" in str(error):
      return f"config file {path} defines no get_config(); expected a file as configs/digits.py."
    error = error.__context__
  return None


def _renamed_in(error) -> str:
  """What an error of a config says of a key that had another name; empty if it is of none."""
  key = re.match(r"""'Key "(\w+)" does not exist|"'(\w+)'"$""", str(error))
  if key is None or not isinstance(error, AttributeError | KeyError):
    return ""
  return " ".join(f"config.{old} was renamed; use config.{renamed.today(old)}."
                  for old in renamed.RENAMED if old.endswith(f".{key[1] or key[2]}"))


def _expected(flag, argv) -> str:
  """A description of the values that a flag accepts."""
  if flag is None:
    return "another value"
  parser = flag.parser
  if isinstance(parser, flags.EnumParser):
    return f"one of {', '.join(parser.enum_values)}"
  if isinstance(parser, flags.BooleanParser):
    return "true or false"
  if isinstance(parser, flags.IntegerParser | flags.FloatParser):
    low, high, kind = parser.lower_bound, parser.upper_bound, parser.syntactic_help.split(" in ")[0]
    return f"{kind} from {low} to {high}" if None not in (low, high) else parser.syntactic_help
  if "Tuple" in type(parser).__name__:
    return f"integers, as in --{flag.name}=4,8"
  return f"{parser.syntactic_help or 'a value of the type in ' + str(_config_path(argv))}"


def _listed(values) -> list[flags.Flag]:
  """The command's flags in alphabetical order, without overrides of the config."""
  return [values[name] for name in sorted(values) if "." not in name]


def _is_required(flag) -> bool:
  return any(_ABSENT in validator.message for validator in flag.validators)


def _kind(flag) -> str:
  """The type and default of a flag, for --help."""
  if "config" in flag.flag_type():
    kind = "file"
  elif isinstance(flag.parser, flags.EnumParser):
    kind = f"one of {', '.join(flag.parser.enum_values)}"
  elif isinstance(flag.parser, flags.IntegerParser | flags.FloatParser):
    kind = _expected(flag, []).split(" ", 1)[1]
  else:
    kind = {"comma separated list of strings": "comma-separated list"}.get(
        flag.flag_type(), flag.flag_type())
  if _is_required(flag) or flag.default is None:
    return f"{kind}; required" if _is_required(flag) else kind
  return f"{kind}; default {str(flag.default).lower() if flag.boolean else flag.default}"


def _see(name) -> str:
  return f"`{name} --help` lists the flags."
