#!/usr/bin/env python3
"""Runs a command as several processes on this machine, as on a cluster, to try it out.

  launch/local.py --processes=2 --devices-per-process=4 -- ntm train --config=... --workdir=DIR

With --devices-per-process, each has that many CPU devices; without, the devices
of the machine are JAX's to find. Shows the output of process 0; if one process
fails, stops the others, shows the end of what it alone wrote, and fails too.
"""

import argparse
import collections
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading

_TAIL = 30  # Lines shown of a process that failed.
_GRACE = 5  # Seconds that the others have to end by themselves.


def main() -> int:
  """Starts the processes, waits, and returns the exit code."""
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--processes", type=int, required=True)
  parser.add_argument("--devices-per-process", type=int, help="CPU devices of each process")
  parser.add_argument("command", nargs="+", help="after --")
  arguments = parser.parse_args()
  if arguments.processes < 1:
    parser.error(f"--processes is {arguments.processes}; expected 1 or more")
  if arguments.devices_per_process is not None and arguments.devices_per_process < 1:
    parser.error(f"--devices-per-process is {arguments.devices_per_process}; expected 1 or more")
  if shutil.which(arguments.command[0]) is None:
    parser.error(f"the command {arguments.command[0]!r} is not found; is the environment that has "
                 "it active?")
  processes, tails, threads, ended = [], [], [], queue.Queue()

  def forward(signum, frame):
    del frame
    for process in processes:
      if process.poll() is None:
        process.send_signal(signum)

  for signum in (signal.SIGTERM, signal.SIGINT):
    signal.signal(signum, forward)
  port = _free_port()
  for index in range(arguments.processes):
    # A session of its own: Ctrl-C of a terminal reaches them through `forward` alone.
    processes.append(subprocess.Popen(
        arguments.command, env=_environment(arguments, port, index), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True))
    tails.append(collections.deque(maxlen=_TAIL))
    threads += [threading.Thread(target=_read, args=(processes[-1].stdout, tails[-1], index)),
                threading.Thread(target=lambda i=index: ended.put((i, processes[i].wait())))]
    threads[-2].start()
    threads[-1].start()
  failed, code = _wait(processes, ended)
  for thread in threads:
    thread.join()
  if not code:
    return 0
  how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
  if failed and code != 128 + signal.SIGTERM:  # That is how a run ends after SIGTERM.
    # Often all are refused alike.
    sys.stderr.buffer.writelines(line for line in tails[failed] if line not in tails[0])
    sys.stderr.flush()
  print(f"launch/local.py: process {failed} (of 0 to {len(processes) - 1}) {how}.", file=sys.stderr)
  return 128 - code if code < 0 else code


def _environment(arguments, port, index):
  env = os.environ | {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
                      "JAX_NUM_PROCESSES": str(arguments.processes), "JAX_PROCESS_ID": str(index)}
  if arguments.devices_per_process:
    env["JAX_PLATFORMS"] = "cpu"
    env["XLA_FLAGS"] = (f"{os.environ.get('XLA_FLAGS', '')} "
                        f"--xla_force_host_platform_device_count={arguments.devices_per_process}")
  return env


def _free_port():
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    return free.getsockname()[1]


def _read(stream, tail, index):
  """Keeps the last lines of a process, and shows those of the first."""
  for line in stream:
    tail.append(line)
    if index == 0:
      sys.stdout.buffer.write(line)
      sys.stdout.buffer.flush()


def _wait(processes, ended):
  """(index, exit code) of the process that failed first, when all have ended; else code 0."""
  failed, code = 0, 0
  for left in range(len(processes), 0, -1):
    try:
      index, one = ended.get(timeout=_GRACE if code else None)
    except queue.Empty:
      for process in processes:
        if process.poll() is None:
          os.killpg(process.pid, signal.SIGKILL)  # With what it started.
      for _ in range(left):
        ended.get()
      break
    if one and not code:
      failed, code = index, one
  return failed, code


if __name__ == "__main__":
  sys.exit(main())
