"""Joins a command to the other processes that train one model.

`jax.distributed.initialize` finds the members of a cluster, but on a single machine it
would wait for processes that do not exist. It is therefore called only if the
environment shows one of these:

- JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, set by
  launch/local.py (JAX reads only the first itself);
- a Slurm step with several tasks;
- Cloud TPU with several hosts, either named in the environment (GKE) or known to the
  metadata server of a TPU VM. TPU_SKIP_MDS_QUERY=1 prevents JAX from querying it.
"""

import logging
import os

import jax

_EXPLICIT = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")


def initialize() -> None:
  """Joins the other processes, if any; call it before the first use of a device.

  Afterwards all processes but the primary one log only warnings and errors, with
  their process index.

  Raises:
    ValueError: only some of JAX's three variables are set, or not to numbers.
  """
  if any(name in os.environ for name in _EXPLICIT[1:]):
    jax.distributed.initialize(**_explicit(), cluster_detection_method="deactivate")
  elif _several_slurm_tasks() or _several_tpu_hosts():
    jax.distributed.initialize()
  elif _EXPLICIT[0] in os.environ:
    _explicit()
  if jax.distributed.is_initialized() and jax.process_index():
    logger = logging.getLogger("ntm")
    logger.setLevel(logging.WARNING)
    for handler in logger.handlers:
      handler.setFormatter(logging.Formatter(
          f"[{jax.process_index()}] %(asctime)s %(message)s", "%H:%M:%S"))


def _explicit():
  """Arguments of `jax.distributed.initialize` from the environment."""
  missing = [name for name in _EXPLICIT if name not in os.environ]
  if missing:
    given = [name for name in _EXPLICIT if name in os.environ]
    raise ValueError(f"{', '.join(given)} is set, but not {', '.join(missing)}; several processes "
                     "need all three, one needs none.")
  address, count, index = (os.environ[name] for name in _EXPLICIT)
  if not (count.isdecimal() and index.isdecimal() and int(index) < int(count)):
    raise ValueError(f"JAX_PROCESS_ID is {index!r} and JAX_NUM_PROCESSES {count!r}; expected "
                     "numbers, the first below the second.")
  return {"coordinator_address": address, "num_processes": int(count), "process_id": int(index)}


def _several_slurm_tasks() -> bool:
  """Whether `srun` started several tasks; a batch script itself is not a step."""
  return all(name in os.environ for name in _SLURM) and int(os.environ["SLURM_NTASKS"]) > 1


def _several_tpu_hosts() -> bool:
  """Whether this may be one of several TPU hosts; False if TPUs are absent or disabled."""
  # JAX lists the platform on import if it detects a TPU and JAX_PLATFORMS is not set.
  if "tpu" not in (jax.config.jax_platforms or "").split(","):
    return False
  hosts = os.environ.get("TPU_PROCESS_ADDRESSES", os.environ.get("TPU_WORKER_HOSTNAMES"))
  if hosts is not None:
    return len(hosts.split(",")) > 1 or int(os.environ.get("MEGASCALE_NUM_SLICES") or 1) > 1
  return "TPU_SKIP_MDS_QUERY" not in os.environ
