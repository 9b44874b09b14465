"""The launch scripts: what they print, and that they run just that, only when asked to."""

import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from absl.testing import absltest, parameterized

_LAUNCH = pathlib.Path(__file__).parents[2] / "launch"
# The words a shell, gcloud's comma or systemd's $ could spoil.
_COMMAND = ["ntm", "train", "--config=configs/digits.py", "--workdir=gs://bucket/run",
            "--config.model.image_shape=(8, 8, 1)", "--config.note=it's 5 $HOME, \"50%\" & `more`"]
_SLICE = ["--name=pod", "--zone=us-east5-a", "--project=mine"]
_CREATE = [*_SLICE, "--type=v5p-128", "--version=v2-alpha-tpuv5"]
_SOURCE = ["--repository=https://example.org/ntm", "--revision=abc123"]
_WORKLOAD = ["--cluster=tpus", "--workload=digits"]
_GKE = [*_WORKLOAD, "--tpu-type=v5p-128", "--num-slices=2"]
_JOB = ["--nodes=2", "--gpus-per-node=8"]
_CASES = {  # Script, sub-command and flags, and the words before flags of what is printed.
    "tpu_create": (["tpu_vm.sh", "create", *_CREATE],
                   ["gcloud compute tpus queued-resources create pod"]),
    "tpu_create_spot": (["tpu_vm.sh", "create", *_CREATE, "--spot", *_SOURCE, "--", *_COMMAND],
                        ["gcloud compute tpus queued-resources create pod"]),
    "tpu_renew": (["tpu_vm.sh", "renew", *_CREATE, "--spot", *_SOURCE, "--", *_COMMAND],
                  ["gcloud compute tpus queued-resources describe pod",
                   "gcloud compute tpus queued-resources delete pod",
                   "gcloud compute tpus queued-resources create pod"]),
    "tpu_install": (["tpu_vm.sh", "install", *_SLICE, *_SOURCE],
                    ["gcloud compute tpus tpu-vm ssh pod"]),
    "tpu_train": (["tpu_vm.sh", "train", *_SLICE, "--", *_COMMAND],
                  ["gcloud compute tpus tpu-vm ssh pod"]),
    "tpu_logs": (["tpu_vm.sh", "logs", *_SLICE], ["gcloud compute tpus tpu-vm ssh pod"]),
    "tpu_status": (["tpu_vm.sh", "status", *_SLICE],
                   ["gcloud compute tpus queued-resources describe pod",
                    "gcloud compute tpus tpu-vm ssh pod"]),
    "tpu_stop": (["tpu_vm.sh", "stop", *_SLICE], ["gcloud compute tpus tpu-vm ssh pod"]),
    "tpu_delete": (["tpu_vm.sh", "delete", *_SLICE],
                   ["gcloud compute tpus queued-resources delete pod"]),
    "gke_create": (["gke_xpk.sh", "create", *_GKE, "--docker-image=image", "--", *_COMMAND],
                   ["xpk workload create"]),
    "gke_list": (["gke_xpk.sh", "list", "--cluster=tpus"], ["xpk workload list"]),
    "gke_logs": (["gke_xpk.sh", "logs", *_WORKLOAD], ["gcloud logging read"]),
    "gke_delete": (["gke_xpk.sh", "delete", *_WORKLOAD], ["xpk workload delete"]),
    "slurm": (["slurm.sh", *_JOB, "--", *_COMMAND], ["sbatch"]),
}


class ScriptsTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self._tools = pathlib.Path(tempfile.mkdtemp())
    self._calls = pathlib.Path(tempfile.mkdtemp())
    self._env = os.environ | {"PATH": f"{self._tools}:{os.environ['PATH']}"}
    for name in ("gcloud", "xpk", "sbatch", "srun", "scancel", "scontrol", "sudo", "systemd-run"):
      self._fake(name)

  def _fake(self, name, then=""):
    """A tool that only writes down its arguments, one file a call, and does `then`."""
    tool = self._tools / name
    tool.write_text(f'#!/bin/sh\nfile={self._calls}/$(ls {self._calls} | wc -l)\n'
                    f'printf "%s\\0" {name} "$@" > $file\n{then}\n')
    tool.chmod(0o755)

  def _recorded(self):
    files = sorted(self._calls.iterdir(), key=lambda file: int(file.name))
    return [file.read_text().split("\0")[:-1] for file in files]

  def _run(self, script, *arguments):
    return subprocess.run([_LAUNCH / script, *arguments], capture_output=True, text=True,
                          env=self._env)

  def _printed(self, script, *arguments):
    """The commands a dry run prints, as lists of words."""
    done = self._run(script, *arguments)
    self.assertEqual(done.returncode, 0, done.stderr)
    self.assertEmpty(self._recorded())
    return _commands(done.stdout)

  @parameterized.named_parameters((name, *case) for name, case in _CASES.items())
  def test_prints_its_commands_and_runs_just_those_if_asked(self, call, beginnings):
    printed = self._printed(*call)
    self.assertEqual([" ".join(words[:len(start.split())])
                      for words, start in zip(printed, beginnings)], beginnings)
    self.assertLen(printed, len(beginnings))
    self._fake("gcloud", "case $4 in describe) echo SUSPENDED ;; esac")
    done = self._run(*call[:2], "--run", *call[2:])
    self.assertEqual(done.returncode, 0, done.stderr)
    self.assertEqual(self._recorded(), printed)

  @parameterized.parameters(
      (["tpu_vm.sh", "create", "--name=a"], "create needs --zone --type --version"),
      (["tpu_vm.sh", "create", *_CREATE, "--", "ntm"], "create needs --repository --revision"),
      (["tpu_vm.sh", "renew", *_SLICE], "renew needs --type --version"),
      (["tpu_vm.sh", "install", *_SLICE], "install needs --repository --revision"),
      (["tpu_vm.sh", "train", "--zone=a", "--", "ntm"], "train needs --name"),
      (["tpu_vm.sh", "train", *_SLICE], "train needs the command, after --"),
      (["tpu_vm.sh", "logs"], "logs needs --name --zone"),
      (["tpu_vm.sh", "stop", "--name", "a"],
       "a is no flag of the form --name=value; the command comes after --"),
      (["tpu_vm.sh", "bake", *_SLICE],
       "no bake; there are create, renew, install, train, logs, status, stop and delete"),
      (["gke_xpk.sh", "create", "--cluster=a"], "create needs --workload --tpu-type"),
      (["gke_xpk.sh", "create", *_GKE, "--docker-image=a"],
       "create needs the command, after --"),
      (["gke_xpk.sh", "create", *_GKE, "--", "ntm"],
       "create needs one of --docker-image and --base-docker-image"),
      (["gke_xpk.sh", "logs"], "logs needs --cluster --workload"),
      (["gke_xpk.sh", "bake"], "no bake; there are create, list, logs and delete"),
      (["slurm.sh", "--time=1:00:00", "--", "ntm"], "sbatch needs --nodes --gpus-per-node"),
      (["slurm.sh", "--nodes=2", "--gpus-per-node=h100", "--", "ntm"],
       "--gpus-per-node is to end in a number, not in h100"),
      (["slurm.sh", *_JOB], "sbatch needs the command, after --"))
  def test_mistakes_end_with_one_line(self, call, text):
    done = self._run(*call)
    self.assertEqual((done.returncode, done.stdout, done.stderr), (2, "", f"error: {text}\n"))

  def test_tpu_request(self):
    [words] = self._printed("tpu_vm.sh", "create", *_CREATE, "--spot", "--reserved")
    self.assertContainsSubset(
        ["--node-id=pod", "--zone=us-east5-a", "--project=mine", "--accelerator-type=v5p-128",
         "--runtime-version=v2-alpha-tpuv5", "--spot", "--reserved"], words)
    self.assertEmpty([word for word in words if "startup" in word])

  def test_tpu_slice_installs_and_trains_at_boot(self):
    [words] = self._printed("tpu_vm.sh", "create", *_CREATE, *_SOURCE, "--", *_COMMAND)
    start = "--metadata=^;end;^startup-script=#!/bin/bash\n"
    [script] = [word.removeprefix(start) for word in words if word.startswith(start)]
    self.assertNotIn(";end;", script)
    self.assertIn("git clone --quiet https://example.org/ntm /opt/ntm\n", script)
    self.assertIn("git checkout --quiet abc123\n", script)
    # Only its end, the training, can run here.
    self.assertEqual(self._trained(script[script.index("systemd-run"):]), _COMMAND)

  def test_tpu_trains_on_all_workers(self):
    [words] = self._printed("tpu_vm.sh", "train", *_SLICE, "--", *_COMMAND)
    self.assertIn("--worker=all", words)
    self._fake("sudo", '"$@"')
    self.assertEqual(self._trained(_value(words, "--command")), _COMMAND)

  def _trained(self, script):
    """The command of the unit that `script` makes, as systemd reads it."""
    subprocess.run(["bash", "-euc", script], env=self._env, check=True)
    words = self._recorded()[-1]
    self.assertEqual(words[0], "systemd-run")
    self.assertContainsSubset(["--unit=ntm", "--property=KillMode=mixed",
                               "--property=StandardOutput=append:/var/log/ntm.log"], words)
    return [word.replace("$$", "$") for word in words[words.index("/usr/bin/env") + 1:]]

  def test_tpu_installs_on_all_workers(self):
    [words] = self._printed("tpu_vm.sh", "install", *_SLICE, *_SOURCE)
    self.assertIn("--worker=all", words)
    subprocess.run(["bash", "-c", _value(words, "--command")], env=self._env, check=True)
    [[*start, script]] = self._recorded()  # Of the fake sudo.
    self.assertEqual(start, ["sudo", "bash", "-c"])
    self.assertIn("uv pip install --editable '.[tpu]'\n", script + "\n")
    subprocess.run(["bash", "-nc", script], check=True)

  def test_tpu_worker_of_the_logs(self):
    for flags, worker in ([], "0"), (["--worker=3"], "3"):
      [words] = self._printed("tpu_vm.sh", "logs", *_SLICE, *flags)
      self.assertEqual(_value(words, "--worker"), worker)

  @parameterized.parameters(("echo ACTIVE", 0), ("exit 1", 1))
  def test_tpu_renews_only_what_was_preempted(self, answer, code):
    self._fake("gcloud", answer)
    done = self._run("tpu_vm.sh", "renew", *_CREATE, "--run")
    self.assertEqual(done.returncode, code, done.stderr)
    [words] = self._recorded()
    self.assertEqual(words[4], "describe")

  def test_gke_images(self):
    [words] = self._printed("gke_xpk.sh", "create", *_GKE, "--docker-image=a", "--", *_COMMAND)
    self.assertContainsSubset(["--cluster=tpus", "--workload=digits", "--tpu-type=v5p-128",
                               "--num-slices=2", "--docker-image=a"], words)
    self.assertEqual(shlex.split(_value(words, "--command")), ["exec", *_COMMAND])
    [words] = self._printed("gke_xpk.sh", "create", *_GKE, "--base-docker-image=b", "--", *_COMMAND)
    self.assertContainsSubset(["--base-docker-image=b", f"--script-dir={_LAUNCH.parent}"], words)
    self.assertEqual(shlex.split(_value(words, "--command")),
                     ["pip", "install", "--quiet", "--editable", ".[tpu]", "&&", "exec", *_COMMAND])

  def test_slurm_has_a_task_per_gpu(self):
    for gpus in "8", "h100:8":
      [words] = self._printed("slurm.sh", "--nodes=2", f"--gpus-per-node={gpus}", "--partition=p",
                              "--", *_COMMAND)
      self.assertContainsSubset(
          ["--nodes=2", f"--gpus-per-node={gpus}", "--ntasks-per-node=8", "--partition=p",
           "--requeue", "--signal=B:USR1@120"], words)
      self.assertEqual(words[words.index("job") + 1:], _COMMAND)

  def test_slurm_job_ends_as_its_tasks_do(self):
    self._fake("srun", "exit 3")
    self.assertEqual(self._run("slurm.sh", "job", *_COMMAND).returncode, 3)
    [[*step, end]] = self._recorded()
    self.assertEqual([*step, end][-len(_COMMAND):], _COMMAND)
    self.assertContainsSubset(["srun", "--gpu-bind=none", "--kill-on-bad-exit=1"], step)

  def test_slurm_job_saves_and_goes_back_to_the_queue_before_its_time_limit(self):
    saved, pid = self._tools / "saved", self._tools / "pid"
    self._fake("srun", f"trap 'sleep 0.2; touch {saved}; exit 0' TERM\necho $$ > {pid}.tmp\n"
                       f"mv {pid}.tmp {pid}\nwhile :; do sleep 0.05; done")
    self._fake("scancel", f"kill -TERM $(cat {pid})")
    self._fake("scontrol", f"test -e {saved}")
    spooled = shutil.copy(_LAUNCH / "slurm.sh", self._tools)  # Slurm runs a copy, alone.
    job = subprocess.Popen([spooled, "job", *_COMMAND],
                           env=self._env | {"SLURM_JOB_ID": "77"})
    while not pid.exists() and job.poll() is None:
      time.sleep(0.01)
    job.send_signal(signal.SIGUSR1)
    self.assertEqual(job.wait(timeout=30), 0)
    self.assertEqual(self._recorded()[1:], [["scancel", "--signal=TERM", "77"],
                                            ["scontrol", "requeue", "77"]])

  @parameterized.parameters("tpu_vm.sh", "gke_xpk.sh", "slurm.sh")
  def test_help(self, script):
    done = self._run(script, "--help")
    self.assertEqual((done.returncode, done.stderr), (0, ""))
    self.assertIn(f"launch/{script}", done.stdout)
    self.assertNotIn("#", done.stdout)

  @parameterized.parameters("common.sh", "tpu_vm.sh", "gke_xpk.sh", "slurm.sh")
  def test_shellcheck(self, script):
    path = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
    shellcheck = shutil.which("shellcheck", path=path)
    if shellcheck is None:
      self.skipTest("shellcheck is not installed")
    done = subprocess.run([shellcheck, _LAUNCH / script], capture_output=True, text=True)
    self.assertEqual(done.returncode, 0, done.stdout)


def _commands(text):
  """Splits shell text into commands, each a list of words; a word may span lines."""
  commands, pending = [], ""
  for line in text.splitlines():
    pending += line
    try:
      commands.append(shlex.split(pending, comments=True))
      pending = ""
    except ValueError:  # An open quote: the word goes on.
      pending += "\n"
  return [words for words in commands if words]


def _value(words, flag):
  [value] = [word.removeprefix(f"{flag}=") for word in words if word.startswith(f"{flag}=")]
  return value


if __name__ == "__main__":
  absltest.main()
