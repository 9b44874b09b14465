"""What the programs share: how they log, and errors as one clear line."""

import logging
import os
import pathlib
import signal
import sys
import traceback
from collections.abc import Callable

import absl.logging
import jax
from absl import flags

from ntm.commands import command_line, distributed
from ntm.training import checkpoint, checkpoint_steps
from ntm.training import workdir as workdir_lib

# What is said in one line: these name what is wrong, and a traceback would bury it.
_CLEAR = (ValueError, OSError, ImportError, FloatingPointError)
# Whose errors are those of buckets: what epath reads them with.
_STORAGE = ("tensorflow", "gcsfs", "s3fs", "google")
INTERRUPTED = 128 + signal.SIGINT
MAX_SEED = 2**31 - 1
MANY = 10**6  # Upper bound of what is counted or scales; more is a slip of the keyboard.


def refuse(values: flags.FlagValues, names: list[str], reason: str) -> None:
  """Raises ValueError if one of these flags was given, rather than ignore it."""
  for name in names:
    if values[name].present:
      raise ValueError(f"--{name} does not apply: {reason}; leave it out.")


def check_output(flag: str, path: str, suffixes: tuple[str, ...] = ()) -> None:
  """Checks before any work that files can be written; makes nothing.

  Args:
    flag: that names the path, for messages.
    path: of a file, or what its suffixes are appended to.
    suffixes: of the files that will be written; empty for `path` itself.

  Raises:
    ValueError: a path that is in a bucket, ends in a suffix or a slash, is a
      directory, or cannot be written.
  """
  if "://" in path:
    raise ValueError(f"{path} is not on this machine; expected a local path in --{flag}.")
  if pathlib.Path(path).suffix in suffixes:
    raise ValueError(f"--{flag} is {path}; expected a path without suffix, to which "
                     f"{' and '.join(suffixes)} are appended: --{flag}={path.rpartition('.')[0]}.")
  if path.endswith("/") or pathlib.Path(path).name in ("", ".."):
    raise ValueError(f"--{flag} is {path}, a directory; expected the path of a file, as "
                     f"{path.rstrip('/')}/name.")
  for suffix in suffixes or ("",):
    problem = workdir_lib.why_not_writable(path + suffix, is_file=True)
    if problem:
      raise ValueError(f"--{flag} is {path}, and {path + suffix} cannot be written ({problem}); "
                       "choose another path or change its permissions.")


def run(main: Callable[[list[str]], None], argv: list[str] | None = None,
        several_processes: bool = False, values: flags.FlagValues | None = None,
        about: str = "") -> None:
  """Runs a command; a mistake of the user's ends it with one line.

  Exit codes: 0, 1 after an error, 130 after Ctrl-C (and 143 of training after
  SIGTERM, see `ntm.training.loop`).

  Args:
    main: takes the program's name alone, in a list.
    argv: command line; None is sys.argv.
    several_processes: whether it may be one of several, see `distributed`.
    values: flags of the command; None for a command without.
    about: the first line says what it does, for --help.
  """
  argv = sys.argv if argv is None else argv
  values = flags.FlagValues() if values is None else values
  name = argv[0] if argv[0].startswith("ntm ") else f"ntm {pathlib.Path(argv[0]).stem}"
  if command_line.wants_help(argv):
    print(command_line.help_text(name, about.partition("\n")[0], values))
    sys.exit(0)
  _log_plainly()
  # A deleted file of a checkpoint would print hundreds of lines.
  checkpoint_steps.ignore_abandoned_reads()
  previous = signal.signal(signal.SIGINT, _interrupt)
  try:
    command_line.parse(name, values, argv)
    keep_programs()
    if several_processes:
      distributed.initialize()
    main(argv[:1])
  except KeyboardInterrupt:
    _exit_at_once("interrupted; nothing more is written.", INTERRUPTED)
  except MemoryError as error:
    _fail(f"error: not enough memory ({error}); ask for fewer images or draws.", error)
  except Exception as error:
    message = _few_lines(str(error))
    if isinstance(error, _CLEAR):
      _fail(f"error: {message}", error)
    elif type(error).__module__.startswith(_STORAGE):
      _fail(f"error: {type(error).__name__}: {message.splitlines()[0]:.200}; check the path of the "
            "bucket, the network and its credentials.", error)
    _fail(None, error)
  finally:
    signal.signal(signal.SIGINT, previous)


def keep_programs() -> None:
  """Lets JAX keep compiled programs in the user's cache directory, unless told where."""
  if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path("~/.cache").expanduser()
    jax.config.update("jax_compilation_cache_dir", os.path.join(cache, "ntm", "jax"))


def _log_plainly() -> None:
  """Our progress in full; of the libraries, which log by absl, errors only."""
  flags.FLAGS.mark_as_parsed()  # Else absl says that it logs before it knows how.
  # TensorFlow, which epath imports for buckets, greets at length without these.
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
  absl.logging.use_absl_handler()
  absl.logging.set_verbosity(absl.logging.ERROR)
  logger, handler = logging.getLogger("ntm"), logging.StreamHandler()
  handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
  logger.handlers = [handler]
  logger.setLevel(logging.INFO)
  logger.propagate = False


def _interrupt(signum, frame) -> None:
  """The first Ctrl-C is an exception; a second one ends the program inside a computation too."""
  del signum, frame
  signal.signal(signal.SIGINT, signal.SIG_DFL)
  raise KeyboardInterrupt


def _few_lines(message: str) -> str:
  """At most three lines: of a long list, the first two and how many more there are."""
  lines = message.splitlines() or [""]
  return "\n".join(lines if len(lines) <= 3 else [*lines[:2], f"  and {len(lines) - 2} more"])


def _fail(line: str | None, error: Exception) -> None:
  """Ends the program with code 1 after one line, or the traceback of what nobody expected."""
  # An orderly exit waits for the other processes, which may be waiting for this one; and
  # after a failed save for threads of Orbax, which wait minutes for what will not come.
  at_once = jax.distributed.is_initialized() or isinstance(error, checkpoint.StorageError)
  if line is None and not at_once:
    raise error
  line = line or "".join(traceback.format_exception(error)).rstrip()
  if at_once:
    _exit_at_once(line, 1)
  print(line, file=sys.stderr)
  sys.exit(1)


def _exit_at_once(line: str, code: int) -> None:
  """Ends the program without waiting for threads."""
  print(line, file=sys.stderr)
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)
