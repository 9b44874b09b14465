"""Dispatches `ntm <command>` to the module of that name."""

import difflib
import importlib
import sys

from ntm.commands import memory_allocator

COMMANDS = {
    "train": "train a model from a config",
    "sample": "draw images, sounds or clips from a trained model",
    "distill": "train a denoiser for fast sampling from a trained model",
    "likelihood": "bound likelihoods, measure calibration, score anomalies, compare two models",
    "evaluate": "measure likelihood, Fréchet distance and class accuracy of a trained model",
    "compile": "check whether a program fits a TPU slice, without the slice",
    "table": "print a table of the paper, next to what was measured here",
    "encode": "encode images into shards of latents, with a converted autoencoder",
    "convert": "convert checkpoints of other models, or export them back",
}


def main() -> None:
  """Entry point of the `ntm` script."""
  usage = "usage: ntm <command> [--flags]\n\n" + "\n".join(
      f"  {name:10} {text}" for name, text in COMMANDS.items())
  if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help", "help"):
    print(usage + "\n\nntm <command> --help lists its flags.")
    sys.exit(0 if len(sys.argv) > 1 else 2)
  command = sys.argv[1]
  if command not in COMMANDS:
    near = difflib.get_close_matches(command, COMMANDS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(COMMANDS)}."
    print(f"error: {command!r} is not a command of ntm; {hint} `ntm --help` explains them.",
          file=sys.stderr)
    sys.exit(2)
  if command != "convert":  # Conversion computes nothing, and its memory stays small.
    memory_allocator.keep_freed_memory()
  try:
    program = importlib.import_module(f"ntm.commands.{command}")
  except ImportError as error:  # Of an extra; after this line, `program.run` reports it.
    print(f"error: `ntm {command}` needs a package that is not installed ({error}); "
          "pip install 'ntm[digits]'.", file=sys.stderr)
    sys.exit(1)
  except KeyboardInterrupt:
    print("interrupted; nothing is written.", file=sys.stderr)
    sys.exit(130)
  program.run([f"ntm {command}", *sys.argv[2:]])


if __name__ == "__main__":
  main()
