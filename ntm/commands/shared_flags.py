"""Flags that several commands have, each defined once.

A command that lists its flags calls these functions with its own `FlagValues`; they
return the flag's holder.
"""

from absl import flags

from ntm.sampling import ode

MAX_SEED = 2**31 - 1
MAX_COUNT = 10**6  # Upper bound of counts and scales; anything above is a typing error.


def workdir(values: flags.FlagValues):
  """--workdir of a trained model."""
  return flags.DEFINE_string("workdir", None, "Directory of the trained model.", required=True,
                             flag_values=values)


def checkpoint(values: flags.FlagValues):
  """--checkpoint of a trained model."""
  return flags.DEFINE_integer(
      "checkpoint", None, "Training step of the checkpoint to load; the newest by default.",
      flag_values=values)


def output(values: flags.FlagValues, default: str, files: str = "the output files"):
  """--output, to which the command appends suffixes."""
  return flags.DEFINE_string(
      "output", None, f"Path of {files} without suffix; {default} by default.", flag_values=values)


def json(values: flags.FlagValues):
  """--json, a file for the results."""
  return flags.DEFINE_string("json", None, "File to write the results to, as JSON; missing "
                             "directories are made.", flag_values=values)


def count(values: flags.FlagValues, name: str, default: int | None, text: str, lowest: int = 1):
  """A flag that counts something."""
  return flags.DEFINE_integer(name, default, text, lowest, MAX_COUNT, flag_values=values)


def sampling_steps(values: flags.FlagValues):
  """--steps of sampling."""
  return count(values, "steps", None, "Number of sampling steps T; by default the first T that an "
               "NTM was trained for, or 50 for a flow-matching model.")


def seed(values: flags.FlagValues, purpose: str):
  """--seed."""
  return flags.DEFINE_integer("seed", 0, f"Random seed for {purpose}.", 0, MAX_SEED,
                              flag_values=values)


def guidance(values: flags.FlagValues):
  """--guidance of sampling."""
  return flags.DEFINE_float("guidance", 0.0, "Scale of classifier-free guidance; 0 is none.", 0,
                            MAX_COUNT, flag_values=values)


def refine(values: flags.FlagValues, text: str = "How to denoise the last state of an NTM."):
  """--refine of sampling."""
  return flags.DEFINE_enum("refine", "score", ["none", "score", "denoiser"], text,
                           flag_values=values)


def solver(values: flags.FlagValues):
  """--solver of sampling."""
  return flags.DEFINE_enum("solver", "euler", ode.SOLVERS, "ODE solver for a flow-matching model.",
                           flag_values=values)
