"""What all commands share: logging, errors as one line, checks of output paths."""

import datetime
import json
import logging
import os
import pathlib
import shlex
import signal
import sys
import traceback
from collections.abc import Callable

import absl.logging
import jax
from absl import flags

from ntm import config as config_lib
from ntm.commands import command_line, distributed
from ntm.config import Config
from ntm.training import storage
from ntm.training import workdir as workdir_lib

# Errors whose message says what is wrong: it is printed without a traceback.
_CLEAR = (ValueError, OSError, ImportError, FloatingPointError)
# Packages that read buckets for etils, whose errors are those of a bucket.
_STORAGE = ("tensorflow", "gcsfs", "s3fs", "google")
INTERRUPTED = 128 + signal.SIGINT


def refuse(values: flags.FlagValues, names: list[str], reason: str) -> None:
  """Raises ValueError if one of these flags was given, instead of ignoring it."""
  for name in names:
    if values[name].present:
      raise ValueError(f"--{name} does not apply: {reason}; leave it out.")


def check_output(flag: str, path: str, suffixes: tuple[str, ...] = ()) -> None:
  """Checks before any work that files can be written; creates nothing.

  Args:
    flag: the flag with the path, for messages.
    path: of a file, or the path to which suffixes are appended.
    suffixes: of the files; empty for `path` itself.

  Raises:
    ValueError: the path is in a bucket, ends in a suffix or a slash, is a directory, or
      cannot be written.
  """
  _check_local(flag, path)
  if pathlib.Path(path).suffix in suffixes:
    raise ValueError(f"--{flag} is {path}; expected a path without suffix, to which those of the "
                     f"files are appended: --{flag}={path.rpartition('.')[0]}.")
  if path.endswith("/") or pathlib.Path(path).name in ("", ".."):
    raise ValueError(f"--{flag} is {path}, a directory; expected the path of a file, as "
                     f"{path.rstrip('/')}/name.")
  for suffix in suffixes or ("",):
    _check_writable(flag, path, path + suffix, is_file=True)


def check_directory(flag: str, path: str) -> None:
  """Checks before any work that a directory can be made or written; creates nothing.

  Args:
    flag: the flag with the path, for messages.
    path: of the directory.

  Raises:
    ValueError: the path is in a bucket, is a file, or cannot be written.
  """
  _check_local(flag, path)
  _check_writable(flag, path, path, is_file=False)


def _check_local(flag, path):
  if workdir_lib.is_bucket(path):
    raise ValueError(f"{path} is not on this machine; expected a local path in --{flag}.")


def _check_writable(flag, path, written, is_file):
  if problem := workdir_lib.why_not_writable(written, is_file):
    where = "which" if written == path else f"and {written}"
    raise ValueError(f"--{flag} is {path}, {where} cannot be written ({problem}); choose another "
                     "path or change its permissions.")


def output_path(flag: flags.FlagHolder, workdir: str, default: str,
                suffixes: tuple[str, ...]) -> str:
  """The value of --output, or WORKDIR/<default>, checked as `check_output` does."""
  if not flag.value and workdir_lib.is_bucket(workdir):
    raise ValueError(f"--workdir is {workdir}, which is not on this machine; expected a local path "
                     f"for the results in --{flag.name}.")
  path = flag.value or str(pathlib.Path(workdir) / default)
  check_output(flag.name, path, suffixes)
  return path


def make_parent(path: str) -> None:
  """Makes the directory of a file."""
  pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)


def provenance(workdir: str, config: Config) -> dict[str, str]:
  """What a figure of a run was made by: its directory and config, the command line, and when."""
  return {"workdir": workdir, "config_sha256": config_lib.sha256(config),
          "command": shlex.join([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]),
          "jax": jax.__version__, "device": jax.devices()[0].device_kind,
          "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}


def write_json(path: str | None, result: dict) -> None:
  """Writes results as JSON, and makes the directory of the file; does nothing without a path."""
  if path:
    make_parent(path)
    pathlib.Path(path).write_text(json.dumps(result, indent=2) + "\n")


def command(main: Callable[[list[str]], None], values: flags.FlagValues, about: str | None,
            several_processes: bool = False) -> Callable[..., None]:
  """The entry point (argv=None) of a command, with the arguments of `run`."""
  return lambda argv=None: run(main, argv, several_processes, values, about or "")


def run(main: Callable[[list[str]], None], argv: list[str] | None = None,
        several_processes: bool = False, values: flags.FlagValues | None = None,
        about: str = "") -> None:
  """Runs a command; a user's mistake ends it with one line.

  Exit codes are 0, 1 after an error and 130 after Ctrl-C; a training run also has 143
  after SIGTERM, see `ntm.training.loop`.

  Args:
    main: called with the program's name, in a list.
    argv: the command line; None is sys.argv.
    several_processes: whether this may be one of several processes, see `distributed`.
    values: flags of the command; None for a command without flags.
    about: documentation for --help, whose first line says what the command does.
  """
  argv = sys.argv if argv is None else argv
  values = flags.FlagValues() if values is None else values
  name = argv[0] if argv[0].startswith("ntm ") else f"ntm {pathlib.Path(argv[0]).stem}"
  if command_line.wants_help(argv):
    print(command_line.help_text(name, about.partition("\n")[0], values))
    sys.exit(0)
  _log_plainly()
  # A missing file of a checkpoint would print hundreds of lines.
  storage.ignore_abandoned_reads()
  previous = signal.signal(signal.SIGINT, _interrupt)
  try:
    command_line.parse(name, values, argv)
    cache_programs()
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


def cache_programs() -> None:
  """Keeps compiled programs in the user's cache directory, unless the environment names one."""
  if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path("~/.cache").expanduser()
    jax.config.update("jax_compilation_cache_dir", os.path.join(cache, "ntm", "jax"))


def _log_plainly() -> None:
  """Logs all messages of ntm, and only errors of the libraries, which log through absl."""
  flags.FLAGS.mark_as_parsed()  # Otherwise absl warns about logging before flags are parsed.
  # For TensorFlow's start-up messages; etils imports it for buckets.
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
  """Raises at the first Ctrl-C; a second one ends the program even inside a computation."""
  del signum, frame
  signal.signal(signal.SIGINT, signal.SIG_DFL)
  raise KeyboardInterrupt


def _few_lines(message: str) -> str:
  """At most three lines of a message: the first two and the number of the others."""
  lines = message.splitlines() or [""]
  return "\n".join(lines if len(lines) <= 3 else [*lines[:2], f"  and {len(lines) - 2} more"])


def _fail(line: str | None, error: Exception) -> None:
  """Ends the program with code 1 after one line, or after the traceback if there is none."""
  # A normal exit waits for the other processes, which may be waiting for this one, and after
  # a failed save for Orbax's threads, which time out after minutes.
  at_once = jax.distributed.is_initialized() or isinstance(error, storage.StorageError)
  if line is None and not at_once:
    raise error
  line = line or "".join(traceback.format_exception(error)).rstrip()
  if at_once:
    _exit_at_once(line, 1)
  print(line, file=sys.stderr)
  sys.exit(1)


def _exit_at_once(line: str, code: int) -> None:
  """Ends the program without waiting for threads."""
  sys.stdout.flush()
  print(line, file=sys.stderr, flush=True)
  os._exit(code)
