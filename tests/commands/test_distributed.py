"""When a command asks JAX for other processes; nothing is started here."""

import os

import jax
from absl.testing import absltest, parameterized

from ntm.commands import distributed

_STEP = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "node[1-2]", "SLURM_PROCID": "1",
         "SLURM_LOCALID": "0"}
_THREE = {"JAX_COORDINATOR_ADDRESS": "host:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}
_DETECTED, _NOTHING = {}, None


class InitializeTest(parameterized.TestCase):

  def _arguments(self, environment, platforms="cpu"):
    """What `jax.distributed.initialize` is called with; None if it is not called."""
    keep = {name: value for name, value in os.environ.items()
            if not name.startswith(("JAX_", "SLURM_", "TPU_", "MEGASCALE_"))}
    config = absltest.mock.Mock(jax_platforms=platforms)
    with (absltest.mock.patch.dict(os.environ, keep | environment, clear=True),
          absltest.mock.patch.object(jax, "config", config),
          absltest.mock.patch.object(jax.distributed, "initialize") as initialize):
      distributed.initialize()
    return initialize.call_args.kwargs if initialize.called else None

  @parameterized.named_parameters(
      ("an_ordinary_machine", {}, _NOTHING),
      ("one_slurm_task", _STEP | {"SLURM_NTASKS": "1"}, _NOTHING),
      ("slurm_tasks", _STEP | {"SLURM_NTASKS": "2"}, _DETECTED),
      ("a_batch_script_without_srun", {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2"}, _NOTHING))
  def test_of_no_tpu(self, environment, expected):
    self.assertEqual(self._arguments(environment), expected)

  @parameterized.named_parameters(
      ("one_host", {"TPU_WORKER_HOSTNAMES": "localhost"}, _NOTHING),
      ("hosts", {"TPU_WORKER_HOSTNAMES": "a,b"}, _DETECTED),
      ("processes", {"TPU_PROCESS_ADDRESSES": "a:1,b:1"}, _DETECTED),
      ("slices", {"TPU_WORKER_HOSTNAMES": "a", "MEGASCALE_NUM_SLICES": "2"}, _DETECTED),
      ("no_names_but_a_metadata_server", {}, _DETECTED),
      ("no_server", {"TPU_SKIP_MDS_QUERY": "1"}, _NOTHING))
  def test_of_tpus(self, environment, expected):
    self.assertEqual(self._arguments(environment, "tpu,cpu"), expected)
    self.assertIsNone(self._arguments(environment, "cpu"))  # They are not to be used.

  def test_three_variables_are_passed_on(self):
    self.assertEqual(self._arguments(_THREE), {
        "coordinator_address": "host:1", "num_processes": 2, "process_id": 1,
        "cluster_detection_method": "deactivate"})

  @parameterized.parameters(*_THREE)
  def test_each_of_them_is_needed(self, name):
    with self.assertRaisesRegex(ValueError, f"is set, but not {name};"):
      self._arguments({key: value for key, value in _THREE.items() if key != name})

  @parameterized.parameters(("2", "2"), ("two", "1"), ("2", "-1"))
  def test_numbers_must_make_sense(self, count, index):
    with self.assertRaisesRegex(ValueError, f"JAX_PROCESS_ID is '{index}'"):
      self._arguments(_THREE | {"JAX_NUM_PROCESSES": count, "JAX_PROCESS_ID": index})


if __name__ == "__main__":
  absltest.main()
