import json
import subprocess
import sys

from absl.testing import absltest

_PROGRAM = """
import json, sys, time
import jax, flax
start = time.perf_counter()
import ntm
print(json.dumps({"seconds": time.perf_counter() - start,
                  "heavy": sorted({"tensorflow", "torch", "sklearn", "transformers"} &
                                  set(sys.modules))}))
"""


class ImportTest(absltest.TestCase):

  def test_import_is_light(self):
    out = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True,
                         check=True).stdout
    figures = json.loads(out)
    self.assertEqual(figures["heavy"], [])
    self.assertLess(figures["seconds"], 2)

  def test_the_api_loads_without_tensorflow(self):
    program = "import ntm.api, sys; print({'tensorflow', 'torch', 'sklearn'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                         check=True).stdout
    self.assertEqual(out.strip(), "set()")

  def test_the_laws_load_with_jax_and_numpy_alone(self):
    program = """
import ntm, sys
assert "ntm.testing" not in sys.modules
import ntm.testing
print({"flax", "chex", "orbax", "optax", "scipy"} & set(sys.modules) - present)
"""
    out = subprocess.run([sys.executable, "-c", "import jax, sys; present = set(sys.modules)" +
                          program], capture_output=True, text=True, check=True).stdout
    self.assertEqual(out.strip(), "set()")

  def test_conversion_loads_without_what_only_some_files_need(self):
    program = "import ntm.commands.convert, sys; print({'torch', 'safetensors'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                         check=True).stdout
    self.assertEqual(out.strip(), "set()")


if __name__ == "__main__":
  absltest.main()
