"""Where the checkpoints of a workdir are, and which of them are to be used."""

import os
import sys

import orbax.checkpoint as ocp
from etils import epath

from ntm.training import multihost


def directory(workdir: str | os.PathLike) -> epath.Path:
  """Where the checkpoints of a workdir are."""
  # Orbax wants it absolute; one on gs:// is, and stays what it is.
  path = epath.Path(workdir)
  return (path if "://" in os.fspath(workdir) else path.absolute()) / "checkpoints"


def ignore_abandoned_reads() -> None:
  """After a failed read: silences what the other reads that Orbax gave up say at their end."""
  previous = sys.unraisablehook
  if getattr(previous, "ignores_abandoned_reads", False):
    return

  def hook(unraisable):
    if str(unraisable.exc_value) != "Event loop is closed":
      previous(unraisable)

  hook.ignores_abandoned_reads = True
  sys.unraisablehook = hook


def complete(manager: ocp.CheckpointManager) -> list[int]:
  """Complete steps, newest first, the same on every process.

  Raises:
    ValueError: the processes do not see the same.
  """
  steps = sorted(manager.all_steps(), reverse=True)
  seen = multihost.texts_of_all(str(steps))
  if len(set(seen)) > 1:
    raise ValueError(f"the processes see different checkpoints in {manager.directory}: "
                     f"{', '.join(seen)}; all must share the workdir.")
  return steps


def set_aside(manager: ocp.CheckpointManager, steps: list[int]) -> None:
  """Renames steps that cannot be used to `<step>.corrupt`, so that they can be written again."""
  for step in steps:
    path = epath.Path(manager.directory) / str(step)
    if multihost.is_first() and path.exists():
      path.rename(path.with_name(f"{step}.corrupt"))
  if steps:
    multihost.wait_for_all("unreadable checkpoints are set aside")
    manager.reload()
