"""What all tests share: eight CPU devices, quick compiles, one place for files."""

import gc
import os
import pathlib
import tempfile

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = " ".join([
    os.environ.get("XLA_FLAGS", ""),
    "--xla_force_host_platform_device_count=8",
    # The suite compiles hundreds of tiny programs and runs each a few times.
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    # The older emitters compile a training step in a third of the time.
    "--xla_cpu_use_fusion_emitters=false",
    # Splitting a program for several threads costs a fifth of its compile.
    "--xla_cpu_parallel_codegen_split_count=1",
])
# Tests of one configuration share programs, across processes too.
_CACHE = pathlib.Path(__file__).parents[1] / ".pytest_cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")


@pytest.fixture(autouse=True, scope="session")
def _temporary_files(tmp_path_factory):
  """What tests write goes with pytest's own files, of a suite that passed at its end."""
  tempfile.tempdir = str(tmp_path_factory.mktemp("tests"))


@pytest.fixture(autouse=True, scope="module")
def _few_garbage_collections():
  """Collects after every module: to look at millions of objects while tracing takes a tenth."""
  gc.set_threshold(100_000, 10, 10)
  yield
  gc.collect()
  gc.freeze()  # What is left are modules and compiled programs, not to be looked at again.
