"""What several processes that train one model must do alike.

Every process runs the same program on its share of the devices. A computation
on arrays that are spread over all of them, and their way to the host, takes all
processes, in the same order; files other than checkpoints are the first one's.
With one process all of this is what it would be anyway.
"""

import os
import signal

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from orbax.checkpoint import multihost

from ntm.nn import partitioning

_PATIENCE = 120  # Seconds from a failure on one process to the same on the others.


def is_first() -> bool:
  """Whether this process writes the files and the log."""
  return jax.process_index() == 0


def check_mesh(mesh: Mesh) -> None:
  """Raises ValueError unless every process has its own, equal part of a batch."""
  ways, count = mesh.shape["data"] * mesh.shape["fsdp"], jax.process_count()
  if ways % count:
    raise ValueError(f"{count} processes cannot share batches split over data x fsdp = {ways} "
                     "devices; let config.mesh.data x fsdp be a multiple of the processes.")


def put_whole_batch(mesh: Mesh, batch):
  """A batch that every process has whole, split over the mesh if that divides it."""
  split, copies = partitioning.batch_sharding(mesh), partitioning.replicated(mesh)
  ways = mesh.shape["data"] * mesh.shape["fsdp"]
  return jax.tree.map(
      lambda a: partitioning.from_host(a, copies if len(a) % ways else split), batch)


def to_host(tree):
  """Arrays of all processes as numpy, whole on each; all must ask for the same."""
  def gather(array):
    """One array; copied over the devices first where parts of it are elsewhere."""
    local = not isinstance(array, jax.Array) or (
        array.is_fully_addressable or array.is_fully_replicated)
    return np.asarray(array if local else multihost_utils.process_allgather(array, tiled=True))

  return jax.tree.map(gather, tree)


def texts_of_all(text: str) -> list[str]:
  """The texts that the processes have, in their order; all must ask."""
  if jax.process_count() == 1:
    return [text]
  encoded = np.frombuffer(text.encode(), np.uint8)
  sizes = multihost_utils.process_allgather(np.int32(encoded.size))
  rows = multihost_utils.process_allgather(np.pad(encoded, (0, sizes.max() - encoded.size)))
  return [row[:size].tobytes().decode() for row, size in zip(rows, sizes)]


def wait_for_all(name: str) -> None:
  """Returns when every process has come here."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)


def all_come(name: str) -> bool:
  """Whether all processes call this within two minutes; `name` must be new.

  A barrier of the hosts, not of the devices as above: the other processes may be
  inside a computation that waits for this one.
  """
  try:
    multihost.get_barrier_sync_fn()(key=name, timeout_ms=_PATIENCE * 1000)
  except jax.errors.JaxRuntimeError:
    return False
  return True


class Preemption:
  """While active, a SIGTERM or Ctrl-C of any process asks all to stop after the same step.

  A second Ctrl-C ends the process at once.
  """

  def __init__(self, first_step: int):
    """Remembers where the run starts, for the processes to agree on a step."""
    self._first_step, self._received = first_step, 0

  def __enter__(self):
    """Gives step → signal that asks to save it and stop, or 0; to be asked after every step."""
    self._previous = {signal.SIGINT: signal.signal(signal.SIGINT, self._interrupt)}
    if jax.distributed.is_initialized():  # JAX has a handler of its own for SIGTERM.
      # They stop at the step after the furthest they have asked about, which is 1 for a signal
      # that came before any.
      early = multihost_utils.reached_preemption_sync_point(1)
      multihost_utils.reached_preemption_sync_point(self._first_step)
      return lambda step: int(signal.SIGTERM) * bool(
          multihost_utils.reached_preemption_sync_point(step) or early)
    self._previous[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._remember)
    return lambda step: self._received

  def __exit__(self, *exc_info):
    for signum, handler in self._previous.items():
      signal.signal(signum, handler)

  def _remember(self, signum, frame):
    del frame
    self._received = signum

  def _interrupt(self, signum, frame):
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Not by the log, which the signal may have interrupted.
    os.write(2, b"Ctrl-C: saving after this step; once more ends at once.\n")
    if jax.distributed.is_initialized():
      os.kill(os.getpid(), signal.SIGTERM)  # JAX tells the other processes.
    else:
      self._remember(signum, frame)
