"""The hosted CI runs what a contributor runs."""

import os
import pathlib

import yaml
from absl.testing import absltest

_ROOT = pathlib.Path(__file__).parents[1]


class CiTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    self.workflow = yaml.safe_load((_ROOT / ".github/workflows/ci.yml").read_text())

  def test_its_one_command_is_the_script(self):
    for job in self.workflow["jobs"].values():
      self.assertEqual([step["run"] for step in job["steps"] if "run" in step], [".ci/run"])
      self.assertLessEqual(job["timeout-minutes"], 120)
    self.assertTrue(os.access(_ROOT / ".ci/run", os.X_OK))

  def test_it_runs_on_pushes_and_pull_requests_and_may_only_read(self):
    self.assertContainsSubset({"push", "pull_request"}, self.workflow[True])  # YAML reads `on` so.
    self.assertEqual(self.workflow["permissions"], {"contents": "read"})
    self.assertTrue(self.workflow["concurrency"]["cancel-in-progress"])

  def test_the_oldest_supported_python_is_among_its_versions(self):
    oldest = (_ROOT / "setup.py").read_text().split('python_requires=">=')[1].split('"')[0]
    for job in self.workflow["jobs"].values():
      self.assertIn(oldest, job["strategy"]["matrix"]["python-version"])


if __name__ == "__main__":
  absltest.main()
