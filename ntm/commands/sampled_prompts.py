"""The prompts of `ntm sample`: from its flags, and as token ids."""

from collections.abc import Callable

from etils import epath

from ntm.config import Config
from ntm.data import captions
from ntm.data.prompts import PromptError, Tokens


def read(prompts: list[str] | None, path: str | None) -> list[str]:
  """The prompts of --prompts, or of the lines of --prompts_file.

  Args:
    prompts: value of --prompts.
    path: value of --prompts_file, UTF-8 text with one prompt per line.

  Raises:
    ValueError: both flags or none; a blank prompt; a file that cannot be read or has no lines.
  """
  if prompts and path:
    raise ValueError(f"--prompts is {prompts[0]!r}, and --prompts_file is {path}; leave one of the "
                     "two out.")
  if not prompts and not path:
    raise ValueError("the model reads prompts; expected one of --prompts=TEXT and "
                     "--prompts_file=FILE.")
  if prompts:
    if blank := [prompt for prompt in prompts if not prompt.strip()]:
      raise ValueError(f"--prompts is {blank[0]!r}; expected some text.")
    return prompts
  try:  # Bytes, which etils reads from buckets without looking for a byte-order mark.
    lines = epath.Path(path).read_bytes().decode("utf-8-sig").splitlines()
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f"--prompts_file is {path}, which cannot be read ({error}); expected a text "
                     "file with one prompt per line.") from error
  blank = [i for i, line in enumerate(lines, start=1) if not line.strip()]
  if blank or not lines:
    raise ValueError(f"{path} has {f'a blank line, {blank[0]}' if blank else 'no lines'}; expected "
                     "one prompt per line.")
  return lines


def tokens(config: Config, prompts: list[str], place: Callable[[int], str] | None = None) -> Tokens:
  """Token ids of all prompts, before any is drawn: one is refused, or named if it is cut.

  Args:
    config: of a model with a tokenizer.
    prompts: texts.
    place: index of a prompt → where it stands, for errors; None for those of the command line.

  Raises:
    ValueError: a prompt that the tokenizer refuses.
  """
  try:
    return captions.tokenizer(config.text, config.model.backbone)(prompts)
  except PromptError as error:
    if place is None:
      raise
    raise ValueError(f"{place(error.index)}: {error}") from error
