import json
import pathlib
import tempfile

from absl.testing import absltest, parameterized

from ntm.training import goodput


class GoodputTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.now = 1000.0
    self.enter_context(absltest.mock.patch.object(goodput.time, "time", lambda: self.now))
    self.workdir = pathlib.Path(tempfile.mkdtemp())

  def _start(self, first_step, step, killed=0):
    """Restores for 10 s, compiles for 30, and trains to a step at a second each, saved for 5."""
    run = goodput.Goodput(self.workdir, first_step, self.now)
    for what, seconds in (("start", 10), ("compile", 30), ("updates", step - first_step - 1),
                          ("checkpoints", 5)):
      self.now += seconds
      run.lap(what)
    run.write(step, saved=True)
    for _ in range(killed):
      self.now += 1
      run.lap("updates")
    run.write(step + killed)
    return run

  def test_all_seconds_are_counted_once(self):
    begun = self.now
    self._start(0, 101, killed=20)
    self.now += 60
    run = self._start(101, 202)
    found = goodput.spent(json.loads((self.workdir / "goodput.json").read_text())["starts"])
    self.assertEqual(found, {"start": 20, "compile": 60, "updates": 200, "checkpoints": 10,
                             "repeated": 20, "stopped": 60})
    self.assertEqual(sum(found.values()), self.now - begun)
    self.assertStartsWith(run.summary(), "goodput: updates 54.1% of 0:06:10 in 2 starts; the rest")
    self.assertIn("stopped 16.2%", run.summary())

  def test_nothing_is_repeated_when_the_last_step_was_saved(self):
    self._start(0, 101)
    self._start(101, 150)
    found = goodput.spent(json.loads((self.workdir / "goodput.json").read_text())["starts"])
    self.assertEqual(found["repeated"] + found["stopped"], 0)

  def test_a_start_that_was_killed_before_its_first_save_is_repeated_whole(self):
    self._start(0, 101)
    self._start(101, 202, killed=20)
    starts = json.loads((self.workdir / "goodput.json").read_text())["starts"]
    found = goodput.spent([*starts, starts[1] | {"started": self.now, "seconds": {}}])
    self.assertEqual(found["updates"], 100)
    self.assertEqual(found["repeated"], 120)

  def test_a_new_run_forgets_another(self):
    self._start(0, 101)
    self.assertIn("in 1 start;", self._start(0, 50).summary())

  @parameterized.parameters("", "[]", '{"starts": [{}]}', '{"starts": [{"seconds": {"a": "b"}}]}')
  def test_a_damaged_file_is_left_out(self, text):
    self._start(0, 101)
    (self.workdir / "goodput.json").write_text(text)
    with self.assertLogs("ntm", "WARNING") as logs:
      run = self._start(101, 150)
    self.assertIn("goodput.json cannot be read", logs.output[0])
    self.assertIn("in 1 start;", run.summary())

  def test_in_a_bucket_it_is_written_with_checkpoints(self):
    with absltest.mock.patch.object(goodput.workdir_lib, "is_bucket", lambda path: True):
      self._start(0, 101, killed=20)
    start, = json.loads((self.workdir / "goodput.json").read_text())["starts"]
    self.assertEqual(start["step"], 101)


if __name__ == "__main__":
  absltest.main()
