"""A bucket in memory, in place of the one that etils would connect to."""

import contextlib
from unittest import mock

import fsspec
from etils import epath


@contextlib.contextmanager
def in_memory():
  """While active, gs:// paths of `epath` are files of the file system that this yields."""
  filesystem = fsspec.filesystem("memory")
  filesystem.store.clear()
  with (mock.patch.object(epath.gpath, "_is_tf_installed", lambda: False),
        mock.patch.object(epath.gpath.backend_lib.fsspec_backend, "_get_filesystem",
                          lambda name: filesystem)):
    yield filesystem
