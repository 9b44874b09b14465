"""Coordination of the processes that train one model.

Every process runs the same program on its share of the devices. Computations on
arrays that span processes, and copies of such arrays to the host, are collective:
all processes run them in the same order. Only the primary process writes files
other than checkpoints. With one process every function here is local.
"""

import math
import os
import signal

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from orbax.checkpoint import multihost as orbax_multihost

from ntm.nn import partitioning

_BARRIER_SECONDS = 120  # How long `try_barrier` waits for the other processes.

barrier = orbax_multihost.sync_global_processes  # (name) → None, when all processes call it.


def try_barrier(name: str) -> bool:
  """Whether all processes call this within two minutes.

  It synchronises hosts rather than devices, because the devices of other processes
  may be busy with a computation that waits for this process.

  Args:
    name: not used before.
  """
  try:
    orbax_multihost.get_barrier_sync_fn()(key=name, timeout_ms=_BARRIER_SECONDS * 1000)
  except jax.errors.JaxRuntimeError:
    return False
  return True


def is_primary_process() -> bool:
  """Whether this process writes the log and the files other than checkpoints."""
  return jax.process_index() == 0


def allgather_strings(text: str) -> list[str]:
  """The string of every process, in process order; collective."""
  if jax.process_count() == 1:
    return [text]
  encoded = np.frombuffer(text.encode(), np.uint8)
  sizes = multihost_utils.process_allgather(np.int32(encoded.size))
  rows = multihost_utils.process_allgather(np.pad(encoded, (0, sizes.max() - encoded.size)))
  return [row[:size].tobytes().decode() for row, size in zip(rows, sizes)]


def allgather_rows(array: np.ndarray) -> np.ndarray:
  """The rows of the arrays of all processes, in process order, exactly as they are; collective.

  Args:
    array: [rows, ...], of one type and width on all processes, and of any number of rows.
  """
  if jax.process_count() == 1:
    return array
  counts = multihost_utils.process_allgather(np.int32(len(array)))
  # As bytes: JAX would make float32 of float64.
  width = array.dtype.itemsize * math.prod(array.shape[1:])
  rows = np.ascontiguousarray(array).view(np.uint8).reshape(len(array), width)
  padded = np.pad(rows, ((0, counts.max() - len(array)), (0, 0)))
  gathered = multihost_utils.process_allgather(padded).reshape(len(counts), -1, width)
  found = np.concatenate([part[:count] for part, count in zip(gathered, counts)])
  return found.reshape(-1).view(array.dtype).reshape(-1, *array.shape[1:])


def to_host(tree):
  """A tree of arrays as NumPy, complete on every process; collective."""
  def gather(array):
    """One array; gathered over the devices if other processes hold parts of it."""
    local = not isinstance(array, jax.Array) or (
        array.is_fully_addressable or array.is_fully_replicated)
    return np.asarray(array if local else multihost_utils.process_allgather(array, tiled=True))

  return jax.tree.map(gather, tree)


def put_whole_batch(mesh: Mesh, batch):
  """A batch that every process holds completely, split over the mesh where it divides evenly."""
  split, copies = partitioning.batch_sharding(mesh), partitioning.replicated(mesh)
  ways = mesh.shape["data"] * mesh.shape["fsdp"]
  return jax.tree.map(
      lambda a: partitioning.from_host(a, copies if len(a) % ways else split), batch)


class Preemption:
  """While active, a SIGTERM or Ctrl-C to any process stops all processes after the same step.

  A second Ctrl-C ends the process immediately.
  """

  def __init__(self, first_step: int):
    """Stores the step the run starts from, on which the processes agree a stop step."""
    self._first_step, self._received = first_step, 0

  def __enter__(self):
    """Returns step → signal to stop for, or 0; to be called after every step."""
    self._previous = {signal.SIGINT: signal.signal(signal.SIGINT, self._interrupt)}
    if jax.distributed.is_initialized():  # JAX handles SIGTERM itself.
      # The processes stop one step after the furthest step any of them has queried, which is
      # step 1 for a signal that arrived before the first query.
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
    # Not through logging, whose lock the interrupted code may hold.
    os.write(2, b"Ctrl-C: saving after this step; press it again to end immediately.\n")
    if jax.distributed.is_initialized():
      os.kill(os.getpid(), signal.SIGTERM)  # JAX notifies the other processes.
    else:
      self._remember(signum, frame)
